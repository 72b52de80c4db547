"""Left-right swaps of a keypoint detector: finds the frames with swapped arms or legs and corrects them.

A detector labels each image independently and sometimes confuses the left and right limbs. The sequence of swaps that
gives the smoothest keypoint motion is found exactly by dynamic programming (Viterbi 1967). Smoothness is measured by
second differences, so that legs that pass each other in profile are no swap. Every swapped frame has a small cost:
without evidence the detector is trusted.
"""

from __future__ import annotations

import numpy as np
import torch

from physhmr_kit.vision.keypoints import COCO_MIRROR, LIMBS, person_size

_CAP = 0.15  # upper bound of a second difference, relative to the person's size
_PER_FRAME = 0.01  # cost of a swapped frame
_PER_CHANGE = 0.25  # cost of a change between swapped and not swapped


def find_swaps(keypoints: torch.Tensor) -> torch.Tensor:
    """Frames in which the arms or the legs are swapped: keypoints (T, 17, 3), gaps filled -> (T, 2) bool, arms and legs."""
    size = person_size(keypoints)
    columns = [_cheapest_sequence(keypoints[:, limbs], limbs, size) for limbs in LIMBS.values()]
    return torch.from_numpy(np.stack(columns, axis=-1))


def unswapped(keypoints: torch.Tensor, swapped: torch.Tensor | None = None) -> torch.Tensor:
    """Keypoints (T, 17, 3) with swaps corrected; `swapped` (T, 2) is that of `find_swaps` when omitted."""
    swapped = find_swaps(keypoints) if swapped is None else swapped
    out = keypoints.clone()
    for column, limbs in zip(swapped.unbind(-1), LIMBS.values(), strict=True):
        mirror = [COCO_MIRROR[i] for i in limbs]
        out[:, limbs] = torch.where(column[:, None, None], keypoints[:, mirror], keypoints[:, limbs])
    return out


def _cheapest_sequence(keypoints: torch.Tensor, limbs: tuple[int, ...], size: float) -> np.ndarray:
    """Cheapest sequence of swaps of one limb pair: (T, 6, 3) -> (T,) bool; a state is (previous, this frame swapped)."""
    frames = len(keypoints)
    if frames < 3:
        return np.zeros(frames, bool)
    mirror = [limbs.index(COCO_MIRROR[i]) for i in limbs]
    x = torch.stack([keypoints, keypoints[:, mirror]])  # (2, T, 6, 3), as detected and swapped
    position, confidence = x[..., :2] / size, x[..., 2]
    # bend[a, b, c]: two frames ago in state a, one frame ago in b, now in c
    a, b, c = (position[:, k : frames - 2 + k] for k in range(3))
    bend = a[:, None, None] - 2 * b[None, :, None] + c[None, None, :]
    a, b, c = (confidence[:, k : frames - 2 + k] for k in range(3))
    weight = torch.minimum(torch.minimum(a[:, None, None], b[None, :, None]), c[None, None, :])
    cost = (weight * bend.norm(dim=-1).clamp(max=_CAP)).sum(-1).permute(3, 0, 1, 2).double().numpy()  # (T - 2, 2, 2, 2)
    cost = cost + np.array([0.0, _PER_FRAME])
    cost += _PER_CHANGE * np.abs(np.subtract.outer([0, 1], [0, 1]))
    total = np.add.outer([0.0, _PER_FRAME], [0.0, _PER_FRAME]) + _PER_CHANGE * np.array([[0, 1], [1, 0]])
    came = np.zeros((frames, 2, 2), np.int8)
    for t in range(2, frames):
        options = total[:, :, None] + cost[t - 2]
        came[t] = options.argmin(0)
        total = options.min(0)
    states = np.zeros(frames, bool)
    before, now = np.unravel_index(total.argmin(), (2, 2))
    for t in range(frames - 1, 1, -1):
        states[t] = now
        before, now = came[t, before, now], before
    states[1], states[0] = now, before
    return states
