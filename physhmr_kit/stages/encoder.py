"""Stage `encoder`: learns to estimate pose from keypoints, on motion filmed by synthetic cameras and a noisy synthetic detector.

An iteration: draw windows of clips, augment them (speed, left-right, limb lengths), film them, add noise, encode, compare.
Every random number of iteration k comes from a generator seeded with (seed, k), so a resumed run draws the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import roma
import torch
import torch.nn.functional as F
from torchmetrics.classification import BinaryF1Score

from physhmr_kit.metrics.functional import pa_mpjpe
from physhmr_kit.motion.clip import CONTROL_FPS
from physhmr_kit.stages.base import Stage
from physhmr_kit.stages.settings import EncoderConfig, from_plain, to_plain
from physhmr_kit.vision.encoder import WINDOW, VisionEncoder
from physhmr_kit.vision.filming import Batch, joint_positions, synthesize_batch
from physhmr_kit.vision.pretrained import load_encoder, save_encoder
from physhmr_kit.vision.settings import NO_AUGMENTATION

LOSS_WEIGHTS = {
    "root": 2.0,  # squared Frobenius distance of root rotations
    "joints": 1.0,  # the same over the 23 joints
    "position": 10.0,  # L1 of root-relative joint positions, m
    "joint_velocity": 0.5,  # L1 of their change, m/s
    "contact": 0.2,  # binary cross entropy
    "up": 5.0,  # squared distance of unit vectors, over windows whose camera is miscalibrated
    "uncertainty": 2.0,  # L1 between stated and actual distance of the joints, m; its minimum is the median
}
"""Weight of each loss."""


def losses(out: dict[str, torch.Tensor], batch: Batch) -> dict[str, torch.Tensor]:
    """Each loss by name, unweighted (`LOSS_WEIGHTS`); `out` is `VisionEncoder.decode`'s."""
    off = (out["rotmat"] - batch.rotmat).square().sum((-2, -1))
    position = joint_positions(out["rotmat"])
    moved = (position - batch.position).diff(dim=1) * CONTROL_FPS
    distance = (position - batch.position).norm(dim=-1).detach()
    return {
        "root": off[..., 0].mean(),
        "joints": off[..., 1:].mean(),
        "position": (position - batch.position).abs().mean(),
        "joint_velocity": moved.abs().mean(),
        "contact": F.binary_cross_entropy_with_logits(out["contact"], batch.contact),
        # a mean over all windows, so that few guessed ones have a small weight
        "up": ((out["up"] - batch.up).square().sum(-1) * batch.guessed.unsqueeze(-1)).mean(),
        "uncertainty": (out["uncertainty"] - distance).abs().mean(),
    }


def errors(out: dict[str, torch.Tensor], batch: Batch) -> dict[str, torch.Tensor]:
    """Errors of every frame: root orientation in degrees, joints in mm relative to the root, with and without alignment."""
    angle = roma.rotmat_geodesic_distance(out["rotmat"][..., 0, :, :], batch.rotmat[..., 0, :, :])
    position, truth = joint_positions(out["rotmat"]).flatten(0, 1), batch.position.flatten(0, 1)
    mpjpe = (position - truth).norm(dim=-1).mean(-1)
    return {"root_deg": torch.rad2deg(angle), "mpjpe_mm": 1000 * mpjpe, "pa_mpjpe_mm": pa_mpjpe(position, truth)}


class EncoderModule(Stage):
    """The encoder and its training on an `EncoderDataModule`; `export` writes what the other stages load.

    Args:
        config: the settings.
    """

    name = "encoder"
    config: EncoderConfig

    def __init__(self, config: EncoderConfig | dict | None = None):
        settings = from_plain(EncoderConfig, config or {})
        super().__init__(settings)
        self.save_hyperparameters({"config": to_plain(settings)})
        network = settings.network
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.encoder = VisionEncoder(network.width, network.layers, network.heads)
        if network.init:
            self.encoder = load_encoder(network.init).requires_grad_(True).train()
        self.contact_f1 = BinaryF1Score()

    def setup(self, stage: str) -> None:
        data = self.datamodule
        self.library, self.held_out = data.library, torch.tensor(data.held_out)

    def configure_optimizers(self):
        """AdamW with warm-up and a cosine."""
        settings, iterations = self.config.optim, self.config.iterations
        optimizer = torch.optim.AdamW(
            self.encoder.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )

        def rate(iteration: int) -> float:
            if iteration < settings.warmup_iterations:
                return (iteration + 1) / settings.warmup_iterations
            done = (iteration - settings.warmup_iterations) / max(1, iterations - settings.warmup_iterations)
            return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # ---- one iteration

    @property
    def num_minibatches(self) -> int:
        return 1

    def minibatches(self) -> Iterator[Batch]:
        """Draw a batch of windows and film them."""
        data, rank = self.config.data, self.global_rank
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.global_step + 500_009 * rank)
        frames = data.windows[int(torch.randint(len(data.windows), (), generator=generator))]
        clips = self._draw(~self.held_out, max(1, data.frames_per_step // frames), generator)
        yield synthesize_batch(self.library, clips, frames, generator, data.augmentation).to(self.device)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        parts = losses(self.encoder.decode(self.encoder.context(batch.tokens)), batch)
        weighted = [LOSS_WEIGHTS[name] * value for name, value in parts.items()]
        loss = sum(weighted, torch.zeros((), device=self.device))
        self._windows, self._frames = batch.tokens.shape[:2]
        shown = {f"loss/{name}": value.detach() for name, value in parts.items()} | {"loss": loss.detach()}
        self.log_dict(shown, on_step=False, on_epoch=True, batch_size=self._windows)
        return loss

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None) -> None:
        self.clip_gradients(optimizer, self.config.optim.max_grad_norm, "norm")

    def on_train_epoch_end(self) -> None:
        self.samples += self._windows * self._frames * self.trainer.world_size
        self.log_iteration({})

    def _draw(self, allowed: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
        """Draw clip ids with probability proportional to the square root of their length."""
        return torch.multinomial(
            self.library.lengths.float().sqrt() * allowed, count, replacement=True, generator=generator
        )

    # ---- validation: the same windows, cameras and noise every time; no augmentation

    def validation_step(self, count: int, batch_idx: int) -> None:
        generator = torch.Generator().manual_seed(7_919 * (batch_idx + 1))
        allowed = self.held_out if self.held_out.any() else torch.ones_like(self.held_out)
        batch = synthesize_batch(
            self.library, self._draw(allowed, count, generator), WINDOW, generator, NO_AUGMENTATION
        ).to(self.device)
        out = self.encoder.decode(self.encoder.context(batch.tokens))
        name, shared = self.datamodule.validation_name, self.trainer.world_size > 1
        means = {f"{name}/{key}": value.mean() for key, value in errors(out, batch).items()}
        self.log_dict(means, prog_bar=True, batch_size=count, sync_dist=shared)
        self.contact_f1.update(out["contact"].sigmoid(), batch.contact.int())
        self.log(f"{name}/contact_f1", self.contact_f1, prog_bar=True, batch_size=count)

    def export(self, path, **notes: str):
        """Write the encoder as .safetensors (float16) with its sizes and `notes` in the header; returns the path."""
        return save_encoder(self.encoder, path, **notes)
