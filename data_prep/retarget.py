"""Retargeting: a captured skeleton's motion, as joint rotations of SMPL's 24 joints on the kit's own proportions.

Each SMPL body follows one source bone: G(t) = S(t) C, where S(t) is the bone's world rotation since its rest pose and C
a constant that lays the SMPL bone on the source bone at rest. So directions agree in every frame, and the twist is the
source's own. What C does about each bone's own axis is read from the data, never from names of clips:

- knees and elbows: the hinge of the source (the normal of the plane in which the limb is seen to bend) is laid on
  SMPL's, x for the knee and -y / +y for the left / right elbow, so that flexion is flexion;
- feet: the direction that points up while a foot rests on the floor is laid on the normal of the sole. A skeleton's rest
  pose says little here: CMU's stands with legs splayed by 20 degrees, and its soles with them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import roma
import torch
from scipy.signal import butter, sosfiltfilt

from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import JOINT_NAMES, STANDING, rest_joints
from physhmr_kit.motion.clip import Clip, slerp
from physhmr_kit.motion.kinematics import angular_velocity, linear_velocity, local_rotations

_J = {name: i for i, name in enumerate(JOINT_NAMES)}


@dataclass(frozen=True)
class SourceMotion:
    """A captured motion on its own skeleton. y-up, facing +z and left +x at rest; any unit of length.

    Attributes:
        pos: (T, 24, 3) where each SMPL joint's bone starts.
        rot: (T, 24, 4) xyzw, world rotation of that bone since the rest pose.
        rest: (24, 3) `pos` of the rest pose.
        fps: frames per second.
        name: name of the clip.
    """

    pos: torch.Tensor
    rot: torch.Tensor
    rest: torch.Tensor
    fps: float
    name: str

    @property
    def leg_length(self) -> float:
        """Thigh and shank, mean of both sides, in the source's unit."""
        return _leg_length(self.rest)


def _leg_length(joints: torch.Tensor) -> float:
    bones = [(1, 4), (4, 7), (2, 5), (5, 8)]
    return float(sum((joints[b] - joints[a]).norm() for a, b in bones) / 2)


def _unit(v: torch.Tensor) -> torch.Tensor:
    return v / v.norm(dim=-1, keepdim=True).clamp(min=1e-9)


def _frame(primary: torch.Tensor, secondary: torch.Tensor) -> torch.Tensor:
    """Rotation matrix whose first column is `primary` and whose second lies in the plane with `secondary`."""
    first = _unit(primary)
    second = _unit(secondary - (secondary @ first) * first)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-1)


def _lay(smpl_bone, smpl_side, source_bone, source_side) -> torch.Tensor:
    """C: takes SMPL's bone onto the source's exactly, and the side vector as nearly as that allows."""
    return roma.rotmat_to_unitquat(_frame(source_bone, source_side) @ _frame(smpl_bone, smpl_side).T)


def _hinge(source: SourceMotion, upper: int, lower: int, end: int, expected: torch.Tensor) -> torch.Tensor:
    """The axis, in the upper bone's rest frame, about which a knee or an elbow flexes: (3,).

    A limb only bends one way, so upper x lower is the axis of flexion by definition, even where a source turned its
    upper arm by half a turn and bends the elbow "backwards" (CMU subject 13). Its length weighs the frames by how far
    they are bent; `expected` is a weak prior for limbs that stay straight.
    """
    above = _unit(source.pos[:, lower] - source.pos[:, upper])
    below = _unit(source.pos[:, end] - source.pos[:, lower])
    normal = roma.quat_action(roma.quat_conjugation(source.rot[:, upper]), torch.linalg.cross(above, below))
    return _unit(normal.mean(0) + 0.02 * expected)


def _resting(source: SourceMotion, ankle: int, toe: int, metre: float) -> torch.Tensor:
    """(T,) bool: the foot lies on the floor: ankle and toe low (within 3 cm of their low mark), slow, the foot not turning.

    Slow means 0.6 m/s: the feet of a badly scaled capture slide, yet they lie flat while they do.
    """
    still = angular_velocity(source.rot[:, ankle], source.fps).norm(dim=-1) < 1.0
    for joint in (ankle, toe):
        p = source.pos[:, joint] * metre
        still &= linear_velocity(p, source.fps).norm(dim=-1) < 0.6
        still &= p[:, 1] < torch.quantile(p[:, 1], 0.05) + 0.03
    return still


def _sole_up(source: SourceMotion, ankle: int, toe: int, metre: float, prior: torch.Tensor) -> torch.Tensor:
    """The normal of the sole in the foot bone's rest frame: (3,)."""
    rest = _resting(source, ankle, toe, metre)
    up = torch.tensor([0.0, 1.0, 0.0], dtype=source.pos.dtype)
    seen = roma.quat_action(roma.quat_conjugation(source.rot[rest][:, ankle]), up.expand(int(rest.sum()), 3))
    prior_weight = 0.1 * source.fps  # a tenth of a second of standing outweighs the rest pose
    start = _unit(seen.sum(0) + prior_weight * prior)
    # a median-like mean: frames far from the first guess (a foot on its ball) count little
    weight = 1 / (1 + (torch.linalg.cross(seen, start.expand_as(seen)).norm(dim=-1) / 0.1) ** 2)
    found = _unit((weight.unsqueeze(-1) * seen).sum(0) + prior_weight * 0.2 * prior)
    # who dances on the balls of the feet has no flat stance to learn from: pitch stays within 8 degrees of the prior
    forward = _unit(torch.linalg.cross(torch.linalg.cross(prior, source.rest[toe] - source.rest[ankle]), prior))
    pitch = (found @ forward).clamp(-0.14, 0.14)
    return _unit(found + (pitch - found @ forward) * forward)


def calibration(source: SourceMotion, offsets: torch.Tensor) -> torch.Tensor:
    """The constants C of all bodies: (24, 4) xyzw."""
    smpl = rest_joints(offsets.to(source.pos))
    rest = source.rest
    metre = _leg_length(smpl) / source.leg_length
    c = torch.zeros(24, 4, dtype=source.pos.dtype)
    c[:, 3] = 1.0  # trunk, collars, neck and head: upright is upright in both rest poses

    def bone(joints, a, b):
        return joints[_J[b]] - joints[_J[a]]

    for side, sign in (("left", 1.0), ("right", -1.0)):
        hip, knee, ankle, foot = (f"{side}_{n}" for n in ("hip", "knee", "ankle", "foot"))
        x = torch.tensor([1.0, 0.0, 0.0], dtype=rest.dtype)
        y = torch.tensor([0.0, 1.0, 0.0], dtype=rest.dtype)
        z = torch.tensor([0.0, 0.0, 1.0], dtype=rest.dtype)
        flexion = _hinge(source, _J[hip], _J[knee], _J[ankle], x)
        c[_J[hip]] = _lay(bone(smpl, hip, knee), x, bone(rest, hip, knee), flexion)
        c[_J[knee]] = _lay(bone(smpl, knee, ankle), x, bone(rest, knee, ankle), flexion)
        prior = roma.quat_action(c[_J[knee]], y)
        up = _sole_up(source, _J[ankle], _J[foot], metre, prior)
        c[_J[ankle]] = c[_J[foot]] = _lay(y, bone(smpl, ankle, foot), up, bone(rest, ankle, foot))

        shoulder, elbow, wrist, hand = (f"{side}_{n}" for n in ("shoulder", "elbow", "wrist", "hand"))
        bend = _hinge(source, _J[shoulder], _J[elbow], _J[wrist], -sign * y)
        c[_J[shoulder]] = _lay(bone(smpl, shoulder, elbow), -sign * y, bone(rest, shoulder, elbow), bend)
        c[_J[elbow]] = _lay(bone(smpl, elbow, wrist), -sign * y, bone(rest, elbow, wrist), bend)
        c[_J[wrist]] = c[_J[hand]] = _lay(bone(smpl, wrist, hand), z, bone(rest, wrist, hand), z)
    return c


def _share(world: torch.Tensor, smpl: torch.Tensor) -> torch.Tensor:
    """Spread rotations over neighbouring joints as SMPL and its limits expect: (T, 24, 4) -> (T, 24, 4).

    The neck takes half of what turns the head. The forearm takes the hand's twist (a hand pronates with its forearm) up
    to 90 degrees. SMPL's hand joint stays at rest, as in AMASS.
    """
    world = world.clone()
    half = world.new_full((len(world),), 0.5)
    world[:, _J["neck"]] = slerp(world[:, _J["spine3"]], world[:, _J["head"]], half)
    for side in ("left_", "right_"):
        elbow, wrist, hand = (_J[side + n] for n in ("elbow", "wrist", "hand"))
        axis = _unit(smpl[wrist] - smpl[elbow])
        local = roma.quat_product(roma.quat_conjugation(world[:, elbow]), world[:, wrist])
        twist = 2 * torch.atan2(local[:, :3] @ axis, local[:, 3])
        twist = torch.remainder(twist + torch.pi, 2 * torch.pi) - torch.pi
        shared = roma.rotvec_to_unitquat(twist.clamp(-torch.pi / 2, torch.pi / 2).unsqueeze(-1) * axis)
        world[:, elbow] = roma.quat_product(world[:, elbow], shared)
        world[:, hand] = world[:, wrist]
    return world


def low_pass(source: SourceMotion, hertz: float = 10.0) -> SourceMotion:
    """The source without what is faster than `hertz`: fourth-order zero-phase Butterworth, as usual for markers.

    The Daz-friendly files shake by a centimetre at 20 Hz and more; at 30 fps nothing above 15 Hz can be kept anyway.
    """
    if source.fps <= 4 * hertz or len(source.pos) < 12:
        return source
    sos = butter(2, hertz, fs=source.fps, output="sos")
    sign = torch.cumprod((source.rot[1:] * source.rot[:-1]).sum(-1, keepdim=True).sign(), dim=0)
    rot = torch.cat([source.rot[:1], source.rot[1:] * sign])  # q and -q are one rotation; a filter wants one of them
    pos, rot = (
        torch.from_numpy(sosfiltfilt(sos, x.numpy(), axis=0, padlen=min(30, len(x) - 1)).copy())
        for x in (source.pos, rot)
    )
    return replace(source, pos=pos, rot=rot / rot.norm(dim=-1, keepdim=True))


def retarget(source: SourceMotion, offsets: torch.Tensor | None = None) -> Clip:
    """The source's motion on the kit's skeleton, z-up, at the source's rate, starting above the world's origin.

    Scaled by leg length, root included. The floor is not looked at here: see `physhmr_kit.motion.grounding`.

    Args:
        source: the captured motion.
        offsets: (24, 3) m rest offsets of the body; the mean shape when omitted.
    """
    source = low_pass(source)
    offsets = (Humanoid.mean().offsets if offsets is None else offsets).to(source.pos)
    smpl = rest_joints(offsets)
    world = roma.quat_product(source.rot, calibration(source, offsets).expand_as(source.rot))
    world = _share(world, smpl)
    metre = _leg_length(smpl) / source.leg_length
    hips = (offsets[1] + offsets[2]) / 2
    root = source.pos[:, 1:3].mean(1) * metre - roma.quat_action(world[:, 0], hips.expand(len(world), 3))
    upright = torch.tensor(STANDING, dtype=world.dtype)
    root = roma.quat_action(upright.expand(len(root), 4), root)
    root[:, :2] -= root[0, :2].clone()
    joint_rot = local_rotations(roma.quat_product(upright.expand_as(world), world))
    return Clip.from_joints(root, joint_rot, source.fps, source.name)
