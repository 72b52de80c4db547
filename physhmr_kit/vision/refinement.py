"""The encoder's estimate refined over time: all frames of a video in one optimisation, between the network and physics.

The encoder sees a window and answers frame by frame; nothing makes its body meet the keypoints, keep its feet where they
stand, or move as a body with mass does. The refinement asks for all of that at once. It starts from the encoder's pose on a
path through its rays (`path.solve_path`) and minimises a sum of terms, each a pure function below, over hinge angles,
root orientation and root position of every frame. In the manner of SMPLify (Bogo et al. 2016) with terms over time as in
SLAHMR (Ye et al. 2023), without a learnt motion prior: closeness to the encoder takes its part.

Terms read points of the body (`body_points`), frame last: (3, P, N) metres in the world. Each returns a sum over frames.
Spreads are standard deviations, so that a term of value 1 is one deviation's worth of error, squared.
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

_FRAMES_AT_ONCE = 4000  # of several tracks; more do not fit into the cache
_MEDIAN_DISTANCE = 1.54  # of a normal point in space from its mean, in standard deviations of a coordinate
_SUREST = 0.01  # m; no joint is stated more surely
_BRIDGE_FRAMES = 1.5  # standard deviation of the average that fills in frames in which the encoder saw little
_RATES = 0.0225, 0.03, 0.03  # m, rad, rad: first steps of root, root's turn, hinges
_CALM = 1000.0, 1000.0, 100.0  # gradients under these make smaller steps: what is right stays as it is
_MOMENTUM, _MEMORY = 0.9, 0.98  # of Adam; a short run needs a short memory
_SHARED_FRAMES = 8.0  # standard deviation over which frames share their second moment


@dataclass(frozen=True)
class Refinement:
    """What the refined motion is asked for, and how it is searched. A spread of infinity leaves its term out."""

    rounds: int = 5
    """Times that the pose is refined and the path then solved anew for it; 0 leaves the encoder's pose on its path."""
    steps: int = 25
    """Steps of Adam in a round."""
    coarse_frames: float = 6.0
    """Standard deviation over which the first steps of a round are averaged in time, so that long stretches turn together;
    falls to nothing by the end."""
    keypoint: float = 0.007
    """m, of a keypoint from the ray through it, at the person's distance."""
    keypoint_outlier: float = 0.10
    """m, from which on a keypoint is an outlier; four times as much at first, so that limbs far away are pulled too."""
    encoder: float = 1.0
    """Multiples of what the encoder states, of a joint from where it has it, relative to the pelvis."""
    hinge: float = 0.3
    """rad, of a hinge from the encoder's; it holds what no point shows, such as the twist of a hand."""
    acceleration: float = 15.0
    """m/s^2, of a joint."""
    foot_slip: float = 0.01
    """m/frame, of a sole in contact."""
    foot_height: float = 0.05
    """m, of a sole in contact from the floor."""
    floor: float = 0.01
    """m, of a sole below the floor."""
    path_spread: PathSpread = field(default_factory=PathSpread)
    """The same beliefs while the path is solved."""


def refined_clip(track: VisualTrack, settings: Refinement | None = None) -> Clip:
    """The motion of one track, refined (`refined_clips`): what `reconstruct --method kinematic` returns, and what a tracking
    policy or a student of kind 'estimate' follows."""
    return refined_clips([track], settings)[0]


@torch.no_grad()
def refined_clips(tracks: Sequence[VisualTrack], settings: Refinement | None = None) -> list[Clip]:
    """The motions of tracks, refined: many at once cost less than one after another.

    Args:
        tracks: of calibrated cameras, at 30 fps. Each is in a world divided by its person's size (`VisualTrack.scale`).
        settings: terms and steps.

    Returns:
        a clip of the mean shape for each track, in the track's world, with its name, rate and length.
    """
    settings = settings or Refinement()
    groups: list[list[VisualTrack]] = [[]]
    for track in tracks:
        if groups[-1] and sum(map(len, groups[-1])) + len(track) > _FRAMES_AT_ONCE:
            groups.append([])
        groups[-1].append(track)
    return [clip for group in groups if group for clip in _refine(group, settings)]


# Terms. Points (3, P, N) m, world, frame last in memory.


def keypoint_term(points, centre, direction, depth, weight, outlier: float) -> torch.Tensor:
    """Keypoints off their rays, in metres at the person's distance; large errors level off (Geman and McClure 1987).

    Args:
        points: (3, 17, N). centre: (3, N) m. direction: (3, 17, N) unit. depth: (N,) m, distance of the person.
        weight: (17, N), confidence times the inverse variance. outlier: m.
    """
    r = points - centre.unsqueeze(1)
    along = (r * direction).sum(0)
    across = (r.square().sum(0) - along.square()).clamp(min=0)
    error = across / along.clamp(min=0.1).square() * depth.square()
    return (weight * error / (1 + error / outlier**2)).sum()


def encoder_term(joints, expected, weight) -> torch.Tensor:
    """Joints off the encoder's, both relative to the pelvis: joints (3, 24, N) m, expected the same, weight (24, N)."""
    return (weight * (joints - joints[:, :1] - expected).square().sum(0)).sum()


def hinge_term(dof, expected, weight) -> torch.Tensor:
    """Hinges off the encoder's: (69, N) rad each, weight (N,)."""
    return (weight * (dof - expected).square()).sum()


def acceleration_term(joints, linked) -> torch.Tensor:
    """Squared second differences of joints (3, 24, N) m over frames of one track: m^2/frame^4. linked: (N - 1,) bool."""
    bend = joints[..., 2:] - 2 * joints[..., 1:-1] + joints[..., :-2]
    return (bend.square() * (linked[1:] & linked[:-1])).sum()


def slip_term(soles, contact, linked, outlier: float = 0.05) -> torch.Tensor:
    """Motion of standing soles: soles (3, 4, 4, N) m (box, corner), contact (4, N) in 0..1 -> m^2/frame^2, robust."""
    step = soles.mean(2).diff(dim=-1).square().sum(0)
    return (contact[:, 1:] * contact[:, :-1] * linked * step / (1 + step / outlier**2)).sum()


def height_term(soles, contact, outlier: float = 0.15) -> torch.Tensor:
    """Height of the lowest corner of standing soles over the floor: (3, 4, 4, N) m, (4, N) -> m^2, robust."""
    height = soles[2].amin(1).square()
    return (contact * height / (1 + height / outlier**2)).sum()


def floor_term(soles) -> torch.Tensor:
    """Squared depth of sole corners below the floor: (3, 4, 4, N) m -> m^2."""
    return soles[2].clamp(max=0).square().sum()


# The search


@dataclass(frozen=True, eq=False)
class _Evidence:
    """What the terms compare with; N frames last, of one or several tracks behind one another."""

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
    parts = zip(tracks, at.root_pos.T.split(lengths), rot.split(lengths), strict=True)
    return [Clip.from_joints(p, r, t.fps, t.name) for t, p, r in parts]


def _start(tracks: list[VisualTrack]) -> tuple[Coordinates, _Evidence]:
    """The encoder's pose with the pelvis at the origin, bridged where nothing was seen, and the evidence."""

    def join(value: Callable[[VisualTrack], torch.Tensor]) -> torch.Tensor:
        return torch.cat([value(t) for t in tracks]).movedim(0, -1).contiguous()

    linked = torch.ones(sum(map(len, tracks)) - 1, dtype=torch.bool)
    linked[torch.tensor([len(t) for t in tracks]).cumsum(0)[:-1] - 1] = False
    pose = torch.cat([bridged(t.joint_rot, _seen(t)) for t in tracks])
    dof = rotation_to_dof(pose[:, 1:]).T.contiguous()
    at = Coordinates(torch.zeros(3, len(pose)), pose[:, 0].T.contiguous(), dof)
    rays = [(lift(t.keypoints[..., :2], t.camera), t.centre, t.keypoints[..., 2]) for t in tracks]
    point, centre, confidence = (torch.cat(x) for x in zip(*rays, strict=True))
    sure = ray_confidence(point, centre, confidence).T.contiguous()
    evidence = _Evidence(
        centre=centre.T.contiguous(),
        point=point.permute(2, 1, 0).contiguous(),
        direction=ray_direction(point, centre).permute(2, 1, 0).contiguous(),
        confidence=sure,
        contact=join(lambda t: (2 * t.contact - 1).clamp(min=0)),  # a foot that may be in the air does not count
        seen=join(_seen),
        linked=linked,
        dof=dof,
        joints=pose_points(at).points[:, JOINTS].contiguous(),
        joint_precision=join(lambda t: (_MEDIAN_DISTANCE / t.uncertainty.clamp(min=_SUREST)).square()),
    )
    return at, evidence


def _seen(track: VisualTrack) -> torch.Tensor:
    return visibility(track.keypoints)


def _path_problem(at: Coordinates, e: _Evidence) -> PathProblem:
    """What `path` needs to know about bodies in these poses, wherever they are."""
    local = pose_points(at._replace(root_pos=torch.zeros_like(at.root_pos))).points
    soles = local[:, SOLES].unflatten(1, (4, 4))
    touch = torch.cat([soles[:2].mean(2), soles[2:].amin(2)])  # the box's middle, as high as its lowest corner
    rays = list(RAY_COCO)
    joints, points, soles = (x.permute(2, 1, 0) for x in (local[:, KEYPOINTS][:, rays], e.point[:, rays], touch))
    known = (e.centre.T, points, e.confidence[rays].T, soles, e.contact.T, e.linked)
    return PathProblem(joints, *known)


def bridged(joint_rot: torch.Tensor, seen: torch.Tensor, frames: float = _BRIDGE_FRAMES) -> torch.Tensor:
    """Rotations averaged over neighbours in time, each frame by how much of the person it shows.

    A frame in which little is seen takes the pose of those around it, and no guess of the encoder's remains
    (normalised convolution, Knutsson and Westin 1993, with a Gaussian).

    Args:
        joint_rot: (T, J, 4) xyzw. seen: (T,) in 0..1. frames: standard deviation of the Gaussian.

    Returns:
        (T, J, 4) unit quaternions.
    """
    sign = torch.ones_like(joint_rot[..., :1])
    trusted = joint_rot[seen > UNSEEN]
    turn = (trusted[1:] * trusted[:-1]).sum(-1, keepdim=True) < 0  # the same rotation, written with the other sign
    sign[seen > UNSEEN] = torch.cat([sign[: len(trusted[:1])], torch.where(turn, -1.0, 1.0).cumprod(0)])
    apart = torch.arange(-4 * math.ceil(frames), 4 * math.ceil(frames) + 1)
    kernel = torch.exp(-0.5 * (apart / frames).square()).to(joint_rot)
    weight = seen.square() + 1e-4
    signal = (joint_rot * sign * weight[:, None, None]).flatten(1).T.unsqueeze(1)  # (4 J, 1, T)
    mean = F.conv1d(signal, kernel.view(1, 1, -1), padding="same").squeeze(1).T.unflatten(1, joint_rot.shape[1:])
    return F.normalize(mean, dim=-1)


@cache
def _keypoint_precision() -> torch.Tensor:
    """(17, 1) how well a detector marks each keypoint, relative to a shoulder: hips badly, and our points of the face are approximate."""
    share = {"hip": 0.4, "nose": 0.15, "eye": 0.15, "ear": 0.15}
    return torch.tensor([share.get(n.split("_")[-1], 1.0) for n in COCO_NAMES]).unsqueeze(1)


def _objective(
    at: Coordinates, points: torch.Tensor, root: torch.Tensor, e: _Evidence, s: Refinement, outlier: float
) -> torch.Tensor:
    """The sum of all terms; differentiable in the points and the hinges."""
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
    """Adam (Kingma and Ba 2015) on the coordinates, the root's rotation in its own frame; the step length falls as a cosine.

    Two changes for motions: the gradient is averaged over time, widely at first, for a step that differs from frame to frame
    is an acceleration and would be taken back; and neighbouring frames share the second moment, so that frames
    which need no change get none.
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
            g = spread_in_time(g, settings.coarse_frames * (1 - done))
            m.lerp_(g, 1 - _MOMENTUM)
            v.lerp_(spread_in_time(g.square(), _SHARED_FRAMES), 1 - _MEMORY)
            mean, spread = m / (1 - _MOMENTUM ** (step + 1)), v / (1 - _MEMORY ** (step + 1))
            moves.append(-rate * scale * mean / (spread.sqrt() + calm))
        at = Coordinates(at.root_pos + moves[0], turned(at.root_rot, moves[1]), at.dof + moves[2])
    return at


def spread_in_time(x: torch.Tensor, frames: float) -> torch.Tensor:
    """(K, N) averaged along the frames with a Gaussian of this standard deviation; as it is under a third of a frame."""
    if frames < 0.3:
        return x
    reach = math.ceil(3 * frames)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / frames).square()).view(1, 1, -1)
    share = F.conv1d(torch.ones(1, 1, x.shape[-1]), kernel, padding="same")  # less at the ends
    return (F.conv1d(x.unsqueeze(1), kernel, padding="same") / share).squeeze(1)


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
