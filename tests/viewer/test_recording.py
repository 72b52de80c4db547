"""A recording holds the motion on two timelines and is written whole or not at all."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from physhmr_kit.body.skeleton import BODY_NAMES
from physhmr_kit.viewer import record_clip, record_rollout
from physhmr_kit.viewer.blueprint import chart_range
from physhmr_kit.viewer.plots import Chart
from physhmr_kit.viewer.recording import record_comparison
from physhmr_kit.viewer.shapes import humanoid_shapes


@pytest.fixture(scope="module")
def file(tmp_path_factory, make_rollout, recorded):
    """The recording of a rollout."""
    return recorded(record_rollout(tmp_path_factory.mktemp("recording") / "r.rrd", make_rollout()))


def test_every_body_of_a_rollout_moves_as_simulated(file, rollout):
    for joint, name in enumerate(BODY_NAMES):
        moved = file.array(f"world/simulated/{name}", "translation")[:, 0]
        turned = file.array(f"world/simulated/{name}", "quaternion")[:, 0]
        assert np.allclose(moved, rollout.simulated.body_pos[:, joint], atol=1e-6)
        assert np.allclose(turned, rollout.simulated.body_rot[:, joint], atol=1e-6)


def test_the_reference_is_a_translucent_body(file, rollout):
    for joint, name in enumerate(BODY_NAMES):
        moved = file.array(f"world/reference/{name}", "translation")[:, 0]
        assert np.allclose(moved, rollout.reference.body_pos[:, joint], atol=1e-6)
    opacity = {side: file.static(f"world/{side}/Pelvis", "colors") & 255 for side in ("reference", "simulated")}
    assert 60 < opacity["reference"] < 160 and opacity["simulated"] == 255


def test_the_root_paths_are_static_lines_on_the_floor(file, rollout):
    for side in ("reference", "simulated"):
        line = np.array(file.static(f"world/path/{side}", "strips"))
        assert np.allclose(line[:, :2], getattr(rollout, side).root_pos[:, :2], atol=1e-5) and (line[:, 2] < 0.02).all()


@pytest.mark.parametrize(("origin", "largest"), [("errors", 500.0), ("costs", 30.0), ("rewards", 1.0)])
def test_a_chart_leaves_room_for_its_legend(origin, largest):
    for curves in (1, 4):
        low, high = chart_range(Chart(origin, curves, largest))
        empty = -low if origin == "rewards" else high - largest
        assert 270 * empty / (high - low) > 24 * curves  # pixels of a chart 270 high, 24 for each row of the legend


def test_compared_rollouts_are_side_by_side_and_share_a_chart(tmp_path, rollout, track, recorded):
    estimate = SimpleNamespace(**{**vars(rollout), "simulated": rollout.reference})
    short = SimpleNamespace(**{**vars(rollout), "simulated": rollout.simulated[:20]})
    named = {"kinematic": estimate, "physics": rollout, "short": short}
    file = recorded(record_comparison(tmp_path / "c.rrd", named, track))
    moved = file.array("world/physics/body/Pelvis", "translation")[:, 0]
    assert np.allclose(moved, rollout.simulated.root_pos, atol=1e-6) and file.blueprints == 1
    assert "world/physics/reference/Pelvis" in file.entities
    assert "world/kinematic/reference/Pelvis" not in file.entities  # the reference equals the body
    errors = {name: file.column(f"errors/{name}", "scalars") for name in named}
    assert np.mean(errors["kinematic"]) < np.mean(errors["physics"]) and not errors["short"][20]
    without = recorded(record_comparison(tmp_path / "d.rrd", named))
    assert np.allclose(without.array("errors/physics", "scalars"), 30.0, atol=1e-3)


def test_geometry_is_logged_once(file):
    shapes = [c for c in file.chunks if c.entity_path.startswith("/world/simulated/") and c.is_static]
    assert sorted(c.num_rows for c in shapes) == [1] * 24


def test_capsules_end_where_the_collision_shapes_end(file):
    capsules = {name: s for name, s in zip(BODY_NAMES, humanoid_shapes(), strict=True) if s.kind == "capsule"}
    assert len(capsules) > 5
    for name, shape in capsules.items():
        start, quat, length = (
            file.static(f"world/simulated/{name}", part) for part in ("translations", "quaternions", "lengths")
        )
        assert np.allclose(start + Rotation.from_quat(quat).apply([0.0, 0.0, length]), shape.end, atol=1e-5)


def test_there_are_two_timelines_and_a_layout(file, tmp_path, clip, recorded):
    for each in (file, recorded(record_clip(tmp_path / "c.rrd", clip))):
        assert each.timelines == {"frame", "time"} and each.blueprints == 1


def test_the_error_curve_is_the_mean_body_error(file):
    assert np.allclose(file.array("errors/body", "scalars"), 30.0, atol=1e-3)


def test_rewards_begin_with_the_first_step(file):
    pose = file.column("rewards/pose", "scalars")
    assert not pose[0] and pose[1] == pytest.approx([1 / 44])
    assert len(pose) == 45


def test_terms_of_another_scale_have_their_own_chart(tmp_path, rollout, recorded):
    rollout.rewards["power"] = torch.full((45,), 800.0)
    file = recorded(record_rollout(tmp_path / "r.rrd", rollout))
    assert {"rewards/pose", "costs/power"} <= file.entities and "rewards/power" not in file.entities
    assert file.column("costs/power", "scalars")[1] == [800.0]


def test_only_large_forces_become_arrows(file, rollout):
    vectors, origins = file.array("world/contacts", "vectors"), file.array("world/contacts", "origins")
    assert vectors.shape == (45, 1, 3) and np.allclose(vectors[:, 0], [0, 0, 0.25])
    assert np.allclose(origins[:, 0], rollout.simulated.body_pos[:, 7], atol=1e-6)


def test_a_failed_rollout_is_recorded_until_it_failed(tmp_path, rollout, recorded):
    rollout.simulated = rollout.simulated[:20]
    file = recorded(record_rollout(tmp_path / "r.rrd", rollout))
    assert len(file.column("errors/body", "scalars")) == len(file.column("world/reference/Pelvis", "translation")) == 20


def test_a_rollout_without_a_reference_has_no_body_error(tmp_path, rollout, recorded):
    rollout.reference = rollout.contact_force = rollout.rewards = rollout.success = None
    entities = recorded(record_rollout(tmp_path / "r.rrd", rollout)).entities
    assert "world/simulated/Pelvis" in entities
    assert not [
        e for e in entities if e.startswith(("world/reference", "world/contacts", "errors", "rewards", "world/camera"))
    ]


def test_the_page_in_the_recording_gives_the_outcome(file):
    text = file.static("about", "text")
    assert "lost at frame 44" in text and "mean body error 30 mm" in text
    assert "`world/contacts`" in text and "`world/rays`" not in text


def test_a_clip_keeps_its_frame_rate(tmp_path, clip, recorded):
    slow = clip.resample(15.0)
    file = recorded(record_clip(tmp_path / "c.rrd", slow))
    (chunk,) = [c for c in file.chunks if c.entity_path == "/world/reference/Pelvis" and not c.is_static]
    seconds = chunk.to_record_batch().column("time").to_numpy(zero_copy_only=False).astype(np.int64) / 1e9
    assert np.allclose(np.diff(seconds), 1 / 15)
    assert np.allclose(file.array("world/reference/Pelvis", "translation")[:, 0], slow.root_pos, atol=1e-6)


@pytest.mark.parametrize("there_before", [True, False])
def test_a_recording_that_fails_halfway_leaves_nothing_behind(tmp_path, rollout, there_before):
    target = tmp_path / "r.rrd"
    if there_before:
        target.write_bytes(b"the old one")
    rollout.rewards = {"pose": torch.zeros(45, 2, 2)}  # not one number for each frame
    with pytest.raises(Exception, match=r".+"):
        record_rollout(target, rollout)
    assert [p.name for p in tmp_path.iterdir()] == (["r.rrd"] if there_before else [])
    assert not there_before or target.read_bytes() == b"the old one"
