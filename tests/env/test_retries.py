"""Second chances: who goes back, how far, and to which body."""

import pytest
import torch
from motions import rest_clip, waving_clip

from physhmr_kit.env import TrackingConfig, TrackingEnv
from physhmr_kit.env.retries import Retries
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation import make_simulator

CPU = torch.device("cpu")


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_it_goes_back_to_where_the_body_was():
    states = MotionLibrary([waving_clip(90)]).clip(0)
    retries = Retries(2, 1.0, CPU)
    for t in range(80):
        retries.note(states[torch.tensor([t, t + 5])])
    before = retries.before(torch.tensor([1, 0]), torch.tensor([10, 60]))
    assert torch.equal(before.pack(), states[torch.tensor([74, 19])].pack())


def test_no_farther_than_the_episode_and_never_less_than_a_third_of_a_second():
    retries = Retries(1, 1.0, CPU)
    steps = torch.tensor([3, 10, 11, 30, 200]).repeat(400)
    back = retries.draw(steps, generator()).view(400, 5)
    assert back[:, :2].max() == 0, "too short to go back in"
    assert back[:, 2:].min() == 10
    assert back.amax(0)[2:].tolist() == [10, 29, 60]


def test_only_a_share_goes_back():
    back = Retries(1, 0.25, CPU).draw(torch.full((4000,), 100), generator())
    assert float((back > 0).float().mean()) == pytest.approx(0.25, abs=0.03)


def lose_now_and_then(share: float, steps: int = 120) -> list[tuple[bool, bool, float]]:
    """For each episode lost by wild actions: same clip and an earlier frame? beside the reference?"""
    library = MotionLibrary([rest_clip(150), waving_clip(150)])
    env = TrackingEnv(library, make_simulator("mujoco_cpu", num_envs=8), TrackingConfig(retry_share=share))
    env.reset(seed=0)
    wild, found = generator(), []
    for _ in range(steps):
        clip, frame, lasted = env.clip_ids.clone(), env.frame_ids.clone(), env._steps.clone()
        *_, terminated, _, _ = env.step(0.4 * torch.randn(8, 69, generator=wild))
        off = (env.simulator.state.body_pos - env.reference_state.body_pos).norm(dim=-1).amax(1)
        for row in (terminated & (lasted > 12)).nonzero().flatten().tolist():
            back = int(frame[row] + 1 - env.frame_ids[row])
            found.append((bool(env.clip_ids[row] == clip[row]) and 10 <= back <= int(lasted[row]), float(off[row])))
    env.close()
    return found


def test_a_lost_episode_goes_on_from_its_own_body_shortly_before():
    found = lose_now_and_then(1.0)
    assert len(found) > 10
    assert all(again and off > 0.005 for again, off in found)


def test_without_retries_every_episode_begins_on_the_reference():
    assert all(off < 0.005 for _, off in lose_now_and_then(0.0))
