"""BVH export: rest pose and atomic writes (`test_formats.py` checks the contents)."""

import numpy as np
import pytest
import torch

from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.export import write_bvh
from physhmr_kit.utils.errors import KitError


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
