"""Training data of the encoder: motion capture filmed by synthetic cameras and a synthetic detector, with ground truth."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from functools import partial

import roma
import torch
import torch.nn.functional as F

from physhmr_kit.body.hinges import dof_limits, dof_to_rotation
from physhmr_kit.body.skeleton import JOINT_NAMES, NUM_DOFS, PARENTS, mean_offsets
from physhmr_kit.motion.clip import CONTROL_FPS
from physhmr_kit.motion.kinematics import forward_kinematics, local_rotations, yaw_quaternion
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.mirror import mirrored
from physhmr_kit.motion.soles import foot_contact, sole_height
from physhmr_kit.vision.camera import LEVEL, UP, Camera, sample_cameras, sample_wild_cameras
from physhmr_kit.vision.camera_motion import move_cameras
from physhmr_kit.vision.keypoints import coco_from_bodies
from physhmr_kit.vision.person_view import person_view
from physhmr_kit.vision.settings import NO_AUGMENTATION, Augmentation
from physhmr_kit.vision.synthetic import detect

_UPPER_PARTS = ("neck", "head", "collar", "shoulder", "elbow", "wrist", "hand")
UPPER = tuple(i for i, n in enumerate(JOINT_NAMES) if n.split("_")[-1] in _UPPER_PARTS)
"""Joints of arms, neck and head."""

TRUNK = tuple(i for i, n in enumerate(JOINT_NAMES) if n.startswith("spine"))


@dataclass(frozen=True, eq=False)
class Batch:
    """Detected windows of motion and their ground truth in the gravity-view frame. B windows, T frames.

    Attributes:
        tokens: (B, T, 61). rotmat: (B, T, 24, 3, 3), root in the gravity-view frame. position: (B, T, 24, 3) m, mean
            shape, root at 0.
        contact: (B, T, 4) 0 or 1. up: (B, T, 3) unit vector against gravity.
        guessed: (B,) bool, whether the camera is miscalibrated; all of the above is then in the frame of the assumed
            camera.
    """

    tokens: torch.Tensor
    rotmat: torch.Tensor
    position: torch.Tensor
    contact: torch.Tensor
    up: torch.Tensor
    guessed: torch.Tensor

    def to(self, device) -> Batch:
        """The batch on another device."""
        return Batch(*(getattr(self, f.name).to(device) for f in fields(self)))


def varied_offsets(spread: float, generator: torch.Generator) -> torch.Tensor:
    """Offsets of the mean shape with the length of each limb (same on both sides) times 1 + N(0, spread): (24, 3) m."""
    parts = sorted({n.split("_")[-1] for n in JOINT_NAMES})
    factor = (1 + spread * torch.randn(len(parts), generator=generator)).clamp(0.7, 1.3)
    return mean_offsets() * factor[[parts.index(n.split("_")[-1]) for n in JOINT_NAMES]].unsqueeze(-1)


def joint_positions(rotmat: torch.Tensor) -> torch.Tensor:
    """Joints of the mean shape with the root at the origin: (..., 24, 3, 3) -> (..., 24, 3) m, root rotation included."""
    offsets = mean_offsets().to(rotmat)
    rot, pos = [rotmat[..., 0, :, :]], [rotmat.new_zeros(*rotmat.shape[:-3], 3)]
    for joint in range(1, 24):
        parent = PARENTS[joint]
        pos.append(pos[parent] + rot[parent] @ offsets[joint])
        rot.append(rot[parent] @ rotmat[..., joint, :, :])
    return torch.stack(pos, dim=-2)


def synthesize_batch(
    library: MotionLibrary,
    clips: torch.Tensor,
    frames: int,
    generator: torch.Generator,
    augmentation: Augmentation = NO_AUGMENTATION,
) -> Batch:
    """Film a random window of each clip with a random camera and the synthetic detector.

    Args:
        library: of motions at 30 fps.
        clips: (B,) clip of each window; a clip may occur more than once.
        frames: length of the windows; a shorter clip holds its last pose.
        generator: on the CPU.
        augmentation: of motions, cameras and detector noise.
    """
    windows = len(clips)
    speed = torch.exp(math.log(1 + augmentation.speed) * (2 * torch.rand(windows, generator=generator) - 1))
    span = (frames - 1) * speed / CONTROL_FPS
    spare = ((library.lengths[clips] - 1) / CONTROL_FPS - span).clamp(min=0)
    start = torch.rand(windows, generator=generator) * spare
    seconds = start.unsqueeze(1) + torch.arange(frames) * speed.unsqueeze(1) / CONTROL_FPS
    state = library.lookup(clips.repeat_interleave(frames), seconds.flatten())
    root_pos = state.root_pos.unflatten(0, (windows, frames))
    joint_rot = local_rotations(state.body_rot).unflatten(0, (windows, frames))
    flip = torch.rand(windows, generator=generator) < augmentation.mirror
    other_pos, other_rot = mirrored(root_pos, joint_rot)
    root_pos = torch.where(flip[:, None, None], other_pos, root_pos)
    joint_rot = torch.where(flip[:, None, None, None], other_rot, joint_rot)

    joint_rot = mix_windows(joint_rot, augmentation, generator)
    if augmentation.poses > 0:
        posed = torch.rand(windows, generator=generator) < augmentation.poses
        joint_rot[posed, :, 1:] = random_poses(int(posed.sum()), frames, generator)
        root_pos = torch.where(posed[:, None, None], on_floor(root_pos, joint_rot), root_pos)
    bodies = forward_kinematics(root_pos.transpose(0, 1), joint_rot.transpose(0, 1), mean_offsets())
    contact = foot_contact(*bodies, CONTROL_FPS).transpose(0, 1).float()
    body_pos, body_rot = forward_kinematics(root_pos, joint_rot, varied_offsets(augmentation.limbs, generator))
    camera = sample_cameras(body_pos, generator)
    if augmentation.wild > 0:
        other = sample_wild_cameras(body_pos, generator, camera.image_size)
        camera = chosen(torch.rand(windows, generator=generator) < augmentation.wild, other, camera)
    if augmentation.moving > 0:
        camera = move_cameras(camera, root_pos, augmentation.moving, generator)
    keypoints = detect(coco_from_bodies(body_pos, body_rot), camera, augmentation.noise, generator)
    assumed, tilt, guessed = miscalibrate(camera, augmentation.miscalibrated, generator)
    view = person_view(keypoints, assumed, guessed)

    tilt = roma.rotmat_to_unitquat(tilt).unsqueeze(1).expand(windows, frames, 4)
    turn = roma.quat_product(yaw_quaternion(-view.azimuth), tilt)
    rotmat = roma.unitquat_to_rotmat(
        torch.cat([roma.quat_product(turn, joint_rot[:, :, 0]).unsqueeze(2), joint_rot[:, :, 1:]], dim=2)
    )
    up = roma.quat_action(turn, torch.tensor(UP).expand(windows, frames, 3))
    return Batch(view.tokens, rotmat, joint_positions(rotmat), contact, up, guessed)


def mix_windows(joint_rot: torch.Tensor, augmentation: Augmentation, generator: torch.Generator) -> torch.Tensor:
    """Replace arms and head, half of the time also the trunk, by those of other windows, and bend them slightly.

    Legs and floor contact are kept. (B, T, 24, 4) xyzw -> (B, T, 24, 4).
    """
    windows = len(joint_rot)
    joint_rot = joint_rot.clone()
    if augmentation.mix > 0:
        swap = torch.rand(windows, generator=generator) < augmentation.mix
        deep = swap & (torch.rand(windows, generator=generator) < 0.5)
        other = joint_rot[torch.randperm(windows, generator=generator)]
        for joints, rows in ((UPPER, swap), (TRUNK, deep)):
            joint_rot[:, :, joints] = torch.where(
                rows[:, None, None, None], other[:, :, joints], joint_rot[:, :, joints]
            )
    if augmentation.bend > 0:
        bend = roma.rotvec_to_unitquat(augmentation.bend * torch.randn(windows, 1, len(UPPER), 3, generator=generator))
        upper = joint_rot[:, :, UPPER]
        joint_rot[:, :, UPPER] = roma.quat_product(upper, bend.expand_as(upper))
    return joint_rot


def random_poses(count: int, frames: int, generator: torch.Generator) -> torch.Tensor:
    """Random poses within the joint limits, more varied than motion capture: (count, frames, 23, 4) xyzw.

    Every hinge oscillates at up to 1 Hz about a random angle, both relative to the range from the rest pose to its
    limit; one window in three is static.
    """

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(count, *shape, generator=generator)

    still = torch.rand(count, 1, 1, generator=generator) < 1 / 3
    rate = 2 * math.pi * torch.rand(count, 1, NUM_DOFS, generator=generator) / CONTROL_FPS
    phase = 2 * math.pi * torch.rand(count, 1, NUM_DOFS, generator=generator)
    swing = torch.where(still, 0.0, 0.3) * normal(1, NUM_DOFS)
    share = 0.35 * normal(1, NUM_DOFS) + swing * (rate * torch.arange(frames)[:, None] + phase).sin()
    low, high = dof_limits().unbind(-1)
    return dof_to_rotation(torch.where(share > 0, high, -low) * share.clamp(-1, 1))


def on_floor(root_pos: torch.Tensor, joint_rot: torch.Tensor) -> torch.Tensor:
    """Pelvis (B, T, 3) m shifted vertically in every frame so that the lower foot of the mean shape touches the floor."""
    low = sole_height(*forward_kinematics(root_pos, joint_rot, mean_offsets())).amin(-1)
    return root_pos - F.pad(low.unsqueeze(-1), (2, 0))


def chosen(rows: torch.Tensor, one: Camera, other: Camera) -> Camera:
    """Cameras of `one` where rows (B,) is true, of `other` elsewhere; both (B,), same image size."""
    K, R, t = (
        torch.where(rows.view(-1, *[1] * (a.ndim - 1)), a, b)
        for a, b in ((one.K, other.K), (one.R, other.R), (one.t, other.t))
    )
    return replace(other, K=K, R=R, t=t)


def miscalibrate(camera: Camera, share: float, generator: torch.Generator) -> tuple[Camera, torch.Tensor, torch.Tensor]:
    """Cameras with wrong tilt and focal length, as assumed without calibration.

    Half of the miscalibrated cameras are assumed level, as in an initial guess; the tilt of the others is off by up to
    20 degrees, as in a later one. Half have a wrong focal length (standard deviation 25 %).

    Args:
        camera: batch shape (B,) or (B, T). share: of the cameras that are miscalibrated, 0..1.

    Returns:
        the assumed cameras; Q (B, 3, 3), which maps the true world to theirs, up to a rotation about the vertical; and
        (B,) bool, which cameras are miscalibrated.
    """
    count = camera.batch_shape[0]
    rand = partial(torch.rand, count, generator=generator)
    first = camera.R if len(camera.batch_shape) == 1 else camera.R[:, 0]
    guessed = rand() < share
    direction, angle = rand() * 2 * math.pi, math.radians(20) * rand()
    axis = torch.stack([direction.cos(), direction.sin(), torch.zeros(count)], dim=-1)
    off = roma.rotvec_to_rotmat(axis * angle.unsqueeze(-1))
    level = rand() < 0.5
    Q = torch.where(level[:, None, None], LEVEL.mT @ first, off)
    Q = torch.where(guessed[:, None, None], Q, torch.eye(3))
    zoom = torch.exp(0.25 * torch.randn(count, generator=generator))
    zoom = torch.where(guessed & (rand() < 0.5), zoom, 1.0)
    spread = (slice(None), *[None] * (len(camera.batch_shape) - 1))
    K = camera.K.clone()
    K[..., 0, 0], K[..., 1, 1] = K[..., 0, 0] * zoom[spread], K[..., 1, 1] * zoom[spread]
    R = camera.R @ Q.mT[spread]
    return replace(camera, K=K, R=R, t=-(R @ camera.centre.unsqueeze(-1)).squeeze(-1)), Q, guessed
