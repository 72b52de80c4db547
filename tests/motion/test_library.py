"""MotionLibrary: batched lookup by clip and time, and states consistent with the motion."""

from dataclasses import fields

import pytest
import roma
import torch
from motions import rest_clip, waving_clip

from physhmr_kit.body.hinges import dof_limits, dof_names, dof_to_rotation
from physhmr_kit.body.skeleton import JOINT_NAMES, mean_offsets, standing_height
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.kinematics import forward_kinematics, hinge_kinematics
from physhmr_kit.motion.library import MotionLibrary, unique_names
from physhmr_kit.motion.state import BodyState
from physhmr_kit.utils.errors import KitError


def gliding_clip(frames: int = 20, speed: float = 1.5, fps: float = 30.0) -> Clip:
    """The rest pose moving along +x."""
    still = rest_clip(frames, "gliding")
    root = still.root_pos.clone()
    root[:, 0] = speed * torch.arange(frames) / fps
    return Clip.from_joints(root, still.joint_rot, fps, "gliding")


@pytest.fixture(scope="module")
def library() -> MotionLibrary:
    return MotionLibrary([rest_clip(12), waving_clip(60), gliding_clip(20)])


def ids(*values: int) -> torch.Tensor:
    return torch.tensor(values)


def same(a: BodyState, b: BodyState) -> bool:
    return all(torch.equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(BodyState))


def test_it_has_the_name_and_length_of_every_clip(library):
    assert library.names == ["rest", "waving", "gliding"]
    assert library.lengths.tolist() == [12, 60, 20]
    assert len(library) == library.num_clips == 3 and library.num_frames == 92


def test_clips_at_another_rate_are_resampled_to_30_fps():
    fast = MotionLibrary([gliding_clip(241, fps=120.0)])
    assert fast.lengths.tolist() == [61], "two seconds"
    torch.testing.assert_close(fast.clip(0).body_lin_vel[:, 0, 0], torch.full((61,), 1.5), atol=1e-3, rtol=0)


def test_a_batched_lookup_returns_the_frames_of_each_clip(library):
    state = library.frames(ids(2, 0, 1, 2), ids(19, 0, 31, 4))
    assert same(state[1:2], library.clip(0)[:1])
    assert same(state[2:3], library.clip(1)[31:32])
    torch.testing.assert_close(state.root_pos[[0, 3], 0], 1.5 * torch.tensor([19.0, 4.0]) / 30)


def test_poses_are_the_forward_kinematics_of_the_clip(library):
    clip = waving_clip(60)
    pos, rot = forward_kinematics(clip.root_pos, clip.joint_rot, mean_offsets())
    torch.testing.assert_close(library.clip(1).body_pos, pos, atol=1e-5, rtol=0)
    assert roma.unitquat_geodesic_distance(library.clip(1).body_rot, rot).max() < 1e-3


def test_frames_outside_a_clip_are_clamped(library):
    state = library.frames(ids(0, 0, 0, 1), ids(-5, 12, 400, 60))
    assert same(state, library.frames(ids(0, 0, 0, 1), ids(0, 11, 11, 59)))


def test_a_lookup_at_an_integer_frame_returns_that_frame(library):
    clips, frames = ids(1, 1, 2), ids(0, 30, 7)
    state, exact = library.lookup(clips, frames / 30.0), library.frames(clips, frames)
    for field in fields(BodyState):
        torch.testing.assert_close(getattr(state, field.name), getattr(exact, field.name), atol=2e-4, rtol=1e-4)


def test_rotations_between_frames_are_interpolated(library):
    state = library.lookup(ids(2, 1), torch.tensor([4.25 / 30, 10.5 / 30]))
    assert state.root_pos[0, 0] == pytest.approx(1.5 * 4.25 / 30, abs=1e-5)
    a, b = library.clip(1)[10:11], library.clip(1)[11:12]
    elbow = JOINT_NAMES.index("left_elbow")
    whole = roma.unitquat_geodesic_distance(a.body_rot[:, elbow], b.body_rot[:, elbow])
    half = roma.unitquat_geodesic_distance(a.body_rot[:, elbow], state.body_rot[1:, elbow])
    assert float(whole) > 0.02 and float(half) == pytest.approx(float(whole) / 2, rel=0.02)
    torch.testing.assert_close(state.body_rot.norm(dim=-1), torch.ones(2, 24))


def test_positions_and_velocities_between_frames_are_interpolated(library):
    state = library.lookup(ids(1), torch.tensor([10.25 / 30]))
    a, b = library.clip(1)[10:11], library.clip(1)[11:12]
    for name in ("body_pos", "body_lin_vel", "body_ang_vel", "dof_pos", "dof_vel"):
        x, y = getattr(a, name), getattr(b, name)
        assert not torch.equal(x, y), name
        torch.testing.assert_close(getattr(state, name), 0.75 * x + 0.25 * y, atol=1e-4, rtol=1e-3)


def test_lookup_times_are_clamped_to_the_clip(library):
    state = library.lookup(ids(2, 2), torch.tensor([-1.0, 99.0]))
    torch.testing.assert_close(state.root_pos[:, 0], torch.tensor([0.0, 1.5 * 19 / 30]))


def test_velocities_are_those_of_the_motion(library):
    gliding = library.clip(2)
    torch.testing.assert_close(gliding.body_lin_vel, torch.tensor([1.5, 0, 0]).expand(20, 24, 3), atol=1e-4, rtol=0)
    assert gliding.body_ang_vel.abs().max() < 1e-3
    assert library.clip(0).body_lin_vel.abs().max() < 1e-6


def test_body_states_agree_with_those_computed_from_the_hinges(library):
    state = library.clip(1)
    again = hinge_kinematics(
        state.root_pos, state.root_rot, state.body_lin_vel[:, 0], state.body_ang_vel[:, 0],
        state.dof_pos, state.dof_vel, mean_offsets(),
    )  # fmt: skip
    torch.testing.assert_close(again.body_pos, state.body_pos, atol=1e-4, rtol=0)
    inside = slice(1, -1)  # at the ends differences are one-sided
    torch.testing.assert_close(again.body_lin_vel[inside], state.body_lin_vel[inside], atol=0.03, rtol=0)
    torch.testing.assert_close(again.body_ang_vel[inside], state.body_ang_vel[inside], atol=0.05, rtol=0)


def test_hinge_angles_are_clamped_to_their_limits():
    angles = torch.zeros(3, 69)
    knee = dof_names().index("left_knee_x")
    angles[:, knee] = -0.5  # a knee bent forwards; the limit is -5 degrees
    still = rest_clip(3)
    rot = torch.cat([still.joint_rot[:, :1], dof_to_rotation(angles)], dim=1)
    state = MotionLibrary([Clip.from_joints(still.root_pos, rot, 30.0, "knee")]).clip(0)
    torch.testing.assert_close(state.dof_pos[:, knee], dof_limits()[knee, 0].expand(3))


def test_starts_have_body_states_of_the_clamped_hinges():
    angles = torch.zeros(6, 69)
    knee = dof_names().index("left_knee_x")
    angles[:, knee] = torch.linspace(-0.6, 0.6, 6)  # from beyond the limit of -5 degrees to well inside
    still = rest_clip(6)
    rot = torch.cat([still.joint_rot[:, :1], dof_to_rotation(angles)], dim=1)
    library = MotionLibrary([rest_clip(4), Clip.from_joints(still.root_pos, rot, 30.0, "knee")])
    rows = library.rows(ids(1, 1, 0), ids(0, 5, 2))
    seen, start = library.at(rows), library.starts(rows)
    expected = hinge_kinematics(
        seen.root_pos, seen.root_rot, seen.body_lin_vel[:, 0], seen.body_ang_vel[:, 0], seen.dof_pos, seen.dof_vel,
        mean_offsets(),
    )  # fmt: skip
    for field in fields(BodyState):
        torch.testing.assert_close(getattr(start, field.name), getattr(expected, field.name))
    ankle = JOINT_NAMES.index("left_ankle")
    off = (start.body_pos - seen.body_pos)[:, ankle].norm(dim=1)
    assert off[0] > 0.1 and off[1] < 1e-4


def test_rows_are_packed_clip_by_clip(library):
    assert library.rows(ids(0, 1, 2, 2), ids(3, 0, 0, 19)).tolist() == [3, 12, 72, 91]
    assert library.last_frames(ids(2, 0, 1)).tolist() == [19, 11, 59] and library.longest == 60
    assert same(library.at(ids(72)), library.clip(2)[:1])


def test_moving_a_library_to_another_device_copies_it(library):
    assert library.to("cpu") is library
    there = library.to("meta")
    assert there.device == torch.device("meta") and there.lengths.device.type == "meta" and there.names == library.names
    assert library.device == torch.device("cpu") and there.motions is library.motions


def test_offsets_scale_the_body():
    taller = MotionLibrary([rest_clip(3)], offsets=1.1 * mean_offsets()).clip(0)
    head = JOINT_NAMES.index("head")
    mean = MotionLibrary([rest_clip(3)]).clip(0)
    above = lambda s: float(s.body_pos[0, head, 2] - s.body_pos[0, 0, 2])  # noqa: E731
    assert above(taller) == pytest.approx(1.1 * above(mean))
    assert float(mean.root_pos[0, 2]) == pytest.approx(standing_height())


def test_no_clips_and_clips_of_one_frame_are_refused():
    with pytest.raises(KitError, match="no clips"):
        MotionLibrary([])
    with pytest.raises(KitError, match=r"blink: 1 frame\(s\)"):
        MotionLibrary([rest_clip(5), rest_clip(1, "blink")])


def test_a_subset_returns_the_same_states_as_the_library(library):
    some = library.only([False, True, True])
    assert some.names == ["waving", "gliding"] and some.lengths.tolist() == [60, 20] and some.longest == 60
    assert same(some.clip(0), library.clip(1))
    assert same(some.frames(ids(1, 0), ids(7, 99)), library.frames(ids(2, 1), ids(7, 59)))
    assert some.motions is not library.motions
    with pytest.raises(KitError, match="none of the 3 clips is wanted"):
        library.only([False, False, False])


def test_a_library_returns_its_clips(library):
    waving = library.clips()[1]
    assert (waving.name, waving.fps) == ("waving", 30.0)
    torch.testing.assert_close(waving.root_pos, waving_clip(60).root_pos, atol=1e-5, rtol=0)
    apart = roma.unitquat_geodesic_distance(waving.joint_rot, waving_clip(60).joint_rot)
    assert float(apart.max()) < 1e-3


def test_a_large_library_computes_starts_only_for_the_requested_rows(library, monkeypatch):
    rows = ids(3, 50)
    kept = library.starts(rows)
    fresh = MotionLibrary([rest_clip(12), waving_clip(60), gliding_clip(20)])
    monkeypatch.setattr("physhmr_kit.motion.library.SETTLED_FRAMES", 91)
    asked = fresh.starts(rows)
    assert fresh._settled is None
    for field in fields(BodyState):
        torch.testing.assert_close(getattr(asked, field.name), getattr(kept, field.name), atol=1e-5, rtol=1e-4)


def test_names_are_made_unique():
    assert unique_names(["a", "b", "a", "a", "a_2"]) == ["a", "b", "a_2", "a_3", "a_2_2"]


def test_joined_libraries_have_unique_names_and_only_the_selected_clips(library):
    joined = MotionLibrary.joined([library.only([False, True, False]), library])
    assert joined.names == ["waving", "rest", "waving_2", "gliding"] and joined.lengths.tolist() == [60, 12, 60, 20]
    assert joined.num_frames == 152 and joined.torques is None
    for c, its in enumerate((1, 0, 1, 2)):
        assert same(joined.clip(c), library.clip(its))
