"""OpenCV's lens model on normalised coordinates (x / z, y / z), and its inverse.

k1 k2 k3: radial distortion (barrel, pincushion); p1 p2: tangential distortion (OpenCV, "Camera Calibration and 3D
Reconstruction").
"""

from __future__ import annotations

import torch


def distort(xy: torch.Tensor, lens: torch.Tensor) -> torch.Tensor:
    """Apply lens distortion to normalised coordinates: xy (..., 2), lens (..., 5) -> (..., 2)."""
    x, y = xy.unbind(-1)
    k1, k2, p1, p2, k3 = lens.unbind(-1)
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    return torch.stack(
        [x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y], -1
    )


def undistort(xy: torch.Tensor, lens: torch.Tensor) -> torch.Tensor:
    """Invert `distort` by Newton's method with its 2 x 2 Jacobian; exact where the lens model is one-to-one."""
    if not lens.any():
        return xy
    k1, k2, p1, p2, k3 = lens.unbind(-1)
    found = xy
    for _ in range(8):  # converges quadratically
        x, y = found.unbind(-1)
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        slope = 2 * (k1 + r2 * (2 * k2 + r2 * 3 * k3))
        xx = radial + slope * x * x + 2 * p1 * y + 6 * p2 * x
        yy = radial + slope * y * y + 6 * p1 * y + 2 * p2 * x
        cross = slope * x * y + 2 * p1 * x + 2 * p2 * y  # the Jacobian is symmetric
        ex, ey = (distort(found, lens) - xy).unbind(-1)
        det = xx * yy - cross * cross
        found = found - torch.stack([yy * ex - cross * ey, xx * ey - cross * ex], dim=-1) / det.unsqueeze(-1)
    return found
