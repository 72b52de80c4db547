"""Support: sitting without a chair and hanging in the air are detected; standing, walking and lying are supported."""

import math
from dataclasses import replace

import pytest
import roma
import torch
from motions import rest_clip, sitting_clip

from data_prep.imported import import_file
from data_prep.packing import pack
from data_prep.retargeting.support import is_doubted, unsupported, unsupported_share
from data_prep.sources import load_clips, load_library
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import STANDING
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.grounding import lift_sunken
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.motion.library_files import read_index, write_index
from physhmr_kit.utils.errors import KitError


def posed(height: float, frames: int = 60, root=(0.0, 0.0, 0.0), **turns) -> Clip:
    """A still pose: rotation vectors of joints by number, e.g. j1=(x, y, z) rad; the root turned from upright."""
    rot = torch.tensor([0.0, 0, 0, 1]).repeat(frames, 24, 1)
    rot[:, 0] = roma.quat_product(torch.tensor(STANDING), roma.rotvec_to_unitquat(torch.tensor(root)))
    for joint, turn in turns.items():
        rot[:, int(joint[1:])] = roma.rotvec_to_unitquat(torch.tensor(turn))
    return Clip.from_joints(torch.tensor([0.0, 0.0, height]).expand(frames, 3), rot, 30.0, "posed")


def test_sitting_without_a_chair_is_unsupported():
    assert unsupported(sitting_clip()).all()


def test_hanging_in_the_air_is_unsupported():
    assert unsupported_share(posed(1.8)) == 1.0 and is_doubted(1.0)


@pytest.mark.parametrize("name", ["stand", "walk_forward", "squat"])
def test_standing_walking_and_squatting_are_supported(name):
    assert not is_doubted(unsupported_share(demo_clip(name)))


def test_lying_on_the_floor_is_supported():
    assert unsupported_share(posed(0.1, root=(-math.pi / 2, 0.0, 0.0))) == 0.0


def test_a_handstand_below_the_floor_is_raised():
    up = {"j16": (0.0, 0.0, 1.4), "j17": (0.0, 0.0, -1.4)}  # arms beside the head
    clip = posed(1.0, root=(math.pi, 0.0, 0.0), **up)
    low = forward_kinematics(clip.root_pos, clip.joint_rot, Humanoid.mean().offsets)[0][..., 2].min()
    under = Clip.from_joints(clip.root_pos - torch.tensor([0.0, 0.0, float(low) + 0.15]), clip.joint_rot, 30.0)
    raised = lift_sunken(under, torch.zeros(60, 2, dtype=torch.bool))
    low = forward_kinematics(raised.root_pos, raised.joint_rot, Humanoid.mean().offsets)[0][..., 2].min()
    assert float(low) == pytest.approx(0.05, abs=0.01)
    stands = demo_clip("stand")
    assert lift_sunken(stands, torch.ones(len(stands), 2, dtype=torch.bool)) is stands


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """One clip that stands and one that sits without a chair; warnings are printed again."""
    monkeypatch.setattr("data_prep.sources._printed", set())
    rest_clip(60, "stands").save(tmp_path / "in" / "stands.npz")
    sitting_clip().save(tmp_path / "in" / "sits.npz")
    return tmp_path / "in"


def test_the_unsupported_share_of_a_clip_is_cached(folder):
    for _ in range(2):
        found = import_file(folder / "sits.npz")
        assert found.unsupported == (1.0,) and len(found.clips) == 1
        assert found.notes == () and "kept, but without support in 100 %" in found.doubts[0]
    assert found.kept


def test_unsupported_clips_are_kept_with_a_note_or_left_out_and_listed(folder, capsys):
    assert [c.name for c in load_clips([folder])] == ["sits", "stands"]
    assert capsys.readouterr().err.startswith(f"{folder / 'sits.npz'}: kept, but without support in 100 %")
    assert [c.name for c in load_clips([folder], skip_unsupported=True)] == ["stands"]
    assert capsys.readouterr().err.splitlines() == [
        "1 clip(s) left out for lack of support:",
        f"  {folder / 'sits.npz'}: sits, without support in 100 % of its frames",
    ]


def test_unsupported_clips_of_a_packed_library_can_be_left_out(folder, tmp_path, capsys):
    library = tmp_path / "library"
    assert "kept, but without support" in pack([folder], library, workers=1).lines[0]
    assert [entry.unsupported for entry in read_index(library).clips] == [1.0, 0.0]
    assert load_library([library]).names == ["sits", "stands"]
    assert load_library([library], skip_unsupported=True).names == ["stands"]
    assert "sits, without support in 100 % of its frames" in capsys.readouterr().err
    assert load_library([library, folder], skip_unsupported=True).names == ["stands", "stands_2"]
    assert [c.name for c in load_clips([library], skip_unsupported=True)] == ["stands"]


def test_a_library_without_unsupported_shares_must_be_packed_again(folder, tmp_path):
    library = tmp_path / "library"
    pack([folder], library, workers=1)
    index = read_index(library)
    write_index(library, replace(index, clips=[replace(clip, unsupported=None) for clip in index.clips]))
    assert len(load_library([library])) == 2
    with pytest.raises(KitError, match="did not check support; pack it again"):
        load_library([library], skip_unsupported=True)


def test_leaving_out_every_clip_is_an_error(folder, tmp_path):
    with pytest.raises(KitError, match=r"all 1 clips are left out for lack of support; the first: .*sits\.npz"):
        load_clips([folder / "sits.npz"], skip_unsupported=True)
    pack([folder / "sits.npz"], tmp_path / "library", workers=1)
    with pytest.raises(KitError, match="all 1 clips are left out for lack of support"):
        load_library([tmp_path / "library"], skip_unsupported=True)
