"""Left for right: stretches of frames in which a detector exchanged the arms or the legs, found and undone.

A detector names limbs in each picture anew, and in some it takes the left leg for the right one. A limb cannot change places
within a frame, so both hypotheses are followed over time: the cheaper history of exchanges, by how evenly the keypoints
then move, is found exactly by dynamic programming (Viterbi 1967). Even movement is judged by second differences, so that legs
that pass each other in profile are not taken for an exchange. Being exchanged costs a little in every frame: without
evidence the detector is believed.
"""

from __future__ import annotations

import numpy as np
import torch

from physhmr_kit.vision.keypoints import COCO_MIRROR, COCO_NAMES, person_size

GROUPS = {
    part: tuple(i for i, n in enumerate(COCO_NAMES) if n.split("_")[-1] in names)
    for part, names in {"arms": ("shoulder", "elbow", "wrist"), "legs": ("hip", "knee", "ankle")}.items()
}
"""Keypoints that are exchanged together."""

_CAP = 0.15  # shares of the person's size: a keypoint that moves less evenly than this tells no more
_PER_FRAME = 0.01  # cost of a frame in which a limb pair is taken to be exchanged
_PER_CHANGE = 0.25  # cost of a change between exchanged and not


def find_swaps(keypoints: torch.Tensor) -> torch.Tensor:
    """Which frames have their arms, and which their legs, the wrong way round.

    Args:
        keypoints: (T, 17, 3) u, v, confidence, gaps filled.

    Returns:
        (T, 2) bool, arms and legs.
    """
    size = person_size(keypoints)
    columns = [_history(keypoints[:, list(group)], list(group), size) for group in GROUPS.values()]
    return torch.from_numpy(np.stack(columns, axis=-1))


def unswapped(keypoints: torch.Tensor, swapped: torch.Tensor | None = None) -> torch.Tensor:
    """Keypoints (T, 17, 3) with the exchanged limbs put right; `swapped` (T, 2) as `find_swaps` says when omitted."""
    swapped = find_swaps(keypoints) if swapped is None else swapped
    out = keypoints.clone()
    for column, group in zip(swapped.unbind(-1), GROUPS.values(), strict=True):
        mirror = [COCO_MIRROR[i] for i in group]
        out[:, list(group)] = torch.where(column[:, None, None], keypoints[:, mirror], keypoints[:, list(group)])
    return out


def _history(limbs: torch.Tensor, group: list[int], size: float) -> np.ndarray:
    """The cheapest history of one limb pair: (T, 6, 3) -> (T,) bool. A state is whether this frame and the last are exchanged."""
    frames = len(limbs)
    if frames < 3:
        return np.zeros(frames, bool)
    mirror = [group.index(COCO_MIRROR[i]) for i in group]
    x = torch.stack([limbs, limbs[:, mirror]]) / limbs.new_tensor(
        [size, size, 1.0]
    )  # (2, T, 6, 3), as seen and exchanged
    place, sure = x[..., :2], x[..., 2]
    # bend[a, b, c]: two frames ago in state a, one frame ago in b, now in c
    a, b, c = (v[:, k : frames - 2 + k] for k in range(3) for v in (place,))
    bend = a[:, None, None] - 2 * b[None, :, None] + c[None, None, :]
    weight = torch.minimum(torch.minimum(sure[:, None, None, :-2], sure[None, :, None, 1:-1]), sure[None, None, :, 2:])
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
