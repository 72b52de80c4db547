"""`show`: one call that puts a motion under a notebook cell, whatever is installed."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from pathlib import Path

from physhmr_kit.utils.errors import KitError
from physhmr_kit.viewer.files import load_motion
from physhmr_kit.viewer.recording import record

NEEDS_RERUN = (
    "a recording shows itself only in Rerun; pip install 'physhmr_kit[notebooks]', or pass the rollout .npz instead"
)


def show(what, track=None, images=None, *, height: int = 480):
    """Show a rollout, a clip or a file of either in the notebook.

    In a notebook with `rerun-notebook` the scene is interactive. Without it, a film strip is drawn instead.
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

    motion = load_motion(what) if isinstance(what, (str, os.PathLike)) else what
    widget = _widget(motion, track, images, height)
    if widget is not None:
        display(widget)
    elif isinstance(motion, Path):
        raise KitError(f"{motion}: {NEEDS_RERUN}")
    else:
        from physhmr_kit.viewer.picture import filmstrip

        display(filmstrip(motion))


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this code."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def _widget(motion, track, images, height: int):
    """A Rerun widget with the motion in it, or None where `rerun-notebook` is missing."""
    # the widget's page comes from this machine, not from the network; the variable is read when the module is imported
    os.environ.setdefault("RERUN_NOTEBOOK_ASSET", "serve-local")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints the address of its local server
            from rerun_notebook import Viewer
    except ImportError:
        return None
    widget = Viewer(width="auto", height=height)
    # a finished recording carries its layout; logging into a live widget does not place the eye reliably
    with tempfile.TemporaryDirectory() as folder:
        path = motion if isinstance(motion, Path) else record(Path(folder) / "show.rrd", motion, track, images)
        widget.send_rrd(path.read_bytes())
    return widget
