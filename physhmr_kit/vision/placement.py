"""Places the encoder's body in the world: pose from the network, position from the rays and the floor.

The network needs no distances: given the pose, the translation that brings the joints to their rays is a small
least-squares problem (`rays.place_on_rays`), and feet in contact are known to be at z = 0.
"""

from __future__ import annotations

import torch

from physhmr_kit.body.skeleton import mean_offsets
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.motion.soles import sole_height
from physhmr_kit.vision.keypoints import RAY_COCO, coco_from_bodies
from physhmr_kit.vision.rays import place_on_rays, ray_direction
from physhmr_kit.vision.track import VisualTrack

_CONTACT_WEIGHT = 4.0  # of a foot in contact with certainty; a keypoint detected with certainty has 1
_SIZE_WEIGHT = 0.05  # of the prior that the person has the mean size


def place(track: VisualTrack) -> torch.Tensor:
    """Pelvis position in every frame: (T, 3) m, world."""
    joints, heights, floor_weight = _pose_at_origin(track)
    return place_on_rays(joints, track.centre, track.ray_point, track.ray_confidence, (heights, floor_weight))


def bodies_on_rays(track: VisualTrack) -> tuple[torch.Tensor, torch.Tensor]:
    """The encoder's bodies placed by the rays alone, without the floor: (T, 24, 3) m, (T, 24, 4) xyzw, world."""
    joints, _, _ = _pose_at_origin(track)
    root = place_on_rays(joints, track.centre, track.ray_point, track.ray_confidence)
    return forward_kinematics(root, track.joint_rot, mean_offsets())


def encoder_clip(track: VisualTrack) -> Clip:
    """The encoder's estimate frame by frame, unrefined: pose from the network, position from rays and floor."""
    return Clip.from_joints(place(track), track.joint_rot, track.fps, track.name)


def estimate_scale(track: VisualTrack) -> float:
    """Size of the person relative to the mean shape, from rays and floor contact of the whole track.

    For every frame we solve for translation s and size a: P_j (a x_j + s - c) = 0 for the rays, a h + s_z = 0 for feet
    in contact, and a = 1 as a weak prior. Rays alone leave size and distance ambiguous; the floor resolves this unless
    the camera is close to horizontal, in which case the prior dominates.

    Returns:
        Median over the frames that show the person, clamped to 0.8 to 1.25.
    """
    joints, heights, floor_weight = _pose_at_origin(track)
    d = ray_direction(track.ray_point, track.centre)
    flat = (torch.eye(3) - d.unsqueeze(-1) * d.unsqueeze(-2)) * track.ray_confidence[..., None, None]
    rows = torch.cat([torch.eye(3).expand(*joints.shape[:-1], 3, 3), joints.unsqueeze(-1)], dim=-1)  # unknowns: s, a
    left = (rows.mT @ flat @ rows).sum(1)
    right = (rows.mT @ flat @ track.centre[:, None, :, None]).sum(1).squeeze(-1)
    foot = torch.zeros(*heights.shape, 4)
    foot[..., 2], foot[..., 3] = 1.0, heights
    left = left + (foot.unsqueeze(-1) * foot.unsqueeze(-2) * floor_weight[..., None, None]).sum(1)
    left[:, 3, 3] += _SIZE_WEIGHT
    right[:, 3] += _SIZE_WEIGHT
    size = torch.linalg.solve(left + 1e-8 * torch.eye(4), right)[:, 3]
    seen = track.ray_confidence.mean(-1) > 0
    return float((size[seen] if seen.any() else size).median().clamp(0.8, 1.25))


def _pose_at_origin(track: VisualTrack) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ray keypoints (T, 12, 3) m and sole heights (T, 4) m with the pelvis at the origin, and weights (T, 4) of the feet."""
    origin = torch.zeros(len(track), 3)
    body_pos, body_rot = forward_kinematics(origin, track.joint_rot, mean_offsets())
    # a foot that is as likely in the air as in contact does not count
    floor_weight = _CONTACT_WEIGHT * (2 * track.contact - 1).clamp(min=0)
    return coco_from_bodies(body_pos, body_rot)[:, RAY_COCO], sole_height(body_pos, body_rot), floor_weight
