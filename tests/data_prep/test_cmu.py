"""ASF/AMC: the rules of the format by hand, faults with one clear line, and real trials."""

import math

import numpy as np
import pytest
import torch

from data_prep.bvh import read_bvh
from data_prep.cmu import read_amc, read_asf, read_source
from data_prep.retargeting.retarget import retarget
from data_prep.retargeting.source import JOINT
from data_prep.sources import load_clips
from physhmr_kit.body import Humanoid, rotation_to_dof
from physhmr_kit.motion.check import check_clip
from physhmr_kit.motion.kinematics import forward_kinematics, heading
from physhmr_kit.utils.errors import KitError


def bone(source, start, end, frame=0):
    line = source.pos[frame, JOINT[end]] - source.pos[frame, JOINT[start]]
    return (line / line.norm()).tolist()


def test_the_rest_pose_stands_with_splayed_legs_and_arms_out(toy):
    source = read_source(toy(lfemur=np.zeros((40, 3))))
    assert bone(source, "left_hip", "left_knee") == pytest.approx([0.342, -0.940, 0.0], abs=1e-3)
    assert bone(source, "right_shoulder", "right_elbow") == pytest.approx([-1, 0, 0], abs=1e-6)
    assert torch.allclose(source.pos[:, 0], torch.tensor([0.0, 16.5, 0.0], dtype=torch.float64).expand(40, 3))


def test_a_bone_turns_about_its_own_axes_c_r_c_inverse(toy):
    # femur: C turns x by 20 degrees about z; 90 degrees of rx take the splayed thigh (perpendicular to that axis) to
    # axis x direction = (cos 20, sin 20, 0) x (sin 20, -cos 20, 0) = (0, 0, -1): straight back
    source = read_source(toy(lfemur=np.tile([90.0, 0.0, 0.0], (40, 1))))
    assert bone(source, "left_hip", "left_knee") == pytest.approx([0, 0, -1], abs=1e-3)


def test_angles_apply_x_first_about_fixed_axes(toy):
    # root Rz Ry Rx: x 90 takes the trunk (y) to z, then y 90 takes z to x
    source = read_source(toy(root=np.tile([0, 16.5, 0, 90, 90, 0], (40, 1))))
    assert bone(source, "spine1", "neck") == pytest.approx([1, 0, 0], abs=1e-6)


def test_a_bones_channels_are_those_of_the_dof_line(toy):
    asf = toy().with_name("toy.asf")
    assert read_asf(asf).bones["lfoot"].dofs == ("rx", "rz")
    assert read_asf(asf).bones["lhipjoint"].dofs == ()


def test_a_standing_figure_is_upright_scaled_and_on_the_floor(toy):
    clip = read_amc(toy())
    humanoid = Humanoid.mean()
    pos, _ = forward_kinematics(clip.root_pos, clip.joint_rot, humanoid.offsets)
    assert clip.fps == 120.0 and len(clip) == 40 and clip.name == "toy_01"
    assert pos[:, 15, 2].mean() == pytest.approx(1.5, abs=0.1)  # head up
    assert (pos[:, [7, 8], 2] - 0.07).abs().max() < 0.005  # ankles at the height of a flat sole
    assert (pos[:, 1, 1] > pos[:, 2, 1]).all()  # left hip at +y, facing +x
    assert heading(clip.joint_rot[:, 0]).abs().max() < 0.02


def test_knees_and_elbows_flex_about_their_hinges(toy):
    bend = np.linspace(0, 60, 40)[:, None]
    clip = retarget(read_source(toy(ltibia=bend, lradius=bend, rradius=bend)))
    dof = torch.rad2deg(rotation_to_dof(clip.joint_rot[:, 1:])).unflatten(-1, (23, 3))
    knee, left, right = (
        dof[:, JOINT["left_knee"] - 1],
        dof[:, JOINT["left_elbow"] - 1],
        dof[:, JOINT["right_elbow"] - 1],
    )
    assert knee[-1, 0] - knee[0, 0] == pytest.approx(60, abs=3)  # x first in the knee's order
    assert left[-1, 0] - left[0, 0] == pytest.approx(-60, abs=3)  # y first in the elbow's order
    assert right[-1, 0] - right[0, 0] == pytest.approx(60, abs=3)
    for joint in (knee, left, right):
        assert (joint[-1, 1:] - joint[0, 1:]).abs().max() < 6


def drop(text, start):
    return "\n".join(line for line in text.splitlines() if not line.startswith(start)) + "\n"


FAULTS = {
    "frame 3 has .* is cut short": lambda t: "\n".join(t.splitlines()[:-5]),
    "no frames": lambda t: "\n".join(t.splitlines()[:3]),
    "'lfemur' is not finite in 1 frame": lambda t: t.replace("lfemur 0 0 -20", "lfemur 0 nan -20", 1),
    "something that is not a number": lambda t: t.replace("lfemur 0 0 -20", "lfemur 0 zero -20", 1),
    "frame 1 has 'lfemur 0 0' where 'lfemur' with 3": lambda t: t.replace("lfemur 0 0 -20", "lfemur 0 0", 1),
    "no line for bone.* lfemur": lambda t: drop(t, "lfemur"),
    "'ltail' is not in the .asf": lambda t: t.replace("lfingers", "ltail"),
    "angles in radians": lambda t: t.replace(":DEGREES", ":RADIANS"),
}


@pytest.mark.parametrize("said", FAULTS)
def test_a_damaged_file_is_named_with_its_fault(toy, said):
    path = toy(3)
    path.write_text(FAULTS[said](path.read_text()))
    with pytest.raises(KitError, match=said) as caught:
        read_amc(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_teleporting_root_is_refused_before_the_filter_smooths_it(toy):
    root = np.zeros((40, 6))
    root[:, 1], root[25:, 0] = 16.5, 8.0  # half a leg
    with pytest.raises(KitError, match=r"toy_01\.amc: teleports from frame 24 to 25 .*the root jumps by 0\.\d\d m"):
        read_amc(toy(root=root))


@pytest.mark.parametrize("name", ["asfamc/02/02_04.amc", "bvh/09_07.bvh", "bvh/05_10.bvh"])
def test_a_jump_a_running_start_and_a_wild_dance_pass_the_check_unchanged(cmu, name):
    clip = (read_amc if name.endswith("amc") else read_bvh)(cmu(name))
    same, lines = check_clip(clip)
    assert same is clip and lines == []


def test_load_clips_prints_the_assumed_rate_of_an_amc(toy, capsys):
    (clip,) = load_clips([toy()])
    assert len(clip) == 10 and "toy_01.amc: an .amc holds no frame rate; read at 120 Hz" in capsys.readouterr().err


def test_missing_files_and_skeletons_are_named(toy, tmp_path):
    path = toy(3)
    with pytest.raises(KitError, match="no such file"):
        read_amc(tmp_path / "gone.amc")
    (tmp_path / "toy.asf").write_text(":version 1.10\n:root\n order TX\n")
    with pytest.raises(KitError, match=r"toy\.asf: no :bonedata section"):
        read_amc(path)
    (tmp_path / "toy.asf").unlink()
    with pytest.raises(KitError, match="no skeleton beside it"):
        read_amc(path)


def test_a_skeleton_without_a_needed_bone_is_refused(toy):
    path = toy(3)
    asf = path.with_name("toy.asf")
    asf.write_text(asf.read_text().replace("rtibia", "rshin"))
    with pytest.raises(KitError, match=r"missing bone\(s\) rtibia"):
        read_amc(path)


def test_subject_02_has_the_size_in_the_format_notes(cmu):
    source = read_source(cmu("asfamc/02/02_01.amc"))
    metre = 0.0254 / 0.45
    assert source.pos[0, 0, 1] * metre == pytest.approx(0.943, abs=2e-3)
    assert (source.rest[4] - source.rest[1]).norm() * metre == pytest.approx(0.429, abs=2e-3)
    assert (source.rest[7] - source.rest[4]).norm() * metre == pytest.approx(0.411, abs=2e-3)


def test_the_captured_walker_walks_the_way_he_faces(cmu):
    clip = read_amc(cmu("asfamc/02/02_01.amc"))
    went = clip.root_pos[-1, :2] - clip.root_pos[0, :2]
    assert math.atan2(went[1], went[0]) == pytest.approx(float(heading(clip.joint_rot[:, 0]).mean()), abs=0.1)
    pos, _ = forward_kinematics(clip.root_pos, clip.joint_rot, Humanoid.mean().offsets)
    ahead = went / went.norm()
    toes = (pos[:, [10, 11]] - pos[:, [7, 8]])[..., :2] @ ahead
    assert (toes.mean(0) > 0.08).all()  # toes point forward
    knees = (pos[:, [4, 5]] - (pos[:, [1, 2]] + pos[:, [7, 8]]) / 2)[..., :2] @ ahead
    assert (knees.mean(0) > 0).all()  # knees bend forward of the line from hip to ankle
    elbows = (pos[:, [18, 19]] - (pos[:, [16, 17]] + pos[:, [20, 21]]) / 2)[..., :2] @ ahead
    assert (elbows.mean(0) < 0).all()  # elbows point back
