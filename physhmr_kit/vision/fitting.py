"""A body fitted to the keypoints of a calibrated camera: a reference for the encoder where there is no ground truth.

All frames at once: hinge angles and the pelvis are optimised until the projected joints meet the keypoints, with given bone
lengths, anatomical limits, a floor, and a penalty on accelerations (in the manner of SMPLify, Bogo et al. 2016, with a
temporal term). With one camera the depth of every limb is ambiguous, so this is a better measurement than the encoder's, not
ground truth.
"""

from __future__ import annotations

from dataclasses import dataclass

import roma
import torch

from physhmr_kit.body.hinges import dof_limits, dof_to_rotation, rotation_to_dof
from physhmr_kit.body.skeleton import NUM_DOFS, mean_offsets
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.motion.soles import sole_height
from physhmr_kit.vision.keypoints import coco_from_bodies, person_size
from physhmr_kit.vision.placement import place
from physhmr_kit.vision.track import VisualTrack

_OUTLIER = 10.0  # hundredths of the box; a keypoint further away is an outlier


@dataclass(frozen=True)
class FitWeights:
    """Weight of each term; the data term is a mean over confident keypoints, in hundredths of the person's box."""

    smooth: float = 0.02  # mean squared acceleration of joints, (m/s^2)^2
    limits: float = 10.0  # mean squared excess over the hinge limits, rad^2
    rest: float = 0.02  # mean squared hinge angle, rad^2: limbs without keypoints stay straight
    floor: float = 1000.0  # mean squared depth of soles below the floor, m^2


def fit_body(
    track: VisualTrack,
    steps: int = 600,
    weights: FitWeights | None = None,
    from_rest: bool = False,
    offsets: torch.Tensor | None = None,
) -> Clip:
    """Fit a body of given bone lengths to a track's keypoints.

    Args:
        track: of a calibrated camera; its pose (the encoder's) is where the search starts.
        steps: of Adam.
        from_rest: start from straight limbs, with only the root orientation of the encoder: the difference of the
            results shows how much the initialisation matters.
        offsets: (24, 3) m, joints relative to their parents; the mean shape's when omitted (the track's world is already
            divided by the person's size).

    Returns:
        the motion, at the track's rate.
    """
    weights = weights or FitWeights()
    offsets = mean_offsets() if offsets is None else offsets
    dof = torch.zeros(len(track), NUM_DOFS) if from_rest else rotation_to_dof(track.joint_rot[:, 1:])
    dof = dof.clone().requires_grad_(True)
    root = place(track).clone().requires_grad_(True)
    turn = torch.zeros(len(track), 3, requires_grad=True)
    optimizer = torch.optim.Adam([{"params": [dof, turn], "lr": 0.02}, {"params": [root], "lr": 0.01}])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=2e-4)
    with torch.enable_grad():
        for step in range(steps):
            rot = _pose(track, dof, turn)
            outlier = max(_OUTLIER, 4 * _OUTLIER * (1 - 2 * step / steps))  # at first limbs far away are pulled too
            loss = _objective(track, root, rot, dof, offsets, weights, outlier)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        return Clip.from_joints(root.detach(), _pose(track, dof, turn), track.fps, f"{track.name} (fit)")


def _pose(track: VisualTrack, dof: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Joint rotations (T, 24, 4) from hinge angles (T, 69) and a turn of the root (T, 3) in its own frame."""
    root = roma.quat_product(track.joint_rot[:, 0], roma.rotvec_to_unitquat(turn))
    return torch.cat([root.unsqueeze(1), dof_to_rotation(dof)], dim=1)


def _objective(track, root, rot, dof, offsets, weights: FitWeights, outlier: float) -> torch.Tensor:
    body_pos, body_rot = forward_kinematics(root, rot, offsets)
    pixels = track.camera.project(coco_from_bodies(body_pos, body_rot))
    detected, confidence = track.keypoints[..., :2], track.keypoints[..., 2]
    error = 100 * (pixels - detected).norm(dim=-1) / person_size(track.keypoints)
    robust = error.square() / (1 + (error / outlier).square())  # Geman-McClure
    data = (confidence * robust).sum() / confidence.sum().clamp(min=1e-6)
    acceleration = (body_pos[2:] - 2 * body_pos[1:-1] + body_pos[:-2]).mul(track.fps**2).square().sum(-1).mean()
    low, high = dof_limits().unbind(-1)
    excess = (low - dof).clamp(min=0) + (dof - high).clamp(min=0)
    depth = sole_height(body_pos, body_rot).clamp(max=0).square().mean()
    return (
        data
        + weights.smooth * acceleration
        + weights.limits * excess.square().mean()
        + weights.rest * dof.square().mean()
        + weights.floor * depth
    )
