"""TrackingEnv: spaces, start and end of episodes, rewards, actions, views, exact resume."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from motions import rest_clip, waving_clip

from physhmr_kit.env import RewardWeights, TrackingConfig, TrackingEnv, VisualLibrary, rewards
from physhmr_kit.env.observations import proprioception
from physhmr_kit.env.settings import GROUP_SIZES, VISUAL_GROUPS
from physhmr_kit.motion.kinematics import heading
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation import make_simulator
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.build_track import synthesize_track
from physhmr_kit.vision.camera import sample_cameras
from physhmr_kit.vision.encoder import VisionEncoder

ALL_GROUPS = tuple(GROUP_SIZES)
LIFT = 2  # a clip that no policy can track


@pytest.fixture(scope="module")
def library() -> MotionLibrary:
    return MotionLibrary([rest_clip(20), waving_clip(30), rest_clip(20, "lift", lift_off=2.0)])


@pytest.fixture(scope="module")
def tracks(library):
    torch.manual_seed(0)
    encoder = VisionEncoder(width=24, layers=1, heads=2).eval()
    draw = torch.Generator().manual_seed(0)
    views = [[sample_cameras(library.clip(c).body_pos, draw) for _ in range(2)] for c in range(3)]
    with torch.no_grad():
        return [[synthesize_track(library.clip(c), camera, encoder) for camera in views[c]] for c in range(3)]


@pytest.fixture(scope="module")
def visual(tracks, library) -> VisualLibrary:
    return VisualLibrary(tracks, library.lengths)


@pytest.fixture
def build(library):
    """Makes environments: build(num_envs, visual=..., seed=..., **config)."""
    made = []

    def make(num_envs=3, visual=None, seed=0, **config):
        simulator = make_simulator("mujoco_cpu", num_envs=num_envs)
        made.append(TrackingEnv(library, simulator, TrackingConfig(**config), visual, seed))
        return made[-1]

    yield make
    for env in made:
        env.close()


def start(env, clips, frames):
    return env.reset(options={"clip": torch.tensor(clips), "frame": torch.tensor(frames)})[0]


def noise(seed: int, count: int = 3) -> torch.Tensor:
    return 0.1 * torch.randn(count, 69, generator=torch.Generator().manual_seed(seed))


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# Gymnasium's rules


def test_it_is_a_vector_env_whose_observations_lie_in_its_space(build):
    env = build(3)
    assert isinstance(env, VectorEnv) and env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert env.single_observation_space["reference"].shape == (576,) and env.action_space.shape == (3, 69)
    obs, info = env.reset(seed=1)
    assert info == {}
    for _ in range(3):
        assert all(env.observation_space[g].contains(obs[g].numpy()) for g in obs)
        assert obs.keys() == set(env.observation_space.spaces)
        obs, reward, terminated, truncated, info = env.step(torch.as_tensor(env.action_space.sample()) * 0.05)
        assert reward.shape == terminated.shape == truncated.shape == (3,)
        assert reward.dtype == torch.float32 and terminated.dtype == truncated.dtype == torch.bool


def test_the_seed_determines_where_episodes_begin(build):
    a, b = build(3), build(3)
    assert same(a.reset(seed=4)[0], b.reset(seed=4)[0])
    for k in range(4):
        left, right = a.step(noise(k)), b.step(noise(k))
        assert same(left[0], right[0]) and torch.equal(left[1], right[1])
    assert not same(a.reset(seed=4)[0], a.reset(seed=5)[0])


def test_a_reset_without_a_seed_continues_the_random_sequence(build):
    env = build(3)
    first = env.reset(seed=4)[0]
    assert not same(first, env.reset()[0])
    assert same(first, env.reset(seed=4)[0])


def test_an_action_of_the_wrong_shape_is_refused(build):
    env = build(3)
    env.reset()
    for shape in ((3, 68), (2, 69), (69,)):
        with pytest.raises(KitError, match=r"expected \(3, 69\)"):
            env.step(torch.zeros(shape))


def test_unknown_settings_are_refused():
    for setting in ({"groups": ("smell",)}, {"control": "by_ear"}, {"termination": "never"}, {"start": "last"}):
        with pytest.raises(KitError, match=next(iter(np.ravel(list(setting.values()))))):
            TrackingConfig(**setting)


# Episodes


def test_an_episode_that_reaches_the_end_of_its_clip_is_truncated_not_terminated(build):
    env = build(3)
    start(env, [0, 0, 1], [16, 15, 0])  # the clip of 20 frames ends at frame 19: after 3 and 4 steps
    ends = []
    for _ in range(4):
        _, _, terminated, truncated, info = env.step(torch.zeros(3, 69))
        assert not terminated.any()
        ends.append(truncated.tolist())
        assert ("final_obs" in info) == bool(truncated.any())
    assert ends == [[False] * 3, [False] * 3, [True, False, False], [False, True, False]]


def test_an_episode_ends_when_its_time_is_up(build):
    env = build(3, episode_length=2)
    start(env, [1, 1, 1], [0, 0, 0])
    assert not env.step(torch.zeros(3, 69))[3].any()
    assert env.step(torch.zeros(3, 69))[3].all()


def test_a_failure_is_terminated_not_truncated(build):
    env = build(3)
    start(env, [LIFT, 0, LIFT], [0, 0, 0])
    steps, terminated = 0, torch.zeros(3).bool()
    while not terminated.any() and steps < 18:
        _, _, terminated, truncated, info = env.step(torch.zeros(3, 69))
        steps += 1
    # the reference rises by 2 m/s and the body starts with that velocity, so g t^2 / 2 = 0.25 m: t = 0.23 s
    assert 5 <= steps <= 9
    assert terminated.tolist() == [True, False, True] and not truncated.any()
    assert info["_final_obs"].tolist() == [True, False, True]
    assert env.sampler.failure[LIFT] > 0.5 and env.sampler.failure[0] == 0.5


def test_without_a_termination_no_episode_fails(build):
    env = build(3, termination="none")
    start(env, [LIFT] * 3, [0] * 3)
    ended = [env.step(torch.zeros(3, 69))[2] for _ in range(18)]
    assert not torch.stack(ended).any()


def test_a_new_episode_begins_in_the_step_that_ends_the_old_one(build):
    """The returned observation is the first of the new episode, final_obs the last of the old one."""
    env = build(3)
    start(env, [0, 1, 1], [17, 0, 3])
    for k in range(2):
        obs, _, _, truncated, info = env.step(noise(k))
    assert truncated.tolist() == [True, False, False]
    ended = truncated
    last = proprioception(env.last_state, heading(env.last_state.root_rot))
    assert torch.equal(info["final_obs"]["proprioception"][ended], last[ended])
    assert not torch.equal(obs["proprioception"][ended], info["final_obs"]["proprioception"][ended])
    for group in obs:
        assert torch.equal(obs[group][~ended], info["final_obs"][group][~ended])
    assert info["final_info"]["clip"][0] == 0
    assert same(obs, env.observe(env.config.groups)), "of the current state"


def test_a_fresh_episode_begins_on_the_reference(build):
    env = build(3)
    start(env, [0, 1, 2], [0, 12, 5])
    reference = env.reference_state
    for field in fields(reference):
        torch.testing.assert_close(
            getattr(env.simulator.state, field.name), getattr(reference, field.name), atol=0.02, rtol=0.02
        )


def test_start_first_begins_at_the_first_frame(build):
    env = build(3, start="first")
    env.reset(seed=3)
    assert env.frame_ids.tolist() == [0, 0, 0]


def test_divergence_terminates_the_episode_with_finite_observations(build):
    env = build(3)
    start(env, [1, 1, 1], [0, 0, 0])
    actions = torch.zeros(3, 69)
    actions[1] = torch.nan
    obs, reward, terminated, _, info = env.step(actions)
    assert terminated.tolist() == [False, True, False]
    assert reward[1] == 0 and env.num_diverged == 1
    assert all(torch.isfinite(v).all() for v in (*obs.values(), *info["final_obs"].values(), reward))


# Rewards and actions


def test_the_reward_is_the_weighted_sum_of_its_terms(build):
    weights = RewardWeights(
        position=0.7, rotation=0, velocity=0.2, angular_velocity=0, power=-0.001, balance=0.3, foot_contact=0.1
    )
    env = build(3, reward=weights)
    start(env, [0, 1, 1], [0, 0, 3])
    for k in range(5):
        _, reward, *_ = env.step(noise(k))
    terms = env.reward_terms
    assert set(terms) == {"position", "velocity", "power", "balance", "foot_contact"}
    expected = sum(getattr(weights, k) * v for k, v in terms.items())
    torch.testing.assert_close(reward, expected)
    torch.testing.assert_close(terms["position"], rewards.position(env.last_state, env.reference_state))
    assert (terms["power"] > 0).all()


def test_power_is_free_in_the_first_three_steps(build):
    env = build(3)
    start(env, [1, 1, 1], [0, 0, 0])
    costs = []
    for k in range(5):
        env.step(noise(k))
        costs.append(float(env.reward_terms["power"].min()))
    assert costs[:3] == [0, 0, 0] and costs[3] > 0


def test_standing_still_on_a_standing_reference_has_almost_the_full_reward(build):
    env = build(3, groups=("proprioception", "reference"))
    start(env, [0, 0, 0], [0, 0, 0])
    for _ in range(10):
        _, reward, *_ = env.step(torch.zeros(3, 69))
    assert (reward > 0.9).all() and (reward <= 1).all()


def test_a_residual_action_of_one_moves_the_target_by_half_a_radian(build):
    env = build(3)
    start(env, [0, 1, 1], [0, 4, 9])
    nothing = env.pd_targets(torch.zeros(3, 69))
    torch.testing.assert_close(env.pd_targets(noise(0)) - nothing, 0.5 * noise(0))


def test_a_label_gives_the_student_the_targets_of_the_expert(build):
    expert, student = build(3), build(3, control="absolute")
    for env in (expert, student):
        start(env, [0, 1, 1], [0, 4, 9])
    label = student.label(noise(1))
    torch.testing.assert_close(student.pd_targets(label), expert.pd_targets(noise(1)), atol=1e-6, rtol=1e-5)
    states = [env.step(action)[0]["proprioception"] for env, action in ((expert, noise(1)), (student, label))]
    torch.testing.assert_close(*states, atol=1e-4, rtol=1e-4)


def test_an_absolute_action_does_not_depend_on_the_reference(build):
    env = build(3, control="absolute")
    start(env, [0, 1, 1], [0, 4, 9])
    first = env.pd_targets(noise(2))
    start(env, [1, 1, 0], [20, 0, 3])
    assert torch.equal(env.pd_targets(noise(2)), first)


# Vision


@pytest.mark.parametrize("group", VISUAL_GROUPS)
def test_visual_groups_without_tracks_are_refused(build, group):
    with pytest.raises(KitError, match="no visual tracks"):
        build(1, groups=("proprioception", group))


def test_tracks_must_be_as_long_as_their_clips(tracks, library):
    with pytest.raises(KitError, match="visual track of clip 0: 20 frames, the clip has 21"):
        VisualLibrary(tracks, library.lengths + 1)
    with pytest.raises(KitError, match="same number of views"):
        VisualLibrary([tracks[0], tracks[1][:1], tracks[2]], library.lengths)
    with pytest.raises(KitError, match="at least one"):
        VisualLibrary([[], [], []], library.lengths)


def test_visual_groups_come_from_the_environment_s_view(build, tracks, visual):
    env = build(3, visual=visual, groups=ALL_GROUPS)
    options = {"clip": torch.tensor([0, 1, 2]), "frame": torch.tensor([4, 29, 0]), "view": torch.tensor([1, 0, 1])}
    obs, _ = env.reset(options=options)
    assert {g: v.shape[1] for g, v in obs.items()} == GROUP_SIZES
    assert torch.equal(obs["feature"][0], tracks[0][1].feature[5]), "what the camera sees one step ahead"
    assert torch.equal(obs["feature"][1], tracks[1][0].feature[29]), "held at the last frame"
    assert torch.equal(obs["ray_confidence"][2], tracks[2][1].ray_confidence[1])
    obs = env.step(torch.zeros(3, 69))[0]
    assert torch.equal(obs["feature"][0], tracks[0][1].feature[6]), "the view is constant during an episode"


def test_the_root_position_is_that_of_the_views_estimate_one_step_ahead(build, visual):
    env = build(3, visual=visual, groups=("proprioception", "root_position"), control="absolute")
    options = {"clip": torch.tensor([0, 1, 2]), "frame": torch.tensor([4, 7, 0]), "view": torch.tensor([1, 0, 1])}
    seen = env.reset(options=options)[0]["root_position"]
    body = env.simulator.state
    for row, (clip, frame, view) in enumerate(((0, 5, 1), (1, 8, 0), (2, 1, 1))):
        off = visual.estimates.library.clip(2 * clip + view).root_pos[frame] - body.root_pos[row]
        yaw = float(heading(body.root_rot)[row])
        x, y = off[0] * np.cos(yaw) + off[1] * np.sin(yaw), off[1] * np.cos(yaw) - off[0] * np.sin(yaw)
        torch.testing.assert_close(seen[row], torch.stack([x, y, off[2]]).float(), atol=1e-5, rtol=0)
        assert off.norm() > 0.02, "an untrained encoder's estimate is not the truth"


def test_a_view_is_drawn_for_every_episode(build, visual):
    env = build(16, visual=visual, groups=ALL_GROUPS)
    env.reset(seed=0)
    first = env._view.clone()
    assert set(first.tolist()) == {0, 1}
    env.reset()
    assert not torch.equal(env._view, first)


# Resume


@pytest.mark.parametrize("seeing", [False, True])
def test_an_environment_resumes_bit_exactly(build, visual, seeing):
    options = {"visual": visual, "groups": ALL_GROUPS} if seeing else {}
    env, other = build(3, **options), build(3, seed=99, **options)
    env.reset(seed=2)
    for k in range(12):
        env.step(noise(k))
    saved = env.state_dict()
    present = env.observe(env.config.groups)
    path = [env.step(noise(100 + k)) for k in range(20)]
    assert any((step[2] | step[3]).any() for step in path), "an episode ends within these steps"

    assert same(other.load_state_dict(saved), present)
    for k, step in enumerate(path):
        again = other.step(noise(100 + k))
        assert same(again[0], step[0]) and all(torch.equal(a, b) for a, b in zip(again[1:4], step[1:4], strict=True))


def test_an_episode_can_start_from_a_given_state():
    library = MotionLibrary([rest_clip(30)])
    env = TrackingEnv(library, make_simulator("mujoco_cpu", num_envs=2), TrackingConfig())
    state = library.frames(torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long))
    shifted = replace(state, body_pos=state.body_pos + torch.tensor([0.3, 0.0, 0.0]))
    env.reset(seed=0, options={"clip": [0, 0], "frame": [0, 0]})
    before = env.simulator.state.root_pos.clone()
    mask = torch.tensor([False, True])
    env.reset(options={"reset_mask": mask, "clip": [0], "frame": [0], "state": shifted})
    moved = env.simulator.state.root_pos - before
    env.close()
    assert moved[0].abs().max() == 0
    torch.testing.assert_close(moved[1], torch.tensor([0.3, 0.0, 0.0]), atol=1e-4, rtol=0)


def test_an_episode_that_fails_at_its_last_frame_is_terminated_and_not_truncated():
    env = TrackingEnv(
        MotionLibrary([rest_clip(10)]),
        make_simulator("mujoco_cpu", num_envs=1),
        TrackingConfig(termination_distance=0.0),
    )
    env.reset(seed=0, options={"clip": [0], "frame": [8]})
    _, _, terminated, truncated, _ = env.step(torch.zeros(1, 69))
    env.close()
    assert terminated.tolist() == [True] and truncated.tolist() == [False]


def test_a_seed_clears_the_failure_statistics():
    env = TrackingEnv(MotionLibrary([rest_clip(10)]), make_simulator("mujoco_cpu", num_envs=1), TrackingConfig())
    env.sampler.failure.fill_(0.9)
    env.reset()
    assert env.sampler.failure.tolist() == pytest.approx([0.9])
    env.reset(seed=1)
    env.close()
    assert env.sampler.failure.tolist() == [0.5]
