"""Metrics as pure functions: tensors of one clip in, one value per frame (or contact, or degree of freedom) out.

Nothing is averaged here; the torchmetrics classes of this package pool the values. Papers use the same name for
different measures, so each docstring states whose definition it follows:

- WHAM family: WHAM, GVHMR and TRAM, whose world metrics follow SLAHMR (GVHMR, hmr4d/utils/eval/eval_utils.py).
- PHC family: PHC and UHC, trackers of a known reference (PHC, im_amp_players.py; SMPLSim, smpl_eval.py).
- PhysHMR: its released evaluator (scripts/visualize.py).
- ours: there is no common published definition; our choice is documented.

Input is in metres, z-up, floor at 0, and at 30 frames per second: the 1 cm/frame contact threshold and mm/frame values
depend on the rate. Feet are the 16 lower corners of the humanoid's foot and toe boxes (`motion.soles`) where papers use
SMPL vertices, so foot measures are comparable within the kit but not exactly with published ones.
"""

from __future__ import annotations

import math

import roma
import torch

from physhmr_kit.motion.clip import CONTROL_FPS
from physhmr_kit.motion.contact import AT_REST
from physhmr_kit.motion.following import LOST_DISTANCE, is_lost

HIPS = (1, 2)
"""The hip joints, whose midpoint the WHAM family takes as the pelvis."""

CHUNK = 100
"""Frames in a chunk of the world metrics."""

DEAD_ZONE = 0.005
"""m, height up to which a body counts as touching the floor."""

MM = 1000.0


# Alignment


def align(points: torch.Tensor, target: torch.Tensor, scale: bool = True, fit: slice | None = None) -> torch.Tensor:
    """Align points to their targets by a least-squares similarity (Umeyama, 1991) or rigid transform.

    Args:
        points, target: (..., N, 3).
        scale: whether to fit a scale too.
        fit: which of the N points the transform is fitted to; all by default.

    Returns:
        (..., N, 3) all points, transformed.
    """
    fit = slice(None) if fit is None else fit
    moved = roma.rigid_points_registration(points[..., fit, :], target[..., fit, :], compute_scaling=scale)
    rotation, translation = moved[0], moved[1]
    size = moved[2][..., None, None] if scale else 1.0
    return size * points @ rotation.transpose(-1, -2) + translation.unsqueeze(-2)


def _distance(pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean over joints of the L2 distance, mm: (..., J, 3) -> (...)."""
    return (pred - target).norm(dim=-1).mean(-1) * MM


def _pelvis(joints: torch.Tensor, hips: tuple[int, int] = HIPS) -> torch.Tensor:
    return joints[..., hips, :].mean(-2, keepdim=True)


def _hip_centred(joints: torch.Tensor, hips: tuple[int, int] = HIPS) -> torch.Tensor:
    return joints - _pelvis(joints, hips)


def _root_centred(joints: torch.Tensor) -> torch.Tensor:
    return joints - joints[..., :1, :]


# Pose accuracy


def mpjpe(pred_joints: torch.Tensor, target_joints: torch.Tensor, hips: tuple[int, int] = HIPS) -> torch.Tensor:
    """Mean per-joint position error, both bodies centred on the midpoint of their hips (WHAM family).

    Not comparable with PhysHMR's (joint 0, after a rigid alignment of the whole clip) or PHC's (joint 0, `e_mpjpe`).

    Args:
        pred_joints, target_joints: (T, J, 3) m.
        hips: indices of the hip joints; SMPL's by default (2 and 3 among the 14 joints of 3DPW).

    Returns:
        (T,) mm.

    Example:
        >>> target = torch.zeros(1, 24, 3)
        >>> pred = target.clone()
        >>> pred[:, 15, 2] = 0.24  # the head 24 cm too high, the other 23 joints exact
        >>> round(mpjpe(pred, target).item(), 4)
        10.0
    """
    return _distance(_hip_centred(pred_joints, hips), _hip_centred(target_joints, hips))


def pve(
    pred_vertices: torch.Tensor,
    target_vertices: torch.Tensor,
    pred_joints: torch.Tensor,
    target_joints: torch.Tensor,
    hips: tuple[int, int] = HIPS,
) -> torch.Tensor:
    """Per-vertex error (PVE, also MVE) of meshes centred on the hips of their own joints (WHAM family).

    Args:
        pred_vertices, target_vertices: (T, V, 3) m, the same mesh. pred_joints, target_joints: (T, J, 3) m.

    Returns:
        (T,) mm.
    """
    return _distance(pred_vertices - _pelvis(pred_joints, hips), target_vertices - _pelvis(target_joints, hips))


def pa_mpjpe(pred_joints: torch.Tensor, target_joints: torch.Tensor) -> torch.Tensor:
    """MPJPE after a similarity (Procrustes) alignment of each frame (all families): (T, 24, 3) m each -> (T,) mm."""
    return _distance(align(pred_joints, target_joints), target_joints)


def limb_errors(pred: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
    """Errors of the 12 COCO limb keypoints, for ground truth that is triangulated keypoints rather than SMPL (ours).

    Args:
        pred, target: (T, 12, 3) m, world, in the order of `vision.keypoints.RAY_NAMES`; rows 6 and 7 are the hips.

    Returns:
        (T,) mm each: 'mpjpe' with the hip midpoints aligned, 'pa_mpjpe' after a similarity alignment of each frame,
        'world' unaligned.
    """
    return {
        "mpjpe": mpjpe(pred, target, hips=(6, 7)),
        "pa_mpjpe": pa_mpjpe(pred, target),
        "world": _distance(pred, target),
    }


def accel(
    pred_joints: torch.Tensor, target_joints: torch.Tensor, fps: float = 30.0, hips: tuple[int, int] = HIPS
) -> torch.Tensor:
    """Error of joint accelerations, hip-centred (WHAM family; GVHMR keeps all values, WHAM and TRAM drop the ends).

    The family works in camera coordinates; in world coordinates the norm is the same as long as the camera does not
    rotate. PHC's E_acc (`e_acc`) is in the world frame and in mm/frame^2; PhysHMR's ACC covers only the root
    (`physhmr.root_acceleration`).

    Args:
        pred_joints, target_joints: (T, J, 3) m. hips: see `mpjpe`.

    Returns:
        (T - 2,) m/s^2, empty below three frames.
    """
    pred, target = (_hip_centred(x, hips).diff(n=2, dim=0) for x in (pred_joints, target_joints))
    return (pred - target).norm(dim=-1).mean(-1) * fps**2


# World accuracy


def w_mpjpe(pred_joints: torch.Tensor, target_joints: torch.Tensor, chunk: int = CHUNK) -> torch.Tensor:
    """W-MPJPE_100 (WHAM family): chunks of 100 frames, each aligned by a similarity fitted to its first TWO frames.

    Drift is fully visible. A short last chunk is kept, as in WHAM and GVHMR (TRAM merges it). (T, 24, 3) m each, world
    -> (T,) mm.
    """
    return _chunked(pred_joints, target_joints, chunk, slice(0, 2 * pred_joints.shape[-2]))


def wa_mpjpe(pred_joints: torch.Tensor, target_joints: torch.Tensor, chunk: int = CHUNK) -> torch.Tensor:
    """WA-MPJPE_100 (WHAM family): chunks of 100 frames, each aligned by a similarity fitted to all its frames.

    PhysHMR reports a different measure under this name (translation by the first root only); do not compare the two.
    (T, 24, 3) m each, world -> (T,) mm.
    """
    return _chunked(pred_joints, target_joints, chunk, slice(None))


def _chunked(pred: torch.Tensor, target: torch.Tensor, chunk: int, fit: slice) -> torch.Tensor:
    parts = []
    for x, y in zip(pred.split(chunk), target.split(chunk), strict=True):
        moved = align(x.flatten(0, 1), y.flatten(0, 1), fit=fit).unflatten(0, x.shape[:2])
        parts.append(_distance(moved, y))
    return torch.cat(parts)


def rte(pred_root: torch.Tensor, target_root: torch.Tensor, shortest_path: float = 0.1) -> torch.Tensor:
    """Root translation error (WHAM family): distance after one rigid alignment of the path, in percent of its length.

    For a body that stays in place the ratio is meaningless, so below `shortest_path` the result is empty (ours; the
    family divides by almost zero).

    Args:
        pred_root, target_root: (T, 3) m, world.
        shortest_path: minimum length of the reference path, m.

    Returns:
        (T,) percent, or (0,).
    """
    length = target_root.diff(dim=0).norm(dim=-1).sum()
    if length < shortest_path:
        return pred_root.new_zeros(0)
    return (align(pred_root, target_root, scale=False) - target_root).norm(dim=-1) / length * 100


# Physical plausibility


def points_at_rest(target_soles: torch.Tensor) -> torch.Tensor:
    """Which foot points move less than 1 cm to the next frame (WHAM family): (T, P, 3) m -> (T - 1, P) bool."""
    return target_soles.diff(dim=0).norm(dim=-1) < AT_REST.speed / CONTROL_FPS


def foot_sliding(pred_soles: torch.Tensor, target_soles: torch.Tensor) -> torch.Tensor:
    """Displacement of predicted foot points while those of the reference are in contact (WHAM family, PhysHMR).

    On sole corners instead of four SMPL vertices. UHC's "skate" is a different measure. (T, P, 3) m each -> (number of
    contacts,) mm/frame, empty if the reference is never in contact.
    """
    return pred_soles.diff(dim=0).norm(dim=-1)[points_at_rest(target_soles)] * MM


def penetration(pred_soles: torch.Tensor) -> torch.Tensor:
    """Depth of the lowest foot point below the floor (ours; UHC averages over all sunk vertices).

    Only the given points count: a knee or a hand below the floor goes unnoticed. (T, P, 3) m -> (T,) mm, 0 above the
    floor.
    """
    return (-_lowest(pred_soles)).clamp(min=0) * MM


def floating(pred_soles: torch.Tensor, target_soles: torch.Tensor) -> torch.Tensor:
    """Height of the lowest foot point in frames where the reference is in contact (ours).

    (T, P, 3) m each -> (frames with contact,) mm, 0 within `DEAD_ZONE`; empty if the reference is never in contact.
    """
    height = _lowest(pred_soles)[:-1][points_at_rest(target_soles).any(-1)]
    return torch.where(height > DEAD_ZONE, height, 0.0) * MM


def height_variance(pred_soles: torch.Tensor, lowest_share: float = 0.25) -> torch.Tensor:
    """PhysHMR's HV: variance of the lowest point's height over the lowest quarter of the frames.

    It measures an unsteady ground height and ignores a constant offset. It needs no reference. Published values use the
    whole mesh, ours the soles. (T, P, 3) m -> (1,) mm^2, empty below four frames.
    """
    height = _lowest(pred_soles).sort().values
    kept = height[: math.floor(len(height) * lowest_share)]
    return kept.var(unbiased=False).reshape(1) * MM**2 if len(kept) else kept


def skating(pred_soles: torch.Tensor, fps: float = 30.0, height: float = 0.05, speed: float = 0.02) -> torch.Tensor:
    """Whether a low foot point moves horizontally (ours; report the thresholds with the result).

    Args:
        pred_soles: (T, P, 3) m.
        height: of points that count, at most, m. speed: horizontal, above which a point skates, m/s.

    Returns:
        (T - 1,) 100 where any low point skates, else 0: the mean is a percentage of frames.
    """
    step = pred_soles[..., :2].diff(dim=0).norm(dim=-1) * fps
    low = torch.minimum(pred_soles[1:, :, 2], pred_soles[:-1, :, 2]) < height
    return ((step > speed) & low).any(-1).to(pred_soles.dtype) * 100


def jitter(pred_joints: torch.Tensor, fps: float = 30.0) -> torch.Tensor:
    """Third difference of the joint positions (WHAM family; EMDB's evaluator masks nine joints and gives less).

    (T, 24, 3) m, world -> (T - 3,) units of 10 m/s^3, empty below four frames.
    """
    return pred_joints.diff(n=3, dim=0).norm(dim=-1).mean(-1) * fps**3 / 10


def limit_excess(dof_pos: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    """Amount by which hinges exceed their limits (ours): (T, 69) and (69, 2) rad -> (T, 69) degrees, 0 inside the range."""
    low, high = limits.to(dof_pos).unbind(-1)
    return torch.rad2deg(torch.maximum(low - dof_pos, dof_pos - high).clamp(min=0))


def _lowest(points: torch.Tensor) -> torch.Tensor:
    return points[..., 2].amin(-1)


# Tracking of a reference (PHC family): 24 simulated bodies, world frame, the first frame not counted


def e_g_mpjpe(pred_joints: torch.Tensor, target_joints: torch.Tensor) -> torch.Tensor:
    """E_g-mpjpe (PHC): distance of the bodies in the world, without alignment; the usual "tracking error".

    (T, 24, 3) m each -> (T - 1,) mm, without frame 0, where both start together.
    """
    return _distance(pred_joints[1:], target_joints[1:])


def e_mpjpe(pred_joints: torch.Tensor, target_joints: torch.Tensor) -> torch.Tensor:
    """E_mpjpe (PHC): relative to body 0. (T, 24, 3) m -> (T - 1,) mm."""
    return _distance(_root_centred(pred_joints[1:]), _root_centred(target_joints[1:]))


def e_acc(pred_joints: torch.Tensor, target_joints: torch.Tensor) -> torch.Tensor:
    """E_acc (PHC): error of second differences in the world, per frame^2. (T, 24, 3) m -> (T - 3,) mm/frame^2."""
    return _distance(pred_joints[1:].diff(n=2, dim=0), target_joints[1:].diff(n=2, dim=0))


def e_vel(pred_joints: torch.Tensor, target_joints: torch.Tensor) -> torch.Tensor:
    """E_vel (PHC): error of first differences in the world, per frame. (T, 24, 3) m -> (T - 2,) mm/frame."""
    return _distance(pred_joints[1:].diff(dim=0), target_joints[1:].diff(dim=0))


def fail_frame(pred_joints: torch.Tensor, target_joints: torch.Tensor, threshold: float = LOST_DISTANCE) -> int | None:
    """First frame at which the body has lost its reference (the evaluation rule of PHC and UHC, `motion.following`).

    Args:
        pred_joints, target_joints: (T, 24, 3) m, world.
        threshold: on the mean distance of 20 bodies, m; a distance that is not finite fails too.

    Returns:
        Frame index, at least 2 (frames 0 and 1 are not judged), or None if tracked to the end.
    """
    lost = is_lost(pred_joints, target_joints, threshold)
    lost[:2] = False
    return int(lost.int().argmax()) if lost.any() else None
