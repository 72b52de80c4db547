"""Refinement of the encoder's estimate over time: one optimisation over all frames of a video, before physics.

The encoder predicts each frame separately; nothing makes its body match the keypoints, keep its feet in place during
contact, or move smoothly. The refinement does all of this at once. It starts from the encoder's pose on a path fitted
to the rays (`path.solve_path`) and minimises a sum of terms, each a pure function below, over the hinge angles, root
orientation and root position of every frame. This follows SMPLify (Bogo et al. 2016) with temporal terms as in SLAHMR
(Ye et al. 2023); closeness to the encoder replaces a learnt motion prior.

Terms take points of the body (`body_points`), (3, P, N) metres in the world, and return a sum over frames. Each term is
weighted by the inverse square of a standard deviation, so an error of one standard deviation costs 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

import torch
import torch.nn.functional as F

from physhmr_kit.body.hinges import dof_to_rotation, rotation_to_dof
from physhmr_kit.motion.clip import CONTROL_FPS, Clip
from physhmr_kit.vision.body_points import JOINTS, KEYPOINTS, SOLES, Coordinates, pose_points, pull_back, turned
from physhmr_kit.vision.keypoints import COCO_NAMES, RAY_COCO
from physhmr_kit.vision.path import PathProblem, PathSpread, guessed_path, solve_path
from physhmr_kit.vision.presence import UNSEEN, visibility
from physhmr_kit.vision.rays import lift, ray_confidence, ray_direction
from physhmr_kit.vision.track import VisualTrack

_FRAMES_AT_ONCE = 4000  # optimised together; more do not fit into the cache
_MEDIAN_DISTANCE = 1.54  # median norm of a 3-D normal vector, in standard deviations of a coordinate
_MIN_UNCERTAINTY = 0.01  # m
_BRIDGE_FRAMES = 1.5  # standard deviation of the average over time that replaces poses in poorly visible frames
_RATES = 0.0225, 0.03, 0.03  # m, rad, rad: initial step sizes of root position, root rotation, hinges
_CALM = 1000.0, 1000.0, 100.0  # gradients below these take smaller steps, so that a correct pose stays unchanged
_MOMENTUM, _MEMORY = 0.9, 0.98  # beta1 and beta2 of Adam; a short run needs a short memory
_SHARED_FRAMES = 8.0  # standard deviation over which frames share their second moment


@dataclass(frozen=True)
class Refinement:
    """Terms and optimiser of the refinement. The terms are given as standard deviations; infinity disables a term."""

    rounds: int = 5
    """Rounds of refining the pose and then solving for the path; 0 keeps the encoder's pose."""
    steps: int = 25
    """Adam steps per round."""
    coarse_frames: float = 6.0
    """Frames, standard deviation of the smoothing of gradients over time; decreases to 0 within a round."""
    keypoint: float = 0.007
    """m, distance of a keypoint from its ray, at the person's distance."""
    keypoint_outlier: float = 0.10
    """m, above which a keypoint is an outlier; four times as much at first, so that distant limbs are attracted too."""
    encoder: float = 1.0
    """Error of a joint relative to the pelvis, as a multiple of the uncertainty that the encoder predicts."""
    hinge: float = 0.3
    """rad, deviation of a hinge from the encoder's; determines what no point shows, such as the twist of a hand."""
    acceleration: float = 15.0
    """m/s^2, of a joint."""
    foot_slip: float = 0.01
    """m/frame, velocity of a sole in contact."""
    foot_height: float = 0.05
    """m, height of a sole in contact."""
    floor: float = 0.01
    """m, depth of a sole below the floor."""
    path_spread: PathSpread = field(default_factory=PathSpread)
    """Standard deviations used in solving for the path."""


def refined_clip(track: VisualTrack, settings: Refinement | None = None) -> Clip:
    """The refined motion of one track (`refined_clips`).

    It is the result of `reconstruct --method kinematic` and the reference of a tracking policy or an 'estimate' student.
    """
    return refined_clips([track], settings)[0]


@torch.no_grad()
def refined_clips(tracks: Sequence[VisualTrack], settings: Refinement | None = None) -> list[Clip]:
    """The refined motions of several tracks, which is faster than one at a time.

    Args:
        tracks: of calibrated cameras, at 30 fps. Each is in a world divided by its person's size (`VisualTrack.scale`).
        settings: terms and steps.

    Returns:
        A clip of the mean shape per track, in the track's world, with its name, rate and length.
    """
    settings = settings or Refinement()
    groups: list[list[VisualTrack]] = []
    for track in tracks:
        if not groups or sum(map(len, groups[-1])) + len(track) > _FRAMES_AT_ONCE:
            groups.append([])
        groups[-1].append(track)
    return [clip for group in groups for clip in _refine(group, settings)]


# Terms. Points (3, P, N) m, world.


def keypoint_term(points, centre, direction, depth, weight, outlier: float) -> torch.Tensor:
    """Squared distance of keypoints from their rays, in metres at the person's distance, robust (Geman-McClure).

    Args:
        points: (3, 17, N) m. centre: (3, N) m. direction: (3, 17, N) unit. depth: (N,) m, distance of the person.
        weight: (17, N), confidence times the inverse variance. outlier: m.
    """
    r = points - centre.unsqueeze(1)
    along = (r * direction).sum(0)
    across = (r.square().sum(0) - along.square()).clamp(min=0)
    error = across / along.clamp(min=0.1).square() * depth.square()
    return (weight * error / (1 + error / outlier**2)).sum()


def encoder_term(joints, expected, weight) -> torch.Tensor:
    """Squared distance of joints from the encoder's, relative to the pelvis: (3, 24, N) m each, weight (24, N)."""
    return (weight * (joints - joints[:, :1] - expected).square().sum(0)).sum()


def hinge_term(dof, expected, weight) -> torch.Tensor:
    """Squared deviation of hinges from the encoder's: (69, N) rad each, weight (N,)."""
    return (weight * (dof - expected).square()).sum()


def acceleration_term(joints, linked) -> torch.Tensor:
    """Squared second differences of joints (3, 24, N) m within tracks -> m^2/frame^4. linked: (N - 1,) bool."""
    bend = joints[..., 2:] - 2 * joints[..., 1:-1] + joints[..., :-2]
    return (bend.square() * (linked[1:] & linked[:-1])).sum()


def slip_term(soles, contact, linked, outlier: float = 0.05) -> torch.Tensor:
    """Squared velocity of soles in contact, robust: soles (3, 4, 4, N) m (box, corner), contact (4, N) -> m^2/frame^2."""
    step = soles.mean(2).diff(dim=-1).square().sum(0)
    return (contact[:, 1:] * contact[:, :-1] * linked * step / (1 + step / outlier**2)).sum()


def height_term(soles, contact, outlier: float = 0.15) -> torch.Tensor:
    """Squared height of the lowest corner of soles in contact, robust: (3, 4, 4, N) m, (4, N) -> m^2."""
    height = soles[2].amin(1).square()
    return (contact * height / (1 + height / outlier**2)).sum()


def floor_term(soles) -> torch.Tensor:
    """Squared depth of sole corners below the floor: (3, 4, 4, N) m -> m^2."""
    return soles[2].clamp(max=0).square().sum()


# Optimisation


@dataclass(frozen=True, eq=False)
class _Evidence:
    """The observations that the terms compare with; N frames, last axis, of one or several concatenated tracks."""

    centre: torch.Tensor
    point: torch.Tensor
    direction: torch.Tensor
    confidence: torch.Tensor
    contact: torch.Tensor
    seen: torch.Tensor
    linked: torch.Tensor
    dof: torch.Tensor
    joints: torch.Tensor
    joint_precision: torch.Tensor


def _refine(tracks: list[VisualTrack], settings: Refinement) -> list[Clip]:
    at, evidence = _start(tracks)
    root = at.root_pos
    for round_ in range(settings.rounds + 1):
        if round_ > 0:
            at = _adam(at, root, evidence, settings)
        problem = _path_problem(at, evidence)
        root = guessed_path(problem) if round_ == 0 else at.root_pos.T
        root = solve_path(problem, root, settings.path_spread).T.contiguous()
        at = at._replace(root_pos=root)
    rot = torch.cat([at.root_rot.T.unsqueeze(1), dof_to_rotation(at.dof.T)], dim=1)
    lengths = [len(t) for t in tracks]
    parts = zip(at.root_pos.T.split(lengths), rot.split(lengths), tracks, strict=True)
    return [Clip.from_joints(root_pos, joint_rot, t.fps, t.name) for root_pos, joint_rot, t in parts]


def _start(tracks: list[VisualTrack]) -> tuple[Coordinates, _Evidence]:
    """The encoder's pose with the pelvis at the origin, bridged where the person is not visible, and the evidence."""

    def join(value: Callable[[VisualTrack], torch.Tensor]) -> torch.Tensor:
        return torch.cat([value(t) for t in tracks]).movedim(0, -1).contiguous()

    linked = torch.ones(sum(map(len, tracks)) - 1, dtype=torch.bool)
    linked[torch.tensor([len(t) for t in tracks]).cumsum(0)[:-1] - 1] = False
    pose = torch.cat([bridged(t.joint_rot, visibility(t.keypoints)) for t in tracks])
    dof = rotation_to_dof(pose[:, 1:]).T.contiguous()
    at = Coordinates(torch.zeros(3, len(pose)), pose[:, 0].T.contiguous(), dof)
    rays = [(lift(t.keypoints[..., :2], t.camera), t.centre, t.keypoints[..., 2]) for t in tracks]
    point, centre, confidence = (torch.cat(x) for x in zip(*rays, strict=True))
    evidence = _Evidence(
        centre=centre.T.contiguous(),
        point=point.permute(2, 1, 0).contiguous(),
        direction=ray_direction(point, centre).permute(2, 1, 0).contiguous(),
        confidence=ray_confidence(point, centre, confidence).T.contiguous(),
        contact=join(lambda t: (2 * t.contact - 1).clamp(min=0)),  # a foot as likely in the air does not count
        seen=join(lambda t: visibility(t.keypoints)),
        linked=linked,
        dof=dof,
        joints=pose_points(at).points[:, JOINTS].contiguous(),
        joint_precision=join(lambda t: (_MEDIAN_DISTANCE / t.uncertainty.clamp(min=_MIN_UNCERTAINTY)).square()),
    )
    return at, evidence


def _path_problem(at: Coordinates, e: _Evidence) -> PathProblem:
    """The least-squares problem of the path for the given poses; `at.root_pos` has no effect."""
    local = pose_points(at._replace(root_pos=torch.zeros_like(at.root_pos))).points
    soles = local[:, SOLES].unflatten(1, (4, 4))
    soles = torch.cat([soles[:2].mean(2), soles[2:].amin(2)])  # middle of the box at the height of its lowest corner
    return PathProblem(
        joints=local[:, KEYPOINTS][:, RAY_COCO].permute(2, 1, 0),
        centre=e.centre.T,
        ray_point=e.point[:, RAY_COCO].permute(2, 1, 0),
        confidence=e.confidence[list(RAY_COCO)].T,
        soles=soles.permute(2, 1, 0),
        contact=e.contact.T,
        linked=e.linked,
    )


def bridged(joint_rot: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Rotations averaged over time, weighted by the visibility of the person.

    Frames with low visibility take the pose of their neighbours instead of the encoder's guess (normalised convolution
    with a Gaussian, Knutsson and Westin 1993).

    Args:
        joint_rot: (T, J, 4) xyzw. seen: (T,) visibility, 0..1.

    Returns:
        (T, J, 4) unit quaternions.
    """
    sign = torch.ones_like(joint_rot[..., :1])
    trusted = joint_rot[seen > UNSEEN]
    turn = (trusted[1:] * trusted[:-1]).sum(-1, keepdim=True) < 0  # same rotation, opposite sign
    sign[seen > UNSEEN] = torch.cat([sign[: len(trusted[:1])], torch.where(turn, -1.0, 1.0).cumprod(0)])
    kernel = _gaussian(_BRIDGE_FRAMES, 4 * math.ceil(_BRIDGE_FRAMES))
    weight = seen.square() + 1e-4
    signal = (joint_rot * sign * weight[:, None, None]).flatten(1).T.unsqueeze(1)  # (4 J, 1, T)
    mean = F.conv1d(signal, kernel, padding="same").squeeze(1).T.unflatten(1, joint_rot.shape[1:])
    return F.normalize(mean, dim=-1)


@cache
def _keypoint_precision() -> torch.Tensor:
    """(17, 1) precision of the keypoints relative to a shoulder; detectors mark hips badly, and our face points are approximate."""
    share = {"hip": 0.4, "nose": 0.15, "eye": 0.15, "ear": 0.15}
    return torch.tensor([share.get(n.split("_")[-1], 1.0) for n in COCO_NAMES]).unsqueeze(1)


def _objective(
    at: Coordinates, points: torch.Tensor, root: torch.Tensor, e: _Evidence, s: Refinement, outlier: float
) -> torch.Tensor:
    """Sum of all terms; differentiable with respect to the points and the hinges."""
    joints, soles = points[:, JOINTS], points[:, SOLES].unflatten(1, (4, 4))
    trust = e.joint_precision * (0.1 + e.seen) / s.encoder**2
    weight = e.confidence * _keypoint_precision() / s.keypoint**2
    return (
        keypoint_term(points[:, KEYPOINTS], e.centre, e.direction, (root - e.centre).norm(dim=0), weight, outlier)
        + encoder_term(joints, e.joints, trust)
        + hinge_term(at.dof, e.dof, (0.1 + e.seen) / s.hinge**2)
        + acceleration_term(joints, e.linked) * (CONTROL_FPS**2 / s.acceleration) ** 2
        + slip_term(soles, e.contact, e.linked) / s.foot_slip**2
        + height_term(soles, e.contact) / s.foot_height**2
        + floor_term(soles) / s.floor**2
    )


def _adam(at: Coordinates, root: torch.Tensor, evidence: _Evidence, settings: Refinement) -> Coordinates:
    """Adam (Kingma and Ba 2015) on the coordinates, with root rotation updates in the local frame and cosine step size.

    Two changes for motion: the gradient is averaged over time, widely at first, because steps that differ between
    frames are accelerations and would be undone; and neighbouring frames share the second moment, so that frames which
    need no change stay unchanged.
    """
    first = [torch.zeros_like(g) for g in (at.root_pos, at.root_pos, at.dof)]
    second = [torch.zeros_like(m) for m in first]
    for step in range(settings.steps):
        done = step / settings.steps
        outlier = settings.keypoint_outlier * max(1.0, 4 * (1 - 2 * done))
        gradient = _gradient(at, root, evidence, settings, outlier)
        scale = 0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2
        moves = []
        for g, m, v, rate, calm in zip(gradient, first, second, _RATES, _CALM, strict=True):
            g = smooth_in_time(g, settings.coarse_frames * (1 - done))
            m.lerp_(g, 1 - _MOMENTUM)
            v.lerp_(smooth_in_time(g.square(), _SHARED_FRAMES), 1 - _MEMORY)
            mean, spread = m / (1 - _MOMENTUM ** (step + 1)), v / (1 - _MEMORY ** (step + 1))
            moves.append(-rate * scale * mean / (spread.sqrt() + calm))
        at = Coordinates(at.root_pos + moves[0], turned(at.root_rot, moves[1]), at.dof + moves[2])
    return at


def smooth_in_time(x: torch.Tensor, frames: float) -> torch.Tensor:
    """(K, N) averaged over frames with a Gaussian of this standard deviation; unchanged below 0.3 frames."""
    if frames < 0.3:
        return x
    kernel = _gaussian(frames, math.ceil(3 * frames))
    share = F.conv1d(torch.ones(1, 1, x.shape[-1]), kernel, padding="same")  # below the full sum at the ends
    return (F.conv1d(x.unsqueeze(1), kernel, padding="same") / share).squeeze(1)


def _gaussian(frames: float, reach: int) -> torch.Tensor:
    """(1, 1, 2 reach + 1) kernel with this standard deviation, 1 in the middle."""
    return torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / frames).square()).view(1, 1, -1)


def _gradient(
    at: Coordinates, root: torch.Tensor, evidence: _Evidence, settings: Refinement, outlier: float
) -> Coordinates:
    posed = pose_points(at)
    points, dof = posed.points.requires_grad_(), at.dof.detach().requires_grad_()
    with torch.enable_grad():
        loss = _objective(at._replace(dof=dof), points, root, evidence, settings, outlier)
        force, direct = torch.autograd.grad(loss, (points, dof))
    pulled = pull_back(posed._replace(points=points.detach()), force)
    return pulled._replace(dof=pulled.dof + direct)
