"""BVH files of many dialects are read as the motion they were written from: upright, heading, limbs and path."""

import re

import numpy as np
import pytest
import roma
import torch
from dialects import BACKWARDS, DIALECTS, Z_UP, Dialect, edit_rows, write

from data_prep.bvh import read_source
from data_prep.imported import import_file
from data_prep.motion_file import read_file, to_clip
from data_prep.retargeting.compare import compare, differences
from data_prep.retargeting.source import JOINT
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.utils.errors import KitError

MB = DIALECTS["MotionBuilder character"]


@pytest.fixture(scope="module")
def walk():
    return demo_clip("walk_forward").cut(0, 75)


@pytest.fixture(scope="module")
def walk_text(walk, tmp_path_factory):
    """The walk as a file of MotionBuilder."""
    return write(walk, MB, tmp_path_factory.mktemp("text") / "walk.bvh").read_text()


@pytest.fixture
def save(tmp_path):
    """A function that saves a file's text and returns its path."""

    def saved(text):
        path = tmp_path / "walk.bvh"
        path.write_text(text)
        return path

    return saved


def joints_of(clip):
    return forward_kinematics(clip.root_pos.double(), clip.joint_rot.double(), Humanoid.mean().offsets.double())[0]


def degrees(a, b):
    return torch.rad2deg(torch.atan2(torch.linalg.cross(a, b).norm(dim=-1), (a * b).sum(-1)))


def assert_same_motion(found, truth, limb=4.0):
    """Bone directions, head up, heading, hip height and path of two clips of the same frames."""
    ours, theirs = joints_of(found), joints_of(truth)
    limbs = ("hip knee", "knee ankle", "shoulder elbow", "elbow wrist", "ankle foot")
    for side in ("left", "right"):
        for start, end in map(str.split, limbs):
            a, b = JOINT[f"{side}_{start}"], JOINT[f"{side}_{end}"]
            off = degrees(ours[:, b] - ours[:, a], theirs[:, b] - theirs[:, a]).median()
            assert off < (limb if end != "foot" else 12), f"{side} {start} to {end}: {off:.1f} degrees"
    assert degrees(ours[:, 15] - ours[:, 0], theirs[:, 15] - theirs[:, 0]).median() < 4
    head, true_head = (
        forward_kinematics(c.root_pos, c.joint_rot, Humanoid.mean().offsets)[1][:, 15] for c in (found, truth)
    )
    assert torch.rad2deg(roma.unitquat_geodesic_distance(head, true_head)).median() < 15  # where the face looks
    for a, b in ((1, 2), (16, 17)):
        assert degrees(ours[:, a] - ours[:, b], theirs[:, a] - theirs[:, b]).median() < 4
    assert (ours[:, 0, 2] - theirs[:, 0, 2]).abs().median() < 0.03
    assert ((ours[:, 0] - ours[:1, 0]) - (theirs[:, 0] - theirs[:1, 0])).norm(dim=-1).max() < 0.08


@pytest.mark.parametrize("name", DIALECTS)
def test_a_walk_is_read_in_each_dialect(name, walk, tmp_path):
    ((source, notes),) = read_file(write(walk, DIALECTS[name], tmp_path / "walk.bvh"))
    clip, doubts = to_clip(source)
    assert doubts == []
    assert len(clip) == len(walk)
    assert_same_motion(clip, walk)
    assert any("z is up" in note for note in notes) == bool((DIALECTS[name].world == Z_UP).all())


@pytest.mark.parametrize("name", ["Rokoko", "Xsens"])
def test_reaching_arms_and_a_bending_trunk_are_read_in_dialects(name, tmp_path):
    squat = demo_clip("squat")
    ((source, _),) = read_file(write(squat, DIALECTS[name], tmp_path / "squat.bvh"))
    assert_same_motion(to_clip(source)[0], squat)


def test_a_rest_pose_that_faces_backwards_is_turned(walk, tmp_path):
    source = read_source(write(walk, Dialect(MB.middle, MB.sided, rest_turn=BACKWARDS), tmp_path / "a.bvh"))
    assert_same_motion(to_clip(source)[0], walk)


def test_a_rest_pose_that_stands_z_up_in_a_z_up_world_is_turned_with_a_note(walk, tmp_path):
    up = roma.rotmat_to_unitquat(Z_UP)
    source = read_source(write(walk, Dialect(MB.middle, MB.sided, rest_turn=up, world=Z_UP), tmp_path / "a.bvh"))
    assert any("z is up" in note for note in source.notes)
    assert_same_motion(to_clip(source)[0], walk)


def test_a_root_without_position_channels_is_read(walk, walk_text, save):
    text = walk_text.replace("CHANNELS 6 Xposition Yposition Zposition ", "CHANNELS 3 ", 1)
    source = read_source(save(edit_rows(text, lambda row: row[3:])))
    assert (source.pos[:, 0] == source.pos[:1, 0]).all() and len(source) == len(walk)


def rolled(text, degrees=70.0):
    """The root rolled about its own axis, and every joint below it turned back: hips and chest stay where they were."""
    turn = roma.rotvec_to_unitquat(torch.deg2rad(torch.tensor([0.0, 0.0, degrees], dtype=torch.float64)))

    def turned(columns, before, after):
        quat = roma.euler_to_unitquat("ZXY", columns, degrees=True)
        quat = roma.quat_product(roma.quat_product(before.expand_as(quat), quat), after.expand_as(quat))
        return roma.unitquat_to_euler("ZXY", quat, degrees=True)

    names = re.findall(r"(?:ROOT|JOINT) (\S+)", text)
    none = torch.tensor([0.0, 0, 0, 1], dtype=torch.float64)

    def change(row):
        values = torch.tensor([float(v) for v in row], dtype=torch.float64)
        values[3:6] = turned(values[3:6], none, turn)
        for i, name in enumerate(names):
            if name in ("LHipJoint", "RHipJoint", "LowerBack"):
                column = slice(3 + 3 * i, 6 + 3 * i)
                values[column] = turned(values[column], roma.quat_conjugation(turn), none)
        return [f"{v:.6f}" for v in values]

    return edit_rows(text, change)


def with_hip_joints(text):
    """A joint of no length between root and each thigh, as CMU's MotionBuilder conversions have them."""
    head, _, motion = text.partition("MOTION\n")
    names = re.findall(r"(?:ROOT|JOINT) (\S+)", head)
    for bone, joint in (("LeftUpLeg", "LHipJoint"), ("RightUpLeg", "RHipJoint")):
        at = names.index(bone)
        names.insert(at, joint)
        start = head.index(f"JOINT {bone}")
        depth, stop = 0, start
        for stop in range(start, len(head)):
            depth += (head[stop] == "{") - (head[stop] == "}")
            if head[stop] == "}" and depth == 0:
                break
        new = f"JOINT {joint}\n{{\nOFFSET 0 0 0\nCHANNELS 3 Zrotation Xrotation Yrotation\n{head[start : stop + 1]}\n}}"
        head = head[:start] + new + head[stop + 1 :]
        at = 3 + 3 * at
        motion = edit_rows("MOTION\n" + motion, lambda row, at=at: [*row[:at], "0", "0", "0", *row[at:]])[7:]
    return head + "MOTION\n" + motion


def test_a_root_rolled_against_its_own_hips_leaves_the_body_upright(walk, save, tmp_path):
    dialect = Dialect(("Hips", "LowerBack", "Spine", "Spine1", "Neck1", "Head"), MB.sided)
    text = write(walk, dialect, tmp_path / "walk.bvh").read_text()
    source = read_source(save(rolled(with_hip_joints(text))))
    assert any("hips" in note for note in source.notes)
    ours, theirs = joints_of(to_clip(source)[0]), joints_of(walk)
    assert degrees(ours[:, 15] - ours[:, 0], theirs[:, 15] - theirs[:, 0]).median() < 5
    assert degrees(ours[:, 1] - ours[:, 2], theirs[:, 1] - theirs[:, 2]).median() < 5


def test_a_missing_joint_is_reported_with_the_names_in_the_file(walk_text, save):
    with pytest.raises(KitError, match=r"no known joint name for the left shin; the file has Character1_Hips"):
        read_source(save(walk_text.replace("LeftLeg", "LeftXyz")))


def test_animals_and_props_are_refused_as_such(walk_text, save):
    box = "HIERARCHY\nROOT box\n{\nOFFSET 0 0 0\nCHANNELS 1 Xposition\nEnd Site\n{\nOFFSET 0 1 0\n}\n}\n"
    with pytest.raises(KitError, match="a prop, not a person"):
        read_source(save(box + "MOTION\nFrames: 1\nFrame Time: 0.1\n0\n"))
    dog = walk_text.replace("RightShoulder", "RightFrontHoof").replace("RightForeArm", "RightFetlock")
    with pytest.raises(KitError, match="an animal"):
        read_source(save(dog))


def test_swapped_sides_are_refused(walk_text, save):
    with pytest.raises(KitError, match="left and right seem to be swapped"):
        read_source(save(walk_text.replace("Left", "#").replace("Right", "Left").replace("#", "Right")))


def test_a_path_in_another_unit_than_the_limbs_is_detected(walk, walk_text, save):
    path_in_m = edit_rows(walk_text, lambda row: [*(str(float(v) / 100) for v in row[:3]), *row[3:]])  # limbs in cm
    source = read_source(save(path_in_m))
    assert any("multiplied by 100" in note for note in source.notes)
    assert_same_motion(to_clip(source)[0], walk)


def test_rotations_in_radians_are_detected(walk, walk_text, save):
    text = edit_rows(walk_text, lambda row: [*row[:3], *(f"{np.radians(float(v)):.6f}" for v in row[3:])])
    source = read_source(save(text))
    assert "rotations are in radians, not degrees" in source.notes
    assert_same_motion(to_clip(source)[0], walk)


def test_a_clip_that_is_another_motion_than_its_source_is_refused_and_a_bent_one_noted(walk_text, save):
    source = read_source(save(walk_text))
    clip, _ = to_clip(source)
    assert differences(clip, source)["heading"] < 2
    assert compare(clip, source) == []

    def turned(joint, rotvec):
        rot = clip.joint_rot
        turn = roma.rotvec_to_unitquat(torch.deg2rad(torch.tensor(rotvec)))
        rot[:, joint] = roma.quat_product(rot[:, joint], turn.expand(len(clip), 4))
        return type(clip).from_joints(clip.root_pos, rot, clip.fps)

    (line,) = compare(turned(JOINT["left_hip"], (30.0, 0.0, 0.0)), source)
    assert "thigh by 30 degrees" in line
    with pytest.raises(KitError, match=r"another motion than its source .*heading by"):
        compare(turned(0, (0.0, 90.0, 0.0)), source)
    with pytest.raises(KitError, match="its path by"):
        compare(type(clip).from_joints(clip.root_pos * torch.tensor([12.0, 1, 1]), clip.joint_rot, clip.fps), source)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.replace("Character1_Hips", "Hüfte").encode("latin-1"),
        lambda text: text.encode("utf-16"),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: re.sub(r"(\d)\.(\d)", r"\1,\2", text).encode(),
    ],
    ids=["byte order mark", "latin-1", "utf-16", "Windows line ends", "decimal commas"],
)
def test_text_is_read_in_any_encoding(damage, walk_text, save, tmp_path):
    plain = read_source(save(walk_text))
    (tmp_path / "walk.bvh").write_bytes(damage(walk_text))
    assert torch.allclose(read_source(tmp_path / "walk.bvh").pos, plain.pos)


def test_a_rate_in_place_of_the_frame_time_is_accepted_with_a_note(walk_text, save):
    source = read_source(save(re.sub(r"Frame Time: \S+", "Frame Time: 120", walk_text)))
    assert source.fps == 120 and "taken for the rate" in source.notes[0]
    with pytest.raises(KitError, match=r"frame time 33.3 s; expected seconds"):
        read_source(save(re.sub(r"Frame Time: \S+", "Frame Time: 33.3", walk_text)))


def test_a_teleporting_root_cuts_the_clip_in_two_with_a_note(tmp_path):
    clip = demo_clip("walk_forward").cut(0, 90)
    root = clip.root_pos.clone()
    root[45:, 0] += 1.0
    path = write(type(clip).from_joints(root, clip.joint_rot, clip.fps), MB, tmp_path / "walk.bvh")
    found = import_file(path, cached=False)
    assert [c.name for c in found.clips] == ["walk_part1", "walk_part2"] and not found.refusal
    assert any("cut in two where it teleports, from frame 44 to 45" in note for note in found.notes)
