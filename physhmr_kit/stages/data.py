"""Data modules: the clips a stage learns from and is validated on, and, for a student, the cameras that filmed them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytorch_lightning as pl
from torch.utils.data import IterableDataset

from data_prep import sources
from physhmr_kit.env.reference_motion import Estimates
from physhmr_kit.env.visual import VisualLibrary
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.noise import noisy_library
from physhmr_kit.motion.settings import MotionNoise
from physhmr_kit.motion.split import is_held_out
from physhmr_kit.stages.base import Stage
from physhmr_kit.stages.settings import CameraData, EncoderData, MotionData
from physhmr_kit.stages.views import film_library
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.pretrained import load_encoder

_MOST_ENVS = 256  # clips that one process validates side by side
VALIDATION_SEED = 10_007
"""Added to the seed of a run: validation cameras are not among those trained on."""


class Iterations(IterableDataset):
    """The minibatches of one iteration of a stage, made anew each time they are iterated over: one epoch of the Trainer."""

    def __init__(self, minibatches: Callable[[], Iterator], length: int):
        self.minibatches, self.length = minibatches, length

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator:
        return self.minibatches()


class Batches(IterableDataset):
    """Given batches, one after the other."""

    def __init__(self, batches: list):
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator:
        return iter(self.batches)


class IterationDataModule(pl.LightningDataModule):
    """The training data of every stage: what the stage itself collects in an iteration."""

    def train_dataloader(self) -> Iterations:
        stage = self.trainer and self.trainer.lightning_module
        assert isinstance(stage, Stage)
        return Iterations(stage.minibatches, stage.num_minibatches)


class MotionDataModule(IterationDataModule):
    """The clips to imitate. Validation follows each of them once, in every process an equal share.

    Args:
        library: the clips.
    """

    monitor = ("val/score", "max")
    """The figure that tells the best weights, and whether it should be large."""
    visual: VisualLibrary | None = None
    """The views of the training cameras."""
    estimates: Estimates | None = None
    """Noisy versions of the clips, which a policy observes in training instead of the clips; validation is exact."""
    validation_visual: VisualLibrary | None = None
    """One other view of each clip, for validation."""

    def __init__(self, library: MotionLibrary, estimates: Estimates | None = None):
        super().__init__()
        self.library, self.estimates = library, estimates

    @classmethod
    def load(cls, data: MotionData, noise: MotionNoise | None = None, seed: int = 0) -> MotionDataModule:
        """Read the clips that are not held out, and make noisy versions of them where `noise` asks for any.

        Raises:
            KitError: a clip that cannot be read, or nothing left to train on.
        """
        library = load_library(data)
        if noise is None or noise.versions == 1:
            return cls(library)
        return cls(library, Estimates(noisy_library(library, noise, seed), noise.versions, library.lengths))

    def val_dataloader(self) -> Batches:
        """Batches of clip ids for this process, long clips together."""
        assert self.trainer is not None
        rank, world = self.trainer.global_rank, self.trainer.world_size
        order = self.library.lengths.argsort(descending=True).tolist()
        ids = order[rank::world] or order[:1]  # a process without clips follows one again: all must validate
        size = min(len(ids), _MOST_ENVS)
        return Batches([ids[i : i + size] for i in range(0, len(ids), size)])


class FilmedMotionDataModule(MotionDataModule):
    """Clips and the synthetic cameras through which a student sees them.

    Args:
        library: the clips.
        visual: the views to train on.
        validation_visual: one other view of each clip, to validate on.
    """

    def __init__(self, library: MotionLibrary, visual: VisualLibrary, validation_visual: VisualLibrary | None = None):
        super().__init__(library)
        self.visual, self.validation_visual = visual, validation_visual or visual
        self.tracks: list | None = None
        """The validation view of each clip, for the viewer."""

    @classmethod
    def film(cls, data: MotionData, cameras: CameraData, seed: int) -> FilmedMotionDataModule:
        """Read the clips and film them.

        Raises:
            KitError: clips or encoder weights that cannot be read.
        """
        library, encoder = load_library(data), load_encoder(cameras.encoder)
        visual, _ = film_library(library, encoder, cameras.views, seed, cameras.filming)
        validation_visual, tracks = film_library(library, encoder, 1, seed + VALIDATION_SEED)
        module = cls(library, visual, validation_visual)
        module.tracks = tracks
        return module


class EncoderDataModule(IterationDataModule):
    """The clips that are filmed to train the encoder; the stage draws windows, cameras and noise itself.

    Args:
        library: the clips.
        data: which of them are held out, and how many windows are validated.

    Raises:
        KitError: every clip is held out.
    """

    batch = 24
    """Windows in a validation batch."""

    def __init__(self, library: MotionLibrary, data: EncoderData):
        super().__init__()
        self.library, self.data = library, data
        self.held_out = [is_held_out(name, data.held_out) or name.startswith(data.leave_out) for name in library.names]
        if all(self.held_out):
            raise KitError(f"every clip of {', '.join(data.clips)} is held out; give more clips or set held_out to 0")

    @property
    def validation_name(self) -> str:
        """'held_out', or 'seen' where nothing is held out and validation uses the training clips."""
        return "held_out" if any(self.held_out) else "seen"

    @property
    def monitor(self) -> tuple[str, str]:
        """The figure that tells the best weights, and whether it should be large."""
        return f"{self.validation_name}/mpjpe_mm", "min"

    @classmethod
    def load(cls, data: EncoderData) -> EncoderDataModule:
        """Read the clips.

        Raises:
            KitError: a clip that cannot be read, or every clip is held out.
        """
        return cls(sources.load_library(list(data.clips)), data)

    def val_dataloader(self) -> Batches:
        """Numbers of windows, e.g. 24, 24, 24, 24: validation draws its windows from fixed seeds."""
        count = self.data.validation_windows
        return Batches([min(self.batch, count - i) for i in range(0, count, self.batch)])


def load_library(data: MotionData) -> MotionLibrary:
    """The clips of these settings that are not held out.

    Raises:
        KitError: a clip that cannot be read, or nothing left to train on.
    """
    library = sources.load_library(list(data.clips), data.strict, data.skip_unsupported)
    wanted = [
        not is_held_out(name, data.held_out, data.fold) and not name.startswith(data.leave_out)
        for name in library.names
    ]
    if not any(wanted):
        raise KitError(f"every clip of {', '.join(data.clips)} is held out; give more clips or hold out fewer")
    return library.only(wanted)
