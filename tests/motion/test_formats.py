"""BVH and AMASS files conform to their formats, checked by independent readers."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from physhmr_kit.body.skeleton import JOINT_NAMES, PARENTS, mean_offsets
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.export import write_bvh
from physhmr_kit.motion.kinematics import forward_kinematics


@pytest.fixture(scope="module")
def clip():
    return demo_clip("punch").cut(0, 20)


def read_hierarchy(words: list[str]) -> list[dict]:
    """Joints in the order of their channels, by BVH's grammar: (ROOT|JOINT) name { OFFSET CHANNELS children } and End Sites."""
    joints: list[dict] = []

    def take(expected: str | None = None) -> str:
        word = words.pop(0)
        assert expected is None or word == expected, f"{expected} expected, found {word}"
        return word

    def joint(parent: int) -> None:
        name = take()
        take("{")
        take("OFFSET")
        offset = [float(take()) for _ in range(3)]
        take("CHANNELS")
        channels = [take() for _ in range(int(take()))]
        joints.append({"name": name, "parent": parent, "offset": offset, "channels": channels})
        me = len(joints) - 1
        while words[0] != "}":
            if take() == "End":
                for word in ("Site", "{", "OFFSET", None, None, None, "}"):
                    take(word)
            else:
                joint(me)
        take("}")

    take("HIERARCHY")
    take("ROOT")
    joint(-1)
    return joints


def test_a_bvh_parses_by_its_grammar_and_moves_like_the_clip(tmp_path, clip):
    words = write_bvh(clip, tmp_path / "deep" / "p.bvh").read_text().split()
    joints = read_hierarchy(words)
    assert sorted(j["name"] for j in joints) == sorted(JOINT_NAMES)
    assert words[:2] == ["MOTION", "Frames:"] and int(words[2]) == len(clip) and words[3:5] == ["Frame", "Time:"]
    assert float(words[5]) == pytest.approx(1 / clip.fps, abs=1e-6)
    rows = np.array(words[6:], float).reshape(len(clip), -1)
    assert rows.shape[1] == sum(len(j["channels"]) for j in joints)
    turns, places, at = [], [], 0
    for joint in joints:
        values = dict(zip(joint["channels"], rows[:, at : at + len(joint["channels"])].T, strict=True))
        at += len(joint["channels"])
        order = "".join(c[0] for c in joint["channels"] if c.endswith("rotation"))
        turn = Rotation.from_euler(order, np.stack([values[f"{axis}rotation"] for axis in order], 1), degrees=True)
        if joint["parent"] < 0:  # a root's channels replace its offset
            place = np.stack([values[f"{axis}position"] for axis in "XYZ"], 1)
        else:
            place = places[joint["parent"]] + turns[joint["parent"]].apply(joint["offset"])
            turn = turns[joint["parent"]] * turn
        turns.append(turn)
        places.append(place)
    ours, _ = forward_kinematics(clip.root_pos, clip.joint_rot, mean_offsets())
    for joint, place in zip(joints, places, strict=True):
        # y-up centimetres to z-up metres: x forward is the file's z, y left its x
        expected = ours[:, JOINT_NAMES.index(joint["name"])].numpy()
        assert np.allclose(place[:, [2, 0, 1]] / 100, expected, atol=2e-4), joint["name"]


def test_an_amass_file_has_the_keys_and_shapes_its_readers_expect(tmp_path, clip):
    with np.load(clip.save(tmp_path / "p.npz"), allow_pickle=False) as file:
        data = {key: file[key] for key in file.files}
    assert set(data) == {"poses", "trans", "betas", "gender", "mocap_framerate"}
    assert data["poses"].shape == (20, 72) and data["trans"].shape == (20, 3) and data["betas"].shape == (10,)
    assert str(data["gender"]) in ("neutral", "male", "female") and float(data["mocap_framerate"]) == clip.fps
    assert all(np.isfinite(data[key]).all() for key in ("poses", "trans", "betas"))
    # SMPL's rule: the root's pose turns the body about the pelvis, which rests at j0; trans is added
    places, turns = [clip.root_pos.numpy()], [Rotation.from_rotvec(data["poses"][:, :3])]
    assert np.ptp(places[0] - data["trans"], axis=0).max() < 1e-5
    for joint in range(1, 24):
        parent = PARENTS[joint]
        places.append(places[parent] + turns[parent].apply(mean_offsets()[joint].numpy()))
        turns.append(turns[parent] * Rotation.from_rotvec(data["poses"][:, 3 * joint : 3 * joint + 3]))
    ours, _ = forward_kinematics(clip.root_pos, clip.joint_rot, mean_offsets())
    assert np.allclose(np.stack(places, 1), ours, atol=1e-4)
