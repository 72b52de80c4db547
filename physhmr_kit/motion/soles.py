"""Sole corners, foot contact and stance, and how deep the feet of a motion penetrate, slide and tilt.

**Stance**, the rule for grounding and its metrics: a foot is in stance while its lowest corner is below the height and its
contact point (the corners within about a centimetre of the lowest) below the speed of `contact.STANCE`. A fifth of the body's
travel speed is added to that speed, because the feet of a badly scaled capture slide in proportion to it. Gaps shorter than
0.05 s are closed and stances shorter than 0.1 s are dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import roma
import torch

from physhmr_kit.body.humanoid import Humanoid, foot_corners
from physhmr_kit.body.skeleton import FEET, NUM_JOINTS, STANDING, mean_offsets
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.contact import FOOT, STANCE
from physhmr_kit.motion.kinematics import forward_kinematics, linear_velocity

_TRAVEL_SHARE = 0.2  # m/s added to the speed limit of a stance for each m/s of travel
_FOOT_BODIES = (7, 10, 8, 11)  # ankle and toes, left and right
NOT_FEET = tuple(joint for joint in range(NUM_JOINTS) if joint not in FEET)
FLESH = 0.05
"""Distance of the skin from a joint of `NOT_FEET`, m."""


def sole_corners(body_pos: torch.Tensor, body_rot: torch.Tensor, humanoid: Humanoid | None = None) -> torch.Tensor:
    """World positions of the lower corners of the foot and toe boxes.

    Args:
        body_pos: (..., 24, 3) m. body_rot: (..., 24, 4) xyzw.
        humanoid: the body with these soles; the mean shape by default.

    Returns:
        (..., 2, 8, 3) m: left and right; the ankle box's four corners (heel first), then the toe box's.
    """
    corners = foot_corners(humanoid)
    local = torch.stack([corners[j] for j in _FOOT_BODIES]).to(body_pos)
    rot = body_rot[..., _FOOT_BODIES, None, :].expand(*body_rot.shape[:-2], 4, 4, 4)
    world = roma.quat_action(rot, local.expand(*rot.shape[:-1], 3)) + body_pos[..., _FOOT_BODIES, None, :]
    return world.unflatten(-3, (2, 2)).flatten(-3, -2)


def sole_height(body_pos: torch.Tensor, body_rot: torch.Tensor) -> torch.Tensor:
    """Lowest sole corner of each foot body: (..., 24, 3), (..., 24, 4) -> (..., 4) m, order of `skeleton.FEET`."""
    by_box = sole_corners(body_pos, body_rot)[..., 2].unflatten(-1, (2, 4)).amin(-1)  # (..., side, ankle or toes)
    return by_box.mT.flatten(-2)


def foot_contact(body_pos: torch.Tensor, body_rot: torch.Tensor, fps: float) -> torch.Tensor:
    """Contact of each foot body by `contact.FOOT`: (T, ..., 24, 3) m, (T, ..., 24, 4) -> (T, ..., 4) bool.

    Order of `skeleton.FEET`. Uses the height of the sole and the speed of the joint.
    """
    speed = linear_velocity(body_pos[..., FEET, :], fps).norm(dim=-1)
    return FOOT(sole_height(body_pos, body_rot), speed)


def contact_point(corners: torch.Tensor, fps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Contact point of each foot with the floor, and the velocity of the sole there.

    A foot rolls from heel to toe, so no single corner shows whether it slides; we average the corners near the lowest one,
    weighted by exp(-height above the lowest / 5 mm).

    Args:
        corners: (T, 2, 8, 3) m.

    Returns:
        contact point (T, 2, 3) m and velocity of the sole there (T, 2, 3) m/s.
    """
    height = corners[..., 2]
    weight = torch.softmax(-(height - height.amin(-1, keepdim=True)) / 0.005, dim=-1).unsqueeze(-1)
    return (weight * corners).sum(-2), (weight * linear_velocity(corners, fps)).sum(-2)


def find_stance(corners: torch.Tensor, fps: float) -> torch.Tensor:
    """Frames in which each foot is in stance, by the rule above: (T, 2, 8, 3) m -> (T, 2) bool."""
    _, velocity = contact_point(corners, fps)
    down = (corners[..., 2].amin(-1) < STANCE.height) & is_slow(velocity, corners.mean(2), fps)
    for foot in (0, 1):
        for value, shortest in ((False, 0.05), (True, 0.10)):
            for start, stop in runs(down[:, foot], value):
                if (stop - start) / fps < shortest and start > 0 and stop < len(down):
                    down[start:stop, foot] = not value
    return down


def is_slow(velocity: torch.Tensor, feet: torch.Tensor, fps: float) -> torch.Tensor:
    """Whether a contact is slow enough for stance: velocity and position of both feet, (T, 2, 3) each -> (T, 2) bool."""
    limit = STANCE.speed + _TRAVEL_SHARE * _travel_speed(feet, fps)
    return velocity.norm(dim=-1) < limit.unsqueeze(-1)


def _travel_speed(feet: torch.Tensor, fps: float) -> torch.Tensor:
    """Horizontal speed of the midpoint of the feet (T, 2, 3) over half a second, so that strides average out: (T,) m/s."""
    between = feet[..., :2].mean(1)
    reach = max(1, round(0.25 * fps))
    frame = torch.arange(len(between))
    after, before = (frame + reach).clamp(max=len(frame) - 1), (frame - reach).clamp(min=0)
    return (between[after] - between[before]).norm(dim=-1) / ((after - before).clamp(min=1) / fps)


def runs(mask: torch.Tensor, value: bool = True) -> list[tuple[int, int]]:
    """Runs of a (T,) mask that equal `value`: [(start, stop), ...], stop exclusive."""
    edge = torch.ones(1, dtype=torch.bool)
    changes = torch.cat([edge, mask[1:] != mask[:-1], edge]).nonzero().flatten().tolist()
    return [(a, b) for a, b in pairwise(changes) if bool(mask[a]) == value]


def sole_tilt(body_rot: torch.Tensor) -> torch.Tensor:
    """Yaw, pitch and roll of the soles of the ankle boxes in the world.

    Args:
        body_rot: (T, 24, 4) xyzw.

    Returns:
        (T, 2, 3) rad, left and right: yaw from +x; pitch, positive with the heel higher; roll, positive with the
        left edge higher.
    """
    upright = roma.quat_conjugation(body_rot.new_tensor(STANDING))
    feet = body_rot[:, [7, 8]]
    turned = roma.quat_product(feet, upright.expand_as(feet))
    return roma.unitquat_to_euler("ZYX", turned)


@dataclass(frozen=True)
class SoleMeasures:
    """Foot-floor metrics of a clip with its floor at z = 0; NaN where they need a stance and there is none.

    Attributes:
        penetration: m, depth of the lowest sole corner below the floor, mean over all frames.
        deepest: m, maximum depth in the clip.
        float_height: m, distance of a stance foot's lowest corner from the floor, median.
        sliding: m/s, horizontal speed of the contact point in stance, mean.
        roll, pitch: rad, median tilt of the sole in stance, absolute values.
    """

    penetration: float
    deepest: float
    float_height: float
    sliding: float
    roll: float
    pitch: float


def body_poses(clip: Clip) -> tuple[torch.Tensor, torch.Tensor]:
    """Body positions (T, 24, 3) m and rotations (T, 24, 4) of a clip on the mean humanoid, float64."""
    return forward_kinematics(clip.root_pos.double(), clip.joint_rot.double(), mean_offsets().double())


def measure_soles(clip: Clip, stance: torch.Tensor | None = None) -> SoleMeasures:
    """Foot-floor metrics of a clip on the mean humanoid.

    Args:
        clip: any clip.
        stance: (T, 2) bool, to compare two versions of a motion over the same frames; the clip's own by default.
    """
    pos, rot = body_poses(clip)
    corners = sole_corners(pos, rot)
    stance = find_stance(corners, clip.fps) if stance is None else stance
    low = corners[..., 2].amin(-1)
    depth = (-low.amin(-1)).clamp(min=0)
    _, velocity = contact_point(corners, clip.fps)
    tilt = sole_tilt(rot).abs()[stance]
    return SoleMeasures(
        penetration=float(depth.mean()),
        deepest=float(depth.max()),
        float_height=float(low[stance].abs().median()),
        sliding=float(velocity[..., :2].norm(dim=-1)[stance].mean()),
        roll=float(tilt[:, 2].median()),
        pitch=float(tilt[:, 1].median()),
    )
