"""BVH: axis orders and rates are read, a rest pose in front is dropped, faults are one-line errors."""

import re

import numpy as np
import pytest
import roma
import torch
from dialects import edit_rows

from data_prep.bvh import read_bvh, read_source
from data_prep.bvh_file import forward, parse_bvh
from data_prep.retargeting.source import JOINT
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.export import write_bvh
from physhmr_kit.utils.errors import KitError

_DAZ = {
    "pelvis": "hip", "spine1": "abdomen", "spine3": "chest", "collar": "Collar", "shoulder": "Shldr", "elbow": "ForeArm",
    "wrist": "Hand", "hand": "Mid1", "hip": "Thigh", "knee": "Shin", "ankle": "Foot",
}  # fmt: skip

TINY = """HIERARCHY
ROOT {root}
{{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition {turns}
  End Site
  {{
    OFFSET 0 1 0
  }}
}}
MOTION
Frames: {frames}
Frame Time: {step}
{rows}
"""


def tiny(root="hip", turns="Zrotation Yrotation Xrotation", frames=1, step="0.0333333", rows="0 1 0 0 0 0"):
    return TINY.format(root=root, turns=turns, frames=frames, step=step, rows=rows)


def as_daz(text: str) -> str:
    """A file of the kit with Daz's names and End Sites for toes, so that it is retargeted like any other."""

    def rename(match):
        side, _, base = match[2].partition("_")
        return match[1] + (side[0] + _DAZ.get(base, base) if base else _DAZ.get(match[2], match[2]))

    text = re.sub(r"(ROOT |JOINT )(\w+)", rename, text)
    toes = [i for i, joint in enumerate(re.findall(r"(?:ROOT|JOINT) (\w+)", text)) if joint in ("lfoot", "rfoot")]
    foot = r"JOINT [lr]foot\s*\{\s*(OFFSET [^\n]*)\s*CHANNELS[^\n]*\s*End Site\s*\{[^}]*\}\s*\}"
    text = re.sub(foot, r"End Site\n{\n\1\n}", text)
    return edit_rows(text, lambda row: [v for column, v in enumerate(row) if column // 3 - 1 not in toes])


@pytest.fixture
def walk(tmp_path):
    return write_bvh(demo_clip("walk_forward"), tmp_path / "walk.bvh")


def test_the_kits_own_files_are_read_unchanged(walk):
    clip, back = demo_clip("walk_forward"), read_bvh(walk)
    assert back.fps == 30.0 and back.name == "walk" and len(back) == len(clip)
    assert torch.allclose(back.root_pos, clip.root_pos, atol=1e-5)
    assert roma.unitquat_geodesic_distance(back.joint_rot, clip.joint_rot).max() < 1e-4


def test_the_same_motion_with_other_joint_names_is_retargeted(walk, tmp_path):
    path = tmp_path / "daz.bvh"
    path.write_text(as_daz(walk.read_text()))
    clip, back = demo_clip("walk_forward"), read_bvh(path)
    moved = back.root_pos - back.root_pos[0]
    assert (moved - (clip.root_pos - clip.root_pos[0])).norm(dim=-1).max() < 0.06
    legs = [JOINT[f"{side}_{n}"] for side in ("left", "right") for n in ("hip", "knee", "ankle")]
    turned = roma.unitquat_geodesic_distance(back.joint_rot, clip.joint_rot)[:, legs]
    assert torch.rad2deg(turned.median()) < 5


@pytest.mark.parametrize("order", ["XYZ", "ZXY", "ZYX", "YZX"])
def test_axis_orders_are_read_leftmost_outermost(tmp_path, order):
    path = tmp_path / "order.bvh"
    angles = {"X": 30.0, "Y": -50.0, "Z": 70.0}
    row = " ".join(str(angles[a]) for a in order)
    path.write_text(tiny(turns=" ".join(f"{a}rotation" for a in order), rows=f"0 1 0 {row}"))
    motion = parse_bvh(path)
    assert [c[0] for c in motion.joints[0].channels[3:]] == list(order.lower())

    _, rot = forward(motion, {0})[0]
    expected = roma.identity_quat(1, dtype=torch.float64)
    for axis in order:  # R = R(first written) R(second) R(third)
        vector = torch.tensor([[float(a == axis) for a in "XYZ"]], dtype=torch.float64)
        expected = roma.quat_product(expected, roma.rotvec_to_unitquat(np.radians(angles[axis]) * vector))
    assert roma.unitquat_geodesic_distance(rot, expected).max() < 1e-6


def test_the_rate_is_rounded_only_if_it_is_nearly_whole(tmp_path):
    path = tmp_path / "rate.bvh"
    for step, fps in (("0.00833333", 120.0), ("0.0166667", 60.0), ("0.04", 25.0)):
        path.write_text(tiny(step=step))
        assert parse_bvh(path).fps == fps
    path.write_text(tiny(step="0.0170"))
    assert parse_bvh(path).fps == pytest.approx(58.82, abs=0.01)


def test_a_rest_pose_in_front_of_the_motion_is_dropped(walk, tmp_path):
    head, _, motion = as_daz(walk.read_text()).partition("MOTION\n")
    count, step, *rows = motion.strip().splitlines()
    rest = " ".join([*rows[0].split()[:3], *["0"] * (len(rows[0].split()) - 3)])
    frames = int(count.split(":")[1])
    path = tmp_path / "rest.bvh"
    path.write_text(head + "MOTION\n" + "\n".join([f"Frames: {frames + 1}", step, rest, *rows]) + "\n")
    source = read_source(path)
    arm = source.pos[0, JOINT["left_wrist"]] - source.pos[0, JOINT["left_shoulder"]]
    assert arm[1] < -0.8 * arm.norm()  # the first frame kept has the arm down, not out as at rest
    path.write_text(head + "MOTION\n" + motion)
    assert len(read_source(path)) == frames  # and nothing is dropped from a file that starts at once


FAULTS = {
    "no HIERARCHY section": lambda t: t.replace("HIERARCHY", "HIERARCHIE"),
    "no MOTION section": lambda t: t[: t.index("MOTION")],
    "the HIERARCHY section cannot be read .*CHANNELS in an End Site": lambda t: t.replace(
        "}\nMOTION", "End Site { CHANNELS 1 Xrotation } }\nMOTION"
    ),
    "the HIERARCHY section cannot be read .*brace": lambda t: t.replace("}\nMOTION", "MOTION"),
    r"frame 60 holds 40 values where the hierarchy declares 75 channels: the file is cut short": lambda t: cut(
        t, 60, 40
    ),
    "59 frames where [0-9]+ are declared: the file is cut short": lambda t: cut(t, 59, 75),
    "frame 1 holds 75 values where the hierarchy declares 74": lambda t: t.replace(
        "CHANNELS 3 Zrotation ", "CHANNELS 2 ", 1
    ),
    "not finite in 1 frame.*, first 1": lambda t: edit(t, "nan"),
    "not a number": lambda t: edit(t, "1.2.3"),
    "the clip has no frames": lambda t: re.sub(r"Frames: \d+", "Frames: 0", t),
    "does not start with Frames": lambda t: re.sub(r"Frames: \d+", "Frames: many", t),
    "frame time 0.0 is not a positive": lambda t: re.sub(r"Frame Time: .*", "Frame Time: 0", t),
    "no known joint name for the left thigh, left shin": lambda t: re.sub(r"(ROOT|JOINT) (\w+)", r"\1 \2qqq", t),
    "no known joint name for the left shin": lambda t: t.replace("left_knee", "left_nee"),
}


def cut(text, rows, values):
    head, _, motion = text.partition("Frame Time")
    step, *lines = motion.splitlines()
    last = " ".join(lines[rows - 1].split()[:values])
    return head + "Frame Time" + "\n".join([step, *lines[: rows - 1], last])


def edit(text, value):
    head, _, motion = text.partition("Frame Time")
    step, first, *lines = motion.splitlines()
    return head + "Frame Time" + "\n".join([step, " ".join([value, *first.split()[1:]]), *lines])


@pytest.mark.parametrize("said", FAULTS)
def test_a_damaged_file_is_named_with_its_fault(walk, said):
    walk.write_text(FAULTS[said](walk.read_text()))
    with pytest.raises(KitError, match=said) as caught:
        read_bvh(walk)
    assert str(walk) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_or_binary_file_is_named(tmp_path):
    with pytest.raises(KitError, match="no such file"):
        read_bvh(tmp_path / "gone.bvh")
    (tmp_path / "blob.bvh").write_bytes(b"\xff\xfe\x00\x81" * 20)
    with pytest.raises(KitError, match="not a readable text file"):
        read_bvh(tmp_path / "blob.bvh")
