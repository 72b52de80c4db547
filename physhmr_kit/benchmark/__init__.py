"""The field's benchmarks: a prepared set under a protocol, resumable, and motions of any tool judged without a truth.

`python -m physhmr_kit.evaluate --benchmark ...` and `--plausibility ...` are the commands; docs/benchmarks.md tells how. Names of
benchmarks and protocols stand here, free of torch, so that `--help` answers at once.
"""

NAMES = ("3dpw", "emdb1", "emdb2", "human36m", "aistpp")
"""What `--benchmark` names; see `sequences.BENCHMARKS`."""

PROTOCOL_NAMES = ("wham", "physhmr", "phc")
"""What `--protocol` names; see `metrics.protocols`."""
