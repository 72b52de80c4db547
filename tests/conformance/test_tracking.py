"""TrackingEnv on every simulator: tracking, divergence of one environment, tensors that callers may use freely."""

import functools

import pytest
import torch
from motions import rest_clip, waving_clip

from physhmr_kit.env import TrackingConfig, TrackingEnv, track_clips
from physhmr_kit.learning import BUNDLED, load_policy
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation import make_simulator

TWO_SECONDS = 60
MEAN_GAP, LARGEST_GAP = 0.02, 0.08
"""Distance between the same body on two engines, m: mean over bodies and frames, and maximum. Contacts amplify rounding errors,
but the policy returns both to the reference."""


def tracked(simulator, name: str) -> torch.Tensor:
    """Body positions (60, 24, 3) m of the bundled expert in the first two seconds of a demo clip."""
    policy, clip = load_policy(BUNDLED / "expert.safetensors"), demo_clip(name)
    env = TrackingEnv(
        MotionLibrary([clip]), simulator, TrackingConfig(groups=policy.groups, termination="none", start="first")
    )
    policy.to(env.device)
    obs, _ = env.reset(seed=0)
    path = []
    with torch.no_grad():
        for _ in range(TWO_SECONDS):
            obs = env.step(policy(obs))[0]
            path.append(env.last_state.body_pos[0].cpu())
    return torch.stack(path)


@functools.cache
def tracked_on_mujoco_cpu(name: str) -> torch.Tensor:
    with make_simulator("mujoco_cpu") as simulator:
        return tracked(simulator, name)


@pytest.mark.parametrize("name", ["squat", "walk_forward"])
def test_a_policy_tracks_a_clip_as_on_mujoco_cpu(build, name):
    if build.backend == "mujoco_cpu":
        pytest.skip("mujoco_cpu is the reference")
    gap = (tracked(build(1), name) - tracked_on_mujoco_cpu(name)).norm(dim=-1)
    assert gap.mean() < MEAN_GAP and gap.max() < LARGEST_GAP, f"mean {gap.mean():.4f} m, largest {gap.max():.4f} m"


def test_a_diverged_environment_is_reset_and_counted_and_the_others_continue(build):
    env = TrackingEnv(MotionLibrary([rest_clip(40), waving_clip(40)]), build(3), TrackingConfig())
    start = {"clip": torch.tensor([0, 1, 1]), "frame": torch.tensor([0, 3, 6])}
    env.reset(seed=0, options=start)
    actions = torch.zeros(3, 69, device=env.device)
    for _ in range(3):
        env.step(actions)
    actions[1, 7] = torch.nan
    obs, reward, terminated, truncated, info = env.step(actions)
    assert terminated.tolist() == [False, True, False] and not truncated.any()
    assert env.num_diverged == 1 and reward[1] == 0 and (reward[[0, 2]] > 0.5).all()
    assert all(torch.isfinite(v).all() for v in (*obs.values(), *info["final_obs"].values()))
    assert env.frame_ids.tolist()[0] == 4 and env.frame_ids.tolist()[2] == 10
    actions[1, 7] = 0
    for _ in range(5):
        obs, reward, terminated, *_ = env.step(actions)
        assert (
            not terminated.any() and torch.isfinite(reward).all() and all(torch.isfinite(v).all() for v in obs.values())
        )
    assert env.num_diverged == 1


def test_whole_clips_are_tracked_and_recorded(build):
    """`track_clips` as used by the commands; results are on the CPU."""
    device, library = str(build(1).device), MotionLibrary([rest_clip(25)])
    policy = load_policy(BUNDLED / "expert.safetensors")
    rollouts = track_clips(
        policy, library, TrackingConfig(groups=policy.groups), simulator=build.backend, device=device
    )
    assert rollouts[0].success and len(rollouts[0]) == 25
    assert rollouts[0].simulated.body_pos.device.type == "cpu" and rollouts[0].contact_force.shape == (25, 24, 3)
    assert (rollouts[0].simulated.body_pos - rollouts[0].reference.body_pos).norm(dim=-1).mean() < 0.03


def test_results_of_a_step_can_be_modified_and_differentiated(build):
    """Steps run in PyTorch's inference mode, but return ordinary tensors."""
    env = TrackingEnv(MotionLibrary([rest_clip(40), waving_clip(40)]), build(3), TrackingConfig(episode_length=2))
    env.reset(seed=0)
    still = torch.zeros(3, 69, device=env.device)
    for _ in range(2):
        obs, reward, _, truncated, info = env.step(still)
    assert truncated.all()
    weight = torch.ones(358, 1, device=env.device, requires_grad=True)
    for group in (obs, info["final_obs"]):
        (group["proprioception"] @ weight).sum().backward()
    assert torch.isfinite(weight.grad).all()
    reward += 1
    env.simulator.reset(torch.tensor([1], device=env.device), env.library.clip(0)[:1])
    assert torch.isfinite(env.step(still)[1]).all()
    saved = env.state_dict()
    env.reset(options={"reset_mask": torch.tensor([False, True, False])})
    env.step(still)
    env.load_state_dict(saved)
    assert torch.isfinite(env.step(still)[1]).all()
