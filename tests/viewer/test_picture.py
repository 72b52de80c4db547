"""A film strip shows the right bodies and poses, at scale, and is written whole or not at all."""

import numpy as np
import pytest
from PIL import Image

from physhmr_kit.utils.errors import KitError
from physhmr_kit.viewer import filmstrip
from physhmr_kit.viewer.palette import REFERENCE, SIMULATED


def share(path, colour) -> float:
    """Share of the picture's pixels in a colour."""
    pixels = np.asarray(Image.open(path).convert("RGB"), int)
    return float((np.abs(pixels - colour).max(-1) < 12).mean())


def test_both_bodies_are_in_the_picture_of_a_rollout(tmp_path, rollout):
    filmstrip(rollout, tmp_path / "p.png")
    assert share(tmp_path / "p.png", SIMULATED) > 0.02
    assert share(tmp_path / "p.png", REFERENCE) > 0.005


def test_a_clip_has_the_colour_of_a_reference(tmp_path, clip):
    filmstrip(clip, tmp_path / "p.png")
    assert share(tmp_path / "p.png", REFERENCE) > 0.02
    assert share(tmp_path / "p.png", SIMULATED) == 0.0


def test_the_number_of_poses_can_be_chosen(rollout):
    labels = [t.get_text() for t in filmstrip(rollout, poses=4).axes[0].texts]
    assert [t for t in labels if t.endswith(" s")] == ["0.0 s", "0.5 s", "1.0 s", "1.5 s"]


def test_poses_are_apart_and_upright(clip):
    axes = filmstrip(clip, poses=5).axes[0]
    heads = sorted((p.center for p in axes.patches), key=lambda c: c[0])
    assert len(heads) == 5
    assert all(1.4 < y < 1.8 for _, y in heads)
    assert np.diff([x for x, _ in heads]).min() > 0.5


def test_seen_from_the_right_side_a_walk_goes_right(clip):
    # every pose has its own column, so look at the feet: toes point in the walking direction
    axes = filmstrip(clip, poses=1, azimuth=-90.0).axes[0]
    head = axes.patches[0].center[0]
    points = np.concatenate([np.array(line.get_xydata()) for line in axes.lines[1:]])
    low = points[points[:, 1] < 0.1]
    assert low[:, 0].max() - head > 0.05


def test_svg_and_pdf_work_and_other_kinds_are_refused(tmp_path, clip):
    for kind in ("svg", "pdf"):
        filmstrip(clip, tmp_path / f"p.{kind}", poses=2)
        assert (tmp_path / f"p.{kind}").stat().st_size > 1000
    with pytest.raises(KitError, match=r"p\.gif2: unknown kind of picture"):
        filmstrip(clip, tmp_path / "p.gif2", poses=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.pdf", "p.svg"]


def test_a_notebook_shows_a_film_strip_before_pyplot_was_used(clip):
    formatters = pytest.importorskip("IPython.core.formatters", reason="IPython is part of the dev extra")
    shown, _ = formatters.DisplayFormatter().format(filmstrip(clip, poses=3))
    assert shown["image/png"].startswith(b"\x89PNG")
