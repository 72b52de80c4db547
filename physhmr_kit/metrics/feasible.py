"""Physical feasibility of a motion: zero-moment point outside the support, and distance between the ankles.

No policy can track a frame in which one leg penetrates the other (`motion.overlap`), or hold a pose whose weight lies
outside the soles. Many such frames in a clip suggest a faulty import or skeleton; check this before blaming a policy.
"""

from __future__ import annotations

import numpy as np
import roma
import torch
from scipy.ndimage import gaussian_filter1d

from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.motion.balance import support_margin, zero_moment_point
from physhmr_kit.motion.contact import FOOT
from physhmr_kit.motion.kinematics import linear_velocity
from physhmr_kit.motion.soles import sole_corners
from physhmr_kit.motion.state import BodyState

_SECONDS = 0.08  # standard deviation of the Gaussian that smooths centres of mass before differentiation


def beyond_support(states: BodyState, fps: float = 30.0, humanoid: Humanoid | None = None) -> torch.Tensor:
    """Distance of the zero-moment point from the support polygon: T frames -> (T,) m.

    0 inside the convex hull of the sole corners below 4 cm; NaN where there are fewer than three, as in flight. A flat
    foot tips over its edge as soon as this is positive, but a few centimetres are within the accuracy of the sole model
    and of second derivatives.
    """
    humanoid = humanoid or Humanoid.mean()
    masses = humanoid.segment_masses().double().numpy()
    centres = segment_centres(states, humanoid).numpy()
    centres = gaussian_filter1d(centres, _SECONDS * fps, axis=0, mode="nearest")
    points = zero_moment_point(centres, masses, fps)
    corners = sole_corners(states.body_pos, states.body_rot, humanoid).flatten(1, 2).double().numpy()
    low = corners[..., 2] < FOOT.height
    margins = [support_margin(p[None], c[near, :2])[0] for p, c, near in zip(points, corners, low, strict=True)]
    return -torch.tensor(np.array(margins)).clamp(max=0)


def segment_centres(states: BodyState, humanoid: Humanoid) -> torch.Tensor:
    """Centres of mass of the 24 segments in the world: T frames -> (T, 24, 3) m, float64."""
    offsets = humanoid.segment_centres().to(states.body_pos).expand_as(states.body_pos)
    return (states.body_pos + roma.quat_action(states.body_rot, offsets)).double()


def ankles_apart(body_pos: torch.Tensor, fps: float) -> torch.Tensor:
    """Distance of the ankles along the hip axis while walking: (T, 24, 3) m, z-up -> (T,) m, NaN below 0.3 m/s."""
    hips = body_pos[:, 1, :2] - body_pos[:, 2, :2]
    line = hips / hips.norm(dim=1, keepdim=True).clamp(min=1e-6)
    apart = ((body_pos[:, 7, :2] - body_pos[:, 8, :2]) * line).sum(1)
    speed = linear_velocity(body_pos[:, :1], fps)[:, 0, :2].norm(dim=1)
    return apart.where(speed > 0.3, torch.nan)
