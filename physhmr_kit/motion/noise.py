"""Noisy versions of motions that imitate video estimates, to train an expert that is robust to them.

Drift and joint noise are smooth random functions of time, because video methods smooth their estimates. Added to them are
isolated faults: gaps without detections, bridged by interpolation, and sudden jumps of the root that decay over time. The
magnitudes are those of `MotionNoise` (motion/settings.py).
"""

from __future__ import annotations

import zlib

import roma
import torch
from torch.nn.functional import conv1d, pad

from physhmr_kit.motion.clip import CONTROL_FPS, Clip, slerp
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.settings import MotionNoise

_VERTICAL = torch.tensor([0.0, 0.0, 1.0])


def noisy_library(library: MotionLibrary, noise: MotionNoise, seed: int) -> MotionLibrary:
    """A library with `noise.versions` versions of every clip, consecutive; the first is the clip itself.

    The others have strengths from `noise.least` to 1 in equal steps. A version depends only on the clip's name, the version's
    number and the seed.
    """
    clips = []
    for clip in library.clips():
        generator = torch.Generator().manual_seed(zlib.crc32(clip.name.encode()) + seed)
        clips.append(clip)
        for strength in torch.linspace(1.0, noise.least, noise.versions - 1).flip(0).tolist():
            clips.append(noisy_clip(clip, noise, strength, generator))
    return MotionLibrary(clips, library.offsets)


def noisy_clip(clip: Clip, noise: MotionNoise, strength: float, generator: torch.Generator) -> Clip:
    """Add noise to a motion at 30 fps, all magnitudes in `noise` scaled by `strength`."""
    count = len(clip)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    root, rot = clip.root_pos, clip.joint_rot
    bend = smooth_noise(count, 24 * 3, noise.joint_seconds, generator).view(count, 24, 3)
    jitter = draw(count, 24, 3)
    turn = torch.deg2rad(strength * (noise.joint_degrees * bend + noise.jitter_degrees * jitter))
    rot = roma.quat_product(rot, roma.rotvec_to_unitquat(turn))

    tilt = torch.deg2rad(torch.tensor(strength * noise.tilt_degrees)) * draw(3)
    lean = roma.rotvec_to_unitquat(tilt * (1 - _VERTICAL)).expand(count, 4)
    rot = torch.cat([roma.quat_product(lean, rot[:, 0]).unsqueeze(1), rot[:, 1:]], dim=1)
    drift = smooth_noise(count, 3, noise.root_seconds, generator) * noise.root_drift
    root = root + strength * (drift + noise.float_height * draw(1) * _VERTICAL)

    root = root + strength * _jumps(count, noise, generator)
    if strength > 0:
        root, rot = _with_gaps(root, rot, noise, generator)
    return Clip.from_joints(root, rot, clip.fps, clip.name)


def smooth_noise(count: int, channels: int, seconds: float, generator: torch.Generator) -> torch.Tensor:
    """Noise of standard deviation 1, smoothed by a Gaussian of `seconds`: (count, channels)."""
    sigma = seconds * CONTROL_FPS
    reach = int(3 * sigma) + 1
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma).square())
    kernel = kernel / kernel.square().sum().sqrt()
    white = torch.randn(channels, 1, count + 2 * reach, generator=generator)
    return conv1d(white, kernel[None, None]).squeeze(1).T.contiguous()


def _jumps(count: int, noise: MotionNoise, generator: torch.Generator) -> torch.Tensor:
    """Sudden offsets of the root (count, 3) m that decay to half in `jump_seconds`."""
    happens = torch.rand(count, generator=generator) < 1 / (noise.jump_every * CONTROL_FPS)
    steps = noise.jump * torch.randn(count, 3, generator=generator) * happens[:, None]
    fades = 0.5 ** (torch.arange(count) / (noise.jump_seconds * CONTROL_FPS))
    return conv1d(pad(steps.T[:, None], (count - 1, 0)), fades.flip(0)[None, None]).squeeze(1).T


def _with_gaps(root: torch.Tensor, rot: torch.Tensor, noise: MotionNoise, generator: torch.Generator):
    """Gaps of 0.1 to 0.7 s without detections: positions and rotations are interpolated between the two ends."""
    count = len(root)
    root, rot = root.clone(), rot.clone()
    happens = torch.rand(count, generator=generator) < 1 / (noise.gap_every * CONTROL_FPS)
    frames = 3 + (18 * torch.rand(count, generator=generator)).long()
    for start in happens.nonzero().flatten().tolist():
        stop = min(start + int(frames[start]), count - 1)
        if stop - start < 2:
            continue
        share = torch.linspace(0, 1, stop - start + 1)
        root[start : stop + 1] = torch.lerp(root[start], root[stop], share[:, None])
        ends = rot[start].expand(len(share), 24, 4), rot[stop].expand(len(share), 24, 4)
        rot[start : stop + 1] = slerp(*ends, share[:, None].expand(-1, 24))
    return root, rot
