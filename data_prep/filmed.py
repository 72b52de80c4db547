"""`Filmed`: one person in one view of a benchmark, with the truth, on the way into the simulation's world.

Motion, the set's own joints and the camera move together, so pixels never change. Lengths stay those of the real person: the
world is divided by the person's size where a track is made of it (`vision.build_track.with_scale`), and multiplied back after.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import roma
import torch

from data_prep.axes import find_up, upright_turn
from data_prep.own_shape import own_offsets, own_shape
from data_prep.resampling import Blend
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
"""Joints of a truth as rows of SMPL's 24: all, or the pelvis and the 12 limb joints that Human3.6M has too. The root is row 0, the hips are 1 and 2."""


@dataclass(frozen=True, eq=False)
class Filmed:
    """One person, filmed, with the truth. T frames.

    Attributes:
        name: of the sequence, person and view; also of its files.
        splits: the set's lists that it is in.
        keypoints, camera: what the person is seen by; the camera fixed, or batch shape (T,).
        valid: (T,) bool, frames whose truth counts.
        clip: the true motion on SMPL's 24 joints, real lengths, its `root_pos` the true pelvis; None where the set has only joints.
        joints: (T, J, 3) m, the set's own true joints, or None. joint_set: which of `JOINT_SETS` they are.
        scale: size of the person beside the body of the clip's betas (AIST++ has such a number).
        notes: what was assumed, a sentence each.
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
            said = ", ".join(f"{count} of {what}" for what, count in lengths.items())
            raise KitError(f"{self.name}: frames do not agree: {said}")

    def turned(self, turn: torch.Tensor) -> Filmed:
        """The world turned by a rotation (3, 3)."""
        clip = self.clip
        if clip is not None:
            rot = clip.joint_rot.double()
            rot[:, 0] = roma.quat_product(roma.rotmat_to_unitquat(turn).expand(len(rot), 4), rot[:, 0])
            clip = _with_motion(clip, clip.root_pos.double() @ turn.mT, rot)
        joints = None if self.joints is None else self.joints @ turn.to(self.joints).mT
        return replace(self, clip=clip, joints=joints, camera=self.camera.in_world(turn))

    def raised(self, height: float) -> Filmed:
        """Everything lifted by `height` m."""
        up = torch.tensor([0.0, 0.0, height])
        clip = None if self.clip is None else _with_motion(self.clip, self.clip.root_pos + up, self.clip.joint_rot)
        joints = None if self.joints is None else self.joints + up
        return replace(self, clip=clip, joints=joints, camera=self.camera.in_world(torch.eye(3), up))

    def resampled(self, fps: float = CONTROL_FPS) -> Filmed:
        """The same at another rate, by time; a frame is valid where both its neighbours are."""
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

    def soles(self) -> torch.Tensor:
        """(T,) m, height of the lowest sole. From the joints alone where there is no clip, on average 7 cm below the lower ankle."""
        if self.clip is None:
            assert self.joints is not None
            ankles = [JOINT_SETS[self.joint_set].index(j) for j in FEET[:2]]
            return self.joints[:, ankles, 2].amin(1) - SOLE_DEPTH
        shape, _ = own_shape(self.clip.betas, self.clip.gender, "SMPL")
        offsets = mean_offsets() if shape is None else own_offsets(shape)
        bodies = forward_kinematics(self.clip.root_pos, self.clip.joint_rot, offsets * self.scale)
        return sole_height(*bodies).amin(1)

    def prepared(self, usual_up: str) -> Filmed:
        """In the simulation's world: z-up, the floor at 0, 30 fps.

        Up is measured on the body (`axes.find_up`). The floor is the level on which the lowest sole rests (`motion.check.floor_height`):
        z = 0 where that is rested on for a tenth of the time, else the low end of where it neither rises nor falls. A path that climbs
        has no one floor; its lowest stretch is then at 0.

        Args:
            usual_up: the axis that the set says is up, 'y' or 'z'.
        """
        filmed = self.turned(upright_turn(self._up(usual_up), "z")).resampled()
        return filmed.raised(-floor_height(filmed.soles(), CONTROL_FPS))

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
    """SMPL parameters as a clip whose `root_pos` is the person's own pelvis, and what had to be assumed.

    Args:
        poses: (T, 72) rad, axis-angle. trans: (T, 3) m, SMPL's translation. betas: (10,). gender: 'male', 'female' or 'neutral'.

    Where the model of these betas is at hand (`PHYSHMR_BODY_MODELS`) the pelvis is exact, else it lies where the mean shape has it.
    """
    shape, _ = own_shape(betas.numpy(), gender, "SMPL")
    pelvis = torch.tensor(PELVIS_AT_REST) if shape is None else shape.pelvis
    note = f"no SMPL_{gender.upper()} model: the pelvis at rest is the mean shape's, a few centimetres off"
    stand_in = trans + pelvis - torch.tensor(PELVIS_AT_REST)
    clip = Clip(poses.numpy(), stand_in.numpy(), fps, name, betas.numpy().astype(np.float32), gender)
    return clip, (note,) if shape is None and bool(betas.any()) else ()


def gender_of(word: object, path) -> str:
    """'male', 'female' or 'neutral' of m, f, male, b'f' and the like.

    Raises:
        KitError: anything else.
    """
    said = word.decode("latin-1") if isinstance(word, bytes) else str(word)
    known = {"m": "male", "f": "female", "n": "neutral"}.get(said[:1].lower())
    if known is None:
        raise KitError(f"{path}: gender '{said}' is none of m, f, male, female and neutral")
    return known


def _with_motion(clip: Clip, root_pos: torch.Tensor, joint_rot: torch.Tensor) -> Clip:
    moved = Clip.from_joints(root_pos, joint_rot, clip.fps, clip.name)
    return replace(moved, betas=clip.betas, gender=clip.gender)
