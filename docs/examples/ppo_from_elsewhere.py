"""PPO that is not ours: TorchRL learns on the kit's environment, through nothing but gymnasium's interface.

    pip install torchrl
    python docs/examples/ppo_from_elsewhere.py --updates 30

Environment, episodes and rewards come from `gymnasium.make_vec("PhysHMR/Tracking-v0")`; collection, advantages, losses and
networks are TorchRL's. It prints the figures of every update. This shows that the parts fit, not a trained tracker: 80 updates
(0.16 M samples) left no visible gain, and the kit's own expert took millions (docs/expert.md). What to know:

- Autoreset mode: "disabled", which TorchRL prefers, for it resets the environments itself. It also takes "same_step", but then
  finds the final observation of one flat array only, not of a dict of groups; it refuses "next_step".
- The final observation arrives: an episode's last step has it at ("next", "observation"), and the step after that begins with the
  first observation of the new episode. GAE therefore bootstraps a truncated episode from where it really ended, and a
  terminated one with 0 (tests/env/test_outside_ppo.py holds it to that).
"""

from __future__ import annotations

import argparse

import gymnasium as gym
import numpy as np
import torch
from tensordict.nn import AddStateIndependentNormalScale, TensorDictModule
from torch import nn
from torchrl.collectors import Collector
from torchrl.envs import CatTensors, Compose, GymWrapper, RewardSum, StepCounter, TransformedEnv
from torchrl.modules import IndependentNormal, ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

import physhmr_kit  # noqa: F401  (registers the environment)

GAMMA = 0.97
STD = 0.05  # of the actions at first; 1 is half a radian beside the reference's targets


def make_env(num_envs: int, clips, seed: int = 0) -> TransformedEnv:
    """The kit's environment as TorchRL sees it: the observation groups end to end, and notes of every episode's return and length."""
    envs = gym.make_vec("PhysHMR/Tracking-v0", num_envs=num_envs, clips=clips, seed=seed, autoreset="disabled")
    groups = list(envs.single_observation_space.spaces)
    return TransformedEnv(GymWrapper(envs), Compose(CatTensors(groups, "observation"), RewardSum(), StepCounter()))


def make_networks(env: TransformedEnv, hidden: int = 256) -> tuple[ProbabilisticActor, ValueOperator]:
    """A Gaussian policy and a value function, two hidden layers each."""
    width, actions = env.observation_spec["observation"].shape[-1], env.action_spec.shape[-1]

    def mlp(out: int, gain: float) -> nn.Sequential:
        last = nn.Linear(hidden, out)
        nn.init.orthogonal_(last.weight, gain)
        nn.init.zeros_(last.bias)
        # positions, rotations and velocities come as they are; the first layer evens out their sizes
        return nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), last
        )

    spread = AddStateIndependentNormalScale(actions, scale_mapping="exp", init_value=float(np.log(STD)))
    mean_and_spread = TensorDictModule(
        nn.Sequential(mlp(actions, 0.01), spread), in_keys=["observation"], out_keys=["loc", "scale"]
    )
    policy = ProbabilisticActor(
        mean_and_spread,
        in_keys=["loc", "scale"],
        distribution_class=IndependentNormal,
        spec=env.action_spec_unbatched,
        return_log_prob=True,
    )
    return policy, ValueOperator(mlp(1, 1.0), in_keys=["observation"])


def train(
    num_envs: int = 64,
    updates: int = 30,
    horizon: int = 32,
    epochs: int = 4,
    minibatches: int = 4,
    clips=("demo:squat",),
    seed: int = 0,
    on_update=print,
) -> tuple[ProbabilisticActor, list[dict[str, float]]]:
    """PPO on the environment.

    Args:
        num_envs, horizon: environments side by side, and steps of each between two updates.
        updates, epochs, minibatches: rollouts; passes over each; pieces of a pass.
        clips: what to track, as `gymnasium.make_vec` takes it.
        on_update: called with the row of figures of every update.

    Returns:
        the policy, and for every update the figures: mean reward of a step, episodes that ended, and their mean return,
        length, and share of failures.
    """
    torch.manual_seed(seed)
    env = make_env(num_envs, clips, seed)
    policy, value = make_networks(env)
    advantage = GAE(gamma=GAMMA, lmbda=0.95, value_network=value, average_gae=False)
    loss = ClipPPOLoss(policy, value, clip_epsilon=0.2, entropy_bonus=False, critic_coeff=0.5, normalize_advantage=True)
    optimizer = torch.optim.Adam(loss.parameters(), lr=3e-4)
    frames = num_envs * horizon
    collector = Collector(
        env, policy, frames_per_batch=frames, total_frames=updates * frames, auto_register_policy_transforms=False
    )
    history = []
    for batch in collector:  # (num_envs, horizon)
        history.append(figures(batch))
        on_update(history[-1])
        batch["next", "reward"] *= 1 - GAMMA  # so that values lie in 0..1 and the critic is there soon
        with torch.no_grad():
            advantage(batch)
        samples = batch.reshape(-1)
        for _ in range(epochs):
            for rows in torch.randperm(len(samples)).chunk(minibatches):
                losses = loss(samples[rows])
                optimizer.zero_grad()
                (losses["loss_objective"] + losses["loss_critic"]).backward()
                nn.utils.clip_grad_norm_(loss.parameters(), 1.0)
                optimizer.step()
    collector.shutdown()  # closes the environment as well
    return policy, history


def figures(batch) -> dict[str, float]:
    """What a rollout tells about the policy that made it."""
    last = batch["next"][batch["next", "done"].squeeze(-1)]
    mean = lambda x: float(x.float().mean()) if len(last) else float("nan")  # noqa: E731
    return {
        "reward": float(batch["next", "reward"].mean()),
        "episodes": float(len(last)),
        "return": mean(last["episode_reward"]),
        "length": mean(last["step_count"]),
        "failed": mean(last["terminated"]),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_envs", type=int, default=64)
    parser.add_argument("--updates", type=int, default=30)
    parser.add_argument("--clips", nargs="+", default=["demo:squat"])
    options = parser.parse_args()
    train(
        options.num_envs,
        options.updates,
        clips=options.clips,
        on_update=lambda row: print("  ".join(f"{k} {v:8.3f}" for k, v in row.items()), flush=True),
    )
