"""`show` displays a motion under a notebook cell and does nothing elsewhere."""

import base64
import builtins
import subprocess
import sys

import pytest

from physhmr_kit.utils.errors import KitError
from physhmr_kit.viewer import notebook, record_clip, show


@pytest.fixture
def shown(monkeypatch):
    """A fake notebook: collects the objects passed to `display`."""
    objects = []
    display = pytest.importorskip("IPython.display", reason="IPython comes with the notebooks and dev extras")
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(notebook, "in_notebook", lambda: True)
    monkeypatch.setattr(display, "display", objects.append)
    return objects


@pytest.fixture
def no_widget(monkeypatch):
    """An installation without rerun-notebook."""
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "rerun_notebook":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)


def bundle(shown) -> dict:
    """The MIME bundle of the last cell."""
    return shown[-1]._repr_mimebundle_()[0]


def test_ci_shows_only_the_picture(monkeypatch, shown, clip, tmp_path):
    monkeypatch.setenv("CI", "true")
    show(clip)
    assert base64.b64decode(bundle(shown)["image/png"]).startswith(b"\x89PNG") and not any(
        "widget" in k for k in bundle(shown)
    )
    show(record_clip(tmp_path / "c.rrd", clip))
    assert len(shown) == 1, "a recording has no picture"


def test_nothing_happens_outside_a_notebook(monkeypatch, clip):
    monkeypatch.delenv("CI", raising=False)
    assert show(clip) is None


def test_the_widget_gets_a_whole_recording(monkeypatch, shown, clip, tmp_path):
    pytest.importorskip("anywidget", reason="rerun-notebook is part of the notebooks and dev extras")
    monkeypatch.setenv("RERUN_NOTEBOOK_ASSET", "http://127.0.0.1:1/widget.js")  # no server of assets in a test
    rerun_notebook = pytest.importorskip("rerun_notebook", reason="part of the notebooks and dev extras")
    sent = []
    monkeypatch.setattr(rerun_notebook.Viewer, "send_rrd", lambda self, data: sent.append(data))
    show(clip, height=300)
    record_clip(tmp_path / "c.rrd", clip)
    show(tmp_path / "c.rrd")
    assert [type(o.widget).__name__ for o in shown] == ["Viewer", "Viewer"]
    assert "application/vnd.jupyter.widget-view+json" in bundle(shown) and "image/png" not in bundle(shown)
    assert "image/png" in shown[0]._repr_mimebundle_()[0], "a page without widgets shows the picture"
    assert sent[1] == (tmp_path / "c.rrd").read_bytes()
    assert sent[0][:4] == b"RRF2" == sent[1][:4]


def test_without_the_widget_a_film_strip_is_drawn(shown, no_widget, clip, rollout):
    show(clip)
    show(rollout)
    assert [o.widget for o in shown] == [None, None] and all("image/png" in o._repr_mimebundle_()[0] for o in shown)


@pytest.mark.parametrize("variable", ["SSH_CONNECTION", "JUPYTERHUB_API_URL"])
def test_a_remote_kernel_is_recognised(monkeypatch, variable):
    for name in notebook._REMOTE:
        monkeypatch.delenv(name, raising=False)
    assert not notebook.kernel_is_remote()
    monkeypatch.setenv(variable, "something")
    assert notebook.kernel_is_remote()


def test_without_the_widget_a_recording_cannot_be_shown(shown, no_widget, clip, tmp_path):
    with pytest.raises(KitError, match=r"c\.rrd: .*physhmr_kit\[notebooks\]"):
        show(record_clip(tmp_path / "c.rrd", clip))


def test_a_missing_file_is_refused(shown, tmp_path):
    with pytest.raises(KitError, match=r"nothing\.npz: no such file"):
        show(tmp_path / "nothing.npz")


def test_rerun_and_matplotlib_are_imported_lazily():
    code = "import sys, physhmr_kit.viewer; sys.exit(any(m in sys.modules for m in ('rerun', 'matplotlib')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
