"""Random draws for generated clips, scaled by how far they may lead from quiet stance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")

SIDES = ("left", "right")


class Draw:
    """Random numbers for one attempt at a clip.

    Args:
        seed: of the random generator.
        bold: 1 for the full ranges; less keeps postures, steps and kicks nearer to quiet stance.
    """

    def __init__(self, seed: Sequence[int], bold: float = 1.0):
        self.rng, self.bold = np.random.default_rng(list(seed)), bold

    def between(self, low: float, high: float) -> float:
        """Uniform, independent of `bold`: for durations."""
        return float(self.rng.uniform(low, high))

    def up_to(self, low: float, high: float) -> float:
        """Uniform, scaled by `bold`."""
        return self.bold * self.between(low, high)

    def about(self, most: float) -> float:
        """Uniform in [-most, most], scaled by `bold`."""
        return self.up_to(-most, most)

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def one_of(self, choices: Sequence[T]) -> T:
        return choices[int(self.rng.integers(len(choices)))]

    def side(self) -> tuple[str, str]:
        """A side and the other one."""
        return self.one_of([SIDES, SIDES[::-1]])
