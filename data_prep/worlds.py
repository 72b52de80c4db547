"""From another tool's world to the simulation's: axes, time, scale, floor of a person and of their camera.

Everything moves together. Turning, scaling or raising only the body, or only the camera, would take the joints off
their rays, and pixels do not change when a whole world does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import roma
import torch

from data_prep.resampling import Blend
from physhmr_kit.body.skeleton import NUM_JOINTS, mean_offsets
from physhmr_kit.motion.clip import CONTROL_FPS, Clip
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.motion.soles import foot_contact, sole_height
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.encoder import VisionEncoder
from physhmr_kit.vision.keypoints import RAY_COCO, KeypointTrack, coco_from_bodies
from physhmr_kit.vision.rays import lift, perpendicular, ray_confidence
from physhmr_kit.vision.track import VisualTrack
from physhmr_kit.vision.uncalibrated import shortest_turn

FLOOR_FRAMES = 30
"""The lowest sole of this many first frames stands on the floor (as in PHC's motion library)."""


TOOL_UNCERTAINTY = 0.05
"""m, how far a tool's joints are taken to be off; about what the tools report on their benchmarks."""

RAISED = 0.1
"""A foot whose sole is higher than this, m, does not touch the floor, however still a tool says it is held."""


@dataclass(frozen=True, eq=False)
class SeenBody:
    """One person as an HMR tool saw them, and its camera, frame by frame in one z-up world. T frames.

    Attributes:
        root_pos: (T, 3) pelvis, m.
        joint_rot: (T, 24, 4) xyzw; the root in the world, every other relative to its parent.
        camera: batch shape (T,).
        keypoints: (T, 17, 3) raw pixels and confidence.
        fps: frames per second.
        scale: size of the person beside the mean shape; what `to_simulation` divides lengths by.
        name: label for tables.
        contact: (T, 4) probability that each of `skeleton.FEET` rests, or None.
        feature: (T, 512) context of the tool's own encoder, or None.
        notes: what had to be assumed, a line each.
    """

    root_pos: torch.Tensor
    joint_rot: torch.Tensor
    camera: Camera
    keypoints: torch.Tensor
    fps: float
    scale: float = 1.0
    name: str = "track"
    contact: torch.Tensor | None = None
    feature: torch.Tensor | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.root_pos)

    def bodies(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions (T, 24, 3) m and world rotations (T, 24, 4) of the mean-shape body in this pose and place."""
        return forward_kinematics(self.root_pos, self.joint_rot, mean_offsets())

    def clip(self) -> Clip:
        """The tool's own estimate as a motion."""
        return Clip.from_joints(self.root_pos, self.joint_rot, self.fps, self.name)


OWN = 0.4
"""Confidence of keypoints that are nothing but the tool's own joints in the image: enough to be used, not more."""


def see_body(body: SeenBody, keypoints: KeypointTrack | None, first: int, total: int) -> SeenBody:
    """Give a body its keypoints: a detector's, or its own joints projected.

    Args:
        body: of the video's frames from `first` on. keypoints: a row for each of the video's `total` frames, or None.

    Raises:
        KitError: keypoints of another video.
    """
    if keypoints is None:
        small = shrunk(body, body.scale)  # where the mean-shape body is as large as this person
        pixels = small.camera.project(coco_from_bodies(*small.bodies()))
        own = torch.cat([pixels, torch.full((*pixels.shape[:-1], 1), OWN)], dim=-1)
        note = "no --keypoints: the body's own joints are projected, so the rays repeat it"
        return replace(body, keypoints=own, notes=(*body.notes, note))
    if keypoints.image_size != body.camera.image_size:
        (a, b), (c, d) = keypoints.image_size, body.camera.image_size
        raise KitError(
            f"{keypoints.name}: keypoints of a {a}x{b} image, but the tool saw {c}x{d}; detect on the same video"
        )
    if len(keypoints) != total or abs(keypoints.fps - body.fps) > 0.02 * body.fps:
        raise KitError(
            f"{keypoints.name}: {len(keypoints)} frames at {keypoints.fps:g} fps, "
            f"but the tool saw {total} at {body.fps:g}; detect on the same video (--fps)"
        )
    return replace(body, keypoints=keypoints.keypoints[first : first + len(body)])


def to_z_up() -> torch.Tensor:
    """(3, 3): (x, y, z) of a y-up world to (x, -z, y) of a z-up one, a quarter turn about x."""
    return torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


def upright(up: torch.Tensor) -> torch.Tensor:
    """(3, 3) shortest turn of a world that takes the direction `up` (3,) to +z."""
    length = up.norm()
    if not torch.isfinite(up).all() or length < 1e-6:
        raise KitError(f"up direction {up.tolist()} has no length; give e.g. 0 -1 0 for a camera held level")
    z = torch.tensor([0.0, 0.0, 1.0])
    if up[2] / length < -1 + 1e-9:  # every half turn about a level axis is as short as any
        return torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    return shortest_turn(up / length, z)


def camera_between(
    root_world: torch.Tensor,
    pelvis_world: torch.Tensor,
    root_cam: torch.Tensor,
    pelvis_cam: torch.Tensor,
    K: torch.Tensor,
    image_size: tuple[int, int],
    name: str,
) -> Camera:
    """The camera for which a body told twice, in the world and in the camera's frame, is one body.

    R_wc = R_world R_cam^T and c = pelvis_world - R_wc pelvis_cam (reference method of PhysHMR's inputs, section 3.4).

    Args:
        root_world, root_cam: (T, 4) xyzw. pelvis_world, pelvis_cam: (T, 3) m. K: (T, 3, 3) or (3, 3) pixels.
    """
    R = roma.unitquat_to_rotmat(roma.quat_product(root_cam, roma.quat_conjugation(root_world)).double())
    t = pelvis_cam.double() - (R @ pelvis_world.double().unsqueeze(-1)).squeeze(-1)
    return Camera(K, R, t, torch.zeros(5), image_size, name)


def turned(body: SeenBody, turn: torch.Tensor) -> SeenBody:
    """The world turned by a rotation (3, 3)."""
    root = roma.quat_product(roma.rotmat_to_unitquat(turn).expand(len(body), 4), body.joint_rot[:, 0])
    joint_rot = torch.cat([root.unsqueeze(1), body.joint_rot[:, 1:]], dim=1)
    return replace(
        body,
        root_pos=body.root_pos @ turn.mT,
        joint_rot=joint_rot,
        camera=body.camera.in_world(turn),
    )


def resampled(body: SeenBody, fps: float = CONTROL_FPS) -> SeenBody:
    """The same at another rate, by time."""
    if abs(body.fps - fps) < 1e-6:
        return body
    blend = Blend.to_rate(len(body), body.fps, fps)
    seen = KeypointTrack(body.keypoints, body.fps, body.camera.image_size, body.name).resample(fps)
    return replace(
        body,
        root_pos=blend.lerp(body.root_pos),
        joint_rot=blend.slerp(body.joint_rot),
        camera=blend.camera(body.camera),
        keypoints=seen.keypoints,
        fps=fps,
        contact=None if body.contact is None else blend.lerp(body.contact),
        feature=None if body.feature is None else blend.lerp(body.feature),
    )


def shrunk(body: SeenBody, scale: float) -> SeenBody:
    """Lengths divided by `scale`, so that the mean-shape humanoid fits a person `scale` times as large; angles stay.

    Exported lengths are multiplied by it again.

    Raises:
        KitError: a scale no person has.
    """
    if not 0.1 <= scale <= 10:
        raise KitError(f"{body.name}: scale {scale:g}: a person is between 0.1 and 10 times the mean shape")
    return replace(body, root_pos=body.root_pos / scale, camera=body.camera.scaled(1 / scale), scale=scale)


def raised(body: SeenBody, height: float) -> SeenBody:
    """Everything lifted by `height` m."""
    lift_by = torch.tensor([0.0, 0.0, height])
    return replace(body, root_pos=body.root_pos + lift_by, camera=body.camera.in_world(torch.eye(3), lift_by))


def on_floor(body: SeenBody) -> SeenBody:
    """Raised or lowered so that the lowest sole of the first `FLOOR_FRAMES` frames is at z = 0."""
    pos, rot = body.bodies()
    return raised(body, -float(sole_height(pos[:FLOOR_FRAMES], rot[:FLOOR_FRAMES]).min()))


def to_simulation(body: SeenBody, scale: float | None = None) -> SeenBody:
    """At 30 fps, the size of the mean shape, on the floor. `scale`: the body's own when omitted."""
    return on_floor(shrunk(resampled(body), body.scale if scale is None else scale))


def make_track(body: SeenBody, encoder: VisionEncoder | None = None) -> VisualTrack:
    """What the policy is told of a body in the simulation's world.

    Args:
        body: from `to_simulation`.
        encoder: makes the feature from the keypoints; needed unless the body brings its tool's own.

    Returns:
        a track whose pose is the tool's. Contact is the tool's for feet near the floor, or else found
        from sole height and speed (`motion.soles.foot_contact`).
    """
    seen = KeypointTrack(body.keypoints, body.fps, body.camera.image_size, body.name).filled()
    feature = body.feature if encoder is None else encoder.encode(seen.keypoints, body.camera).feature
    if feature is None:
        raise KitError(f"{body.name}: the tool left no feature; give an encoder")
    pos, rot = body.bodies()
    if body.contact is None:
        contact = foot_contact(pos, rot, body.fps).float()
    else:
        contact = body.contact * (sole_height(pos, rot) < RAISED)
    point, centre = lift(seen.pixels[:, RAY_COCO], body.camera), body.camera.centre
    confidence = ray_confidence(point, centre, seen.confidence[:, RAY_COCO])
    uncertainty = torch.full((len(pos), NUM_JOINTS), TOOL_UNCERTAINTY)
    return VisualTrack(
        seen.keypoints, point, confidence, centre, feature, body.joint_rot, contact, uncertainty, body.camera,
        body.fps, body.scale, body.name,
    )  # fmt: skip


def distance_from_rays(body: SeenBody, track: VisualTrack) -> float:
    """Median distance of the body's 12 keypoint joints from the believed rays, m; NaN where none is believed.

    A few centimetres are the difference between a person and the mean shape. Decimetres mean that body, camera and
    keypoints do not belong together.
    """
    joints = coco_from_bodies(*body.bodies())[:, RAY_COCO]
    away = perpendicular(joints, track.centre, track.ray_point).norm(dim=-1)
    return float(away[track.ray_confidence > 0.3].median()) if (track.ray_confidence > 0.3).any() else float("nan")
