"""Standard benchmarks under published protocols, resumable, and plausibility of any motion without ground truth.

The commands are `python -m physhmr_kit.evaluate --benchmark ...` and `--plausibility ...`; see docs/benchmarks.md. The names of
benchmarks and protocols are defined here, without importing torch, so that `--help` is fast.
"""

NAMES = ("3dpw", "emdb1", "emdb2", "human36m", "aistpp")
"""Choices of `--benchmark`; see `sequences.BENCHMARKS`."""

PROTOCOL_NAMES = ("wham", "physhmr", "phc")
"""Choices of `--protocol`; see `metrics.protocols`."""
