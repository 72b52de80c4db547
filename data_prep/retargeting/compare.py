"""Compares a retargeted clip with its source: limb directions, heading and path.

Positions of joints are compared in the source's own world turned z-up, so that a misread rest pose, swapped sides or a rolled root
shows, whatever the cause. Medians over frames: a joint that is stopped at its limit now and then is no fault.
"""

from __future__ import annotations

import roma
import torch

from data_prep.retargeting.source import JOINT, SourceMotion, angle_between, low_pass, mend_elbows, unit, z_up
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.utils.errors import KitError

LIMITS = {
    "thigh": (20, 45), "shank": (20, 45), "upper arm": (20, 45), "forearm": (20, 45), "trunk": (20, 40),
    "head-up": (15, 40), "heading": (15, 40),
}  # fmt: skip
"""Degrees on the median over frames, of the worse side: noted beyond the first, refused beyond the second."""
PATH = (0.3, 1.0)
"""Largest distance between the paths of the hips, as a fraction of the extent of the source's path (of 1 m at least)."""

_LIMBS = {
    "thigh": ("hip", "knee"), "shank": ("knee", "ankle"), "foot": ("ankle", "foot"), "collar": ("collar", "shoulder"),
    "upper arm": ("shoulder", "elbow"), "forearm": ("elbow", "wrist"), "hand": ("wrist", "hand"),
}  # fmt: skip


def limb_direction_error(clip: Clip, source: SourceMotion) -> dict[str, torch.Tensor]:
    """Angle between each limb of the clip and of its source, frame by frame.

    Directions run from joint centre to joint centre, with no calibration between the skeletons, except for the head: its
    up axis is compared (a bone from neck to head differs between skeletons). So feet and collars carry a constant, the
    difference between the two skeletons at rest. The trunk runs from mid hips to mid shoulders.

    Args:
        clip: made from `source`, the same frames. source: as read; elbows that bend backwards are mended first.

    Returns:
        limb -> (T, 2) left and right, or (T, 1), radians.
    """
    source, _ = mend_elbows(source)
    (pos, rot), source_pos = _forward_kinematics(clip), z_up(source.pos)
    ours, theirs = _limbs(pos), _limbs(source_pos)
    up = pos.new_tensor([0.0, 1.0, 0.0]).expand(len(pos), 3)
    ours["head"] = roma.quat_action(rot[:, JOINT["head"]], up)[:, None]
    theirs["head"] = z_up(roma.quat_action(source.rot[:, JOINT["head"]], up))[:, None]
    return {limb: angle_between(ours[limb], theirs[limb]) for limb in ours}


def differences(clip: Clip, source: SourceMotion) -> dict[str, float]:
    """How far a clip is from its source, with the keys of `LIMITS` (degrees, medians over frames, the worse side) and 'path'.

    Args:
        clip: made from `source`, the same frames. source: as read; elbows that bend backwards are mended first.
    """
    source, _ = mend_elbows(low_pass(source))
    both = _forward_kinematics(clip)[0], z_up(source.pos)
    ours, theirs = map(_limbs, both)
    hips, heads = ([p[:, [1, 2]].mean(1) for p in both], [p[:, JOINT["head"]] for p in both])

    def degrees(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(torch.rad2deg(angle_between(a, b)).median(0).values.max())

    found = {limb: degrees(ours[limb], theirs[limb]) for limb in ("thigh", "shank", "upper arm", "forearm", "trunk")}
    found["head-up"] = degrees(heads[0] - hips[0], heads[1] - hips[1])
    found["heading"] = degrees(*map(_facing, both))
    leg = [float((p[0, 4] - p[0, 1]).norm() + (p[0, 7] - p[0, 4]).norm()) for p in both]
    paths = [(h - h[:1])[:, :2] for h in (hips[0], hips[1] * leg[0] / leg[1])]
    extent = max(1.0, float((paths[1].amax(0) - paths[1].amin(0)).norm()))
    found["path"] = float((paths[0] - paths[1]).norm(dim=-1).max()) / extent
    return found


def compare(clip: Clip, source: SourceMotion) -> list[str]:
    """A note if a clip differs from its source, as a list of one line or none.

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


def _forward_kinematics(clip: Clip) -> tuple[torch.Tensor, torch.Tensor]:
    return forward_kinematics(clip.root_pos.double(), clip.joint_rot.double(), Humanoid.mean().offsets.double())


def _limbs(pos: torch.Tensor) -> dict[str, torch.Tensor]:
    """Vectors along the limbs: name -> (T, 2, 3) left and right, or (T, 1, 3)."""
    limbs = {}
    for limb, ends in _LIMBS.items():
        start, end = ([JOINT[f"{side}_{name}"] for side in ("left", "right")] for name in ends)
        limbs[limb] = pos[:, end] - pos[:, start]
    hips, shoulders = pos[:, [1, 2]], pos[:, [16, 17]]
    limbs["trunk"] = (shoulders.mean(1) - hips.mean(1))[:, None]
    limbs["hip line"], limbs["shoulder line"] = hips[:, :1] - hips[:, 1:], shoulders[:, :1] - shoulders[:, 1:]
    return limbs


def _facing(pos: torch.Tensor) -> torch.Tensor:
    """The horizontal direction a body faces by its hip and shoulder lines: (T, 24, 3) z-up -> (T, 3)."""
    across = unit(pos[:, 1] - pos[:, 2]) + unit(pos[:, 16] - pos[:, 17])
    return torch.stack([across[:, 1], -across[:, 0], torch.zeros_like(across[:, 0])], dim=-1)
