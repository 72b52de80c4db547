"""Comparison of a retargeted clip with its source: does it stand, face, reach and go where the captured person did?

Only places of joints are compared, in the source's own world turned upright, so that a rest pose misread, a side mixed up or a root
rolled shows, whatever went wrong. Medians over frames: a joint that stops at its limit now and then is no fault.
"""

from __future__ import annotations

import math

import roma
import torch

from data_prep.source import JOINT, SourceMotion, low_pass, mend_elbows, unit
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import STANDING
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.utils.errors import KitError

LIMITS = {
    "thigh": (20, 45), "shank": (20, 45), "upper arm": (20, 45), "forearm": (20, 45), "trunk": (20, 40),
    "head-up": (15, 40), "heading": (15, 40),
}  # fmt: skip
"""Degrees on the median over frames, of the worse side: doubted beyond the first, refused beyond the second."""
PATH = (0.3, 1.0)
"""How far the path of the hips may lie beside the source's at its worst, in parts of its extent (of 1 m at least)."""

_LIMBS = {
    "thigh": ("hip", "knee"),
    "shank": ("knee", "ankle"),
    "upper arm": ("shoulder", "elbow"),
    "forearm": ("elbow", "wrist"),
}


def differences(clip: Clip, source: SourceMotion) -> dict[str, float]:
    """How far a clip is from its source, with the keys of `LIMITS` (degrees, medians over frames, the worse side) and 'path'.

    Args:
        clip: made from `source`, the same frames. source: as read; elbows that bend backwards are mended first.
    """
    source, _ = mend_elbows(low_pass(source))
    ours, _ = forward_kinematics(clip.root_pos.double(), clip.joint_rot.double(), Humanoid.mean().offsets.double())
    upright = source.pos.new_tensor(STANDING)
    theirs = roma.quat_action(upright.expand(*source.pos.shape[:2], 4), source.pos)
    found = {}
    for limb, ends in _LIMBS.items():
        start, end = ([JOINT[f"{side}_{name}"] for side in ("left", "right")] for name in ends)
        angles = _angle(ours[:, end] - ours[:, start], theirs[:, end] - theirs[:, start])
        found[limb] = float(angles.median(0).values.max())
    (our_hips, our_shoulders), (hips, shoulders) = (
        (p[:, [1, 2]].mean(1), p[:, [16, 17]].mean(1)) for p in (ours, theirs)
    )
    found["trunk"] = float(_angle(our_shoulders - our_hips, shoulders - hips).median())
    head = JOINT["head"]
    found["head-up"] = float(_angle(ours[:, head] - our_hips, theirs[:, head] - hips).median())
    found["heading"] = float(_angle(*(_ahead(p) for p in (ours, theirs))).median())
    leg = [float((p[0, 4] - p[0, 1]).norm() + (p[0, 7] - p[0, 4]).norm()) for p in (ours, theirs)]
    paths = [(h - h[:1])[:, :2] for h in (our_hips, hips * leg[0] / leg[1])]
    extent = max(1.0, float((paths[1].amax(0) - paths[1].amin(0)).norm()))
    found["path"] = float((paths[0] - paths[1]).norm(dim=-1).max()) / extent
    return found


def compare(clip: Clip, source: SourceMotion) -> list[str]:
    """One line of doubt, or none, about a clip and its source.

    Raises:
        KitError: the clip is another motion than its source.
    """
    found = differences(clip, source)
    allowed = {**LIMITS, "path": PATH}
    worst = max(found, key=lambda name: found[name] / allowed[name][1])
    beyond = [name for name in found if not found[name] <= allowed[name][0]]
    said = ", ".join(
        f"its path by {100 * found[name]:.0f} % of its extent"
        if name == "path"
        else f"{name} by {found[name]:.0f} degrees"
        for name in beyond
    )
    if not found[worst] <= allowed[worst][1]:
        raise KitError(f"{source.name}: arrives as another motion than its source ({said}): its skeleton was misread")
    return [f"kept, but differs from its source: {said} (medians)"] if beyond else []


def _ahead(pos: torch.Tensor) -> torch.Tensor:
    """The way a body faces by its hip and shoulder lines: (T, 24, 3) z-up -> (T, 3) level."""
    across = unit(pos[:, 1] - pos[:, 2]) + unit(pos[:, 16] - pos[:, 17])
    return torch.stack([across[:, 1], -across[:, 0], torch.zeros_like(across[:, 0])], dim=-1)


def _angle(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Angles between vectors (..., 3) in degrees."""
    return torch.atan2(torch.linalg.cross(a, b).norm(dim=-1), (a * b).sum(-1)) * (180 / math.pi)
