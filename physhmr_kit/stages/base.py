"""What every stage shares under Lightning: iterations as batches, exact resume, no hidden state.

One training step of Lightning is one iteration of a stage (a rollout and its updates); one epoch is a fixed number
of iterations, so that checkpoints, which Lightning writes between epochs, never fall inside one.
"""

from __future__ import annotations

import random
import time

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset


class _Iterations(Dataset):
    """As many items as an epoch has iterations; the learning draws its own data."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        if index >= self.count:
            raise IndexError
        return index


class StageModule(pl.LightningModule):
    """A LightningModule whose run can be cut off after any epoch and taken up again to the same weights.

    Lightning's checkpoint keeps weights, optimisers and loop counters. What it leaves out is added here: the random
    generators and whatever `extra_state` of the stage says (environment, sampler, clocks).

    Args:
        seed: of every random number the stage draws.
        iterations_per_epoch: iterations between two checkpoints.
    """

    weights_of: str
    """What its weights are, in `evaluate --stage`: 'expert' whoever trained it, 'distill', ..."""

    def __init__(self, seed: int, iterations_per_epoch: int = 10):
        super().__init__()
        self.automatic_optimization = False
        self.iterations_per_epoch = iterations_per_epoch
        self.seed = seed
        self.generator = torch.Generator().manual_seed(seed)
        self.samples = 0
        self._seconds_before = 0.0
        self._started: float | None = None
        self._extra: dict | None = None

    def move_to(self, device: torch.device) -> None:
        """Put the networks and the generator where the simulator computes; a stage calls this when its networks are made."""
        self.to(device)
        self.generator = torch.Generator(device).manual_seed(self.seed)

    # ---- for a stage to fill in

    def extra_state(self) -> dict:
        """State to keep beside the weights: tensors, numbers, strings, and dicts and lists of them."""
        return {}

    def load_extra_state(self, state: dict) -> None:
        """Take up an `extra_state`."""

    # ---- Lightning

    def train_dataloader(self) -> DataLoader:
        return DataLoader(_Iterations(self.iterations_per_epoch), batch_size=None, num_workers=0)

    def on_fit_start(self) -> None:
        self._started = time.monotonic()
        if self._extra is not None:
            self.load_extra_state(self._extra["stage"])
            _set_random_state(self._extra["random"])
            self.generator.set_state(self._extra["generator"].cpu())
            self._extra = None

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of training, earlier sessions of a resumed run included."""
        return self._seconds_before + (0.0 if self._started is None else time.monotonic() - self._started)

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["physhmr_kit"] = {
            "stage": self.extra_state(),
            "random": _random_state(),
            "generator": self.generator.get_state(),
            "samples": self.samples,
            "seconds": self.seconds,
        }

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self._extra = checkpoint["physhmr_kit"]
        self.samples = self._extra["samples"]
        self._seconds_before = self._extra["seconds"]


def _random_state() -> dict:
    """Python's, NumPy's and torch's global generators, as types that load with weights_only=True."""
    kind, keys, pos, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    version, words, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), int(pos), int(has_gauss), float(cached)],
        "python": [version, list(words), gauss],
    }


def _set_random_state(state: dict) -> None:
    torch.set_rng_state(state["torch"])
    kind, keys, pos, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), pos, has_gauss, cached))  # noqa: NPY002
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
