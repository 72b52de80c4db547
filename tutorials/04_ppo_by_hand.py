# %% [markdown]
# # Lesson 4 · PPO by hand
#
# **Time:** half a minute on two CPU cores, half of it training. **Needs:** nothing but the kit and PyTorch; lesson 1 helps.
#
# Nobody can differentiate a fall. To learn in a simulator we try something, see whether it went better than expected, and do more of what did. This lesson writes down the algorithm that does so in every robotics laboratory,
# PPO (Schulman et al. 2017), from the first reward to the last gradient, in plain PyTorch: about a hundred lines, nothing imported but the environment.
#
# Afterwards you will be able to
# - say what a return, a value and an advantage are, and compute all three,
# - choose between a noisy answer and a biased one with $\lambda$,
# - explain what the clipped objective prevents, and read the figures that show it at work,
# - tell learning from luck: several seeds, and a baseline that does nothing.

# %%
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `fit` has it: threads that wait burn no CPU seconds

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
# ## A body with a wrong zero
#
# With the kit's targets doing nothing follows a demo motion to its end (lesson 5), which leaves nothing to learn. So we break something: **twelve motors, of shoulders and elbows, have a wrong zero**. Each goes 20° too far or not far enough, always by the same amount. The policy's action $a$, 12 numbers in radians, is added to their targets;
# it is not told what is wrong. We know the answer, minus the error, so that we can see whether trial and error finds it.

# %%
library = MotionLibrary([demo_clip("arm_raise")])
LENGTH = int(library.lengths[0])
JOINTS = [JOINT_NAMES.index(f"{side}_{joint}") for joint in ("shoulder", "elbow") for side in ("left", "right")]
HINGES = [3 * (joint - 1) + k for joint in JOINTS for k in range(3)]
SEEN = [*JOINTS, JOINT_NAMES.index("left_wrist"), JOINT_NAMES.index("right_wrist")]
wrong = 0.35 * torch.randint(0, 2, (12,), generator=torch.Generator().manual_seed(1)).mul(2).sub(1)  # rad
config = TrackingConfig(groups=("reference",), reward=replace(EXPERT_REWARD, power=0.0))


def make_env(num_envs: int) -> TrackingEnv:
    """Bodies that begin on random frames of the clip; an episode ends when a body is 25 cm from where it should be."""
    return TrackingEnv(library, make_simulator("mujoco_cpu", num_envs=num_envs), config)


def see(obs: dict) -> torch.Tensor:
    """What our policy sees: of the reference one step ahead, the 24 numbers of each of six bodies of the arms (N, 144)."""
    return obs["reference"].view(-1, 24, 24)[:, SEEN].flatten(1)


def arms(env: TrackingEnv, action: torch.Tensor) -> torch.Tensor:
    """Our action (N, 12) rad as one of the environment (N, 69): the targets of everything else stay as they are."""
    follow = env.pd_targets(torch.zeros(len(action), 69))
    wanted = follow.clone()
    wanted[:, HINGES] += wrong + action
    return residual_action(wanted, follow)


# %% [markdown]
# A rollout is a few steps of many bodies at once. We keep what was seen, done and earned, and whether an episode ended: by a *failure*, after which nothing more can be earned, or because the clip was over, after which more could have been.


# %%
class Actor(nn.Module):
    """A Gaussian over actions: a network for the mean, one width for each action."""

    def __init__(self, std: float = 0.2):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(144, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 12))
        nn.init.orthogonal_(self.net[-1].weight, 0.01)  # it begins close to a = 0
        nn.init.zeros_(self.net[-1].bias)
        self.log_std = nn.Parameter(torch.full((12,), std).log())

    def forward(self, seen: torch.Tensor) -> torch.distributions.Normal:
        return torch.distributions.Normal(self.net(seen), self.log_std.exp())


def make_critic() -> nn.Sequential:
    """A network that guesses what will be earned from here on."""
    return nn.Sequential(nn.Linear(144, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))


@torch.no_grad()
def roll_out(env: TrackingEnv, obs: dict, actor: Actor, steps: int) -> tuple[dict[str, torch.Tensor], dict]:
    """`steps` steps of every body: a dictionary of tensors (steps, N, ...), and the observation to go on from."""
    rows = []
    for _ in range(steps):
        seen = see(obs)
        chosen = actor(seen)
        action = chosen.sample()
        obs, reward, failed, over, info = env.step(arms(env, action))
        after = see(obs)
        if over.any():  # the environment has begun anew already; the last look at the old episode is kept for us
            after = torch.where(over[:, None], see(info["final_obs"]), after)
        log_prob = chosen.log_prob(action).sum(-1)
        rows.append({"seen": seen, "action": action, "log_prob": log_prob, "reward": reward, "after": after,
                     "failed": failed, "done": failed | over})  # fmt: skip
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}, obs


# %% [markdown]
# The baseline first: the mean of an untrained actor is as good as $a=0$. We let it follow the clip from its first frame.

# %%
ENVS, STEPS = 64, 16


def follow(actor: Actor | None):
    """The clip from its first frame, by the actor's mean action; None does nothing."""
    env = make_env(1)
    zero = torch.zeros(1, dtype=torch.long)
    env.config = replace(config, termination="none")
    obs, _ = env.reset(seed=0, options={"clip": zero, "frame": zero})
    bodies, earned = [env.simulator.state], []
    with torch.no_grad():
        for _ in range(LENGTH - 1):
            action = torch.zeros(1, 12) if actor is None else actor(see(obs)).mean
            obs, reward, *_ = env.step(arms(env, action))
            bodies.append(env.last_state)
            earned.append(float(reward))
    env.close()
    simulated = SimpleNamespace(body_pos=torch.cat([body.body_pos for body in bodies]))
    return SimpleNamespace(name="arm_raise", fps=30.0, reference=library.clip(0), simulated=simulated), earned


idle, idle_reward = follow(None)
print(f"doing nothing earns {np.mean(idle_reward):.2f} a step, {min(idle_reward):.2f} at its worst")
assert min(idle_reward) < 0.7 < 0.9 < max(idle_reward)
filmstrip(idle, poses=7, title="arm_raise, twelve motors with a wrong zero")

# %% [markdown]
# ## Returns: what comes of it
#
# A step's reward $r_t$ is between 0 and 1, and says little: a body that has just begun to lean still earns nearly all of it. What counts is everything that follows. The *return* adds it up, with a discount $\gamma$ for what is far away,
#
# $$G_t = r_t + \gamma\, r_{t+1} + \gamma^2 r_{t+2} + \dots$$
#
# so that it looks about $1/(1-\gamma)$ steps ahead. We multiply every reward by $1-\gamma$, as the kit does: a return is then an average of rewards, between 0 and 1, whatever $\gamma$.


# %%
def returns(reward: torch.Tensor, gamma: float) -> torch.Tensor:
    """Discounted sums of (1 - gamma) x reward from each step to the last: (T,) -> (T,)."""
    result, running = torch.empty_like(reward), torch.zeros(())
    for t in range(len(reward) - 1, -1, -1):
        running = (1 - gamma) * reward[t] + gamma * running
        result[t] = running
    return result


earned = torch.tensor(idle_reward)
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
left.set(xlabel="time (s)", ylim=(0, 1.05), title="doing nothing about it")
left.legend(frameon=False, fontsize=8)
right.set(xlabel="seconds ahead", ylabel="weight of a reward", ylim=(0, 1.05), title="how far a return looks")
right.legend(frameon=False, fontsize=8)
plt.show()

by_hand = 0.05 * sum(0.95**k * earned[40 + k] for k in range(len(earned) - 40))
assert torch.isclose(returns(earned, 0.95)[40], by_hand, atol=1e-5), "the loop is the sum"

# %% [markdown]
# The grey curve knows the moment, the coloured ones know what is coming, by as much as they look ahead. (At the end of the clip they all fall to zero, because our sum stops there. That is an artefact, and
# a critic is about to mend it.)
#
# ## Values: what was to be expected
#
# Some moments of the clip are easy, whatever one does. So a return by itself is no praise. The *critic* $V(s)$ learns to expect it, by plain regression,
#
# $$L_V = \tfrac12\,\big(V(s_t) - \hat G_t\big)^2 ,$$
#
# and what an action deserves is the surplus, the *advantage*. There are two simple ways to it. Wait and see: $\hat G_t - V(s_t)$ with everything that was really earned (Monte Carlo), which carries the luck of all later steps. Or ask
# the critic again after a single step, $\delta_t = r_t + \gamma V(s_{t+1}) - V(s_t)$, which has little noise and all the critic's mistakes. *Generalised advantage estimation* (GAE, Schulman et al. 2016) is everything between,
#
# $$A_t = \delta_t + \gamma\lambda\,\delta_{t+1} + (\gamma\lambda)^2\delta_{t+2} + \dots$$
#
# with $\lambda=0$ for the one step and $\lambda=1$ for Monte Carlo. The sum is cut where an episode ends. After a failure nothing follows, so $V(s_{t+1})$ counts as 0; where only the clip was over, it is asked as ever.

# %%
GAMMA, LAMBDA = 0.9, 0.95


def estimate(
    batch: dict, critic: nn.Module, gamma: float = GAMMA, lam: float = LAMBDA
) -> tuple[torch.Tensor, torch.Tensor]:
    """Advantages, and the returns to fit the critic to: (T, N) each."""
    with torch.no_grad():
        value = critic(batch["seen"]).squeeze(-1)
        after = critic(batch["after"]).squeeze(-1) * ~batch["failed"]
    delta = (1 - gamma) * batch["reward"] + gamma * after - value
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
    loss = value_loss(critic, batch["seen"], estimate(batch, critic)[1])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(float(loss.detach()))
print(
    f"error of the critic: {(2 * losses[0]) ** 0.5:.2f} at first, {(2 * losses[-1]) ** 0.5:.2f} after 150 steps of regression"
)
assert losses[-1] < losses[0] / 2

# %% [markdown]
# How do the answers differ? We let the same actor go on, so that the critic meets steps it was not fitted to, and compute the advantages with several $\lambda$.

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
    (1 - GAMMA) * again["reward"], critic(again["seen"]).squeeze(-1).detach(),
    critic(again["after"]).squeeze(-1).detach() * ~again["failed"], again["done"], GAMMA, LAMBDA,
)  # fmt: skip
assert torch.allclose(estimate(again, critic)[0], kit, atol=1e-6), "the kit's `ppo.advantages` is this loop"
assert spread[0] < spread[-1], "waiting longer means more spread"

# %% [markdown]
# The longer we wait, the more luck of later steps is in the answer, and the wider the answers spread. But the short answer is only as good as the critic, which knew nothing a moment ago. $\lambda=0.95$ is what nearly everybody takes.
#
# ## The clipped objective: more of what went well, but not too much more
#
# Let $\rho = \pi_\theta(a|s)/\pi_{\text{old}}(a|s)$ say how much more likely the new policy is to do what was done. To do more of what went well, make $\rho A$ large. But the rollout is the old policy's: far from it, its advantages mean
# nothing. And one rollout is used for many gradient steps. So there is nothing to gain beyond 20 %:
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
for axes, sign, words in zip(
    panels, (1.0, -1.0), ("went better than expected, A = 1", "went worse, A = −1"), strict=True
):
    gain = torch.stack([-policy_loss(r.log()[None], torch.zeros(1), torch.tensor([sign])) for r in ratio])
    axes.plot(ratio, sign * ratio, color="0.7", linestyle="--", label="ρ A")
    axes.plot(ratio, gain, color=unit(SIMULATED), linewidth=2, label="the clipped objective")
    axes.axvspan(1 - CLIP, 1 + CLIP, color="0.93", zorder=0)
    axes.set(title=words, xlabel="ρ: how much more likely than before")
panels[0].legend(frameon=False, fontsize=8)
plt.show()


def slope(ratio: float, advantage: float) -> float:
    """Derivative of the objective by ρ."""
    r = torch.tensor([ratio], requires_grad=True)
    (-policy_loss(r.log(), torch.zeros(1), torch.tensor([advantage]))).backward()
    return float(r.grad)


assert abs(slope(1.1, 1.0) - 1) < 1e-5 and slope(1.3, 1.0) == 0, "praised beyond 1.2: no pull any more"
assert slope(0.7, -1.0) == 0 and abs(slope(1.3, -1.0) + 1) < 1e-5, "blamed, and yet more likely: all the pull there is"

# %% [markdown]
# Read the right panel twice: where a *bad* action has become more likely, nothing is clipped. The brake acts on going too far, never on coming back.
#
# ## The width of the noise
#
# Without noise every try is the same and there is nothing to compare. `std` is how far we try. It is also the unit in which the policy moves: the same change of the mean is a small step for a wide Gaussian and a leap for a narrow one.

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
right.set(xlabel="ρ of 4000 actions", yticks=(), title="what PPO makes of it")
right.legend(frameon=False, fontsize=8)
plt.show()

assert changed[0.05] > changed[0.2] + 0.1

# %% [markdown]
# ## The update
#
# Everything is there. Five passes over a rollout in four parts each, both losses in one optimiser; advantages are brought to mean 0 and width 1 first. The *KL divergence* between old and new policy says how far the update went.


# %%
def update(batch: dict, actor: Actor, critic: nn.Module, optimizer: torch.optim.Optimizer) -> float:
    """Learn from one rollout; returns the KL divergence of the update."""
    advantage, target = estimate(batch, critic)
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    seen, action = batch["seen"].flatten(0, 1), batch["action"].flatten(0, 1)
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
    """PPO from nothing: actor, critic, and the figures of every iteration."""
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
# ## Live, beside three recorded seeds
#
# One run is an anecdote: another seed draws other noise and may be twice as fast, or stuck. So we show ours beside three that were recorded with these very functions (`python benchmarks/ppo_seeds.py`, which runs the cells above and writes
# `tutorials/data/ppo_by_hand.json`), and with seed 3, which is none of theirs. Under CI the live run has fewer iterations.

# %%
recorded = json.loads(Path("../tutorials/data/ppo_by_hand.json").read_text())
began = time.process_time()
learned, expects, history = train(seed=3, iterations=SHORT if os.environ.get("CI") else ITERATIONS)
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
print(f"an episode lasts {first:.0f} steps at first, {last:.0f} at last")
ends = [np.mean([row["steps_to_end"] for row in run[-5:]]) for run in recorded["seeds"].values()]
print("recorded runs end with", ", ".join(f"{steps:.0f}" for steps in ends))
assert last > 1.5 * first and min(ends) > 4 * first
for run in recorded["seeds"].values():
    assert (
        run[9]["reward"] < run[0]["reward"] < run[-1]["reward"] and run[9]["steps_to_end"] > 2 * run[0]["steps_to_end"]
    )

# %% [markdown]
# For ten iterations the reward *falls* while episodes become several times as long. That is no contradiction: what used to end at once now lives through its bad moments, and is paid for them. So read the two together, and the length first. The length jumps about because few episodes end in a thousand steps; the seeds
# agree on the direction and not on the details, and that difference is what a claim has to be larger than.

# %%
with torch.no_grad():
    found = learned(batch["seen"].flatten(0, 1)).mean.mean(0)
figure, axes = plt.subplots(figsize=(8, 2.6), layout="constrained")
names = [dof_names()[hinge] for hinge in HINGES]
axes.bar(np.arange(12) - 0.2, -wrong, 0.38, color=unit(SERIES[1]), label="what would mend it")
axes.bar(np.arange(12) + 0.2, found, 0.38, color=unit(SIMULATED), label="what was learnt")
axes.set_xticks(range(12), names, rotation=40, ha="right", fontsize=8)
axes.axhline(0, color="0.5", linewidth=0.8)
axes.set(ylabel="rad")
axes.legend(frameon=False, fontsize=8)
plt.show()

left = float((found + wrong).abs().mean())
print(
    f"the zeros were wrong by {float(wrong.abs().mean()):.2f} rad; {left:.2f} rad are left, {int((found * wrong < 0).sum())} of 12 go the right way"
)
assert left < 0.93 * float(wrong.abs().mean())

# %% [markdown]
# Nobody told it which way. A hinge whose error costs little gives little to learn from, so they are not found all at once.

# %%
after, after_reward = follow(learned)
print(f"a step earns {np.mean(after_reward):.2f} with what was learnt, {np.mean(idle_reward):.2f} with nothing")
assert np.mean(after_reward) > np.mean(idle_reward)
filmstrip(after, poses=7, title="arm_raise, as learnt")

# %% [markdown]
# ## What failure looks like
#
# Most bugs of reinforcement learning leave a program that runs and does not learn. The commonest one is about the end: the clip is over, nothing has failed, and `done` is taken for failure. Then whoever gets to the end is told that nothing more was to be had there. We let 64 bodies begin
# shortly before the end of the clip, and compute the advantages both ways.

# %%
env = make_env(ENVS)
late = torch.full((ENVS,), LENGTH - 1 - STEPS // 2)
start, _ = env.reset(seed=0, options={"clip": torch.zeros_like(late), "frame": late})
ending, _ = roll_out(env, start, learned, STEPS // 2)
env.close()
ran_out = ending["done"] & ~ending["failed"]
right_way, _ = estimate(ending, expects)
wrong_way, _ = estimate(ending | {"failed": ending["done"]}, expects)
figure, axes = plt.subplots(figsize=(8, 2.8), layout="constrained")
for values, colour, words in (
    (right_way, SIMULATED, "the critic is asked"),
    (wrong_way, SERIES[5], "taken for a failure"),
):
    whole = values[:, ran_out.any(0)].mean(1)
    axes.plot(np.arange(len(whole)) - len(whole) + 1, whole, color=unit(colour), label=words)
axes.axhline(0, color="0.8", linewidth=1)
axes.set(
    xlabel="steps before the end of the clip", ylabel="mean advantage", title="the end of a clip is nobody's fault"
)
axes.legend(frameon=False)
plt.show()

assert ran_out.any(), "somebody reached the end"
assert wrong_way[ran_out].mean() < right_way[ran_out].mean() - 0.1

# %% [markdown]
# | you see | it is usually |
# |---|---|
# | episodes get shorter from the first update on | a sign exchanged in the loss, or a step too large: look at the KL |
# | the KL is a thousandth, nothing moves | a learning rate too small, or advantages that were not normalised |
# | the KL is 1 and more, all is lost in an iteration | a learning rate too large, or a std that has shrunk to nothing |
# | it learns, and gets worse where clips end | time run out taken for failure (above) |
# | the reward is high and the clip is lost | rewards of the easy beginning: read the length of the episodes |
#
# ## Exercises
#
# Try them before you open the cell below each.
#
# **1 · How far does it look?** After how many steps does a reward weigh less than a hundredth, for $\gamma=0.95$ and for $0.99$? *Expect* 90 steps (3 s) and 459 (15 s).

# %% jupyter={"source_hidden": true} tags=["solution"]
for gamma, steps in ((0.95, 90), (0.99, 459)):
    assert gamma**steps < 0.01 <= gamma ** (steps - 1)

# %% [markdown]
# **2 · A critic that knows nothing.** How well do the advantages of $\lambda=0$ and $\lambda=1$ agree (their correlation over the rollout `batch`), with a fresh `make_critic()` and with the one that was fitted? *Expect* that the fitted one's spread about zero
# is smaller at $\lambda=0$: most of a fresh critic's one-step advantage is its own mistake.

# %% jupyter={"source_hidden": true} tags=["solution"]
for name, one in (("fresh", make_critic()), ("fitted", critic)):
    short, long = (estimate(batch, one, lam=lam)[0].flatten() for lam in (0.0, 1.0))
    agreement = float(torch.corrcoef(torch.stack([short, long]))[0, 1])
    print(f"{name}: spread {short.std():.3f} at λ = 0 and {long.std():.3f} at λ = 1, correlation {agreement:.2f}")
    if name == "fresh":
        blind = float(short.std())
assert float(short.std()) < blind

# %% [markdown]
# **3 · Too fast.** Make one update with `lr=1e-2` instead of `1e-3`, from a fresh actor. *Expect* a KL many times as large. The clipped objective does not forbid it: it takes the pull away only where a sample is beyond its band already.

# %% jupyter={"source_hidden": true} tags=["solution"]
moved = {}
for rate in (1e-3, 1e-2):
    torch.manual_seed(0)
    new_actor, new_critic = Actor(), make_critic()
    with torch.no_grad():
        old = new_actor(batch["seen"]).log_prob(batch["action"]).sum(-1)
    both = torch.optim.Adam([*new_actor.parameters(), *new_critic.parameters()], lr=rate)
    moved[rate] = update(batch | {"log_prob": old}, new_actor, new_critic, both)
print(", ".join(f"lr {rate:g}: KL {kl:.3f}" for rate, kl in moved.items()))
assert moved[1e-2] > 2 * moved[1e-3]

# %% [markdown]
# ## Summary
#
# A return adds up what follows, a critic learns to expect it, the advantage is the surprise. GAE chooses between noise and bias. PPO makes what went well more likely, by a fifth at most for each sample and rollout, and the noise is both how it explores and the unit in which it moves. All of it is the body's
# own experience: nothing was differentiated through physics.
#
# The kit's `ExpertModule` is this algorithm with 69 actions, running normalisation of what is seen, a learning rate that follows the KL, and an average of the weights (`physhmr_kit/stages/ppo_stage.py` reads in the same order).
#
# **Next:** lesson 5 gives it all the joints, a whole walk, and somebody who pushes.
