"""Retargets a captured skeleton's motion to SMPL's 24 joints with the humanoid's proportions.

Each SMPL body follows one source bone: G(t) = S(t) C, where S(t) is the bone's world rotation since its rest pose and C
a constant that aligns the SMPL bone with the source bone at rest. So directions agree in every frame, and the twist is the
source's own. The rotation of C about the bone's axis is estimated from the motion:

- knees and elbows: the source's hinge axis (the normal of the plane in which the limb bends) is aligned with
  SMPL's, x for the knee and -y / +y for the left / right elbow, so that flexion is flexion;
- feet: the direction that points up while a foot rests on the floor is aligned with the normal of the sole. The rest pose
  is unreliable here: CMU's stands with legs splayed by 20 degrees, and its soles with them.
"""

from __future__ import annotations

import math
from pathlib import Path

import roma
import torch
from scipy.ndimage import gaussian_filter1d

from data_prep.retargeting.arms import glide
from data_prep.retargeting.source import (
    JOINT,
    SourceMotion,
    bending,
    frame,
    low_pass,
    mend_elbows,
    relative,
    twist,
    unit,
    z_up,
)
from physhmr_kit.body.hinges import dof_limits, dof_to_rotation, rotation_to_dof
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import STANDING, mean_offsets, rest_joints
from physhmr_kit.motion.check import Teleport, teleports
from physhmr_kit.motion.clip import Clip, slerp
from physhmr_kit.motion.kinematics import angular_velocity, linear_velocity, local_rotations
from physhmr_kit.motion.leg_ik import reach_with


def retarget(source: SourceMotion, offsets: torch.Tensor | None = None, keep_limits: bool = True) -> Clip:
    """The source's motion on SMPL's skeleton, z-up, at the source's rate, starting above the world's origin.

    Scaled by leg length, root included: the hips follow the source's hips. Where hips are narrower or wider than the source's,
    the legs spread or close a little, so that the feet are as far apart as they were. The floor is found later, in
    `physhmr_kit.motion.grounding`.

    Args:
        source: the captured motion.
        offsets: (24, 3) m rest offsets of the body; the mean shape when omitted.
        keep_limits: bring joints within `dof_limits`, which the simulator enforces, and smooth arms (`data_prep.retargeting.arms`).
    """
    source, _ = mend_elbows(low_pass(source))
    offsets = (Humanoid.mean().offsets if offsets is None else offsets).to(source.pos)
    smpl = rest_joints(offsets)
    world = roma.quat_product(source.rot, calibration(source, smpl).expand_as(source.rot))
    world = _share(_levelled(world), smpl)
    hips = (offsets[1] + offsets[2]) / 2
    scale = leg_length(smpl) / leg_length(source.rest)
    root = source.pos[:, 1:3].mean(1) * scale - roma.quat_action(world[:, 0], hips.expand(len(world), 3))
    world = _feet_apart(world, root, source, offsets, scale)
    root = z_up(root)
    root[:, :2] -= root[0, :2].clone()
    joint_rot = local_rotations(roma.quat_product(world.new_tensor(STANDING).expand_as(world), world))
    if keep_limits:
        joint_rot = glide(joint_rot, source.fps, offsets)
        for _ in range(3):  # smoothing the correction leaves some joints beyond their limits
            limited = within_limits(joint_rot)
            if torch.equal(limited, joint_rot):
                break
            joint_rot = _eased(joint_rot, limited, source.fps)
    return Clip.from_joints(root, joint_rot, source.fps, source.name)


def refuse_teleport(source: SourceMotion, path: Path) -> SourceMotion:
    """The source, unless its root teleports: `low_pass` would smooth the jump into a quick movement that looks real.

    Limbs are checked after the filter, by `check_clip`: captured markers shake, and limbs turn faster in a file than they
    did in the room.

    Args:
        source: as read. path: its file, for the message.

    Raises:
        Teleport: the root teleports; the exception carries the source, to be cut there.
    """
    scale = leg_length(rest_joints(mean_offsets())) / leg_length(source.rest)
    steps, fault = teleports(source.pos[:, 0] * scale, source.rot[:, :1], source.fps, source.first)
    if steps:
        raise Teleport(f"{path}: {fault}. Cut it in two there or leave it out", steps, source)
    return source


def leg_length(joints: torch.Tensor) -> float:
    """Thigh and shank of a rest pose (24, 3), mean of both sides."""
    return float(sum((joints[b] - joints[a]).norm() for a, b in ((1, 4), (4, 7), (2, 5), (5, 8))) / 2)


# --- calibration -----------------------------------------------------------------------------------------------------

_X, _Y, _Z = torch.eye(3, dtype=torch.float64)


def calibration(source: SourceMotion, smpl: torch.Tensor) -> torch.Tensor:
    """The constants C of all bodies: (24, 4) xyzw.

    Trunk, collars, neck and head keep the identity, since both rest poses are upright: there SMPL's joints lie along a
    curve of its own (its neck leans forward by 38 degrees at rest), and bone directions are not comparable.

    Args:
        source: the captured motion.
        smpl: (24, 3) m, the rest pose to retarget to.
    """
    rest = source.rest
    c = rest.new_tensor([0.0, 0.0, 0.0, 1.0]).repeat(24, 1)

    for side, sign in (("left", 1.0), ("right", -1.0)):
        names = ("hip", "knee", "ankle", "foot", "shoulder", "elbow", "wrist", "hand")
        hip, knee, ankle, foot, shoulder, elbow, wrist, hand = (JOINT[f"{side}_{n}"] for n in names)
        flexion = _knee_hinge(source, hip, knee, ankle)
        c[hip] = _lay(smpl[knee] - smpl[hip], _X, rest[knee] - rest[hip], flexion)
        c[knee] = _lay(smpl[ankle] - smpl[knee], _X, rest[ankle] - rest[knee], flexion)
        prior = roma.quat_action(c[knee], _Y)  # assumes SMPL's angle between shank and foot
        up = _sole_up(source, ankle, foot, leg_length(smpl) / leg_length(rest), prior)
        c[ankle] = c[foot] = _lay(_Y, smpl[foot] - smpl[ankle], up, rest[foot] - rest[ankle])

        inward = -sign * _Y
        flexion = _hinge(source, shoulder, elbow, wrist, inward)
        c[shoulder] = _lay(smpl[elbow] - smpl[shoulder], inward, rest[elbow] - rest[shoulder], flexion)
        c[elbow] = _lay(smpl[wrist] - smpl[elbow], inward, rest[wrist] - rest[elbow], flexion)
        c[wrist] = c[hand] = _lay(smpl[hand] - smpl[wrist], _Z, rest[hand] - rest[wrist], _Z)  # palms down in both
    return c


def _lay(smpl_main, smpl_side, source_main, source_side) -> torch.Tensor:
    """C: aligns SMPL's main vector with the source's exactly, and the side vector as nearly as that allows."""
    return roma.rotmat_to_unitquat(frame(source_main, source_side) @ frame(smpl_main, smpl_side).T)


_OVERSTRETCHED = 0.15
"""Sine of 9 degrees: a smaller mean bend the wrong way round is an overstretched elbow, not a hinge."""


def _hinge(source: SourceMotion, upper: int, lower: int, end: int, expected: torch.Tensor) -> torch.Tensor:
    """The axis, in the upper bone's rest frame, about which a knee or an elbow flexes: (3,).

    A limb bends one way only, so upper x lower is the axis of flexion, whatever the rest pose. Its length weights frames by
    how far they are bent; `expected` is a weak prior for limbs that stay straight, and a strong one for a limb that is
    overstretched by a few degrees throughout a clip.
    """
    seen = bending(source, upper, lower, end).mean(0)
    if seen @ expected < 0 and seen.norm() < _OVERSTRETCHED:
        seen = seen - (seen @ expected) * expected
    return unit(seen + 0.02 * expected)


def _knee_hinge(source: SourceMotion, hip: int, knee: int, ankle: int) -> torch.Tensor:
    """`_hinge` of a knee, corrected for the bend of the rest pose: SMPL's is knock-kneed by 8 degrees, which is no flexion."""
    rest = source.rest
    crooked = torch.linalg.cross(unit(rest[knee] - rest[hip]), unit(rest[ankle] - rest[knee]))
    return unit(bending(source, hip, knee, ankle).mean(0) - (crooked - crooked[0] * _X) + 0.02 * _X)


def _resting(source: SourceMotion, ankle: int, toe: int, scale: float) -> torch.Tensor:
    """(T,) bool: the foot lies on the floor: ankle and toe within 3 cm of their lowest and slow, the foot not rotating.

    Slow means below 0.6 m/s: the feet of a badly scaled capture slide, but lie flat while they do.
    """
    still = angular_velocity(source.rot[:, ankle], source.fps).norm(dim=-1) < 1.0
    for joint in (ankle, toe):
        p = source.pos[:, joint] * scale
        still &= linear_velocity(p, source.fps).norm(dim=-1) < 0.6
        still &= p[:, 1] < torch.quantile(p[:, 1], 0.05) + 0.03
    return still


def _sole_up(source: SourceMotion, ankle: int, toe: int, scale: float, prior: torch.Tensor) -> torch.Tensor:
    """The normal of the sole in the foot bone's rest frame: (3,), from resting feet and a prior (3,)."""
    resting = _resting(source, ankle, toe, scale)
    back = roma.quat_conjugation(source.rot[resting][:, ankle])
    seen = roma.quat_action(back, _Y.expand(len(back), 3))  # the world's up in the foot bone's frame
    weight = 0.1 * source.fps  # a tenth of a second of standing outweighs the prior
    start = unit(seen.sum(0) + weight * prior)
    # a robust mean: frames far from the first estimate, such as a foot on its ball, count little
    trust = 1 / (1 + (torch.linalg.cross(seen, start.expand_as(seen)).norm(dim=-1) / 0.1) ** 2)
    found = unit((trust.unsqueeze(-1) * seen).sum(0) + 0.2 * weight * prior)
    # a dance on the balls of the feet has no flat stance: pitch stays within 8 degrees of the prior
    forward = unit(torch.linalg.cross(torch.linalg.cross(prior, source.rest[toe] - source.rest[ankle]), prior))
    pitch = found @ forward
    return unit(found + (pitch.clamp(-0.14, 0.14) - pitch) * forward)


# --- rotations -------------------------------------------------------------------------------------------------------


_HOLLOW = math.radians(10.0)
"""Median pitch of the pelvis under the chest, at most. CMU's subjects but 05: -11 to 5 degrees (benchmarks/lean.py)."""


def _levelled(world: torch.Tensor) -> torch.Tensor:
    """Correct a pelvis that is tilted forward under the chest throughout a clip: (T, 24, 4) -> (T, 24, 4) xyzw.

    A back hollowed by 25 degrees from the first frame to the last comes from a skeleton whose pelvis was not upright when it
    was fitted, and puts the whole trunk ahead of the feet. The excess of the clip's median over `_HOLLOW` is subtracted from
    every frame; the motion of the pelvis stays.
    """
    chest_from_pelvis = relative(world[:, JOINT["spine3"]], world[:, JOINT["pelvis"]])
    pitch = twist(chest_from_pelvis, _X.to(world))
    excess = (pitch.median() - _HOLLOW).clamp(min=0)
    turn = roma.rotvec_to_unitquat(-excess * _X.to(world))
    world = world.clone()
    world[:, JOINT["pelvis"]] = roma.quat_product(world[:, JOINT["pelvis"]], turn.expand(len(world), 4))
    return world


def _share(world: torch.Tensor, smpl: torch.Tensor) -> torch.Tensor:
    """Distribute rotations over neighbouring joints as SMPL and its limits expect: (T, 24, 4) -> (T, 24, 4) xyzw.

    The neck takes half of the head's rotation. The forearm takes the hand's twist (a hand pronates with its forearm) up
    to 90 degrees. SMPL's hand joint stays at rest, as in AMASS.
    """
    world = world.clone()
    half = world.new_full((len(world),), 0.5)
    world[:, JOINT["neck"]] = slerp(world[:, JOINT["spine3"]], world[:, JOINT["head"]], half)
    for side in ("left_", "right_"):
        elbow, wrist, hand = (JOINT[side + n] for n in ("elbow", "wrist", "hand"))
        axis = unit(smpl[wrist] - smpl[elbow])
        pronation = twist(relative(world[:, elbow], world[:, wrist]), axis).clamp(-math.pi / 2, math.pi / 2)
        world[:, elbow] = roma.quat_product(world[:, elbow], roma.rotvec_to_unitquat(pronation.unsqueeze(-1) * axis))
        world[:, hand] = world[:, wrist]
    return world


def _feet_apart(
    world: torch.Tensor, root: torch.Tensor, source: SourceMotion, offsets: torch.Tensor, scale: float
) -> torch.Tensor:
    """Rotate the legs until the feet are as far from the middle of the hips as the source's: (T, 24, 4) -> (T, 24, 4) xyzw.

    Legs that keep their directions under narrower hips bring the feet together by the difference (3 cm for CMU's skeletons),
    and a walker's sway then goes beyond the stance foot, where nothing supports him.
    """
    world, middle = world.clone(), (offsets[1] + offsets[2]) / 2
    source_middle = source.rest[1:3].mean(0)
    for hip, knee, ankle in ((1, 4, 7), (2, 5, 8)):
        apart = (source.rest[hip] - source_middle) * scale - (offsets[hip] - middle)
        place = lambda rot, v: roma.quat_action(rot, v.expand(len(rot), 3))  # noqa: E731
        at = root + place(world[:, 0], offsets[hip])
        end = at + place(world[:, hip], offsets[knee]) + place(world[:, knee], offsets[ankle])
        target = end + place(world[:, 0], apart * apart.new_tensor([1.0, 0.0, 0.0]))
        turned = reach_with(at, target, world[:, hip], world[:, knee], offsets[knee], offsets[ankle])
        world[:, hip], world[:, knee] = turned
    return world


def within_limits(joint_rot: torch.Tensor) -> torch.Tensor:
    """Bring joints that lie beyond `dof_limits` to the limit: (T, 24, 4) xyzw -> (T, 24, 4).

    Of the two triples of hinge angles that give one rotation we take the one with the smaller excess (they differ most where
    the middle hinge is near 90 degrees, as in a raised arm), so that a small excess stays a small change.
    """
    limits = dof_limits().to(joint_rot).unflatten(0, (23, 3))
    dof = rotation_to_dof(joint_rot[..., 1:, :]).unflatten(-1, (23, 3))
    other = torch.stack([dof[..., 0] + math.pi, math.pi - dof[..., 1], dof[..., 2] + math.pi], dim=-1)
    other = other - 2 * math.pi * torch.round((other - limits.mean(-1)) / (2 * math.pi))
    excess, other_excess = (_excess(angles, limits).norm(dim=-1, keepdim=True) for angles in (dof, other))
    nearer = torch.where(other_excess < excess, other, dof)
    inside = dof_to_rotation(nearer.clamp(limits[..., 0], limits[..., 1]).flatten(-2))
    kept = torch.where(excess > 0, inside, joint_rot[..., 1:, :])
    return torch.cat([joint_rot[..., :1, :], kept], dim=-2)


def _eased(joint_rot: torch.Tensor, limited: torch.Tensor, fps: float) -> torch.Tensor:
    """`joint_rot` with its change to `limited` smoothed over 0.05 s, so that a joint moves smoothly to its limit and back."""
    change = roma.unitquat_to_rotvec(relative(joint_rot, limited)).numpy()
    smooth = torch.from_numpy(gaussian_filter1d(change, 0.05 * fps, axis=0, mode="nearest"))
    return roma.quat_product(joint_rot, roma.rotvec_to_unitquat(smooth))


def beyond_limits(clip: Clip) -> torch.Tensor:
    """How far each hinge is beyond its limit: (T, 69) rad, zero within."""
    return _excess(rotation_to_dof(clip.joint_rot[:, 1:]), dof_limits())


def _excess(dof: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    """How far angles are beyond their limits (..., 2): rad, zero within."""
    return torch.maximum(dof - limits[..., 1], limits[..., 0] - dof).clamp(min=0)
