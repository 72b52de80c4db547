"""Foot contact: one rule with the thresholds each part of the kit uses.

A point of a foot is in contact with the floor while it is lower than a height and slower than a speed.

| rule | point | height | speed | used by |
|---|---|---|---|---|
| `STANCE` | lowest sole corner, and the sole there | 3 cm | 0.4 m/s | grounding and its metrics (`motion.soles.find_stance`) |
| `FOOT` | lowest sole corner, and the joint | 4 cm | 0.4 m/s | the encoder's contact labels (`motion.soles.foot_contact`), balance |
| `LOAD` | each sole corner | 3 cm | 0.6 m/s | `motion.inverse_dynamics` |
| `JOINT` | the joint, above the sole | 12 cm | 0.3 m/s | the contact reward (`env.rewards`) |
| `AT_REST` | each sole corner | any | 0.3 m/s | foot sliding of the WHAM family (`metrics.functional`) |
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class ContactRule:
    """In contact below `height`, m, and `speed`, m/s."""

    height: float
    speed: float

    def __call__(self, height: torch.Tensor, speed: torch.Tensor) -> torch.Tensor:
        """Whether points at given heights, m, and speeds, m/s, are in contact: (...) each -> (...) bool."""
        return (height < self.height) & (speed < self.speed)


STANCE = ContactRule(0.03, 0.4)
FOOT = ContactRule(0.04, 0.4)
LOAD = ContactRule(0.03, 0.6)
JOINT = ContactRule(0.12, 0.3)
AT_REST = ContactRule(math.inf, 0.3)
"""1 cm per frame at 30 fps, at any height."""
