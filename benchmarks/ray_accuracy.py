"""Numerical accuracy of rays and lens distortion.

    python benchmarks/ray_accuracy.py [CAMERA.json ...]

Films the demo motions with pairs of random cameras without noise, and prints the distance between the two rays of a joint and
the distance of their midpoint from the joint. Then undistorts and distorts pixels all over the image, for random lenses and for
each given calibration.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch

from data_prep.sources import load_clips
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.vision.camera import Camera, sample_cameras
from physhmr_kit.vision.keypoints import RAY_COCO, coco_from_bodies
from physhmr_kit.vision.lens import distort
from physhmr_kit.vision.rays import lift, ray_direction


def meeting(a: tuple, b: tuple) -> tuple[torch.Tensor, torch.Tensor]:
    """Distance between two sets of rays (centre (3,), direction (..., 3)) and their midpoints: (...,), (..., 3) m."""
    (ca, da), (cb, db) = ((c.double(), d.double()) for c, d in (a, b))
    between = ca - cb
    cos = (da * db).sum(-1)
    p, q = (da * between).sum(-1), (db * between).sum(-1)
    det = 1 - cos.square()
    near_a = ca + ((cos * q - p) / det).unsqueeze(-1) * da
    near_b = cb + ((q - cos * p) / det).unsqueeze(-1) * db
    return (near_a - near_b).norm(dim=-1), (near_a + near_b) / 2


def views(pairs: int = 10) -> tuple[float, float]:
    """Largest distance between two rays of a joint, and of their midpoint from the joint, mm, over demo motions and cameras."""
    library = MotionLibrary(load_clips(["demo"]))
    generator = torch.Generator().manual_seed(0)
    apart, off = 0.0, 0.0
    for clip in range(library.num_clips):
        state = library.clip(clip)
        points = coco_from_bodies(state.body_pos, state.body_rot)[:, RAY_COCO]
        for _ in range(pairs):
            rays = []
            for camera in (sample_cameras(state.body_pos, generator) for _ in range(2)):
                camera = replace(camera, distortion=torch.tensor([-0.05, 0.1, 0.0006, 0.0007, 0.0]))
                point = lift(camera.project(points), camera)
                rays.append((camera.centre, ray_direction(point, camera.centre.expand(len(point), 3))))
            slanted = (rays[0][1] * rays[1][1]).sum(
                -1
            ).abs() < 0.98  # the midpoint of nearly parallel rays is ill-conditioned
            gap, where = meeting(*rays)
            if slanted.any():
                apart = max(apart, 1000 * float(gap[slanted].max()))
                off = max(off, 1000 * float((where - points).norm(dim=-1)[slanted].max()))
    return apart, off


def round_trip(camera: Camera) -> float:
    """Largest error in pixels after undistorting and distorting pixels all over the image."""
    width, height = camera.image_size
    u, v = torch.meshgrid(torch.linspace(0, width - 1, 60), torch.linspace(0, height - 1, 60), indexing="ij")
    pixels = torch.stack([u, v], dim=-1).reshape(-1, 2)
    focal = torch.stack([camera.K[0, 0], camera.K[1, 1]])
    again = distort(camera.normalise(pixels), camera.distortion) * focal + camera.K[:2, 2]
    return float((again - pixels).abs().max())


def one_to_one(lens: torch.Tensor, reach: float = 1.0) -> bool:
    """Whether the distortion of a lens (5,) increases with the radius up to tan(angle) = reach, i.e. has an inverse."""
    r2 = torch.linspace(0, reach, 100).square()
    k1, k2, _, _, k3 = lens
    return bool((1 + r2 * (3 * k1 + r2 * (5 * k2 + r2 * 7 * k3)) > 0.2).all())


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("cameras", nargs="*", help="calibrations, .json")
    options = parser.parse_args()
    apart, off = views()
    print(
        f"two views of a joint, demo motions, 10 pairs of cameras each, a lens: rays pass within {apart:.3f} mm, meet within {off:.3f} mm of it"
    )
    plain = Camera.look_at((4.0, 0.0, 1.5), (0.0, 0.0, 1.0), focal=1500.0)
    generator = torch.Generator().manual_seed(1)
    scale = torch.tensor([0.1, 0.05, 0.002, 0.002, 0.01])
    lenses = [scale * torch.randn(5, generator=generator) for _ in range(80)]
    usable = [lens for lens in lenses if one_to_one(lens)]
    worst = max(round_trip(replace(plain, distortion=lens)) for lens in usable)
    print(f"undistortion and back, {len(usable)} random lenses that do not fold the image: {worst:.5f} px at most")
    for path in options.cameras:
        print(f"undistortion and back, {path}: {round_trip(Camera.load(path)):.5f} px at most")


if __name__ == "__main__":
    main()
