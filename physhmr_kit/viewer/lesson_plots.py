"""Plotting code that would distract in a lesson."""

from __future__ import annotations

import torch
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from physhmr_kit.viewer.bodies import BONES
from physhmr_kit.viewer.palette import CONTACT, DETECTED, SIMULATED, unit
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.keypoints import RAY_JOINTS
from physhmr_kit.vision.rays import lift

_BEYOND = 1.08  # length of a ray, as a multiple of the distance to its joint


def draw_rays(axes, camera: Camera, joints: torch.Tensor, pixels: torch.Tensor, plane: float = 1.0) -> None:
    """Draw a body, its image and the rays between them in 3-D.

    Args:
        axes: matplotlib axes with projection '3d'.
        camera: fixed.
        joints: (24, 3) m, world.
        pixels: (12, 2) of `RAY_JOINTS`, detected or projected.
        plane: depth of the drawn image, m.
    """
    centre = camera.centre
    width, height = camera.image_size

    def at_plane(points: torch.Tensor) -> torch.Tensor:
        return centre + plane * (lift(points, camera) - centre)

    corners = torch.tensor([[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]])
    image = Poly3DCollection([at_plane(corners).numpy()], facecolor=(0.9, 0.9, 0.9, 0.35), edgecolor="0.5")
    axes.add_collection3d(image)
    projected = at_plane(camera.project(joints))
    for body, thickness in ((joints, 2.5), (projected, 1.0)):
        for pair in BONES.tolist():
            axes.plot(*body[pair].T.numpy(), color=unit(SIMULATED), linewidth=thickness)
    through = at_plane(pixels)
    direction = torch.nn.functional.normalize(through - centre, dim=-1)
    reach = ((joints[list(RAY_JOINTS)] - centre) * direction).sum(-1, keepdim=True)
    for end in centre + _BEYOND * reach * direction:
        axes.plot(*torch.stack([centre, end]).T.numpy(), color=unit(DETECTED), linewidth=0.9)
    axes.scatter(*through.T.numpy(), color=unit(DETECTED), s=9)
    axes.scatter(*centre.numpy(), color=unit(CONTACT), s=30)
    axes.text(*(centre + torch.tensor([0.0, 0.0, 0.12])).tolist(), "camera", fontsize=9, ha="center")
