"""Converts another tool's body and camera to the simulation's world: axes, frame rate, scale and floor.

Body and camera are always transformed together: pixels do not change when the whole world does, but transforming only one
of them would move the joints off their rays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import roma
import torch

from data_prep.resampling import Blend, hide_gaps
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
"""Number of initial frames whose lowest sole defines the floor (as in PHC's motion library)."""

TOOL_UNCERTAINTY = 0.05
"""m, assumed error of a tool's joints; about what the tools report on their benchmarks."""

RAISED = 0.1
"""A foot whose sole is higher than this, m, has no contact, whatever the tool's contact probability."""

PROJECTED_CONFIDENCE = 0.4
"""Confidence of keypoints that are the tool's own joints projected into the image: above the threshold for use, but low."""


@dataclass(frozen=True, eq=False)
class SeenBody:
    """One person as estimated by an HMR tool, with the camera, in one z-up world. T frames.

    Attributes:
        root_pos: (T, 3) pelvis, m.
        joint_rot: (T, 24, 4) xyzw; the root in the world, every other relative to its parent.
        camera: batch shape (T,).
        keypoints: (T, 17, 3) raw pixels and confidence.
        fps: frames per second.
        scale: size of the person relative to the mean shape; `to_simulation` divides lengths by it.
        name: label for tables.
        contact: (T, 4) contact probability of each of `skeleton.FEET`, or None.
        feature: (T, 512) context of the tool's own encoder, or None.
        notes: assumptions made, one line each.
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
        """Positions (T, 24, 3) m and world rotations (T, 24, 4) of the mean-shape body in this motion."""
        return forward_kinematics(self.root_pos, self.joint_rot, mean_offsets())

    def clip(self) -> Clip:
        """The tool's estimate as a motion."""
        return Clip.from_joints(self.root_pos, self.joint_rot, self.fps, self.name)


def add_keypoints(body: SeenBody, keypoints: KeypointTrack | None, frames: torch.Tensor, total: int) -> SeenBody:
    """Add a detector's keypoints to a body, or its own joints projected; confidence 0 in long gaps of the tool's track.

    Args:
        body: from the first to the last of `frames` (n,), the frames in which the tool tracked the person.
        keypoints: one row for each of the video's `total` frames, or None.

    Raises:
        KitError: keypoints of another video.
    """
    if keypoints is None:
        small = shrunk(body)  # to the size of the mean-shape body that is projected
        pixels = small.camera.project(coco_from_bodies(*small.bodies()))
        rows = torch.cat([pixels, torch.full((*pixels.shape[:-1], 1), PROJECTED_CONFIDENCE)], dim=-1)
        note = "no --keypoints: the body's own joints are projected, so the rays only repeat the tool's pose"
        return replace(body, keypoints=hide_gaps(rows, frames, body.fps), notes=(*body.notes, note))
    if keypoints.image_size != body.camera.image_size:
        (a, b), (c, d) = keypoints.image_size, body.camera.image_size
        raise KitError(
            f"{keypoints.name}: keypoints of a {a}x{b} image, but the tool's is {c}x{d}; detect on the same video"
        )
    if len(keypoints) != total or abs(keypoints.fps - body.fps) > 0.02 * body.fps:
        raise KitError(
            f"{keypoints.name}: {len(keypoints)} frames at {keypoints.fps:g} fps, "
            f"but the tool has {total} at {body.fps:g}; detect on the same video (--fps)"
        )
    first = int(frames[0])
    return replace(body, keypoints=hide_gaps(keypoints.keypoints[first : first + len(body)], frames, body.fps))


def to_z_up() -> torch.Tensor:
    """(3, 3) rotation from a y-up to a z-up world, (x, y, z) -> (x, -z, y): a quarter turn about x."""
    return torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


def upright(up: torch.Tensor) -> torch.Tensor:
    """(3, 3) shortest rotation that maps the direction `up` (3,) to +z."""
    length = up.norm()
    if not torch.isfinite(up).all() or length < 1e-6:
        raise KitError(f"up direction {up.tolist()} has zero length; give e.g. 0 -1 0 for a level camera")
    z = torch.tensor([0.0, 0.0, 1.0])
    if up[2] / length < -1 + 1e-9:  # any half turn about a horizontal axis will do
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
    """The camera that maps a body's pose in the world to its pose in the camera frame.

    R_wc = R_world R_cam^T and c = pelvis_world - R_wc pelvis_cam (reference method of PhysHMR's inputs, section 3.4).

    Args:
        root_world, root_cam: (T, 4) xyzw. pelvis_world, pelvis_cam: (T, 3) m. K: (T, 3, 3) or (3, 3) pixels.
    """
    R = roma.unitquat_to_rotmat(roma.quat_product(root_cam, roma.quat_conjugation(root_world)).double())
    t = pelvis_cam.double() - (R @ pelvis_world.double().unsqueeze(-1)).squeeze(-1)
    return Camera(K, R, t, torch.zeros(5), image_size, name)


def rotated(body: SeenBody, rotation: torch.Tensor) -> SeenBody:
    """The body and its camera in a world rotated by (3, 3)."""
    root = roma.quat_product(roma.rotmat_to_unitquat(rotation).expand(len(body), 4), body.joint_rot[:, 0])
    joint_rot = torch.cat([root.unsqueeze(1), body.joint_rot[:, 1:]], dim=1)
    return replace(
        body, root_pos=body.root_pos @ rotation.mT, joint_rot=joint_rot, camera=body.camera.in_world(rotation)
    )


def resampled(body: SeenBody) -> SeenBody:
    """The body at 30 fps, interpolated in time."""
    if abs(body.fps - CONTROL_FPS) < 1e-6:
        return body
    blend = Blend.to_rate(len(body), body.fps)
    seen = KeypointTrack(body.keypoints, body.fps, body.camera.image_size, body.name).resample(CONTROL_FPS)
    return replace(
        body,
        root_pos=blend.lerp(body.root_pos),
        joint_rot=blend.slerp(body.joint_rot),
        camera=blend.camera(body.camera),
        keypoints=seen.keypoints,
        fps=CONTROL_FPS,
        contact=None if body.contact is None else blend.lerp(body.contact),
        feature=None if body.feature is None else blend.lerp(body.feature),
    )


def shrunk(body: SeenBody) -> SeenBody:
    """Lengths divided by the person's scale, so that the mean-shape humanoid fits; exported lengths are multiplied by it again.

    Raises:
        KitError: an impossible scale.
    """
    scale = body.scale
    if not 0.1 <= scale <= 10:
        raise KitError(f"{body.name}: scale {scale:g}: expected 0.1 to 10 times the mean shape")
    return replace(body, root_pos=body.root_pos / scale, camera=body.camera.scaled(1 / scale))


def on_floor(body: SeenBody) -> SeenBody:
    """Shifted vertically so that the lowest sole of the first `FLOOR_FRAMES` frames is at z = 0."""
    pos, rot = body.bodies()
    lowest = float(sole_height(pos[:FLOOR_FRAMES], rot[:FLOOR_FRAMES]).min())
    shift = torch.tensor([0.0, 0.0, -lowest])
    return replace(body, root_pos=body.root_pos + shift, camera=body.camera.in_world(torch.eye(3), shift))


def to_simulation(body: SeenBody) -> SeenBody:
    """The body at 30 fps, scaled to the mean shape, on the floor."""
    return on_floor(shrunk(resampled(body)))


def make_track(body: SeenBody, encoder: VisionEncoder | None = None) -> VisualTrack:
    """The policy's visual input from a body in the simulation's world.

    Args:
        body: from `to_simulation`.
        encoder: computes the feature from the keypoints; required unless the body has the tool's own.

    Returns:
        a track with the tool's pose. Contact is the tool's for feet near the floor, or else computed from sole height and
        speed (`motion.soles.foot_contact`).
    """
    seen = KeypointTrack(body.keypoints, body.fps, body.camera.image_size, body.name).filled()
    feature = body.feature if encoder is None else encoder.encode(seen.keypoints, body.camera).feature
    if feature is None:
        raise KitError(f"{body.name}: the tool's output has no feature; give an encoder")
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
    """Median distance of the body's 12 keypoint joints from the confident rays, m; NaN if there are none.

    A few centimetres are the difference between the person and the mean shape. Decimetres mean that body, camera and
    keypoints do not belong together.
    """
    joints = coco_from_bodies(*body.bodies())[:, RAY_COCO]
    distance = perpendicular(joints, track.centre, track.ray_point).norm(dim=-1)
    return float(distance[track.ray_confidence > 0.3].median())
