"""A policy trained through a learned model of the physics (SuperTrack, Fussell et al. 2021) beside the kit's PPO.

    python benchmarks/learned_dynamics.py --clips demo:walk_forward --minutes 4
    python benchmarks/learned_dynamics.py --clips demo:walk_forward --minutes 4 --learner ppo

Both learners follow the same clips in the same environment with the same policy network, and are evaluated by `track_clips`
every `--every` CPU seconds; the first row is the zero action. CPU seconds are the process's, user and system, on all cores,
without the evaluations: wall-clock depends on what else the machine does. `--minutes` are minutes of that CPU time.

How it learns. The simulator collects transitions under the policy's noisy actions. A world model in generalised coordinates
(root and 69 hinges: bodies follow by the kit's own forward kinematics, which autograd can differentiate) learns their changes,
unrolled over a few steps. Then the policy is unrolled through the model from states that were visited, and the distance from
the reference is differentiated back through both into the policy. No rewards, no critic, no advantages.

What it printed on two busy cores, one seed (November 2026; success, error in mm, samples):

    demo:walk_forward    zero action 0 %, 90; model 100 %, 21 after 58 CPU s (49 k) and 16 after 100 (74 k);
                         PPO 0 %, 76 after 145 CPU s (213 k)
    six clips, one CMU   zero action 33 %, 64; model 83 %, 37 after 60 CPU s (49 k) and 29 after 135 (90 k), no sixth clip;
                         PPO 33 %, 69 after 53 CPU s (74 k) and 50 %, 61 after 107 (156 k)
    demo and CMU 02 (19) zero action 47 %, 55; model 68 %, 41 after 71 CPU s (57 k) and 68 %, 39 after 231 (156 k): it stalls;
                         PPO was not run on these

Horizon 8 with action noise 0.1 gets there as soon and then loses it again: the settings below (16, 0.05) keep it for the two
CPU minutes that were watched. Runs were stopped early; whether it ends where PPO ends is open.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from collections.abc import Callable
from dataclasses import replace

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `fit` has it

import torch
from torch import nn

from physhmr_kit.body.quaternions import matrix, product, quat_columns, quat_rotate_inverse
from physhmr_kit.body.skeleton import FEET, NUM_DOFS
from physhmr_kit.env import TrackingConfig, TrackingEnv, observations, track_clips
from physhmr_kit.env.actions import RESIDUAL_SCALE
from physhmr_kit.env.feedforward import library_targets
from physhmr_kit.learning.networks import Policy
from physhmr_kit.learning.precision import matmul_precision
from physhmr_kit.motion.kinematics import coordinate_kinematics, heading
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.sources import load_clips
from physhmr_kit.motion.state import BodyState
from physhmr_kit.simulation import make_simulator
from physhmr_kit.simulation.contract import CONTROL_DT as DT
from physhmr_kit.stages.settings import ExpertConfig

GROUPS = ("proprioception", "reference")
"""What the policy through the model reads."""

COORDINATES = [3, 4, NUM_DOFS, 3, 3, NUM_DOFS]
"""Root position and rotation, hinges, root velocity (world) and angular velocity (the root's own frame), hinge velocities."""
FREEDOMS = 6 + NUM_DOFS
FEATURES = 1 + 3 + 3 + 3 + 3 * NUM_DOFS + 24 + 2 * 3 * len(FEET)


def coordinates(state: BodyState) -> torch.Tensor:
    """A state as `coordinate_kinematics` takes it, a column for each body: N rows -> (151, N)."""
    spin = quat_rotate_inverse(state.root_rot, state.body_ang_vel[:, 0])
    parts = (state.root_pos, state.root_rot, state.dof_pos, state.body_lin_vel[:, 0], spin, state.dof_vel)
    return torch.cat(parts, dim=1).T.contiguous()


class WorldModel(nn.Module):
    """Coordinates and PD targets to coordinates a control step later: a linear map, fitted at once, and a network beside it.

    It predicts the change of the 75 velocities and what the trapezoidal rule leaves of the positions, in the root's frame.
    """

    def __init__(self, offsets: torch.Tensor, hidden: tuple[int, ...] = (512, 512)):
        super().__init__()
        self.offsets = offsets
        layers: list[nn.Module] = []
        for a, b in zip((FEATURES, *hidden[:-1]), hidden, strict=True):
            layers += [nn.Linear(a, b), nn.LayerNorm(b), nn.SiLU()]
        self.net = nn.Sequential(*layers, nn.Linear(hidden[-1], 2 * FREEDOMS))
        nn.init.zeros_(self.net[-1].weight)
        nn.init.zeros_(self.net[-1].bias)
        self.linear = nn.Linear(FEATURES, 2 * FREEDOMS)
        for name, width in (("mean", FEATURES), ("std", FEATURES), ("scale", 2 * FREEDOMS)):
            self.register_buffer(name, torch.ones(width))

    def features(self, columns: torch.Tensor, bodies: BodyState, targets: torch.Tensor) -> torch.Tensor:
        """What the physics depends on, free of place and heading: (151, N), N rows, (N, 69) -> (N, FEATURES)."""
        _, rot, dof, lin, spin, speed = columns.split(COORDINATES)
        frame = matrix(rot)  # (3, 3, N)
        feet = list(FEET)
        up = matrix(bodies.body_rot[:, feet].permute(2, 1, 0))[2]  # (3, 4, N): the vertical as each foot sees it
        moving = (frame.transpose(0, 1).unsqueeze(2) * bodies.body_lin_vel[:, feet].permute(2, 1, 0)).sum(1)
        parts = (
            columns[2:3], frame[2], (frame.transpose(0, 1) * lin).sum(1), spin, dof, speed, targets.T - dof,
            bodies.body_pos[..., 2].T, up.flatten(0, 1), moving.flatten(0, 1),
        )  # fmt: skip
        return torch.cat(parts).T

    def forward(self, columns: torch.Tensor, bodies: BodyState, targets: torch.Tensor) -> torch.Tensor:
        """(151, N), where they put the bodies, (N, 69) rad -> (151, N)."""
        seen = ((self.features(columns, bodies, targets) - self.mean) / self.std).clamp(-8, 8)
        return integrate(columns, (self.scale * (self.linear(seen) + self.net(seen))).T)

    @torch.no_grad()
    def fit_linear(
        self, columns: torch.Tensor, targets: torch.Tensor, after: torch.Tensor, ridge: float = 1e-2
    ) -> None:
        """Scales of everything, and the linear part by least squares."""
        seen = self.features(columns, coordinate_kinematics(columns, self.offsets), targets)
        change = differences(columns, after).T
        self.mean.copy_(seen.mean(0))
        self.std.copy_(seen.std(0).clamp(min=1e-3))
        self.scale.copy_(change.std(0).clamp(min=1e-5))
        x = nn.functional.pad(((seen - self.mean) / self.std).clamp(-8, 8), (0, 1), value=1.0).double()
        y = (change / self.scale).clamp(-8, 8).double()
        both = torch.linalg.solve(x.T @ x + ridge * len(x) * torch.eye(FEATURES + 1, dtype=x.dtype), x.T @ y).float()
        self.linear.weight.copy_(both[:-1].T)
        self.linear.bias.copy_(both[-1])


def integrate(columns: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """Add (150, N) changes, see `WorldModel`, to coordinates (151, N)."""
    pos, rot, dof, lin, spin, speed = columns.split(COORDINATES)
    dlin, dspin, dspeed, cpos, crot, cdof = change.split([3, 3, NUM_DOFS] * 2)
    frame = matrix(rot)
    lin_after = lin + (frame * dlin).sum(1)
    spin_after, speed_after = spin + dspin, speed + dspeed
    half = (DT * (spin + spin_after) / 2 + crot) / 2
    turn = torch.cat([half, torch.ones_like(half[:1])])  # normalised: exact to the third order in the angle
    rot_after = product(rot.unsqueeze(1), turn.unsqueeze(1)).squeeze(1)
    return torch.cat([
        pos + DT * (lin + lin_after) / 2 + (frame * cpos).sum(1), rot_after / rot_after.norm(dim=0, keepdim=True),
        dof + DT * (speed + speed_after) / 2 + cdof, lin_after, spin_after, speed_after,
    ])  # fmt: skip


def differences(columns: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """The changes (150, N) that `integrate` takes from one to the other."""
    pos, rot, dof, lin, spin, speed = columns.split(COORDINATES)
    pos_b, rot_b, dof_b, lin_b, spin_b, speed_b = after.split(COORDINATES)
    frame = matrix(rot).transpose(0, 1)
    inside = lambda v: (frame * v).sum(1)  # noqa: E731
    inverse = rot * torch.tensor([-1.0, -1, -1, 1]).unsqueeze(1)
    turn = product(inverse.unsqueeze(1), rot_b.unsqueeze(1)).squeeze(1)
    return torch.cat([
        inside(lin_b - lin), spin_b - spin, speed_b - speed,
        inside(pos_b - pos - DT * (lin + lin_b) / 2), 2 * turn[:3] / turn[3:] - DT * (spin + spin_b) / 2,
        dof_b - dof - DT * (speed + speed_b) / 2,
    ])  # fmt: skip


class Buffer:
    """The last rollouts: `slots` x T steps of N environments, flat in memory, with windows drawn from it.

    Args:
        slots: rollouts kept. steps: T of each. num_envs: N.
    """

    def __init__(self, slots: int, steps: int, num_envs: int):
        self.slots, self.steps, self.num_envs, self.filled, self._slot = slots, steps, num_envs, 0, 0
        rows = slots * steps * num_envs
        self.before, self.after = torch.zeros(2, rows, sum(COORDINATES))
        self.target = torch.zeros(rows, NUM_DOFS)
        self.clip, self.frame, self.left = torch.zeros(3, rows, dtype=torch.long)

    def write(self, columns: dict[str, list[torch.Tensor]], going_on: torch.Tensor, good: torch.Tensor) -> slice:
        """Keep a rollout. `going_on`, `good` (T, N) bool: the episode goes on after the step; the step is physics."""
        first = self._slot * self.steps * self.num_envs
        here = slice(first, first + self.steps * self.num_envs)
        for name, parts in columns.items():
            getattr(self, name)[here] = torch.cat(parts)
        left, run = torch.zeros_like(good, dtype=torch.long), torch.zeros(self.num_envs, dtype=torch.long)
        for t in range(self.steps - 1, -1, -1):  # steps that follow one another from here on
            run = good[t] * (1 + going_on[t] * run)
            left[t] = run
        self.left[here] = left.flatten()
        self._slot = (self._slot + 1) % self.slots
        self.filled = min(self.filled + 1, self.slots)
        return here

    def starts(self, count: int, length: int) -> torch.Tensor:
        """Rows from which `length` steps follow one another; step k of each is k x N rows further on."""
        able = (self.left[: self.filled * self.steps * self.num_envs] >= length).nonzero().squeeze(1)
        return able[torch.randint(len(able), (count,))]


class Learner:
    """Environment, buffer, world model and policy."""

    def __init__(self, library: MotionLibrary, options: argparse.Namespace):
        torch.manual_seed(options.seed)
        self.options, self.library = options, library
        self.config = ExpertConfig(num_envs=options.envs, std=options.noise)
        simulator = make_simulator("mujoco_cpu", num_envs=options.envs)
        self.env = TrackingEnv(library, simulator, episodes(GROUPS), seed=options.seed)
        self.targets = library_targets(library, simulator.humanoid)
        self.policy = Policy(GROUPS, self.config.hidden, options.noise, "residual")
        self.average = copy.deepcopy(self.policy)
        self.model = WorldModel(library.offsets, tuple(options.model))
        self.buffer = Buffer(options.slots, options.steps, options.envs)
        self.model_optimizer = torch.optim.AdamW(self.model.parameters(), options.model_rate, weight_decay=1e-4)
        self.policy_optimizer = torch.optim.Adam(self.policy.net.parameters(), options.rate)
        self.obs, _ = self.env.reset()
        self.samples = 0

    @torch.no_grad()
    def collect(self) -> None:
        """One rollout of the policy with noise into the buffer."""
        env, names = self.env, ("before", "after", "target", "clip", "frame")
        kept: dict[str, list[torch.Tensor]] = {name: [] for name in names}
        going_on, good, seen = [], [], []
        for _ in range(self.options.steps):
            flat = self.policy.flatten(self.obs)
            seen.append(flat)
            action = self.policy.sample(self.policy.mean(flat))
            kept["before"].append(coordinates(env.simulator.state).T)
            kept["target"].append(env.pd_targets(action))
            kept["clip"].append(env.clip_ids.clone())
            kept["frame"].append(env.frame_ids.clone())
            self.obs, _, terminated, truncated, _ = env.step(action)
            kept["after"].append(coordinates(env.last_state).T)
            going_on.append(~(terminated | truncated))
            good.append(~env.last_state.diverged)
        here = self.buffer.write(kept, torch.stack(going_on), torch.stack(good))
        if self.samples == 0:
            buffer = self.buffer
            self.model.fit_linear(
                buffer.before[here].T.contiguous(), buffer.target[here], buffer.after[here].T.contiguous()
            )
        if self.samples < 20 * len(here_rows(here)):  # the map the network is used to should come to rest
            self.policy.norm.update(torch.cat(seen))
        self.samples += len(here_rows(here))

    def model_step(self, length: int) -> float:
        """One update of the world model on windows of `length` steps: L1 of the changes, in units of their usual size."""
        buffer, model = self.buffer, self.model
        rows = buffer.starts(self.options.batch, length)
        columns, loss = buffer.before[rows].T.contiguous(), torch.zeros(())
        for _ in range(length):
            bodies = coordinate_kinematics(columns, model.offsets)
            columns = model(columns, bodies, buffer.target[rows])
            wrong = differences(columns, buffer.after[rows].T.contiguous())
            # positions in units of what the velocities' usual change makes of them in one step
            wrong = torch.cat([wrong[:FREEDOMS], wrong[FREEDOMS:] / DT]) / model.scale[:FREEDOMS].repeat(2).unsqueeze(1)
            loss = loss + nn.functional.smooth_l1_loss(wrong, torch.zeros_like(wrong), beta=0.1) / length
            rows = rows + buffer.num_envs
        self.model_optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        self.model_optimizer.step()
        return float(loss.detach())

    def policy_step(self, length: int) -> float:
        """One update of the policy through `length` steps of the model."""
        buffer, options = self.buffer, self.options
        rows = buffer.starts(options.batch, 1)  # from any state that was visited
        clip, frame = buffer.clip[rows], buffer.frame[rows]
        columns, loss = buffer.before[rows].T.contiguous(), torch.zeros(())
        last = self.library.last_frames(clip)
        bodies = coordinate_kinematics(columns, self.model.offsets)
        for step in range(length):
            ahead_rows = self.library.rows(clip, frame + step + 1)
            ahead = self.library.at(ahead_rows)
            yaw = heading(bodies.root_rot)
            flat = torch.cat(
                [observations.proprioception(bodies, yaw), observations.reference(bodies, ahead, yaw)], dim=1
            )
            action = self.policy.mean(flat)
            noisy = action + options.noise * torch.randn_like(action)
            columns = self.model(columns, bodies, self.targets[ahead_rows] + RESIDUAL_SCALE * noisy)
            bodies = coordinate_kinematics(columns, self.model.offsets)
            inside = (frame + step < last).float()
            cost = distance(bodies, ahead) + options.effort * action.square().mean(1)
            loss = loss + (cost * inside).mean() / length
        self.policy_optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.policy.net.parameters(), options.clip)
        if norm.isfinite():
            self.policy_optimizer.step()
        with torch.no_grad():
            for a, p in zip(self.average.parameters(), self.policy.parameters(), strict=True):
                a.lerp_(p, 1 - options.average)
            for a, p in zip(self.average.buffers(), self.policy.buffers(), strict=True):
                a.copy_(p)
        return float(loss.detach())

    @torch.no_grad()
    def prediction_error(self, length: int) -> list[float]:
        """Mean body error in mm of the model's own unrolling after 1 to `length` steps, on the latest data it has."""
        buffer = self.buffer
        rows, errors = buffer.starts(512, length), []
        columns = buffer.before[rows].T.contiguous()
        for _ in range(length):
            columns = self.model(columns, coordinate_kinematics(columns, self.model.offsets), buffer.target[rows])
            true = coordinate_kinematics(buffer.after[rows].T.contiguous(), self.model.offsets)
            made = coordinate_kinematics(columns, self.model.offsets)
            errors.append(1000 * float((made.body_pos - true.body_pos).norm(dim=-1).mean()))
            rows = rows + buffer.num_envs
        return errors

    def iterate(self) -> dict[str, float]:
        """Collect, learn the model, learn the policy."""
        options = self.options
        self.collect()
        unseen = self.prediction_error(8)  # before it learns from the newest rollout
        with matmul_precision("medium"):
            short = self.samples <= options.warm * options.steps * options.envs
            model = [self.model_step(2 if short else options.window) for _ in range(options.model_steps)]
            policy = [0.0] if short else [self.policy_step(options.horizon) for _ in range(options.policy_steps)]
        return {
            "model": sum(model) / len(model),
            "policy": sum(policy) / len(policy),
            "1 mm": unseen[0],
            "8 mm": unseen[7],
        }


def here_rows(here: slice) -> range:
    """The rows of a slice."""
    return range(here.start, here.stop)


def distance(sim: BodyState, ref: BodyState) -> torch.Tensor:
    """What the policy makes small, N rows: L1 of positions, rotations (6D) and velocities, each about 1 at a body that is lost."""
    six = quat_columns(sim.body_rot) - quat_columns(ref.body_rot)
    return (
        10 * (sim.body_pos - ref.body_pos).abs().mean((1, 2))
        + 2 * six.abs().mean((1, 2))
        + 0.2 * (sim.body_lin_vel - ref.body_lin_vel).abs().mean((1, 2))
        + 0.05 * (sim.body_ang_vel - ref.body_ang_vel).abs().mean((1, 2))
    )


# ---- the comparison


def episodes(groups: tuple[str, ...]) -> TrackingConfig:
    """The expert's episodes, seen through these observation groups."""
    return replace(ExpertConfig().tracking(), groups=tuple(groups))


class Clock:
    """CPU and wall-clock seconds so far, without those spent `away`."""

    def __init__(self):
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def read(self) -> tuple[float, float]:
        return time.process_time() - self._cpu, time.perf_counter() - self._wall

    def away(self, what: Callable) -> object:
        """Do something that does not count."""
        cpu, wall = time.process_time(), time.perf_counter()
        result = what()
        self._cpu += time.process_time() - cpu
        self._wall += time.perf_counter() - wall
        return result


def evaluate(policy: Callable, library: MotionLibrary, config: TrackingConfig) -> tuple[float, float, float, str]:
    """Share of clips followed to the end and of frames, mean body error in mm, who fell; by the kit's rule."""
    rollouts = track_clips(policy, library, config, simulator="mujoco_cpu")
    errors = [float((r.simulated.body_pos - r.reference.body_pos).norm(dim=-1).mean()) for r in rollouts]
    fell = " ".join(f"{r.name}@{r.fail_frame}" for r in rollouts if not r.success)
    covered = sum(len(r) for r in rollouts) / sum(r.length for r in rollouts)
    return sum(r.success for r in rollouts) / len(rollouts), covered, 1000 * sum(errors) / len(errors), fell


class Table:
    """Prints a row every so many CPU seconds."""

    def __init__(self, library: MotionLibrary, options: argparse.Namespace):
        self.library, self.options, self.clock, self._next = library, options, Clock(), options.every
        print("| CPU s | wall s | samples | success | frames followed | error mm | notes | fell at frame |")
        print("|---:|---:|---:|---:|---:|---:|---|---|")
        nothing = torch.zeros(library.num_clips, NUM_DOFS)
        self._row(lambda obs: nothing, 0, "zero action")

    def _row(self, policy: Callable, samples: int, notes: str) -> None:
        cpu, wall = self.clock.read()
        groups = getattr(policy, "groups", GROUPS)
        success, covered, error, fell = self.clock.away(lambda: evaluate(policy, self.library, episodes(groups)))
        print(
            f"| {cpu:.0f} | {wall:.0f} | {samples} | {success:.0%} | {covered:.2f} | {error:.1f} | {notes} | {fell} |",
            flush=True,
        )

    def due(self, policy: Callable, samples: int, notes: str = "") -> bool:
        """Evaluate if it is time; whether the time is up."""
        cpu = self.clock.read()[0]
        over = cpu >= 60 * self.options.minutes
        if over or cpu >= self._next:
            self._next = cpu + self.options.every
            self._row(policy, samples, notes)
        return over


def learn_by_model(library: MotionLibrary, options: argparse.Namespace) -> None:
    """The policy through the world model."""
    table = Table(library, options)
    learner = Learner(library, options)
    while True:
        figures = learner.iterate()
        notes = ", ".join(f"{k} {v:.3g}" for k, v in figures.items())
        if table.due(learner.average, learner.samples, notes):
            return


def learn_by_ppo(library: MotionLibrary, options: argparse.Namespace) -> None:
    """The kit's expert stage."""
    import pytorch_lightning as pl

    from physhmr_kit.stages.expert import ExpertModule

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
            if table.due(module.final_policy, module.samples):
                trainer.should_stop = True
                trainer.limit_train_batches = 0

    config = ExpertConfig(num_envs=options.envs, simulator="mujoco_cpu", matmul="medium", seed=options.seed)
    table = Table(library, options)
    module = ExpertModule(config, library)
    module.iterations_per_epoch = 1
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, max_epochs=-1, callbacks=[Watch()],
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module)


def arguments() -> argparse.ArgumentParser:
    """The settings, with their defaults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", nargs="+", default=["demo:walk_forward"], help="what to follow")
    parser.add_argument("--learner", choices=("model", "ppo"), default="model")
    parser.add_argument("--minutes", type=float, default=4, help="of CPU time")
    parser.add_argument("--every", type=float, default=20, help="CPU seconds between evaluations")
    parser.add_argument("--envs", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    group = parser.add_argument_group("the learned model (not PPO)")
    group.add_argument("--steps", type=int, default=32, help="of each environment in a rollout")
    group.add_argument("--slots", type=int, default=24, help="rollouts kept")
    group.add_argument("--noise", type=float, default=0.05, help="standard deviation of the actions")
    group.add_argument("--model", type=int, nargs="+", default=[512, 512], help="hidden layers of the world model")
    group.add_argument("--window", type=int, default=8, help="steps the world model is unrolled in its training")
    group.add_argument("--horizon", type=int, default=16, help="steps the policy is unrolled")
    group.add_argument("--batch", type=int, default=256, help="windows in an update")
    group.add_argument("--model_steps", type=int, default=20, help="updates of the model for each rollout")
    group.add_argument("--policy_steps", type=int, default=10, help="updates of the policy for each rollout")
    group.add_argument("--warm", type=int, default=3, help="rollouts before the policy learns")
    group.add_argument("--model_rate", type=float, default=1e-3)
    group.add_argument("--rate", type=float, default=5e-4, help="learning rate of the policy")
    group.add_argument("--effort", type=float, default=0.01, help="weight of squared actions")
    group.add_argument("--clip", type=float, default=1.0, help="norm at which the policy's gradient is cut")
    group.add_argument("--average", type=float, default=0.98, help="decay of the running mean of the policy")
    return parser


def main(argv: list[str] | None = None) -> None:
    options = arguments().parse_args(argv)
    library = MotionLibrary(load_clips(options.clips))
    (learn_by_ppo if options.learner == "ppo" else learn_by_model)(library, options)


if __name__ == "__main__":
    main()
