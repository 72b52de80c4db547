"""The mirror image of what a policy reads and does: left and right exchanged, the sagittal plane kept.

The body is symmetric, so a motion and its mirror image ask for mirrored actions. In the heading frame (x forward, y left,
z up) mirroring a vector flips y; a rotation R becomes F R G with F = diag(1, -1, 1) in the world and G = diag(-1, 1, 1) in
the body frames of SMPL's rest pose (x left). On the numbers of an observation that is an exchange of places and signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch

from physhmr_kit.body.hinges import dof_names
from physhmr_kit.body.skeleton import MIRROR
from physhmr_kit.env.observations import PREVIEW_STEPS
from physhmr_kit.utils.errors import KitError

_VECTOR, _SPIN = (1, -1, 1), (-1, 1, -1)  # signs of a vector and of an angular velocity, F v and -F w
_AXES = (-1, 1, -1, 1, -1, 1)  # of a rotation's x axis, -F x, and y axis, F y, in the heading frame
_TURN = (1, -1, -1, -1, 1, 1)  # the same two columns of a rotation in a body's own frame, G Q G

_Map = tuple[list[int], list[int]]  # places to take from, signs to give


def _bodies(signs: Sequence[int], first: int = 0) -> _Map:
    """Bodies `first`..23 in SMPL's order with len(signs) numbers each, one body after the other."""
    width = len(signs)
    places = [(MIRROR[j] - first) * width + k for j in range(first, 24) for k in range(width)]
    return places, list(signs) * (24 - first)


def _joined(*parts: _Map) -> _Map:
    places, signs, offset = [], [], 0
    for own_places, own_signs in parts:
        places += [offset + p for p in own_places]
        signs += own_signs
        offset += len(own_places)
    return places, signs


def _preview() -> _Map:
    """Nine vectors for each glimpse: root, ankles, head, wrists; the root's x and y axes; its velocity."""
    from_vector = (0, 2, 1, 3, 5, 4, 6, 7, 8)
    signs = [_VECTOR] * 6 + [_AXES[:3], _AXES[3:], _VECTOR]
    glimpse = [3 * v + k for v in from_vector for k in range(3)], [s for three in signs for s in three]
    return _joined(*[glimpse] * len(PREVIEW_STEPS))


def _group(name: str) -> _Map:
    match name:
        case "proprioception":
            height = ([0], [1])
            return _joined(height, _bodies(_VECTOR, 1), _bodies(_AXES), _bodies(_VECTOR), _bodies(_SPIN))
        case "reference":
            return _bodies((*_VECTOR, *_TURN, *_VECTOR, *_SPIN, *_VECTOR, *_AXES))
        case "preview":
            return _preview()
    raise KitError(
        f"observation group '{name}' has no mirror image here; symmetry is for proprioception, reference, preview"
    )


@cache
def observation_map(groups: tuple[str, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """How to mirror observations whose groups lie side by side: (W,) places and (W,) signs, see `mirrored`.

    Raises:
        KitError: a group without a mirror image (what a camera sees).
    """
    places, signs = _joined(*map(_group, groups))
    return torch.tensor(places), torch.tensor(signs, dtype=torch.float32)


@cache
def action_map() -> tuple[torch.Tensor, torch.Tensor]:
    """How to mirror the 69 hinge targets or actions, see `mirrored`."""
    places, _ = _bodies((1, 1, 1), 1)
    signs = [
        1.0 if name.endswith("_x") else -1.0 for name in dof_names()
    ]  # the axis that crosses the sagittal plane keeps its sense
    return torch.tensor(places), torch.tensor(signs)


def mirrored(x: torch.Tensor, places: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
    """Rows (B, W) in the mirror: entry i is signs[i] * x[places[i]]."""
    return x.index_select(-1, places.to(x.device)) * signs.to(x.device)
