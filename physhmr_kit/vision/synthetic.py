"""A synthetic keypoint detector: projected joints with noise.

It models typical detector errors: jitter that is correlated in time and proportional to the person's size in the image,
a constant bias of each keypoint, outliers, left-right swaps, missing keypoints, and a confidence that correlates only
roughly with the error. Optional are occlusion, truncation by the image border, uneven frame times, and the noise of
WHAM (Shin et al. 2024): 3-D errors of the joints, because detectors do not mark SMPL's joint centres.
"""

from __future__ import annotations

import torch

from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.keypoints import COCO_MIRROR, COCO_NAMES, LIMBS, fill_gaps
from physhmr_kit.vision.settings import KeypointNoise

# Localisation error relative to the average; our guess after COCO's per-keypoint sigmas (cocoeval, kpt_oks_sigmas).
_DIFFICULTY = {"nose": 0.5, "eye": 0.5, "ear": 0.6, "shoulder": 1.0, "elbow": 1.0, "wrist": 1.1, "hip": 1.5, "knee": 1.2, "ankle": 1.2}  # fmt: skip

# WHAM's noise on 3-D joints, m: time-varying, constant over a clip, and rare peaks. From its released training code.
_JITTER = {"nose": 0.01, "eye": 0.005, "ear": 0.005, "shoulder": 0.015, "elbow": 0.01, "wrist": 0.005, "hip": 0.02, "knee": 0.01, "ankle": 0.005}  # fmt: skip
_BIAS = {"nose": 0.04, "eye": 0.01, "ear": 0.01, "shoulder": 0.015, "elbow": 0.025, "wrist": 0.035, "hip": 0.01, "knee": 0.015, "ankle": 0.025}  # fmt: skip
_PEAK = {"nose": 0.0, "eye": 0.024, "ear": 0.024, "shoulder": 0.045, "elbow": 0.075, "wrist": 0.12, "hip": 0.024, "knee": 0.09, "ankle": 0.12}  # fmt: skip
_PEAK_SHARE = 0.005  # of the frames; ours
_LEG_FRAMES = 60.0  # mean duration of hidden legs


def detect(points: torch.Tensor, camera: Camera, noise: KeypointNoise, generator: torch.Generator) -> torch.Tensor:
    """Detect the keypoints of bodies in front of cameras; gaps are filled as in the track of a real detector.

    Args:
        points: (*lead, T, 17, 3) m, world (`keypoints.coco_from_bodies`). camera: batch shape (), (*lead) or (*lead,
            T).
        generator: on the CPU.

    Returns:
        (*lead, T, 17, 3) pixels u, v and confidence in 0..1.
    """
    if noise.joints > 0:
        points = displace(points, noise.joints, generator)
    pixels, in_image = camera.project(points), camera.is_visible(points)
    if noise.timing > 0:
        pixels = resample_unevenly(pixels, noise.timing, generator)
    hidden = occlude(pixels, noise, generator)
    keypoints = perturb(pixels, in_image & ~hidden, noise, generator)
    flat = keypoints.reshape(-1, *keypoints.shape[-3:])
    return torch.stack([fill_gaps(track) for track in flat]).reshape(keypoints.shape)


def displace(points: torch.Tensor, scale: float, generator: torch.Generator) -> torch.Tensor:
    """Displace 3-D keypoints by Gaussian jitter, a bias that is constant over the track, and rare peaks.

    Standard deviations are `scale` times WHAM's, times a factor of 0.33 to 1.5 for each track.
    (*lead, T, 17, 3) m, world -> (*lead, T, 17, 3) m.
    """
    lead, frames = points.shape[:-3], points.shape[-3]

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*lead, *shape, 17, 3, generator=generator).to(points)

    jitter, bias, peak = (_by_keypoint(table).to(points) for table in (_JITTER, _BIAS, _PEAK))
    quality = scale * (0.33 + 1.17 * torch.rand(*lead, 1, 1, 1, generator=generator).to(points))
    rare = (torch.rand(*lead, frames, 17, 1, generator=generator) < _PEAK_SHARE).to(points)
    return points + quality * (jitter * normal(frames) + bias * normal(1) + rare * peak * normal(frames))


def _by_keypoint(table: dict[str, float]) -> torch.Tensor:
    """(17, 1) from values per body part."""
    return torch.tensor([table[n.split("_")[-1]] for n in COCO_NAMES]).unsqueeze(-1)


def perturb(
    pixels: torch.Tensor, in_image: torch.Tensor, noise: KeypointNoise, generator: torch.Generator
) -> torch.Tensor:
    """Add noise, swaps, gaps and confidence: (..., T, 17, 2), (..., T, 17) bool -> (..., T, 17, 3); 0 confidence if missing."""
    lead, frames = pixels.shape[:-3], pixels.shape[-3]

    def normal(*shape):
        return torch.randn(*shape, generator=generator).to(pixels)

    def uniform(*shape):
        return torch.rand(*shape, generator=generator).to(pixels)

    box = (pixels.amax(-2) - pixels.amin(-2)).amax(-1).clamp(max=1e4)[..., None, None]  # (..., T, 1, 1) pixels
    difficulty = _by_keypoint(_DIFFICULTY).to(pixels)
    drift = normal(*lead, frames, 17, 2)
    for t in range(1, frames):  # first-order autoregression with unit variance
        drift[..., t, :, :] = (
            noise.memory * drift[..., t - 1, :, :] + (1 - noise.memory**2) ** 0.5 * drift[..., t, :, :]
        )
    # videos differ in quality
    quality = 0.33 + 1.17 * uniform(*lead, 1, 1, 1)
    outlier = (uniform(*lead, frames, 17, 1) < noise.outlier) * normal(*lead, frames, 17, 2) * 8 * noise.jitter
    error = quality * difficulty * (noise.jitter * drift + noise.bias * normal(*lead, 1, 17, 2)) + outlier
    observed = pixels + error * box

    mirror = torch.tensor(COCO_MIRROR)
    swapped = torch.zeros(*lead, frames, 17, dtype=torch.bool)
    for limbs in LIMBS.values():
        swapped[..., limbs] = _bursts((*lead, frames), noise.swap, 4.0, generator).unsqueeze(-1)
    swapped = swapped.to(pixels.device).unsqueeze(-1)
    observed = torch.where(swapped, observed[..., mirror, :], observed)

    # confidence falls with the error, at a rate and from a maximum that differ between videos
    size = error.norm(dim=-1) / 0.02
    sharpness, ceiling = 0.5 * uniform(*lead, 1, 1), 0.75 + 0.25 * uniform(*lead, 1, 1)
    confidence = torch.ones_like(size)
    if noise.jitter > 0:
        confidence = ceiling * torch.exp(-sharpness * size - 0.15 * uniform(*lead, frames, 17))
    missing = _bursts((*lead, frames, 17), noise.dropout, noise.dropout_frames, generator, axis=-2)
    missing |= _bursts((*lead, frames), noise.frame_dropout, noise.dropout_frames, generator).unsqueeze(-1)
    if noise.masked > 0:
        missing |= outward(torch.rand(*lead, frames, 17, generator=generator) < noise.masked)
    confidence = confidence * ~missing.to(pixels.device) * in_image
    return torch.cat([observed, confidence.clamp(0, 1).unsqueeze(-1)], dim=-1)


def outward(mask: torch.Tensor) -> torch.Tensor:
    """Extend a mask of keypoints (..., 17) to those farther out on the same limb."""
    mask = mask.clone()
    for inner, outer in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle")):
        for side in ("left", "right"):
            mask[..., COCO_NAMES.index(f"{side}_{outer}")] |= mask[..., COCO_NAMES.index(f"{side}_{inner}")]
    return mask


def resample_unevenly(pixels: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:
    """Sample a share of the tracks at uneven times: (*lead, T, 17, 2) -> (*lead, T, 17, 2).

    In half of those tracks the times jitter by a quarter of a frame; the others are from a camera of 12 to 30 fps with
    repeated frames.
    """
    lead, frames = pixels.shape[:-3], pixels.shape[-3]
    at = torch.arange(frames, dtype=torch.float32)
    jitter = 0.25 * torch.randn(*lead, frames, generator=generator)
    step = 1 + 1.5 * torch.rand(*lead, 1, generator=generator)
    held = (at / step).floor() * step - at
    mode = torch.rand(*lead, 1, generator=generator) / share
    offset = torch.where(mode < 0.5, jitter, torch.where(mode < 1.0, held, torch.zeros(())))
    at = (at + offset).clamp(0, frames - 1).to(pixels.device)
    low = at.floor().long().clamp(max=max(frames - 2, 0))
    index = low[..., None, None].expand(*low.shape, *pixels.shape[-2:])
    before, after = pixels.gather(-3, index), pixels.gather(-3, (index + 1).clamp(max=frames - 1))
    return torch.lerp(before, after, (at - low)[..., None, None].to(pixels))


def occlude(pixels: torch.Tensor, noise: KeypointNoise, generator: torch.Generator) -> torch.Tensor:
    """Mask of occluded and truncated keypoints: (*lead, T, 17, 2) -> (*lead, T, 17) bool.

    An occluder is a square of a quarter to half the size of the person's box around a random keypoint, and moves with
    the person. Truncation cuts off up to half of the box, most often at the bottom. Hidden legs are knees and ankles.
    """
    lead, frames = pixels.shape[:-3], pixels.shape[-3]
    hidden = torch.zeros(pixels.shape[:-1], dtype=torch.bool, device=pixels.device)
    low, high = pixels.amin(-2, keepdim=True), pixels.amax(-2, keepdim=True)  # (*lead, T, 1, 2)
    if noise.occlusion > 0:
        present = _bursts((*lead, frames), noise.occlusion, 15.0, generator).to(pixels.device)
        around = torch.randint(17, (*lead, 1, 1, 1), generator=generator).to(pixels.device)
        middle = pixels.gather(-2, around.expand(*lead, frames, 1, 2))
        reach = (0.125 + 0.125 * torch.rand(*lead, 1, 1, generator=generator)).to(pixels)
        near = (pixels - middle).abs().amax(-1) < reach * (high - low).amax(-1)
        hidden = hidden | (near & present.unsqueeze(-1))
    if noise.truncation > 0:
        cut = torch.rand(*lead, 1, 1, generator=generator).to(pixels) / noise.truncation
        share = 0.5 * torch.rand(*lead, 1, 1, generator=generator).to(pixels)
        where = ((pixels - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)  # (*lead, T, 17, 2), 0..1 in the box
        edge = torch.where(cut < 0.6, 1 - where[..., 1], torch.where(cut < 0.8, where[..., 0], 1 - where[..., 0]))
        hidden = hidden | ((edge < share) & (cut < 1.0))
    if noise.hidden_legs > 0:
        legs = torch.tensor([n.split("_")[-1] in ("knee", "ankle") for n in COCO_NAMES], device=pixels.device)
        present = _bursts((*lead, frames), noise.hidden_legs, _LEG_FRAMES, generator).to(pixels.device)
        hidden = hidden | (present.unsqueeze(-1) & legs)
    return hidden


def _bursts(shape: tuple, start: float, length: float, generator: torch.Generator, axis: int = -1) -> torch.Tensor:
    """Bursts along the time axis, which start with probability `start` and end with probability 1 / length per frame."""
    if start == 0:
        return torch.zeros(shape, dtype=torch.bool)
    draws = torch.rand(shape, generator=generator).movedim(axis, 0)
    state = draws[0] < start * length  # stationary probability of a burst
    out = [state]
    for draw in draws[1:]:
        state = torch.where(state, draw < 1 - 1 / length, draw < start)
        out.append(state)
    return torch.stack(out).movedim(0, axis)
