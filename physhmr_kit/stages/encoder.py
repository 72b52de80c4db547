"""Stage 1, `encoder`: teach the eye. Motion capture is filmed by synthetic cameras, a synthetic detector errs, and the encoder tells the pose.

One training step: draw windows of clips, change them (speed, left-right, limb lengths), film them, err, read, compare.
Every number drawn in step k comes from one generator seeded with (seed, k), so a resumed run draws what the killed one would have.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import roma
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric
from torchmetrics.classification import BinaryF1Score

from physhmr_kit.metrics.functional import pa_mpjpe
from physhmr_kit.motion.clip import CONTROL_FPS
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.sources import load_clips
from physhmr_kit.motion.split import is_held_out
from physhmr_kit.stages.base import StageModule
from physhmr_kit.stages.settings import EncoderConfig
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.encoder import WINDOW, VisionEncoder
from physhmr_kit.vision.filming import STILL, Batch, film, joint_positions
from physhmr_kit.vision.pretrained import load_encoder, save_encoder

_VALIDATION_BATCH = 24


@dataclass(frozen=True)
class Weights:
    """Weight of each loss."""

    root: float = 2.0  # squared Frobenius distance of root rotations
    joints: float = 1.0  # the same over the 23 joints
    position: float = 10.0  # L1 of root-relative joint positions, m
    joint_velocity: float = 0.5  # L1 of their change, m/s
    velocity: float = 0.3  # L1 of the pelvis velocity, m/s
    contact: float = 0.2  # cross entropy
    up: float = 5.0  # squared distance of unit vectors, over windows whose camera was told wrongly


LOSS_WEIGHTS = Weights()


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
        "up": _over(batch.guessed, (out["up"] - batch.up).square().sum(-1)),
    }


def _over(rows: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Sum over the marked windows (B,) of values (B, T), divided by the number of all, so that few marked ones weigh little."""
    return (values * rows.unsqueeze(-1)).mean()


def errors(out: dict[str, torch.Tensor], batch: Batch) -> dict[str, torch.Tensor]:
    """Figures of every frame: root orientation in degrees, joints in mm relative to the root, with and without alignment."""
    angle = roma.rotmat_geodesic_distance(out["rotmat"][..., 0, :, :], batch.rotmat[..., 0, :, :])
    position, truth = joint_positions(out["rotmat"]).flatten(0, 1), batch.position.flatten(0, 1)
    mpjpe = (position - truth).norm(dim=-1).mean(-1)
    return {"root_deg": torch.rad2deg(angle), "mpjpe_mm": 1000 * mpjpe, "pa_mpjpe_mm": pa_mpjpe(position, truth)}


class EncoderModule(StageModule):
    """The encoder and its training; `export` writes what the other stages load.

    Args:
        config: the settings.
        library: the clips; loaded from `config.clips` when omitted.
    """

    weights_of = "encoder"

    def __init__(self, config: EncoderConfig | None = None, library: MotionLibrary | None = None):
        config = config or EncoderConfig()
        super().__init__(config.seed, min(config.validate_every, config.iterations))
        self.config = config
        self.library = library or MotionLibrary(load_clips(list(config.clips)))
        held = [is_held_out(name, config.held_out) for name in self.library.names]
        if all(held):
            raise KitError(
                f"encoder: every clip of {', '.join(config.clips)} is held out; give more clips or set held_out to 0"
            )
        self.held_out = torch.tensor(held)
        # with nothing held out we validate on what we train on, and the figures say so by their name
        self.validation_name = "held_out" if any(held) else "seen"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.encoder = VisionEncoder(config.width, config.layers, config.heads)
        if config.init:
            self.encoder = load_encoder(config.init).requires_grad_(True).train()
        self.metrics = torch.nn.ModuleDict({k: MeanMetric() for k in ("root_deg", "mpjpe_mm", "pa_mpjpe_mm")})
        self.metrics["contact_f1"] = BinaryF1Score()

    def configure_optimizers(self):
        """AdamW with warm-up and a cosine."""
        config = self.config
        optimizer = torch.optim.AdamW(
            self.encoder.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )

        def rate(step: int) -> float:
            if step < config.warmup:
                return (step + 1) / config.warmup
            done = min(1.0, (step - config.warmup) / max(1, config.iterations - config.warmup))
            return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))

        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, rate)]

    def training_step(self, _, batch_idx: int) -> None:
        """Draw, film, read, compare, step."""
        config = self.config
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + self.global_step)
        frames = config.windows[int(torch.randint(len(config.windows), (), generator=generator))]
        clips = self._draw(~self.held_out, max(1, config.frames_per_step // frames), generator)
        batch = film(self.library, clips, frames, generator, config.variety).to(self.device)

        parts = losses(self.encoder.decode(self.encoder.context(batch.tokens)), batch)
        total = sum(getattr(LOSS_WEIGHTS, name) * value for name, value in parts.items())
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        optimizer.zero_grad()
        self.manual_backward(total)
        self.clip_gradients(optimizer, gradient_clip_val=config.max_grad_norm)
        optimizer.step()
        scheduler.step()

        self.samples += batch.tokens.shape[0] * frames
        self.log("loss", total, prog_bar=True)
        self.log_dict({f"loss/{name}": value for name, value in parts.items()})

    def _draw(self, allowed: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
        """Clips by the square root of their length: long ones hold more, but not everything."""
        return torch.multinomial(
            self.library.lengths.float().sqrt() * allowed, count, replacement=True, generator=generator
        )

    def val_dataloader(self) -> DataLoader:
        """One empty batch for each group of validation windows."""
        return DataLoader(range(-(-self.config.validation_windows // _VALIDATION_BATCH)), batch_size=None)

    def validation_step(self, _, batch_idx: int) -> None:
        """The same windows, cameras and noise in every validation; motions as they are."""
        generator = torch.Generator().manual_seed(7_919 * (batch_idx + 1))
        count = min(_VALIDATION_BATCH, self.config.validation_windows - batch_idx * _VALIDATION_BATCH)
        allowed = self.held_out if self.held_out.any() else torch.ones_like(self.held_out)
        batch = film(self.library, self._draw(allowed, count, generator), WINDOW, generator, STILL).to(self.device)
        out = self.encoder.decode(self.encoder.context(batch.tokens))
        for name, value in errors(out, batch).items():
            self.metrics[name].update(value)
        self.metrics["contact_f1"].update(out["contact"].sigmoid(), batch.contact.int())

    def on_validation_epoch_end(self) -> None:
        """Log the figures."""
        for name, metric in self.metrics.items():
            self.log(f"{self.validation_name}/{name}", metric.compute(), prog_bar=True)
            metric.reset()

    def export(self, path, **notes: str):
        """Write the encoder as .safetensors (float16) with its sizes and `notes` in the header; returns the path."""
        return save_encoder(self.encoder, path, **notes)
