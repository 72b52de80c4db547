"""Data modules: the clips of a stage for training and validation, and for a student the camera views of them."""

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
from physhmr_kit.vision.track import VisualTrack

_MAX_ENVS = 256  # clips in a validation batch
VALIDATION_SEED = 10_007
"""Added to the seed of a run, so that validation cameras differ from the training cameras."""


class Iterations(IterableDataset):
    """One epoch of the Trainer: `batches()` is called each time an epoch starts, and yields `length` batches."""

    def __init__(self, batches: Callable[[], Iterator], length: int):
        self.batches, self.length = batches, length

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator:
        return self.batches()


class IterationDataModule(pl.LightningDataModule):
    """Base class: the training data of a stage is what the stage collects itself in each iteration."""

    def train_dataloader(self) -> Iterations:
        stage = self.trainer and self.trainer.lightning_module
        assert isinstance(stage, Stage)
        return Iterations(stage.minibatches, stage.num_minibatches)


class MotionDataModule(IterationDataModule):
    """The clips to imitate. Validation is one rollout of each, shared out among the processes.

    Args:
        library: the clips.
    """

    monitor = ("val/score", "max")
    """The metric by which the best weights are chosen, and its mode."""
    visual: VisualLibrary | None = None
    """Training views of the clips."""
    estimates: Estimates | None = None
    """Noisy versions of the clips, which a policy observes in training instead of the clips; validation has no noise."""
    validation_visual: VisualLibrary | None = None
    """One other view of each clip, for validation."""
    tracks: list[VisualTrack] | None = None
    """The validation view of each clip, for the viewer."""

    def __init__(self, library: MotionLibrary, estimates: Estimates | None = None):
        super().__init__()
        self.library, self.estimates = library, estimates

    @classmethod
    def load(cls, data: MotionData, noise: MotionNoise | None = None, seed: int = 0) -> MotionDataModule:
        """Load the clips that are not held out, and make `noise.versions` noisy versions of them.

        Raises:
            KitError: a clip that cannot be read, or no clip left to train on.
        """
        library = load_library(data)
        if noise is None or noise.versions == 1:
            return cls(library)
        return cls(library, Estimates(noisy_library(library, noise, seed), noise.versions, library.lengths))

    def val_dataloader(self) -> Iterations:
        """Batches of clip ids for this process, sorted by length."""
        assert self.trainer is not None
        rank, world = self.trainer.global_rank, self.trainer.world_size
        order = self.library.lengths.argsort(descending=True).tolist()
        ids = order[rank::world] or order[:1]  # a process without clips repeats one: all must validate
        size = min(len(ids), _MAX_ENVS)
        batches = [ids[i : i + size] for i in range(0, len(ids), size)]
        return Iterations(batches.__iter__, len(batches))


class FilmedMotionDataModule(MotionDataModule):
    """Clips and the synthetic views of them that a student observes.

    Args:
        library: the clips.
        visual: training views.
        validation_visual: one other view of each clip; the training views when omitted.
        tracks: the same validation views, for the viewer.
    """

    def __init__(
        self,
        library: MotionLibrary,
        visual: VisualLibrary,
        validation_visual: VisualLibrary | None = None,
        tracks: list[VisualTrack] | None = None,
    ):
        super().__init__(library)
        self.visual, self.validation_visual, self.tracks = visual, validation_visual or visual, tracks

    @classmethod
    def film(cls, data: MotionData, cameras: CameraData, seed: int) -> FilmedMotionDataModule:
        """Load the clips and film them.

        Raises:
            KitError: clips or encoder weights that cannot be read.
        """
        library, encoder = load_library(data), load_encoder(cameras.encoder)
        visual, _ = film_library(library, encoder, cameras.views, seed, cameras.filming)
        return cls(library, visual, *film_library(library, encoder, 1, seed + VALIDATION_SEED))


class EncoderDataModule(IterationDataModule):
    """The clips for training the encoder; the stage itself draws windows, cameras and noise.

    Args:
        library: the clips.
        data: settings: which clips are held out, and the number of validation windows.

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
        """The metric by which the best weights are chosen, and its mode."""
        return f"{self.validation_name}/mpjpe_mm", "min"

    @classmethod
    def load(cls, data: EncoderData) -> EncoderDataModule:
        """Load the clips.

        Raises:
            KitError: a clip that cannot be read, or every clip is held out.
        """
        return cls(sources.load_library(list(data.clips)), data)

    def val_dataloader(self) -> Iterations:
        """Numbers of windows, e.g. 24, 24, 24, 24: validation draws its windows from fixed seeds."""
        count = self.data.validation_windows
        batches = [min(self.batch, count - i) for i in range(0, count, self.batch)]
        return Iterations(batches.__iter__, len(batches))


def load_library(data: MotionData) -> MotionLibrary:
    """Load the clips of these settings that are not held out.

    Raises:
        KitError: a clip that cannot be read, or no clip left to train on.
    """
    library = sources.load_library(list(data.clips), data.strict, data.skip_unsupported)
    wanted = [
        not is_held_out(name, data.held_out, data.fold) and not name.startswith(data.leave_out)
        for name in library.names
    ]
    if not any(wanted):
        raise KitError(f"every clip of {', '.join(data.clips)} is held out; give more clips or hold out fewer")
    return library.only(wanted)
