"""`show`: one call that puts a motion under a notebook cell, whatever is installed."""

from __future__ import annotations

import base64
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

_REMOTE = ("SSH_CONNECTION", "JUPYTERHUB_API_URL", "COLAB_RELEASE_TAG", "CODESPACES", "KUBERNETES_SERVICE_HOST")
"""Environment variables of kernels that were started over SSH or by a hosting service."""


def show(what, track=None, images=None, *, height: int = 480):
    """Show a rollout, a clip or a file of either in the notebook.

    With `rerun-notebook` the scene is interactive, and a film strip is stored beside it for pages on which no widget runs
    (exported HTML, a repository's preview). Without `rerun-notebook`, and under CI, there is the film strip alone; outside a
    notebook nothing happens. Where the kernel runs on another machine the viewer travels inside the notebook's connection
    (about 30 MB, once for each cell); RERUN_NOTEBOOK_ASSET, `serve-local` or `inline`, overrides how it is found.

    Args:
        what: a rollout, a `Clip`, or the path of a clip .npz, a rollout .npz or an .rrd recording.
        track, images: of a rollout, see `record_rollout`.
        height: pixels.

    Raises:
        KitError: a file that cannot be read, or an .rrd where `rerun-notebook` is missing.
    """
    if not in_notebook():
        return
    from IPython.display import display

    motion = load_motion(what) if isinstance(what, (str, os.PathLike)) else what
    picture = None if isinstance(motion, Path) else _picture(motion)
    widget = None if os.environ.get("CI") else _widget(motion, track, images, height)
    if widget is not None or picture is not None:
        display(Shown(widget, picture))
    elif not os.environ.get("CI"):
        raise KitError(f"{motion}: {NEEDS_RERUN}")


class Shown:
    """What a cell displays: the widget where one can run, else the picture.

    Args:
        widget: of `rerun_notebook`, or None. picture: a PNG, or None.
    """

    def __init__(self, widget, picture: bytes | None):
        self.widget, self.picture = widget, picture

    def _repr_mimebundle_(self, **_):
        data: dict = {"text/plain": "a motion; the notebook's viewer shows it"}
        metadata: dict = {}
        if self.widget is not None:
            data, metadata = self.widget._repr_mimebundle_()
        if self.picture is not None:
            data = {**data, "image/png": base64.b64encode(self.picture).decode()}
        return data, metadata


def _picture(motion) -> bytes:
    """A film strip as PNG."""
    from physhmr_kit.viewer.picture import filmstrip

    out = io.BytesIO()
    filmstrip(motion).savefig(out, format="png", dpi=80, facecolor="white")
    return out.getvalue()


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this code."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def kernel_is_remote() -> bool:
    """Whether the browser probably runs on another machine than the kernel, where `localhost` would be the wrong one."""
    return any(sign in os.environ for sign in _REMOTE)


def _widget(motion, track, images, height: int):
    """A Rerun widget with the motion in it, or None where `rerun-notebook` is missing."""
    # the widget's page comes from the kernel, not from the network; the variable is read when the module is imported
    os.environ.setdefault("RERUN_NOTEBOOK_ASSET", "inline" if kernel_is_remote() else "serve-local")
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
