"""`show`: one call that puts a motion under a notebook cell, whatever is installed."""

from __future__ import annotations

import os
from pathlib import Path

from physhmr_kit.errors import KitError

SEALED = "a recording shows itself only in Rerun; pip install 'physhmr_kit[notebooks]', or pass the rollout .npz instead"


def show(what, track=None, images=None, *, height: int = 480):
    """Show a rollout, a clip or a file of either in the notebook.

    In a notebook with `rerun-notebook` the scene can be turned and played. Without it, a film strip is drawn instead.
    Under CI, and outside a notebook, nothing happens.

    Args:
        what: a rollout, a `Clip`, or the path of a clip .npz, a rollout .npz or an .rrd recording.
        track, images: of a rollout, see `record_rollout`.
        height: pixels.

    Raises:
        KitError: a file that cannot be read, or an .rrd where `rerun-notebook` is missing.
    """
    if os.environ.get("CI") or not in_notebook():
        return
    from IPython.display import display

    motion = load(what)
    viewer = _viewer(motion, track, images, height)
    if viewer is not None:
        display(viewer)
    elif isinstance(motion, Path):
        raise KitError(f"{motion}: {SEALED}")
    else:
        from physhmr_kit.viewer.picture import filmstrip

        display(filmstrip(motion))


def load(what):
    """A rollout or clip from its file; an .rrd stays a `Path`, and what is in memory already is handed back."""
    if not isinstance(what, (str, os.PathLike)):
        return what
    path = Path(what)
    if not path.is_file():
        raise KitError(f"{path}: no such file")
    if path.suffix == ".rrd":
        return path
    return load_npz(path)


def load_npz(path: Path):
    """A `Rollout` or a `Clip`, by what the .npz holds."""
    import zipfile

    import numpy as np

    from physhmr_kit.motion.clip import Clip

    try:
        with np.load(path, allow_pickle=False) as data:
            names = set(data.files)
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, AttributeError) as fault:
        raise KitError(f"{path}: not a readable .npz ({fault})") from fault
    if "simulated/body_pos" in names:
        from physhmr_kit.env.rollout import Rollout

        return Rollout.load(path)
    return Clip.load(path)


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this code."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def _viewer(motion, track, images, height: int):
    """A Rerun widget with the motion in it, or None where `rerun-notebook` is missing."""
    # the widget's page comes from this machine, not from the network; the variable is read when the module is imported
    os.environ.setdefault("RERUN_NOTEBOOK_ASSET", "serve-local")
    try:
        import rerun_notebook  # noqa: F401
        from rerun.notebook import Viewer
    except ImportError:
        return None
    import rerun as rr

    from physhmr_kit.motion.clip import Clip
    from physhmr_kit.viewer.recording import APPLICATION, log_clip, log_rollout

    recording = rr.RecordingStream(APPLICATION)
    if isinstance(motion, Path):
        recording.log_file_from_path(motion)
        return Viewer(width="auto", height=height, recording=recording)
    layout = log_clip(recording, motion) if isinstance(motion, Clip) else log_rollout(recording, motion, track, images)
    return Viewer(width="auto", height=height, recording=recording, blueprint=layout)
