"""The collector on a scripted environment: stored tensors and next values, checked by hand."""

from types import SimpleNamespace

import pytest
import torch

from physhmr_kit.learning import Batch, Collector, Critic, Policy

SEEN, PRIVILEGED = "root_orientation", "rays"  # 6 and 36 numbers
GOES_ON, FAILS, TIMED_OUT, TIMED_OUT_LAST, FAILS_LAST, TIMED_OUT_FIRST = range(6)

# Number of the state of each environment before steps 0, 1, 2 and after step 2; a new tens digit is a new episode.
STATES = torch.tensor([
    [1, 2, 3, 4], [11, 12, 21, 22], [31, 32, 41, 42], [51, 52, 53, 61], [71, 72, 73, 81], [91, 101, 102, 103],
]).T.float()  # fmt: skip
# (step, environment): the final state of the old episode
FINAL = {(1, FAILS): 13, (1, TIMED_OUT): 33, (2, TIMED_OUT_LAST): 54, (2, FAILS_LAST): 74, (0, TIMED_OUT_FIRST): 92}
FAILURES = [(1, FAILS), (2, FAILS_LAST)]
UNDEFINED = 999.0  # where `final_obs` has no meaning


def shown(numbers: torch.Tensor) -> dict[str, torch.Tensor]:
    """An observation whose groups begin with the state's number and its negative."""
    return {
        SEEN: torch.nn.functional.pad(numbers[:, None], (0, 5)),
        PRIVILEGED: torch.nn.functional.pad(-numbers[:, None], (0, 35)),
    }


class ThreeSteps:
    """Six environments that go through `STATES` for any actions, and record the actions."""

    num_envs, device, config = 6, torch.device("cpu"), SimpleNamespace(groups=(SEEN,))

    def __init__(self):
        self.time, self.resets, self.actions, self.reward_terms = 0, 0, [], {}

    def reset(self):
        self.resets += 1
        return shown(STATES[0]), {}

    def step(self, actions):
        t = self.time % 3
        self.actions.append(actions.clone())
        ended = [(e, n) for (step, e), n in FINAL.items() if step == t]
        terminated, truncated = torch.zeros(2, 6, dtype=torch.bool)
        final = torch.full((6,), UNDEFINED)
        for environment, number in ended:
            (terminated if (t, environment) in FAILURES else truncated)[environment] = True
            final[environment] = number
        info = {"final_obs": shown(final), "_final_obs": terminated | truncated} if ended else {}
        reward = 10.0 * self.time + torch.arange(6)
        self.reward_terms = {"one": torch.full((6,), float(self.time)), "two": reward}
        self.time += 1
        return shown(STATES[t + 1]), reward, terminated, truncated, info


class StateNumber(Critic):
    """The value of a state is its number, so that values identify states."""

    def __init__(self, group: str):
        super().__init__((group,), (4,))

    def forward(self, flat):
        return flat[..., 0].abs()


@pytest.fixture
def env() -> ThreeSteps:
    return ThreeSteps()


@pytest.fixture
def policy() -> Policy:
    torch.manual_seed(0)
    return Policy((SEEN,), (8,), std=0.3)


def collector(env, policy, critic=None, seed=0, **options) -> Collector:
    return Collector(env, policy, critic, 3, torch.Generator().manual_seed(seed), **options)


@pytest.mark.parametrize("group", [SEEN, PRIVILEGED])
def test_next_values_are_those_of_the_next_state_the_final_state_or_zero(env, policy, group):
    """0 for a failure, the final state (not the first of the next episode) for a truncation, else the next state."""
    batch = collector(env, policy, StateNumber(group)).collect()
    assert torch.equal(batch.value, STATES[:3])
    expected = {
        GOES_ON: [2, 3, 4], FAILS: [12, 0, 22], TIMED_OUT: [32, 33, 42],
        TIMED_OUT_LAST: [52, 53, 54], FAILS_LAST: [72, 73, 0], TIMED_OUT_FIRST: [92, 102, 103],
    }  # fmt: skip
    assert {e: batch.next_value[:, e].tolist() for e in expected} == expected


def test_done_and_failed_are_stored_separately(env, policy):
    batch = collector(env, policy).collect()
    assert set(map(tuple, batch.done.nonzero().tolist())) == set(FINAL)
    assert set(map(tuple, batch.failed.nonzero().tolist())) == set(FAILURES)
    assert (batch.episodes, batch.failures) == (5, 2)


def test_states_rewards_and_actions_are_stored(env, policy):
    batch = collector(env, policy).collect()
    assert torch.equal(batch.policy_in[..., 0], STATES[:3]) and batch.policy_in.shape == (3, 6, 6)
    assert torch.equal(batch.reward, 10.0 * torch.arange(3)[:, None] + torch.arange(6))
    assert torch.equal(batch.action, torch.stack(env.actions))
    assert torch.equal(batch.flat("reward"), torch.cat(list(batch.reward))), "step by step"


def test_the_next_rollout_continues_where_the_last_one_ended(env, policy):
    both = collector(env, policy, StateNumber(SEEN))
    both.collect()
    batch = both.collect()
    assert env.resets == 1 and len(env.actions) == 6
    assert torch.equal(batch.policy_in[0, :, 0], STATES[3]) and torch.equal(batch.value[0], STATES[3])
    assert batch.reward[0, 0] == 30 and batch.terms == {"one": 4.0, "two": pytest.approx(40 + 2.5)}
    assert set(map(tuple, batch.done.nonzero().tolist())) == set(FINAL), "nothing is left of the previous rollout"


def test_means_and_log_probs_are_those_of_the_policy(env, policy):
    batch = collector(env, policy).collect()
    with torch.no_grad():
        torch.testing.assert_close(batch.mean, policy.mean(batch.policy_in))
    expected = torch.distributions.Normal(batch.mean, 0.3).log_prob(batch.action).sum(-1)
    torch.testing.assert_close(batch.log_prob, expected)
    assert not any(getattr(batch, name).requires_grad for name in ("mean", "action", "log_prob", "value"))


def test_the_noise_is_white_with_the_policy_s_std_and_reproducible(env, policy):
    noise = collector(env, policy).collect()
    noise = (noise.action - noise.mean).clone()
    assert float(noise.std()) == pytest.approx(0.3, rel=0.05) and float(noise.mean()) == pytest.approx(0, abs=0.03)
    assert abs(float(torch.corrcoef(noise[:2].flatten(1))[0, 1])) < 0.15, "steps are independent"
    again, other = (collector(ThreeSteps(), policy, seed=s).collect() for s in (0, 1))
    torch.testing.assert_close(again.action - again.mean, noise)
    assert not torch.allclose(other.action - other.mean, noise, atol=0.01)


def test_a_teacher_labels_every_visited_state(env, policy):
    asked = []

    def teacher(obs):
        asked.append(obs)
        return obs[PRIVILEGED][:, :1].expand(6, 69)

    batch = collector(env, policy).collect(teacher)
    assert torch.equal(batch.label, -STATES[:3, :, None].expand(3, 6, 69)) and len(asked) == 3


def test_a_critic_with_other_groups_has_its_own_inputs(env, policy):
    batch = collector(env, policy, StateNumber(PRIVILEGED)).collect()
    assert torch.equal(batch.critic_in[..., 0], -STATES[:3]) and batch.critic_in.shape == (3, 6, 36)
    shared = collector(env, policy, StateNumber(SEEN)).collect()
    assert shared.critic_in is shared.policy_in


def test_groups_are_stored_in_the_order_of_the_policy(env):
    both = Policy((PRIVILEGED, SEEN), (8,))
    batch = collector(env, both).collect()
    assert torch.equal(batch.policy_in, torch.stack([both.flatten(shown(s)) for s in STATES[:3]]))


def test_terms_are_means_over_steps_and_environments(env, policy):
    assert collector(env, policy).collect().terms == {"one": 1.0, "two": pytest.approx(10 + 2.5)}


def test_reduced_precision_applies_to_the_policy_only(env, policy, monkeypatch):
    levels = []
    mean, step = policy.mean, env.step
    look = lambda of: lambda x: (levels.append(torch.get_float32_matmul_precision()), of(x))[1]  # noqa: E731
    monkeypatch.setattr(policy, "mean", look(mean))
    monkeypatch.setattr(env, "step", look(step))
    collector(env, policy, matmul="medium").collect()
    assert levels == ["medium", "highest"] * 3


def test_buffers_have_a_row_for_every_step_and_environment():
    batch = Batch.allocate(4, 3, 7, 5)
    assert batch.policy_in.shape == (4, 3, 7) and batch.critic_in.shape == (4, 3, 5)
    assert batch.action.shape == batch.mean.shape == batch.label.shape == (4, 3, 69)
    assert batch.done.dtype == batch.failed.dtype == torch.bool
    scalars = (batch.log_prob, batch.reward, batch.value, batch.next_value, batch.done, batch.failed)
    assert all(x.shape == (4, 3) for x in scalars) and len({x.data_ptr() for x in scalars}) == 6
