"""`show`: displays a motion under a notebook cell, interactively if `rerun-notebook` is installed."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import tempfile
from pathlib import Path

from physhmr_kit.utils.errors import KitError
from physhmr_kit.viewer.files import load_motion
from physhmr_kit.viewer.picture import filmstrip
from physhmr_kit.viewer.recording import record

_REMOTE = ("SSH_CONNECTION", "JUPYTERHUB_API_URL", "COLAB_RELEASE_TAG", "CODESPACES", "KUBERNETES_SERVICE_HOST")
"""Environment variables that are set in kernels started over SSH or by a hosting service."""


def show(what, track=None, images=None, *, height: int = 480):
    """Show a rollout, a clip or a file of either in the notebook; does nothing outside a notebook.

    With `rerun-notebook` the scene is interactive, and a film strip is stored beside it for pages without widgets (exported
    HTML, a preview of the repository). Without `rerun-notebook`, and in CI, only the film strip is shown. If the kernel runs on
    another machine, the viewer is embedded in the cell (about 30 MB for each cell); set RERUN_NOTEBOOK_ASSET to `serve-local`
    or `inline` to override this.

    Args:
        what: a rollout, a `Clip`, or the path of a clip .npz, a rollout .npz or an .rrd recording.
        track, images: of a rollout, see `record_rollout`.
        height: pixels.

    Raises:
        KitError: a file that cannot be read, or an .rrd if `rerun-notebook` is missing.
    """
    if not in_notebook():
        return
    from IPython.display import display

    motion = load_motion(what) if isinstance(what, (str, os.PathLike)) else what
    ci = bool(os.environ.get("CI"))
    picture = None if isinstance(motion, Path) else _picture(motion)
    widget = None if ci else _widget(motion, track, images, height)
    if widget is not None or picture is not None:
        display(Shown(widget, picture))
    elif not ci:
        raise KitError(f"{motion}: to show a recording, pip install 'physhmr_kit[notebooks]', or pass the rollout .npz")


class Shown:
    """Output of a cell: the widget where widgets work, otherwise the picture.

    Args:
        widget: a `rerun_notebook.Viewer`, or None. picture: a PNG, or None.
    """

    def __init__(self, widget, picture: bytes | None):
        self.widget, self.picture = widget, picture

    def _repr_mimebundle_(self, **_):
        data: dict = {"text/plain": "a motion, shown by the notebook's viewer"}
        metadata: dict = {}
        if self.widget is not None:
            data, metadata = self.widget._repr_mimebundle_()
        if self.picture is not None:
            data = {**data, "image/png": base64.b64encode(self.picture).decode()}
        return data, metadata


def _picture(motion) -> bytes:
    """The film strip as PNG."""
    out = io.BytesIO()
    filmstrip(motion).savefig(out, format="png", dpi=80, facecolor="white")
    return out.getvalue()


def in_notebook() -> bool:
    """Whether this code runs in a Jupyter kernel."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def kernel_is_remote() -> bool:
    """Whether the browser probably runs on another machine than the kernel, so that `localhost` is not the kernel's."""
    return any(name in os.environ for name in _REMOTE)


def _widget(motion, track, images, height: int):
    """A Rerun widget that shows the motion, or None if `rerun-notebook` is missing."""
    # serve the viewer from the kernel, not from the network; the variable is read when the module is imported
    os.environ.setdefault("RERUN_NOTEBOOK_ASSET", "inline" if kernel_is_remote() else "serve-local")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its address
            from rerun_notebook import Viewer
    except ImportError:
        return None
    widget = Viewer(width="auto", height=height)
    # send a finished recording: logging to a live widget does not place the eye reliably
    with tempfile.TemporaryDirectory() as folder:
        path = motion if isinstance(motion, Path) else record(Path(folder) / "show.rrd", motion, track, images)
        widget.send_rrd(path.read_bytes())
    return widget
