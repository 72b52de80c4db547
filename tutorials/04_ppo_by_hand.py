# %% [markdown]
# # Lesson 4 · PPO by hand
#
# **Time:** half a minute on two CPU cores, half of it training. **Needs:** only the kit and PyTorch; lesson 1 helps.
#
# A fall is not differentiable. To learn in a simulator we try something, see whether it went better than expected, and do more of what did. This lesson implements the standard algorithm for that,
# PPO (Schulman et al. 2017), from the first reward to the last gradient, in about a hundred lines of plain PyTorch. Only the environment is imported.
#
# Afterwards you will be able to
# - say what a return, a value and an advantage are, and compute all three,
# - trade bias against variance with $\lambda$,
# - explain what the clipped objective prevents, and read the metrics that show it at work,
# - tell learning from luck with several seeds and a zero-action baseline.

# %%
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in `fit`: waiting threads sleep instead of spinning

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

from physhmr_kit.body import JOINT_NAMES, dof_names
from physhmr_kit.env import TrackingConfig, TrackingEnv
from physhmr_kit.env.actions import residual_action
from physhmr_kit.env.settings import EXPERT_REWARD
from physhmr_kit.learning import ppo
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation import make_simulator
from physhmr_kit.viewer import filmstrip
from physhmr_kit.viewer.palette import SERIES, SIMULATED, unit

ITERATIONS, SHORT = 30, 12
"""Iterations of the recorded runs, and of the live one under CI."""
torch.manual_seed(0)
torch.set_num_threads(2)

# %% [markdown]
# ## A body with miscalibrated actuators
#
# With the kit's PD targets a zero action already tracks a demo motion to its end (lesson 5), which leaves nothing to learn. So we break something: **the twelve shoulder and elbow hinges have a constant offset** of ±20° each. The policy's action $a$, 12 numbers in radians, is added to their targets;
# it is not told the offsets. The correct answer is their negative, so we can see whether trial and error finds it.

# %%
library = MotionLibrary([demo_clip("arm_raise")])
LENGTH = int(library.lengths[0])
JOINTS = [JOINT_NAMES.index(f"{side}_{joint}") for joint in ("shoulder", "elbow") for side in ("left", "right")]
HINGES = [3 * (joint - 1) + k for joint in JOINTS for k in range(3)]
SEEN = [*JOINTS, JOINT_NAMES.index("left_wrist"), JOINT_NAMES.index("right_wrist")]
offset = 0.35 * torch.randint(0, 2, (12,), generator=torch.Generator().manual_seed(1)).mul(2).sub(1)  # rad
config = TrackingConfig(groups=("reference",), reward=replace(EXPERT_REWARD, power=0.0))


def make_env(num_envs: int) -> TrackingEnv:
    """Environments that start on random frames of the clip; an episode fails when a body is 25 cm from the reference."""
    return TrackingEnv(library, make_simulator("mujoco_cpu", num_envs=num_envs), config)


def policy_obs(obs: dict) -> torch.Tensor:
    """Observation of our policy: the 24 reference numbers, one step ahead, of six arm bodies (N, 144)."""
    return obs["reference"].view(-1, 24, 24)[:, SEEN].flatten(1)


def full_action(env: TrackingEnv, action: torch.Tensor) -> torch.Tensor:
    """Our action (N, 12) rad as an action of the environment (N, 69); all other targets are unchanged."""
    follow = env.pd_targets(torch.zeros(len(action), 69))
    wanted = follow.clone()
    wanted[:, HINGES] += offset + action
    return residual_action(wanted, follow)


# %% [markdown]
# A rollout is a few steps of many bodies at once. We store observations, actions and rewards, and whether an episode ended by *failure*, after which no more reward is possible, or because the clip was over, after which more would have been.


# %%
class Actor(nn.Module):
    """A Gaussian over actions: a network for the mean, one standard deviation per action."""

    def __init__(self, std: float = 0.2):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(144, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 12))
        nn.init.orthogonal_(self.net[-1].weight, 0.01)  # start close to a = 0
        nn.init.zeros_(self.net[-1].bias)
        self.log_std = nn.Parameter(torch.full((12,), std).log())

    def forward(self, seen: torch.Tensor) -> torch.distributions.Normal:
        return torch.distributions.Normal(self.net(seen), self.log_std.exp())


def make_critic() -> nn.Sequential:
    """A network that predicts the return."""
    return nn.Sequential(nn.Linear(144, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))


@torch.no_grad()
def roll_out(env: TrackingEnv, obs: dict, actor: Actor, steps: int) -> tuple[dict[str, torch.Tensor], dict]:
    """`steps` steps of every body: a dictionary of tensors (steps, N, ...), and the last observation."""
    rows = []
    for _ in range(steps):
        seen = policy_obs(obs)
        chosen = actor(seen)
        action = chosen.sample()
        obs, reward, failed, truncated, info = env.step(full_action(env, action))
        next_obs = policy_obs(obs)
        if truncated.any():  # the environment has already reset; the final observation of the old episode is in `info`
            next_obs = torch.where(truncated[:, None], policy_obs(info["final_obs"]), next_obs)
        log_prob = chosen.log_prob(action).sum(-1)
        rows.append({"obs": seen, "action": action, "log_prob": log_prob, "reward": reward, "next_obs": next_obs,
                     "failed": failed, "done": failed | truncated})  # fmt: skip
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}, obs


# %% [markdown]
# First the baseline: an untrained actor's mean action is close to $a=0$. We let it track the clip from its first frame.

# %%
ENVS, STEPS = 64, 16


def follow(actor: Actor | None):
    """Track the clip from its first frame with the actor's mean action; None is a zero action."""
    env = make_env(1)
    zero = torch.zeros(1, dtype=torch.long)
    env.config = replace(config, termination="none")
    obs, _ = env.reset(seed=0, options={"clip": zero, "frame": zero})
    bodies, earned = [env.simulator.state], []
    with torch.no_grad():
        for _ in range(LENGTH - 1):
            action = torch.zeros(1, 12) if actor is None else actor(policy_obs(obs)).mean
            obs, reward, *_ = env.step(full_action(env, action))
            bodies.append(env.last_state)
            earned.append(float(reward))
    env.close()
    simulated = SimpleNamespace(body_pos=torch.cat([body.body_pos for body in bodies]))
    return SimpleNamespace(name="arm_raise", fps=30.0, reference=library.clip(0), simulated=simulated), earned


zero_rollout, zero_reward = follow(None)
print(f"a zero action earns {np.mean(zero_reward):.2f} a step, {min(zero_reward):.2f} at its worst")
assert min(zero_reward) < 0.7 < 0.9 < max(zero_reward)
filmstrip(zero_rollout, poses=7, title="arm_raise, twelve hinges with an offset")

# %% [markdown]
# ## Returns
#
# A single reward $r_t$, between 0 and 1, says little: a body that has just begun to fall still earns nearly all of it. What counts is everything that follows. The *return* sums it, with a discount $\gamma$ for later rewards,
#
# $$G_t = r_t + \gamma\, r_{t+1} + \gamma^2 r_{t+2} + \dots$$
#
# so it looks about $1/(1-\gamma)$ steps ahead. Like the kit we multiply every reward by $1-\gamma$: a return is then an average of rewards, between 0 and 1, whatever $\gamma$.


# %%
def returns(reward: torch.Tensor, gamma: float) -> torch.Tensor:
    """Discounted sums of (1 - gamma) x reward from each step to the last: (T,) -> (T,)."""
    result, running = torch.empty_like(reward), torch.zeros(())
    for t in range(len(reward) - 1, -1, -1):
        running = (1 - gamma) * reward[t] + gamma * running
        result[t] = running
    return result


earned = torch.tensor(zero_reward)
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 2.8), layout="constrained")
left.plot(np.arange(len(earned)) / 30, earned, color="0.6", label="reward")
for gamma, colour in ((0.8, SERIES[1]), (0.95, SERIES[0]), (0.99, SERIES[2])):
    left.plot(np.arange(len(earned)) / 30, returns(earned, gamma), color=unit(colour), label=f"return, γ = {gamma:g}")
    right.plot(
        np.arange(90) / 30,
        gamma ** np.arange(90),
        color=unit(colour),
        label=f"γ = {gamma:g}: {1 / (1 - gamma):.0f} steps",
    )
left.set(xlabel="time (s)", ylim=(0, 1.05), title="zero action")
left.legend(frameon=False, fontsize=8)
right.set(xlabel="seconds ahead", ylabel="weight of a reward", ylim=(0, 1.05), title="horizon of a return")
right.legend(frameon=False, fontsize=8)
plt.show()

by_hand = 0.05 * sum(0.95**k * earned[40 + k] for k in range(len(earned) - 40))
assert torch.isclose(returns(earned, 0.95)[40], by_hand, atol=1e-5), "the loop is the sum"

# %% [markdown]
# The reward (grey) describes the moment, the returns what follows, as far as they look ahead. (At the end of the clip they all fall to zero because our sum stops there. That is an artefact, which
# a critic will fix.)
#
# ## Values and advantages
#
# Some parts of the clip are easy whatever the action, so a high return alone proves nothing. The *critic* $V(s)$ learns to predict the return by regression,
#
# $$L_V = \tfrac12\,\big(V(s_t) - \hat G_t\big)^2 ,$$
#
# and an action is judged by the difference, the *advantage*. There are two simple estimates. Monte Carlo: $\hat G_t - V(s_t)$ with all rewards actually collected, which has the variance of all later steps. Or ask
# the critic again after a single step, $\delta_t = r_t + \gamma V(s_{t+1}) - V(s_t)$, which has low variance but all of the critic's bias. *Generalised advantage estimation* (GAE, Schulman et al. 2016) interpolates,
#
# $$A_t = \delta_t + \gamma\lambda\,\delta_{t+1} + (\gamma\lambda)^2\delta_{t+2} + \dots$$
#
# with $\lambda=0$ for one step and $\lambda=1$ for Monte Carlo. The sum stops where an episode ends. After a failure nothing follows, so $V(s_{t+1})$ is 0; if only the clip was over, it is the critic's value as usual.

# %%
GAMMA, LAMBDA = 0.9, 0.95


def estimate(
    batch: dict, critic: nn.Module, gamma: float = GAMMA, lam: float = LAMBDA
) -> tuple[torch.Tensor, torch.Tensor]:
    """Advantages, and the returns to fit the critic to: (T, N) each."""
    with torch.no_grad():
        value = critic(batch["obs"]).squeeze(-1)
        next_value = critic(batch["next_obs"]).squeeze(-1) * ~batch["failed"]
    delta = (1 - gamma) * batch["reward"] + gamma * next_value - value
    advantage, running = torch.empty_like(delta), torch.zeros_like(delta[0])
    for t in range(len(delta) - 1, -1, -1):
        running = delta[t] + gamma * lam * ~batch["done"][t] * running
        advantage[t] = running
    return advantage, advantage + value


def value_loss(critic: nn.Module, seen: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Half the mean squared error of the critic."""
    return 0.5 * (critic(seen).squeeze(-1) - target).square().mean()


env, actor, critic = make_env(ENVS), Actor(), make_critic()
obs, _ = env.reset(seed=0)
batch, obs = roll_out(env, obs, actor, STEPS)
optimizer, losses = torch.optim.Adam(critic.parameters(), lr=2e-3), []
for _ in range(150):
    loss = value_loss(critic, batch["obs"], estimate(batch, critic)[1])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(float(loss.detach()))
print(
    f"critic error: {(2 * losses[0]) ** 0.5:.2f} at first, {(2 * losses[-1]) ** 0.5:.2f} after 150 steps of regression"
)
assert losses[-1] < losses[0] / 2

# %% [markdown]
# How do the estimates differ? We let the same actor continue, so that the critic sees steps it was not fitted to, and compute the advantages with several $\lambda$.

# %%
again, obs = roll_out(env, obs, actor, STEPS)
LAMBDAS = (0.0, 0.5, 0.8, 0.95, 1.0)
spread = [float(estimate(again, critic, lam=lam)[0].std()) for lam in LAMBDAS]

figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 2.8), layout="constrained")
for lam, colour, name in (
    (0.0, SERIES[1], "one step, λ = 0"),
    (LAMBDA, SERIES[0], "GAE, λ = 0.95"),
    (1.0, SERIES[5], "Monte Carlo, λ = 1"),
):
    left.plot(np.arange(STEPS) / 30, estimate(again, critic, lam=lam)[0][:, 0], color=unit(colour), label=name)
left.axhline(0, color="0.8", linewidth=1)
left.set(xlabel="time (s)", ylabel="advantage", title="one body, three estimates")
left.legend(frameon=False, fontsize=8)
right.plot(LAMBDAS, spread, "o-", color=unit(SIMULATED))
right.set(xlabel="λ", ylabel="standard deviation", ylim=(0, None), title=f"advantages of {STEPS * ENVS} steps")
plt.show()

kit = ppo.advantages(
    (1 - GAMMA) * again["reward"], critic(again["obs"]).squeeze(-1).detach(),
    critic(again["next_obs"]).squeeze(-1).detach() * ~again["failed"], again["done"], GAMMA, LAMBDA,
)  # fmt: skip
assert torch.allclose(estimate(again, critic)[0], kit, atol=1e-6), "the kit's `ppo.advantages` is this loop"
assert spread[0] < spread[-1], "larger λ, more variance"

# %% [markdown]
# A larger $\lambda$ includes more of the randomness of later steps, so the estimates spread more. A smaller one depends more on the critic, which was untrained a moment ago. $\lambda=0.95$ is the usual choice.
#
# ## The clipped objective
#
# Let $\rho = \pi_\theta(a|s)/\pi_{\text{old}}(a|s)$ be how much more likely the new policy is to take the sampled action. To do more of what went well, maximise $\rho A$. But the rollout came from the old policy: far from it, its advantages are meaningless,
# and one rollout is used for many gradient steps. So the objective stops growing beyond a change of 20 %:
#
# $$L = -\,\mathbb E\,\min\big(\rho A,\ \operatorname{clip}(\rho, 0.8, 1.2)\,A\big)$$

# %%
CLIP = 0.2


def policy_loss(log_prob: torch.Tensor, old_log_prob: torch.Tensor, advantage: torch.Tensor) -> torch.Tensor:
    """The clipped objective, to be minimised: (B,) each -> scalar."""
    ratio = (log_prob - old_log_prob).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage).mean()


ratio = torch.linspace(0.4, 1.8, 141)
figure, panels = plt.subplots(1, 2, figsize=(9.5, 2.8), sharex=True, layout="constrained")
for axes, sign, label in zip(
    panels, (1.0, -1.0), ("went better than expected, A = 1", "went worse, A = −1"), strict=True
):
    gain = torch.stack([-policy_loss(r.log()[None], torch.zeros(1), torch.tensor([sign])) for r in ratio])
    axes.plot(ratio, sign * ratio, color="0.7", linestyle="--", label="ρ A")
    axes.plot(ratio, gain, color=unit(SIMULATED), linewidth=2, label="the clipped objective")
    axes.axvspan(1 - CLIP, 1 + CLIP, color="0.93", zorder=0)
    axes.set(title=label, xlabel="ρ: how much more likely than before")
panels[0].legend(frameon=False, fontsize=8)
plt.show()


def slope(ratio: float, advantage: float) -> float:
    """Derivative of the objective by ρ."""
    r = torch.tensor([ratio], requires_grad=True)
    (-policy_loss(r.log(), torch.zeros(1), torch.tensor([advantage]))).backward()
    return float(r.grad)


assert abs(slope(1.1, 1.0) - 1) < 1e-5 and slope(1.3, 1.0) == 0, "good action, already 20 % more likely: no gradient"
assert slope(0.7, -1.0) == 0 and abs(slope(1.3, -1.0) + 1) < 1e-5, "bad action, more likely: full gradient"

# %% [markdown]
# Note the right panel: where a *bad* action has become more likely, nothing is clipped. Clipping limits moving away from the old policy, never moving back.
#
# ## The standard deviation
#
# Without noise every try is the same and there is nothing to compare. `std` sets how far we explore. It is also the scale of policy changes: the same change of the mean is a small step for a wide Gaussian and a large one for a narrow one.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 2.8), layout="constrained")
line, shift, changed = torch.linspace(-0.7, 0.7, 300), 0.02, {}
for std, colour in ((0.2, SIMULATED), (0.05, SERIES[1])):
    old, new = (torch.distributions.Normal(mean, std) for mean in (0.0, shift))
    left.plot(line, old.log_prob(line).exp(), color=unit(colour), linestyle="--")
    left.plot(line, new.log_prob(line).exp(), color=unit(colour), label=f"std {std:g}")
    tries = old.sample((4000, 12))
    rho = (new.log_prob(tries) - old.log_prob(tries)).sum(-1).exp()
    changed[std] = float(((rho - 1).abs() > CLIP).float().mean())
    right.hist(
        rho.clamp(max=4),
        bins=np.linspace(0, 4, 60),
        histtype="step",
        color=unit(colour),
        label=f"std {std:g}: {changed[std]:.0%} clipped",
    )
left.set(xlabel="action (rad)", title="twelve hinges move by 0.02 rad", yticks=())
left.legend(frameon=False, fontsize=8)
right.set(xlabel="ρ of 4000 actions", yticks=(), title="ratio of new to old policy")
right.legend(frameon=False, fontsize=8)
plt.show()

assert changed[0.05] > changed[0.2] + 0.1

# %% [markdown]
# ## The update
#
# Now we have everything. Five passes over a rollout in four minibatches each, both losses in one optimiser; advantages are first normalised to mean 0 and standard deviation 1. The *KL divergence* between old and new policy measures the size of the update.


# %%
def update(batch: dict, actor: Actor, critic: nn.Module, optimizer: torch.optim.Optimizer) -> float:
    """Update on one rollout; returns the KL divergence of the update."""
    advantage, target = estimate(batch, critic)
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    seen, action = batch["obs"].flatten(0, 1), batch["action"].flatten(0, 1)
    old, advantage, target = batch["log_prob"].flatten(), advantage.flatten(), target.flatten()
    for _ in range(5):
        for rows in torch.randperm(len(old)).split(len(old) // 4):
            log_prob = actor(seen[rows]).log_prob(action[rows]).sum(-1)
            loss = policy_loss(log_prob, old[rows], advantage[rows]) + 10 * value_loss(critic, seen[rows], target[rows])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_([*actor.parameters(), *critic.parameters()], 1.0)
            optimizer.step()
    with torch.no_grad():
        return float((old - actor(seen).log_prob(action).sum(-1)).mean())


def train(seed: int, iterations: int = ITERATIONS) -> tuple[Actor, nn.Module, list[dict[str, float]]]:
    """PPO from scratch: actor, critic, and the metrics of every iteration."""
    torch.manual_seed(seed)
    actor, critic, env = Actor(), make_critic(), make_env(ENVS)
    optimizer = torch.optim.Adam([*actor.parameters(), *critic.parameters()], lr=2e-3)
    obs, _ = env.reset(seed=seed)
    history = []
    for _ in range(iterations):
        batch, obs = roll_out(env, obs, actor, STEPS)
        kl = update(batch, actor, critic, optimizer)
        ended = max(1, int(batch["done"].sum()))
        history.append({"reward": float(batch["reward"].mean()), "steps_to_end": batch["done"].numel() / ended,
                        "std": float(actor.log_std.detach().exp().mean()), "kl": kl})  # fmt: skip
    env.close()
    return actor, critic, history


env.close()

# %% [markdown]
# ## A live run and three recorded seeds
#
# One run is an anecdote: another seed draws other noise and may be twice as fast, or get stuck. So we compare ours (seed 3) with three that were recorded with these very functions (`python benchmarks/ppo_seeds.py` runs the cells above and writes
# `tutorials/data/ppo_by_hand.json`). Under CI the live run has fewer iterations.

# %%
recorded = json.loads(Path("../tutorials/data/ppo_by_hand.json").read_text())
began = time.process_time()
trained_actor, trained_critic, history = train(seed=3, iterations=SHORT if os.environ.get("CI") else ITERATIONS)
print(f"{len(history) * ENVS * STEPS:,} steps of experience in {time.process_time() - began:.0f} s of processor time")

figure, panels = plt.subplots(1, 4, figsize=(11, 2.8), layout="constrained")
TITLES = {
    "steps_to_end": "steps an episode lasts",
    "reward": "reward of a step",
    "std": "std (rad)",
    "kl": "KL of an update",
}
for axes, (name, title) in zip(panels, TITLES.items(), strict=True):
    for seed, run in recorded["seeds"].items():
        axes.plot(
            [row[name] for row in run],
            color="0.65",
            linewidth=1,
            label=f"recorded, seeds {', '.join(recorded['seeds'])}" if seed == "0" else None,
        )
    axes.plot([row[name] for row in history], color=unit(SIMULATED), label="live, seed 3")
    axes.set(title=title, xlabel=f"iteration ({ENVS * STEPS} steps each)", ylim=(0, None))
panels[0].legend(frameon=False, fontsize=7)
plt.show()

first, last = (np.mean([row["steps_to_end"] for row in part]) for part in (history[:3], history[-3:]))
print(f"episode length: {first:.0f} steps at the start, {last:.0f} at the end")
ends = [np.mean([row["steps_to_end"] for row in run[-5:]]) for run in recorded["seeds"].values()]
print("recorded runs end with", ", ".join(f"{steps:.0f}" for steps in ends))
assert last > 1.5 * first and min(ends) > 4 * first
for run in recorded["seeds"].values():
    assert (
        run[9]["reward"] < run[0]["reward"] < run[-1]["reward"] and run[9]["steps_to_end"] > 2 * run[0]["steps_to_end"]
    )

# %% [markdown]
# For ten iterations the reward *falls* while episodes become several times as long. That is no contradiction: bodies that used to fail at once now live through poor states, which earn less. So read the two together, the length first. The length fluctuates because few episodes end in a thousand steps. The seeds
# agree on the direction but not on the details; a claim needs a difference larger than that.

# %%
with torch.no_grad():
    found = trained_actor(batch["obs"].flatten(0, 1)).mean.mean(0)
figure, axes = plt.subplots(figsize=(8, 2.6), layout="constrained")
names = [dof_names()[hinge] for hinge in HINGES]
axes.bar(np.arange(12) - 0.2, -offset, 0.38, color=unit(SERIES[1]), label="correct answer")
axes.bar(np.arange(12) + 0.2, found, 0.38, color=unit(SIMULATED), label="learned")
axes.set_xticks(range(12), names, rotation=40, ha="right", fontsize=8)
axes.axhline(0, color="0.5", linewidth=0.8)
axes.set(ylabel="rad")
axes.legend(frameon=False, fontsize=8)
plt.show()

left = float((found + offset).abs().mean())
print(
    f"mean offset {float(offset.abs().mean()):.2f} rad; {left:.2f} rad remain; {int((found * offset < 0).sum())} of 12 have the right sign"
)
assert left < 0.93 * float(offset.abs().mean())

# %% [markdown]
# The policy found the directions without being told. A hinge whose offset costs little reward gives little signal, so they are not all found at once.

# %%
after, after_reward = follow(trained_actor)
print(f"reward per step: {np.mean(after_reward):.2f} learned, {np.mean(zero_reward):.2f} zero action")
assert np.mean(after_reward) > np.mean(zero_reward)
filmstrip(after, poses=7, title="arm_raise, learned")

# %% [markdown]
# ## What failure looks like
#
# Most bugs in reinforcement learning leave a program that runs and does not learn. The most common one concerns the end: the clip is over, nothing has failed, but `done` is treated as failure. Then the critic learns that reaching the end is worthless. We start 64 bodies
# shortly before the end of the clip and compute the advantages both ways.

# %%
env = make_env(ENVS)
late = torch.full((ENVS,), LENGTH - 1 - STEPS // 2)
start, _ = env.reset(seed=0, options={"clip": torch.zeros_like(late), "frame": late})
ending, _ = roll_out(env, start, trained_actor, STEPS // 2)
env.close()
ran_out = ending["done"] & ~ending["failed"]
right_way, _ = estimate(ending, trained_critic)
wrong_way, _ = estimate(ending | {"failed": ending["done"]}, trained_critic)
figure, axes = plt.subplots(figsize=(8, 2.8), layout="constrained")
for values, colour, label in (
    (right_way, SIMULATED, "truncation (correct)"),
    (wrong_way, SERIES[5], "treated as failure"),
):
    whole = values[:, ran_out.any(0)].mean(1)
    axes.plot(np.arange(len(whole)) - len(whole) + 1, whole, color=unit(colour), label=label)
axes.axhline(0, color="0.8", linewidth=1)
axes.set(xlabel="steps before the end of the clip", ylabel="mean advantage", title="The end of a clip is not a failure")
axes.legend(frameon=False)
plt.show()

assert ran_out.any(), "some bodies reached the end"
assert wrong_way[ran_out].mean() < right_way[ran_out].mean() - 0.1

# %% [markdown]
# | symptom | likely cause |
# |---|---|
# | episodes get shorter from the first update on | a sign error in the loss, or a step too large: check the KL |
# | the KL is a thousandth, nothing changes | a learning rate too small, or advantages that were not normalised |
# | the KL is 1 and more, performance collapses within an iteration | a learning rate too large, or a std that has shrunk to almost nothing |
# | it learns, but gets worse near the ends of clips | truncation treated as failure (above) |
# | the reward is high but the clip is lost | rewards of the easy beginning: read the episode length |
#
# ## Exercises
#
# Try them before you open the solutions.
#
# **1 · The horizon.** After how many steps does a reward weigh less than a hundredth, for $\gamma=0.95$ and for $0.99$? *Expect* 90 steps (3 s) and 459 (15 s).

# %% jupyter={"source_hidden": true} tags=["solution"]
for gamma, steps in ((0.95, 90), (0.99, 459)):
    assert gamma**steps < 0.01 <= gamma ** (steps - 1)

# %% [markdown]
# **2 · An untrained critic.** How well do the advantages of $\lambda=0$ and $\lambda=1$ agree (their correlation over the rollout `batch`), with a new `make_critic()` and with the fitted one? *Expect* the fitted one's to have a smaller standard deviation
# at $\lambda=0$: most of an untrained critic's one-step advantage is its own error.

# %% jupyter={"source_hidden": true} tags=["solution"]
for name, one in (("fresh", make_critic()), ("fitted", critic)):
    short, long = (estimate(batch, one, lam=lam)[0].flatten() for lam in (0.0, 1.0))
    agreement = float(torch.corrcoef(torch.stack([short, long]))[0, 1])
    print(
        f"{name}: standard deviation {short.std():.3f} at λ = 0 and {long.std():.3f} at λ = 1, correlation {agreement:.2f}"
    )
    if name == "fresh":
        blind = float(short.std())
assert float(short.std()) < blind

# %% [markdown]
# **3 · Too fast.** Make one update with `lr=1e-2` instead of `1e-3`, from a new actor. *Expect* a KL many times as large. Clipping does not prevent that: it only removes the gradient of samples that are already outside the range.

# %% jupyter={"source_hidden": true} tags=["solution"]
moved = {}
for rate in (1e-3, 1e-2):
    torch.manual_seed(0)
    new_actor, new_critic = Actor(), make_critic()
    with torch.no_grad():
        old = new_actor(batch["obs"]).log_prob(batch["action"]).sum(-1)
    both = torch.optim.Adam([*new_actor.parameters(), *new_critic.parameters()], lr=rate)
    moved[rate] = update(batch | {"log_prob": old}, new_actor, new_critic, both)
print(", ".join(f"lr {rate:g}: KL {kl:.3f}" for rate, kl in moved.items()))
assert moved[1e-2] > 2 * moved[1e-3]

# %% [markdown]
# ## Summary
#
# A return sums what follows, a critic predicts it, and the advantage is the difference. GAE trades variance against bias. PPO makes what went well more likely, by at most a fifth per sample and rollout; the noise is both its exploration and the scale of its updates. It learns from the body's
# own experience alone: nothing was differentiated through physics.
#
# The kit's `ExpertModule` is this algorithm with 69 actions, observation normalisation, a learning rate adapted to the KL, and averaged weights (`physhmr_kit/stages/ppo_stage.py` has the same structure).
#
# **Next:** lesson 5 uses all the joints, a whole walk, and pushes.
