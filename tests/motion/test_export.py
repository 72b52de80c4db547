"""BVH export: contents and atomic writes."""

import re

import numpy as np
import pytest
import torch

from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.export import write_bvh
from physhmr_kit.utils.errors import KitError


def test_the_file_has_24_joints_and_every_frame(tmp_path):
    clip = demo_clip("wave")
    text = write_bvh(clip, tmp_path / "deep" / "wave.bvh").read_text()
    assert len(re.findall(r"(?:ROOT|JOINT) \w+", text)) == 24
    assert text.count("{") == text.count("}")
    assert f"Frames: {len(clip)}" in text and "Frame Time: 0.03333333" in text
    rows = np.loadtxt(text.splitlines()[text.splitlines().index("MOTION") + 3 :])
    assert rows.shape == (len(clip), 75) and np.isfinite(rows).all()


def test_the_world_of_the_file_is_y_up_in_centimetres(tmp_path):
    clip = demo_clip("stand")
    text = write_bvh(clip, tmp_path / "stand.bvh").read_text()
    row = np.fromstring(text.splitlines()[text.splitlines().index("MOTION") + 3], sep=" ")
    x, y, z = clip.root_pos[0].tolist()
    assert row[:3] == pytest.approx([100 * y, 100 * z, 100 * x], abs=1e-3)  # x forward is the file's +z, y left its +x


def test_the_rest_pose_standing_has_all_angles_zero(tmp_path):
    rot = torch.tensor([0.0, 0, 0, 1]).repeat(2, 24, 1)
    rot[:, 0] = 0.5
    clip = Clip.from_joints(torch.zeros(2, 3), rot, 50.0)
    text = write_bvh(clip, tmp_path / "rest.bvh").read_text()
    rows = np.loadtxt(text.splitlines()[text.splitlines().index("MOTION") + 3 :])
    assert np.abs(rows[:, 3:]).max() < 1e-4


def test_a_failed_write_names_the_file_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(KitError, match="cannot be written"):
        write_bvh(demo_clip("stand"), tmp_path / "file" / "x.bvh")
    (tmp_path / "taken.bvh").mkdir()
    with pytest.raises(KitError, match="cannot be written"):
        write_bvh(demo_clip("stand"), tmp_path / "taken.bvh")
    assert not list(tmp_path.glob("*.part*"))
