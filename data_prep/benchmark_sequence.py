"""`BenchmarkSequence`: one person in one view of a benchmark, with ground truth, and its conversion to the simulation's world.

Motion, joints and camera are transformed together, so pixels never change. Lengths are those of the real person: the world
is divided by the person's size when a track is made (`vision.build_track.with_scale`), and results are multiplied by it again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import roma
import torch

from data_prep.resampling import Blend
from data_prep.retargeting.axes import find_up, upright_turn
from data_prep.retargeting.own_shape import own_offsets, own_shape
from physhmr_kit.body.skeleton import FEET, PELVIS_AT_REST, SOLE_DEPTH, mean_offsets
from physhmr_kit.motion.check import floor_height
from physhmr_kit.motion.clip import CONTROL_FPS, Clip
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.motion.soles import sole_height
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.keypoints import KeypointTrack

JOINT_SETS: dict[str, tuple[int, ...]] = {
    "smpl24": tuple(range(24)),
    "limbs13": (0, 1, 2, 4, 5, 7, 8, 16, 17, 18, 19, 20, 21),
}
"""Ground-truth joints as indices into SMPL's 24: all, or the pelvis and the 12 limb joints shared with Human3.6M. Root 0, hips 1, 2."""


@dataclass(frozen=True, eq=False)
class BenchmarkSequence:
    """One person in one view, with ground truth. T frames.

    Attributes:
        name: of sequence, person and view; also of its files.
        splits: the set's splits that it belongs to.
        keypoints, camera: of the view; the camera is fixed, or has batch shape (T,).
        valid: (T,) bool, frames with valid ground truth.
        clip: true motion on SMPL's 24 joints, real lengths, `root_pos` the true pelvis; None if the set has only joints.
        joints: (T, J, 3) m, the set's own true joints, or None. joint_set: which of `JOINT_SETS` they are.
        scale: size of the person relative to the body of the clip's betas (given by AIST++).
        notes: assumptions made, a sentence each.
    """

    name: str
    splits: tuple[str, ...]
    keypoints: KeypointTrack
    camera: Camera
    valid: torch.Tensor
    clip: Clip | None = None
    joints: torch.Tensor | None = None
    joint_set: str = "smpl24"
    scale: float = 1.0
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        lengths = {"keypoints": len(self.keypoints), "valid": len(self.valid)}
        lengths |= {} if self.clip is None else {"motion": len(self.clip)}
        lengths |= {} if self.joints is None else {"joints": len(self.joints)}
        lengths |= {"camera": self.camera.batch_shape[0]} if self.camera.batch_shape else {}
        if len(set(lengths.values())) > 1:
            counts = ", ".join(f"{count} of {what}" for what, count in lengths.items())
            raise KitError(f"{self.name}: numbers of frames do not match: {counts}")

    def rotated(self, rotation: torch.Tensor) -> BenchmarkSequence:
        """The sequence in a world rotated by (3, 3)."""
        clip = self.clip
        if clip is not None:
            rot = clip.joint_rot.double()
            rot[:, 0] = roma.quat_product(roma.rotmat_to_unitquat(rotation).expand(len(rot), 4), rot[:, 0])
            clip = _with_motion(clip, clip.root_pos.double() @ rotation.mT, rot)
        joints = None if self.joints is None else self.joints @ rotation.to(self.joints).mT
        return replace(self, clip=clip, joints=joints, camera=self.camera.in_world(rotation))

    def raised(self, height: float) -> BenchmarkSequence:
        """The sequence shifted up by `height` m."""
        up = torch.tensor([0.0, 0.0, height])
        clip = None if self.clip is None else _with_motion(self.clip, self.clip.root_pos + up, self.clip.joint_rot)
        joints = None if self.joints is None else self.joints + up
        return replace(self, clip=clip, joints=joints, camera=self.camera.in_world(torch.eye(3), up))

    def resampled(self) -> BenchmarkSequence:
        """The sequence at 30 fps, interpolated in time; a frame is valid if both its neighbours are."""
        fps = CONTROL_FPS
        if abs(self.keypoints.fps - fps) < 1e-6:
            return self
        blend = Blend.to_rate(len(self.valid), self.keypoints.fps, fps)
        return replace(
            self,
            keypoints=self.keypoints.resample(fps),
            camera=blend.camera(self.camera) if self.camera.batch_shape else self.camera,
            valid=blend.lerp(self.valid.float()) > 1 - 1e-6,
            clip=None if self.clip is None else self.clip.resample(fps),
            joints=None if self.joints is None else blend.lerp(self.joints),
        )

    def sole_height(self) -> torch.Tensor:
        """(T,) m, height of the lowest sole; without a clip it is taken to be 7 cm below the lower ankle."""
        if self.clip is None:
            assert self.joints is not None
            ankles = [JOINT_SETS[self.joint_set].index(j) for j in FEET[:2]]
            return self.joints[:, ankles, 2].amin(1) - SOLE_DEPTH
        shape, _ = own_shape(self.clip.betas, self.clip.gender, "SMPL")
        offsets = mean_offsets() if shape is None else own_offsets(shape)
        bodies = forward_kinematics(self.clip.root_pos, self.clip.joint_rot, offsets * self.scale)
        return sole_height(*bodies).amin(1)

    def prepared(self, usual_up: str) -> BenchmarkSequence:
        """The sequence in the simulation's world: z-up, floor at 0, 30 fps.

        Up is measured on the body (`axes.find_up`). The floor is the level on which the lowest sole rests
        (`motion.check.floor_height`): z = 0 if it rests there for a tenth of the time, else the lowest level at which it neither
        rises nor falls. On a path that climbs there is no single floor; its lowest stretch is then at 0.

        Args:
            usual_up: the up axis that the set documents, 'y' or 'z'.
        """
        sequence = self.rotated(upright_turn(self._up(usual_up), "z")).resampled()
        return sequence.raised(-floor_height(sequence.sole_height(), CONTROL_FPS))

    def _up(self, usual: str) -> torch.Tensor:
        expected = torch.eye(3, dtype=torch.float64)["xyz".index(usual)]
        if self.clip is None:
            return expected
        bodies, _ = forward_kinematics(
            self.clip.root_pos.double(), self.clip.joint_rot.double(), mean_offsets().double()
        )
        return find_up(bodies, self.clip.fps, expected, self.name)[0]


def smpl_clip(
    poses: torch.Tensor, trans: torch.Tensor, betas: torch.Tensor, gender: str, fps: float, name: str
) -> tuple[Clip, tuple[str, ...]]:
    """SMPL parameters as a clip whose `root_pos` is the person's own pelvis, and notes on assumptions.

    With the body model of these betas (in `PHYSHMR_BODY_MODELS`) the pelvis is exact, otherwise the mean shape's is used.

    Args:
        poses: (T, 72) rad, axis-angle. trans: (T, 3) m, SMPL's translation. betas: (10,). gender: 'male', 'female' or 'neutral'.
    """
    shape, _ = own_shape(betas.numpy(), gender, "SMPL")
    pelvis = torch.tensor(PELVIS_AT_REST) if shape is None else shape.pelvis
    note = f"no SMPL_{gender.upper()} model: the rest pelvis is the mean shape's, a few centimetres off"
    trans = trans + pelvis - torch.tensor(PELVIS_AT_REST)
    clip = Clip(poses.numpy(), trans.numpy(), fps, name, betas.numpy().astype(np.float32), gender)
    return clip, (note,) if shape is None and bool(betas.any()) else ()


def parse_gender(word: object, path) -> str:
    """'male', 'female' or 'neutral' from m, f, male, b'f' and the like.

    Raises:
        KitError: anything else.
    """
    text = word.decode("latin-1") if isinstance(word, bytes) else str(word)
    gender = {"m": "male", "f": "female", "n": "neutral"}.get(text[:1].lower())
    if gender is None:
        raise KitError(f"{path}: gender '{text}'; expected m, f, male, female or neutral")
    return gender


def _with_motion(clip: Clip, root_pos: torch.Tensor, joint_rot: torch.Tensor) -> Clip:
    moved = Clip.from_joints(root_pos, joint_rot, clip.fps, clip.name)
    return replace(moved, betas=clip.betas, gender=clip.gender)
