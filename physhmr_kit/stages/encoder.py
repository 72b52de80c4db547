"""Stage 1, `encoder`: teach the eye. Motion capture is filmed by synthetic cameras, a synthetic detector errs, and the encoder tells the pose.

One training step: draw windows of clips, change them (speed, left-right, limb lengths), film them, err, read, compare.
Every number drawn in step k comes from one generator seeded with (seed, k), so a resumed run draws what the killed one would have.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field

import pytorch_lightning as pl
import roma
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric
from torchmetrics.classification import BinaryF1Score

from physhmr_kit.body.skeleton import FEET, JOINT_NAMES, MIRROR, PARENTS, STANDING, mean_offsets
from physhmr_kit.errors import KitError
from physhmr_kit.motion.clip import CONTROL_FPS
from physhmr_kit.motion.kinematics import forward_kinematics, linear_velocity, local_rotations, yaw_quaternion
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.sources import load_clips
from physhmr_kit.vision.camera import sample_cameras
from physhmr_kit.vision.encoder import WINDOW, VisionEncoder
from physhmr_kit.vision.keypoints import coco_from_bodies
from physhmr_kit.vision.person_view import person_view
from physhmr_kit.vision.placement import sole_height
from physhmr_kit.vision.pretrained import save_encoder
from physhmr_kit.vision.synthetic import KeypointNoise, detect


@dataclass(frozen=True)
class EncoderConfig:
    """Settings of the encoder stage."""

    clips: tuple[str, ...] = ("demo",)  # what to film: "demo", files, folders (motion.sources.load_clips)
    held_out: int = 5  # every clip whose name's SHA-256 is a multiple of this is kept for validation; 0 keeps none
    steps: int = 2000  # optimiser steps in all
    frames_per_step: int = 2304  # frames in a batch: 24 windows of 96, 36 of 64 or 72 of 32
    windows: tuple[int, ...] = (96, 96, 64, 32)  # lengths to draw from; short ones keep short videos readable
    learning_rate: float = 1e-3  # peak, after `warmup` steps; then a cosine down to 1 %
    warmup: int = 200  # steps
    weight_decay: float = 0.01
    gradient_norm: float = 1.0  # gradients are scaled down to this norm
    speed: float = 0.25  # motions are played up to this much slower or faster
    limb_variation: float = 0.06  # standard deviation of limb lengths, one body for each step
    width: int = 192  # of the transformer
    layers: int = 4
    heads: int = 6
    validate_every: int = 250  # steps
    validation_windows: int = 96  # windows of 96 frames, always the same ones
    seed: int = 0
    noise: KeypointNoise = field(default_factory=KeypointNoise)  # of the synthetic detector


@dataclass(frozen=True)
class Weights:
    """Weight of each loss."""

    root: float = 2.0  # squared Frobenius distance of root rotations
    joints: float = 1.0  # the same over the 23 joints
    position: float = 10.0  # L1 of root-relative joint positions, m
    joint_velocity: float = 0.5  # L1 of their change, m/s
    velocity: float = 0.3  # L1 of the pelvis velocity, m/s
    contact: float = 0.2  # cross entropy


LOSS_WEIGHTS = Weights()


def is_held_out(name: str, every: int) -> bool:
    """Whether a clip is kept for validation: a rule by name, so that it never depends on which other clips are loaded."""
    return every > 0 and int(hashlib.sha256(name.encode()).hexdigest(), 16) % every == 0


@dataclass(frozen=True, eq=False)
class Batch:
    """Windows of motion as filmed, and the truth in the gravity-view frame. B windows, T frames.

    Attributes:
        tokens: (B, T, 57). rotmat: (B, T, 24, 3, 3), root in the gravity-view frame. position: (B, T, 24, 3) m, of the mean shape, root at 0.
        velocity: (B, T, 3) m/s of the pelvis. contact: (B, T, 4) 0 or 1.
    """

    tokens: torch.Tensor
    rotmat: torch.Tensor
    position: torch.Tensor
    velocity: torch.Tensor
    contact: torch.Tensor


def mirrored(root_pos: torch.Tensor, joint_rot: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mirror image of a motion in the x-z plane: (..., 3), (..., 24, 4) xyzw (root in the world) -> the same shapes."""
    upright = torch.tensor(STANDING).to(joint_rot).expand_as(joint_rot[..., 0, :])
    turn = roma.quat_product(joint_rot[..., 0, :], roma.quat_conjugation(upright))
    root = roma.quat_product(turn * turn.new_tensor((-1.0, 1.0, -1.0, 1.0)), upright)
    local = joint_rot[..., MIRROR, :] * joint_rot.new_tensor((1.0, -1.0, -1.0, 1.0))
    return root_pos * root_pos.new_tensor((1.0, -1.0, 1.0)), torch.cat([root.unsqueeze(-2), local[..., 1:, :]], dim=-2)


def varied_offsets(spread: float, generator: torch.Generator) -> torch.Tensor:
    """The mean shape with other proportions: each limb's length (both sides alike) times 1 + N(0, spread): (24, 3) m."""
    parts = sorted({n.split("_")[-1] for n in JOINT_NAMES})
    factor = dict(zip(parts, (1 + spread * torch.randn(len(parts), generator=generator)).clamp(0.7, 1.3).tolist(), strict=True))
    return mean_offsets() * torch.tensor([factor[n.split("_")[-1]] for n in JOINT_NAMES]).unsqueeze(-1)


def joint_positions(rotmat: torch.Tensor) -> torch.Tensor:
    """Joints of the mean shape with the root at the origin: (..., 24, 3, 3) -> (..., 24, 3) m, in the root's outer frame."""
    offsets = mean_offsets().to(rotmat)
    turn, place = [rotmat[..., 0, :, :]], [rotmat.new_zeros(*rotmat.shape[:-3], 3)]
    for joint in range(1, 24):
        up = PARENTS[joint]
        place.append(place[up] + turn[up] @ offsets[joint])
        turn.append(turn[up] @ rotmat[..., joint, :, :])
    return torch.stack(place, dim=-2)


def floor_contact(body_pos: torch.Tensor, body_rot: torch.Tensor) -> torch.Tensor:
    """Which feet stand: sole below 4 cm and joint slower than 0.4 m/s: (B, T, 24, 3), (B, T, 24, 4) -> (B, T, 4) 0 or 1."""
    height = sole_height(body_pos, body_rot)
    speed = linear_velocity(body_pos[:, :, FEET].transpose(0, 1), CONTROL_FPS).transpose(0, 1).norm(dim=-1)
    return ((height < 0.04) & (speed < 0.4)).float()


def film(library: MotionLibrary, config: EncoderConfig, windows: int, frames: int, generator: torch.Generator) -> Batch:
    """Draw windows of motion and film them with random cameras and the synthetic detector.

    Clips are drawn by the square root of their length: long ones hold more, but not everything.
    """
    odds = library.lengths.float().sqrt()
    clips = torch.multinomial(odds, windows, replacement=True, generator=generator)
    speed = torch.exp(math.log(1 + config.speed) * (2 * torch.rand(windows, generator=generator) - 1))
    span = (frames - 1) * speed / CONTROL_FPS
    spare = ((library.lengths[clips] - 1) / CONTROL_FPS - span).clamp(min=0)
    start = torch.rand(windows, generator=generator) * spare
    seconds = start.unsqueeze(1) + torch.arange(frames) * speed.unsqueeze(1) / CONTROL_FPS
    state = library.lookup(clips.repeat_interleave(frames), seconds.flatten())
    root_pos = state.root_pos.unflatten(0, (windows, frames))
    joint_rot = local_rotations(state.body_rot).unflatten(0, (windows, frames))
    flip = torch.rand(windows, generator=generator) < 0.5
    other_pos, other_rot = mirrored(root_pos, joint_rot)
    root_pos = torch.where(flip[:, None, None], other_pos, root_pos)
    joint_rot = torch.where(flip[:, None, None, None], other_rot, joint_rot)

    contact = floor_contact(*forward_kinematics(root_pos, joint_rot, mean_offsets()))
    body_pos, body_rot = forward_kinematics(root_pos, joint_rot, varied_offsets(config.limb_variation, generator))
    camera = sample_cameras(body_pos, generator)
    keypoints = detect(coco_from_bodies(body_pos, body_rot), camera, config.noise, generator)
    view = person_view(keypoints, camera)

    turn = yaw_quaternion(-view.azimuth)
    rotmat = roma.unitquat_to_rotmat(torch.cat([roma.quat_product(turn, joint_rot[:, :, 0]).unsqueeze(2), joint_rot[:, :, 1:]], dim=2))
    velocity = roma.quat_action(turn, linear_velocity(root_pos.transpose(0, 1), CONTROL_FPS).transpose(0, 1))
    return Batch(view.tokens, rotmat, joint_positions(rotmat), velocity, contact)


def losses(out: dict[str, torch.Tensor], batch: Batch) -> dict[str, torch.Tensor]:
    """Each loss by name, unweighted (`Weights`); `out` is `VisionEncoder.decode`'s."""
    off = (out["rotmat"] - batch.rotmat).square().sum((-2, -1))
    position = joint_positions(out["rotmat"])
    moved = (position - batch.position).diff(dim=1) * CONTROL_FPS
    return {
        "root": off[..., 0].mean(),
        "joints": off[..., 1:].mean(),
        "position": (position - batch.position).abs().mean(),
        "joint_velocity": moved.abs().mean(),
        "velocity": (out["velocity"] - batch.velocity).abs().mean(),
        "contact": F.binary_cross_entropy_with_logits(out["contact"], batch.contact),
    }


def pa_mpjpe(position: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Mean joint error after the best similarity transform of each frame: (N, J, 3), (N, J, 3) m -> (N,) m."""
    turn, shift, scale = roma.rigid_points_registration(position, truth, compute_scaling=True)
    moved = scale[:, None, None] * (position @ turn.mT) + shift.unsqueeze(1)
    return (moved - truth).norm(dim=-1).mean(-1)


class EncoderModule(pl.LightningModule):
    """The encoder and its training; `export` writes what the other stages load."""

    def __init__(self, config: EncoderConfig | None = None):
        super().__init__()
        self.automatic_optimization = False
        self.config = config or EncoderConfig()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            self.encoder = VisionEncoder(self.config.width, self.config.layers, self.config.heads)
        self.metrics = torch.nn.ModuleDict({k: MeanMetric() for k in ("root_deg", "mpjpe_mm", "pa_mpjpe_mm")} | {"contact_f1": BinaryF1Score()})

    def setup(self, stage: str) -> None:
        """Load the clips and part them into training and held-out ones."""
        clips = load_clips(list(self.config.clips))
        kept = [c for c in clips if not is_held_out(c.name, self.config.held_out)]
        held = [c for c in clips if is_held_out(c.name, self.config.held_out)]
        if not kept:
            raise KitError(f"encoder: every clip of {', '.join(self.config.clips)} is held out; give more clips or set held_out to 0")
        self.library = MotionLibrary(kept)
        self.held_out_names = [c.name for c in held]
        # with nothing held out we validate on what we train on, and say so by the name of the figures
        self.validation_library = MotionLibrary(held) if held else self.library
        self.validation_name = "held_out" if held else "seen"

    def train_dataloader(self) -> DataLoader:
        """As many empty batches as steps between two validations; what is in a step is drawn in the step itself."""
        return DataLoader(range(min(self.config.validate_every, self.config.steps)), batch_size=None)

    def val_dataloader(self) -> DataLoader:
        """One empty batch for each group of validation windows."""
        return DataLoader(range(-(-self.config.validation_windows // _VALIDATION_BATCH)), batch_size=None)

    def configure_optimizers(self):
        """AdamW with warm-up and a cosine."""
        config = self.config
        optimizer = torch.optim.AdamW(self.encoder.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)

        def rate(step: int) -> float:
            if step < config.warmup:
                return (step + 1) / config.warmup
            done = min(1.0, (step - config.warmup) / max(1, config.steps - config.warmup))
            return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))

        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, rate)]

    def training_step(self, _, batch_idx: int) -> None:
        """Draw, film, read, compare, step."""
        config = self.config
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + self.global_step)
        frames = config.windows[int(torch.randint(len(config.windows), (), generator=generator))]
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            batch = film(self.library, config, max(1, config.frames_per_step // frames), frames, generator)
        batch = Batch(*(v.to(self.device) for v in vars(batch).values()))

        out = self.encoder.decode(self.encoder.context(batch.tokens))
        with torch.autocast(self.device.type, enabled=False):
            parts = losses(out, batch)
            total = sum(getattr(LOSS_WEIGHTS, name) * value for name, value in parts.items())
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        optimizer.zero_grad()
        self.manual_backward(total)
        self.clip_gradients(optimizer, gradient_clip_val=config.gradient_norm)
        optimizer.step()
        scheduler.step()
        self.log("train/loss", total, prog_bar=True)
        self.log_dict({f"train/{name}": value for name, value in parts.items()})

    def validation_step(self, _, batch_idx: int) -> None:
        """The same windows, cameras and noise in every validation."""
        generator = torch.Generator().manual_seed(7_919 * (batch_idx + 1))
        steady = EncoderConfig(speed=0.0, limb_variation=0.0, noise=self.config.noise)
        count = min(_VALIDATION_BATCH, self.config.validation_windows - batch_idx * _VALIDATION_BATCH)
        with torch.autocast(self.device.type, enabled=False):
            batch = film(self.validation_library, steady, count, WINDOW, generator)
            out = self.encoder.decode(self.encoder.context(batch.tokens.to(self.device)))
        out = {k: v.cpu() for k, v in out.items()}
        angle = roma.rotmat_geodesic_distance(out["rotmat"][:, :, 0], batch.rotmat[:, :, 0])
        position = joint_positions(out["rotmat"])
        self.metrics["root_deg"].update(torch.rad2deg(angle).to(self.device))
        self.metrics["mpjpe_mm"].update(1000 * (position - batch.position).norm(dim=-1).mean(-1).to(self.device))
        self.metrics["pa_mpjpe_mm"].update(1000 * pa_mpjpe(position.flatten(0, 1), batch.position.flatten(0, 1)).to(self.device))
        self.metrics["contact_f1"].update(out["contact"].sigmoid().to(self.device), batch.contact.int().to(self.device))

    def on_validation_epoch_end(self) -> None:
        """Log the figures."""
        for name, metric in self.metrics.items():
            self.log(f"{self.validation_name}/{name}", metric.compute(), prog_bar=True)
            metric.reset()

    def export(self, path, **notes: str):
        """Write the encoder as .safetensors (float16) with its sizes and `notes` in the header; returns the path."""
        return save_encoder(self.encoder, path, **notes)


_VALIDATION_BATCH = 24
