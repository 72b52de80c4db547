# %% [markdown]
# # Lesson 5 · The expert: learning to follow one motion
#
# **Time:** about three minutes on two CPU cores, most of it training. **Needs:** nothing but the kit; lessons 0, 1 and 4 help.
#
# The expert of lesson 0 came ready-made. Here we make one, for a single walk. First what is done before anything is learned, and what that leaves to learn; then what the expert is paid for, term by term; where its episodes begin; PPO itself; and
# at last a push.
#
# Afterwards you will be able to
# - say how far a body follows a motion with no policy at all, and what it cannot do without one,
# - say what each reward term sees, where it is blind and where it goes flat,
# - explain why episodes begin in the middle of a clip, and more often where it goes wrong,
# - train an expert with `ExpertModule` and read its curves,
# - tell a sick run from a slow one.

# %%
import logging
import os
import tempfile
import warnings
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `fit` has it: threads that wait burn no CPU seconds

import matplotlib.pyplot as plt
import numpy as np
import pytorch_lightning as pl
import roma
import torch
from IPython.display import Markdown, display
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.loggers import CSVLogger

from physhmr_kit.body import Humanoid, dof_names
from physhmr_kit.env import Rollout, TrackingConfig, TrackingEnv, rewards, track_clips
from physhmr_kit.env.recovery import PushTest, push_clips
from physhmr_kit.env.terminations import any_body_far
from physhmr_kit.learning.storage import BUNDLED, load_policy
from physhmr_kit.metrics.followed import score_clips
from physhmr_kit.motion.demo import demo_clip, demo_clips
from physhmr_kit.motion.kinematics import hinge_kinematics
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.state import BodyState
from physhmr_kit.runs.callbacks import ClipEvaluation
from physhmr_kit.runs.history import read_metrics
from physhmr_kit.runs.reference import reference_runs, reference_section
from physhmr_kit.simulation import make_simulator
from physhmr_kit.stages.data import MotionDataModule
from physhmr_kit.stages.expert import ExpertModule
from physhmr_kit.stages.settings import PPO, ExpertConfig, ExpertPolicy, Simulation
from physhmr_kit.viewer import filmstrip
from physhmr_kit.viewer.palette import REFERENCE, SERIES, SIMULATED, unit
from physhmr_kit.viewer.plots import body_error

QUICK = bool(os.environ.get("CI"))  # the same code, fewer iterations
pl.seed_everything(0, verbose=False)
torch.set_num_threads(2)
warnings.filterwarnings("ignore", module="pytorch_lightning")
logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)

# %% [markdown]
# ## No policy at all
#
# The expert sees its body and the reference one step ahead (and glimpses of the next half second). Its action $a$ is a *residual*: it corrects motor targets that would follow the reference anyway, if nothing went wrong,
#
# $$q^* = q_{\text{ref}} + 0.75\,\tfrac{k_d}{k_p}\,\dot q_{\text{ref}} + \tfrac{\tau_{\text{ref}}}{k_p} + 0.5\,a .$$
#
# The second part leads the motor's lag (lesson 1), the third bears the load. How far does a body come if $a$ is held at zero?

# %%
library = MotionLibrary([demo_clip("walk_forward")])
LENGTH = int(library.lengths[0])


def nothing(obs: dict) -> torch.Tensor:
    """The action 0 for everybody."""
    return torch.zeros(len(next(iter(obs.values()))), 69)


def follow(policy, groups: tuple[str, ...] = ("proprioception", "reference"), control: str = "residual") -> Rollout:
    """The walk, followed from its first frame."""
    return track_clips(policy, library, TrackingConfig(groups=groups, control=control), simulator="mujoco_cpu")[0]


idle = follow(nothing)
(idle_score,) = score_clips([idle])
print(f"doing nothing follows {len(idle)} of {LENGTH} frames, {len(idle) / 30:.1f} s of {LENGTH / 30:.1f}")
assert not idle.success and 3 < len(idle) / 30 < 4
filmstrip(idle, poses=8, title="walk_forward, residual held at zero")

# %%
figure, axes = plt.subplots(figsize=(8, 2.6), layout="constrained")
error = body_error(idle.simulated.body_pos, idle.reference.body_pos)
axes.plot(np.arange(len(error)) / 30, error, color=unit(SIMULATED))
axes.axhline(500, color="0.6", linestyle=":", linewidth=1)
axes.text(0.02, 505, "lost", fontsize=8, color="0.4", va="bottom")
axes.set(xlabel="time (s)", ylabel="mean body error (mm)", ylim=(0, 580), title="Nothing goes wrong, until it does")
plt.show()

assert error[:60].max() < 100 < error[-1]

# %% [markdown]
# For two seconds and more the error is a few centimetres; then the body tips and nobody catches it. Every limb still does as it is told. What is missing is *balance*: a small correction now against a fall in a second.
#
# ## Who holds the root?
#
# No motor does. Tracking joint by joint cannot know that a body leans, for a leaning body may have every joint right. One old answer needs no learning: imagine a spring and a damper that pull the centre of mass and turn the pelvis towards the reference, a force $F$ and a moment $M$, and ask the joints of the standing leg for torques by which the *floor* does the pulling (virtual model control, Pratt et al. 2001):
#
# $$T_{\text{joint}} = -(p_{\text{foot}} - p_{\text{joint}})\times F - M .$$
#
# A foot can press with heel or toes, but not pull: what it passes on is limited by its sole. And a foot in the air is put down farther the way the body errs (SIMBICON, Yin et al. 2007). The kit calls residual actions with this help `control="balanced"`; it is `env/virtual_model.py`, and what `fit --stage expert` begins with. Still $a = 0$, on the four demo motions that residual control loses:

# %%
BEFORE = ("lunge", "turn", "side_step", "walk_forward")
four = MotionLibrary([demo_clip(name) for name in BEFORE])
figure, panels = plt.subplots(1, 4, figsize=(11, 2.6), sharey=True, layout="constrained")
for control, colour in (("residual", REFERENCE), ("balanced", SIMULATED)):
    helped = track_clips(nothing, four, TrackingConfig(control=control), simulator="mujoco_cpu")
    for axes, rollout in zip(panels, helped, strict=True):
        error = body_error(rollout.simulated.body_pos, rollout.reference.body_pos)
        axes.plot(np.arange(len(error)) / 30, error, color=unit(colour), label=control)
        axes.set(title=rollout.name, xlabel="time (s)", ylim=(0, 580))
    followed = sum(r.success for r in helped)
    print(f"{control}: {followed} of 4 to the end")
    assert followed == {"residual": 0, "balanced": 4}[control]
panels[0].set_ylabel("mean body error (mm)")
panels[0].legend(frameon=False)
plt.show()
assert error.mean() < 30, "the walk, without a policy, within a few centimetres"

# %% [markdown]
# So the walk is followed to its end with no policy at all. What is an expert for, then? The demo motions were planned on this very body. Of 78 clips, 66 of them captured on other people, doing nothing with the virtual model follows 21, the bundled expert 64
# ([docs/expert.md](../docs/expert.md)). And there are pushes, to which we come at the end.
#
# Below we learn *without* the virtual model: on one walk, with residual control, there is something to learn, namely the balance that the virtual model would have given.
#
# ## The reward, term by term
#
# Each imitation term is $\exp(-\alpha\, e^2)$ of one kind of error, averaged over 24 bodies: 1 on the reference, 0 far away.
#
# | term | of | α | weight |
# |---|---|---:|---:|
# | position | body positions, m (mean over x, y, z) | 100 | 0.5 |
# | rotation | body rotations, rad | 10 | 0.3 |
# | velocity | m/s | 0.1 | 0.1 |
# | angular velocity | rad/s | 0.1 | 0.1 |
# | power | Σ \|torque × hinge speed\|, W: a cost | | -0.0001 |
# | balance | centre of mass beside the line between the feet, m | 20 | fine-tuning only |
# | foot contact | feet that stand when the reference stands, and do not slip | | fine-tuning only |
#
# Formulas are best read with a finger on the body. We take one frame of the walk, the left foot on the floor, and move the body *by hand*, in five ways.

# %%
FRAME = 72
humanoid = Humanoid.mean()
masses = humanoid.segment_masses() / humanoid.mass
knee = dof_names().index("left_knee_x")
directions = torch.randn(69, generator=torch.Generator().manual_seed(0))
here = idle.reference[FRAME : FRAME + 1]


def moved(steps: int = 61, *, shift=0.0, tip=0.0, bend=0.0, speed=0.0, tremble=0.0) -> BodyState:
    """The body of FRAME, moved from not at all to the given amount in equal steps.

    Args:
        shift: m, all of it sideways. tip: rad, like a plank, forwards about the left ankle. bend: rad, of the left knee.
        speed: m/s, added to all of it, forwards. tremble: rad/s, added to every hinge in a random direction.
    """
    share = torch.linspace(0, 1, steps)[:, None]
    at = here[torch.zeros(steps, dtype=torch.long)]
    turn = roma.rotvec_to_unitquat(share * tip * torch.tensor([0.0, 1.0, 0.0]))
    ankle = at.body_pos[:, 7]
    root = ankle + roma.quat_action(turn, at.root_pos - ankle) + share * shift * torch.tensor([0.0, 1.0, 0.0])
    pose = at.dof_pos.clone()
    pose[:, knee] += share[:, 0] * bend
    return hinge_kinematics(
        root, roma.quat_product(turn, at.root_rot), at.body_lin_vel[:, 0] + share * speed * torch.tensor([1.0, 0, 0]),
        at.body_ang_vel[:, 0], pose, at.dof_vel + share * tremble * directions, library.offsets,
    )  # fmt: skip


def look(sim: BodyState) -> dict[str, torch.Tensor]:
    """Every term of moved bodies; floor and motors push as they did in the rollout above."""
    ref = moved(len(sim))
    force, torque = (x[FRAME].expand(len(sim), *x.shape[1:]) for x in (idle.contact_force, idle.dof_torque))
    return {
        "position": rewards.position(sim, ref),
        "rotation": rewards.rotation(sim, ref),
        "velocity": rewards.velocity(sim, ref),
        "angular velocity": rewards.angular_velocity(sim, ref),
        "balance": rewards.balance(sim, masses),
        "foot contact": rewards.foot_contact(sim, ref, force),
        "power × 0.0001": 0.0001 * rewards.power(torque, sim.dof_vel),
    }


MOVES = {
    "shifted sideways (cm)": (30, {"shift": 0.3}),
    "tipped about the ankle (degrees)": (30, {"tip": np.deg2rad(30)}),
    "left knee bent (degrees)": (60, {"bend": np.deg2rad(60)}),
    "too fast (m/s)": (2, {"speed": 2.0}),
    "trembling (rad/s)": (2, {"tremble": 2.0}),
}
seen = {name: look(moved(**how)) for name, (_, how) in MOVES.items()}

figure, panels = plt.subplots(2, 3, figsize=(10, 5.6), sharey=True, layout="constrained")
for axes, (name, (most, how)) in zip(panels.flat, MOVES.items(), strict=False):
    amount, far = np.linspace(0, most, 61), any_body_far(moved(**how).body_pos, moved().body_pos, 0.25)
    for k, (term, values) in enumerate(seen[name].items()):
        axes.plot(amount, values, color=unit(SERIES[k]), label=term, linestyle="-" if k < 4 else "--")
    if far.any():
        axes.axvline(amount[int(far.int().argmax())], color="0.5", linestyle=":", linewidth=1.5)
    axes.set(xlabel=name, ylim=(-0.03, 1.05))
panels[1, 2].axis("off")
lines, names = panels[0, 0].get_legend_handles_labels()
panels[1, 2].legend(
    [*lines, plt.Line2D([], [], color="0.5", linestyle=":")],
    [*names, "a body is 25 cm away: the episode ends"],
    frameon=False, loc="center",
)  # fmt: skip
plt.show()

ends = {name: {term: float(values[-1]) for term, values in terms.items()} for name, terms in seen.items()}
assert ends["shifted sideways (cm)"]["rotation"] > 0.999 > 0.1 > ends["shifted sideways (cm)"]["position"]
assert ends["too fast (m/s)"]["position"] > 0.999, "a snapshot knows no speed"
assert ends["trembling (rad/s)"]["angular velocity"] < 0.5 < ends["trembling (rad/s)"]["velocity"]
assert ends["tipped about the ankle (degrees)"]["balance"] < 0.5, "a tipping body is out of balance"
assert min(ends[name]["balance"] for name in ("shifted sideways (cm)", "too fast (m/s)")) > 0.98
knee_bent = ends["left knee bent (degrees)"]
print("knee bent by 60°: " + ", ".join(f"{term} {value:.2f}" for term, value in knee_bent.items()))

# %% [markdown]
# Read each panel for what does *not* move.
#
# - **Position** is strict with the whole body and lenient with a limb: a shift costs everything within 30 cm, a bent knee moves two bodies of 24. It goes flat beyond the dotted line: farther or nearer, nothing changes, nothing to climb. That is why the episode ends there. (The knee alone never ends it: ankles and toes are not counted.)
# - **Rotation** is blind to a shift, and the first to see the knee.
# - **Velocities** are blind to where the body is, and mild: α is small because speeds are noisy. Trembling is for angular velocity to see; power prices it as well, and has no end.
# - **Balance** does not look at the reference at all, and neither a shift nor a speed disturbs it; a tipping body does.
# - **Foot contact** reads the floor. Here the floor's force was held, so only slipping could show: a standing foot that moves loses its half.
#
# ## Where episodes begin
#
# From the first frame? Then the second half of a clip is seen only by those who master the first. *Reference-state initialisation* (DeepMimic, Peng et al. 2018) puts the body on any frame, with its velocity. Below: which frames of the walk does a beginner get to see?


# %%
def attempts(clips: MotionLibrary, num_envs: int, steps: int, **settings) -> tuple[TrackingEnv, torch.Tensor]:
    """Let the zero policy try, over and over; the environment, and the frames it was on (steps x num_envs,)."""
    env = TrackingEnv(clips, make_simulator("mujoco_cpu", num_envs=num_envs), TrackingConfig(**settings))
    env.reset(seed=0)
    frames = []
    for _ in range(steps):
        frames.append(env.frame_ids.clone())
        env.step(torch.zeros(num_envs, 69))
    env.close()
    return env, torch.cat(frames)


figure, axes = plt.subplots(figsize=(8, 2.6), layout="constrained")
for start, colour in (("first", REFERENCE), ("random", SIMULATED)):
    _, frames = attempts(library, 32, 150, start=start)
    axes.hist(
        frames / 30, bins=40, range=(0, LENGTH / 30), histtype="step", color=unit(colour), label=f"start: {start}"
    )
    if start == "first":
        never = 1 - len(frames.unique()) / LENGTH
axes.set(xlabel="moment of the walk (s)", ylabel="steps spent there")
axes.legend(frameon=False)
plt.show()
print(f"from the first frame {never:.0%} of the walk is never seen")
assert never > 0.3

# %% [markdown]
# With many clips there is a second question: which clip? By length, a long one crowds out the short ones. `StartSampler` draws a part of the starts clip by clip and the rest (`failure_weighted_prob`) in proportion to how often each clip has failed lately.
# Within a clip some starts lie shortly *before* a moment at which it was lost (`pre_failure_prob`). The zero policy tries all twelve demo motions:

# %%
everything = MotionLibrary(demo_clips())
tried, _ = attempts(everything, 96, 150, failure_weighted_prob=0.7, pre_failure_prob=0.3)
sampler, hardest = tried.sampler, int(tried.sampler.failure.argmax())
after = sampler.clip_weights.clone()
generator = torch.Generator().manual_seed(0)
draws = {}
for name in ("before", "after"):
    if name == "before":
        memory = sampler.state_dict()
        sampler.forget()
        before = sampler.clip_weights.clone()
    else:
        sampler.load_state_dict(memory)
    draws[name] = sampler.draw(20_000, generator, torch.full((20_000,), hardest))[1] / 30

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), width_ratios=(3, 2), layout="constrained")
place = np.arange(everything.num_clips)
left.barh(place - 0.2, before, 0.36, color=unit(REFERENCE), label="before")
left.barh(place + 0.2, after, 0.36, color=unit(SIMULATED), label="after some failures")
left.set_yticks(place, everything.names, fontsize=8)
left.invert_yaxis()
left.set(xlabel="probability of the clip")
for (name, times), colour in zip(draws.items(), (REFERENCE, SIMULATED), strict=True):
    right.hist(
        times,
        bins=np.arange(0, int(everything.lengths[hardest]) + 9, 9) / 30,
        density=True,
        histtype="step",
        color=unit(colour),
        label=name,
    )
right.set(xlabel=f"start in {everything.names[hardest]} (s)", yticks=(), ylim=(0, None))
right.legend(frameon=False, loc="lower center")
plt.show()

assert after.max() > before.max() > after.min() > 0.3 / everything.num_clips - 1e-6, "nobody is forgotten"

# %% [markdown]
# Easy clips keep a share, or they would be unlearnt.
#
# ## Trial and error: PPO
#
# The physics is a black box. All we can do is try something a little different and see whether it went better than expected. PPO does so in a loop (lesson 4 writes it out):
#
# 1. let 128 bodies act for 32 steps, with Gaussian noise of width `std` on every action;
# 2. the *advantage* $A$ of a step: what came of it, minus what the critic had expected;
# 3. make actions with $A>0$ more likely and the others less, $\;\max_\theta\; \mathbb E\big[\min(rA,\ \operatorname{clip}(r, 0.8, 1.2)\,A)\big]$ with $r=\pi_\theta(a|s)/\pi_{\text{old}}(a|s)$.
#
# Two settings deserve care. The **noise** is the only way to find out anything, and it disturbs the very balance we want to learn. The **KL divergence** measures by how much an update changed the policy, in units of that noise; the learning rate falls where it is above the wanted value and rises where it is below.
#
# One epoch of the Lightning `Trainer` is one iteration: a rollout and its updates. A validation follows every clip once from its first frame, with a running mean of the weights, because single updates are mostly noise. The kit's callback `ClipEvaluation` writes down what came of it, and the
# figures of each iteration go into a CSV file, as in every run of `fit`.

# %%
config = ExpertConfig(
    iterations=8 if QUICK else 36,
    sim=Simulation("mujoco_cpu", num_envs=64 if QUICK else 128),
    policy=ExpertPolicy(control="residual"),
    # a short run: a quicker running mean, and a careful first step (Adam's first one moves every weight by the full rate)
    ppo=PPO(ema_decay=0.9, learning_rate=2e-5, matmul_precision="medium"),
)
folder = Path(tempfile.mkdtemp())
expert, evaluation = ExpertModule(config), ClipEvaluation(folder)
trainer = pl.Trainer(
    accelerator="cpu", max_epochs=config.iterations, check_val_every_n_epoch=4, num_sanity_val_steps=0,
    callbacks=[Timer(), evaluation], logger=CSVLogger(folder, name="metrics"), log_every_n_steps=1,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
)  # fmt: skip
trainer.fit(expert, datamodule=MotionDataModule(library))

# %% [markdown]
# Its curves:

# %%
metrics = read_metrics(folder)
CURVES = {"steps_to_end": "steps an episode lasts", "reward": "reward of a step", "loss/kl": "KL of an update"}
figure, panels = plt.subplots(1, 4, figsize=(11, 2.8), layout="constrained")
for axes, (name, title) in zip(panels, CURVES.items(), strict=False):
    axes.plot([m["samples"] / 1000 for m in metrics], [m[name] for m in metrics], color=unit(SIMULATED))
    axes.set(title=title, xlabel="simulated steps (thousands)", ylim=(0, None))
panels[1].set_ylim(0, 1)
panels[2].axhline(config.ppo.desired_kl, color="0.5", linestyle=":", linewidth=1.5)
evaluations = evaluation.milestones
panels[3].plot(
    [0, *(m.samples / 1000 for m in evaluations)], [idle_score.share, *(m.totals.covered for m in evaluations)],
    "o-", markersize=4, color=unit(SIMULATED),
)  # fmt: skip
panels[3].axhline(idle_score.share, color="0.6", linestyle=":", linewidth=1)
panels[3].set(title="share of the walk followed", xlabel="simulated steps (thousands)", ylim=(0, 1.05))
plt.show()

end = evaluations[-1]
print(f"{end.samples:,} steps: {end.totals.covered:.0%} of the walk, {end.totals.followed_mm:.0f} mm")
assert len(metrics) == config.iterations and np.isfinite([m["loss/kl"] for m in metrics]).all()
assert end.totals.covered > idle_score.share - 0.15, "it has not forgotten what doing nothing can do"

# %%
learned = follow(expert.policy.eval(), expert.policy.groups)
filmstrip(learned, poses=8, title="walk_forward, as learned")

# %% [markdown]
# The reward hardly moves: a body that will fall in a second still earns nearly all of it, and one that has fallen is put back at once. **Read the length of the episodes, and the share of the clip that is followed.** The KL stays near its dotted line because the learning rate sees to it.
#
# And do not expect a walk after a few minutes. In our [lab notes](../docs/lab_notes.md) PPO followed 43 % of this walk after 82,000 steps and 51 % after 213,000, where doing nothing follows 47 %: trial and error counts in millions of steps. Three recorded runs on 78 clips show the whole way, two of them on CPU cores
# (one without the virtual model, one with it) and one on a GPU:

# %%
figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
recorded = reference_runs("expert")
for run, colour in zip(recorded, SERIES, strict=False):
    control = "residual" if "--control residual" in run.command else "balanced"
    rows = [row for row in run.rows if row.samples]
    axes.semilogx(
        [row.samples for row in rows], [row.success for row in rows], "o-", color=unit(colour),
        label=f"{control}, {run.simulator}: {rows[-1].minutes:g} min",
    )  # fmt: skip
axes.set(xlabel="simulated steps", ylabel="share of 78 clips to the end", ylim=(0, 1))
axes.legend(frameon=False, fontsize=8)
plt.show()
assert all(run.rows[-1].success > run.rows[0].success for run in recorded)

# %% [markdown]
# ## Is my run normal?
#
# `python -m physhmr_kit.fit --stage expert --clips demo:walk_forward --control residual --validate_every 4` does what we did and leaves a folder. Its table has rows for 1, 5, 20, 60 and 180 minutes, beside a recorded run where the kit has one (`runs/reference.py`). What was measured so far, and on how many clips, is in [docs/expert.md](../docs/expert.md). Ours:

# %%
display(Markdown(reference_section(evaluations, library.names, end.minutes)))

# %%
ABOUT = {
    "metrics/version_0/metrics.csv": "the figures of every iteration, read by `read_metrics`",
    "evaluations.csv": "one row for each clip and evaluation",
    "clips.md": "the last evaluation, the worst clip first, and what changed",
    "curves.png": "success, frames followed and reward over the run",
    "worst.rrd": "the worst clip to look at: `view FOLDER/worst.rrd`",
}
for name, words in ABOUT.items():
    assert (folder / name).is_file(), name
    print(f"{name:32} {words}")

# %% [markdown]
# ## A push
#
# The walk can be followed with no policy as long as nothing goes wrong. So let something go wrong: a shove of 200 N at the chest for a tenth of a second, at a random moment and from a random side, eight of them for each of three motions. A body has *recovered* when it is back within 10 cm at the end of the clip.
# Doing nothing, without and with the virtual model, beside the bundled expert, which was trained with such pushes (`--push_force 200`).

# %%
pushed = MotionLibrary([demo_clip(name) for name in ("stand", "wave", "walk_forward")])
bundled = load_policy(BUNDLED / "expert.safetensors")
RUNS = {
    "nothing, residual": (nothing, TrackingConfig(control="residual")),
    "nothing, balanced": (nothing, TrackingConfig(control="balanced")),
    "bundled expert": (bundled, TrackingConfig(groups=bundled.groups, control=bundled.control)),
}
recovered = {}
for name, (policy, episode) in RUNS.items():
    _, outcomes = push_clips(policy, pushed, episode, PushTest(force=200), simulator="mujoco_cpu")
    recovered[name] = [sum(o.recovered for o in outcomes if o.push and o.clip == clip) for clip in pushed.names]
    print(f"{name}: {sum(recovered[name])} of 24 recovered from")

figure, axes = plt.subplots(figsize=(8, 2.8), layout="constrained")
for k, (name, counts) in enumerate(recovered.items()):
    bars = axes.bar(np.arange(3) + 0.27 * (k - 1), counts, 0.25, color=unit(SERIES[k]), label=name)
    axes.bar_label(bars, fontsize=8)
axes.set_xticks(range(3), pushed.names)
axes.set(ylabel="pushes recovered from, of 8", ylim=(0, 9))
axes.legend(frameon=False, ncols=3, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.12))
plt.show()
sums = [sum(counts) for counts in recovered.values()]
assert sums[0] < sums[1] < sums[2], "the virtual model helps, the expert does better still"

# %% [markdown]
# Without help a push on the walk is the end of it. The virtual model leans against the push and puts the next foot where the body is going, which often suffices; the expert has learnt a little more. This, and captured motion, is what ten minutes of training on a GPU, or hours on two cores, are for.
#
# ## What failure looks like
#
# ### Too much noise
#
# Noise is how PPO explores, and it shakes the body. How long does the *zero* policy stay within 25 cm, with noise of several widths on its actions? (An action of 1 is half a radian.)

# %%
STDS, DISTANCES, STEPS = (0.0, 0.05, 0.12, 0.25), (0.1, 0.25, 0.5, 1.0), 100
starts = torch.linspace(0, LENGTH - STEPS - 2, 48).long()
count = len(STDS) * len(starts)
env = TrackingEnv(library, make_simulator("mujoco_cpu", num_envs=count), TrackingConfig(termination="none"))
env.reset(seed=0, options={"clip": torch.zeros(count, dtype=torch.long), "frame": starts.repeat(len(STDS))})
width = torch.tensor(STDS).repeat_interleave(len(starts))[:, None]
near = torch.ones(len(DISTANCES), count, dtype=torch.bool)
kept, flat = [], []
for _ in range(STEPS):
    env.step(width * torch.randn(count, 69, generator=generator))
    sim, ref = env.last_state.body_pos, env.reference_state.body_pos
    near &= ~torch.stack([any_body_far(sim, ref, d) for d in DISTANCES])
    kept.append(near.clone())
    flat.append(rewards.position(env.last_state, env.reference_state) < 0.05)
env.close()
kept = torch.stack(kept).unflatten(-1, (len(STDS), -1))  # (steps, distances, stds, starts)
flat = torch.stack(flat).unflatten(-1, (len(STDS), -1))

figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
survival = kept[:, 1].float().mean(-1)
for k, std in enumerate(STDS):
    axes.plot(np.arange(1, STEPS + 1) / 30, survival[:, k], color=unit(SERIES[k]), label=f"std {std:g}")
axes.set(xlabel="time since the start (s)", ylabel="share not yet lost", title="The zero policy with noise")
axes.legend(frameon=False)
plt.show()
half = (survival > 0.5).sum(0)
print("half are lost after", ", ".join(f"{h / 30:.1f} s (std {std:g})" for h, std in zip(half, STDS, strict=True)))
assert half[3] < half[2] < half[1], "more noise, less time"

# %% [markdown]
# A width of 0.05 costs next to nothing, 0.12 a good part of the time there is to learn in. *Fix:* `--std 0.05`, and no larger because "it does not explore".
#
# ### Too tight, too loose
#
# The same bodies without noise, under other distances at which an episode ends:

# %%
lost = []
for k, distance in enumerate(DISTANCES):
    mine = kept[:, k, 0]
    lost.append(float(flat[:, 0][mine].float().mean()))
    print(
        f"{100 * distance:4.0f} cm: {mine.sum(0).float().mean() / 30:.1f} s an episode, the position term below 0.05 in {lost[-1]:.0%} of it"
    )
assert lost[1] < 0.1 < lost[3]

# %% [markdown]
# Tight, and the episode ends before the mistake has shown what it leads to. Loose, and a growing part of the data are bodies that are lost already, where the position term is flat and nothing can be learnt from it. *Fix:* 25 cm, PHC's rule.
#
# ### Clips drawn by length
#
# One minute of video beside the twelve demo motions:

# %%
lengths = torch.cat([everything.lengths, torch.tensor([1800])]).float()
by_length = float(lengths[-1] / lengths.sum())
print(f"drawn by length it gets {by_length:.0%} of the starts; drawn clip by clip {1 / len(lengths):.0%}")
assert by_length > 4 / len(lengths)

# %% [markdown]
# | you see | it is usually | then |
# |---|---|---|
# | episodes get shorter from the first iteration | too much noise, or a first step too large (look at `loss/kl`) | `--std 0.05`, a smaller `--learning_rate` |
# | a reward of 0.9 and clips are lost all the same | the reward is saturated: most steps are easy | read `steps_to_end` and the clips followed |
# | the average rises, the same few clips fail for ever | starts that do not reach their hard moments | `--failure_weighted_prob`, `--pre_failure_prob` |
# | `explained_variance` stays near 0 | the critic knows nothing, so advantages are noise | wait some iterations; then a larger `--critic_learning_rate` |
# | all well, then everything is lost | an update too large | `checkpoints/best.ckpt` has the best; a smaller `--desired_kl` |
# | the body follows but trembles | nobody pays for power | a larger weight on power (`--reward.power`) |
#
# ## Exercises
#
# Try them before you open the cell below each.
#
# **1 · A wider position term.** At which sideways shift has the position term fallen to 0.1, at α = 100 and at α = 25? *Hint:* a shift $d$ along one axis has a mean square of $d^2/3$ over the three; or call `rewards.position(moved(shift=0.6), moved(), scale=25.0)`. *Expect* 26 cm and 53 cm: twice the
# reach. And what does it cost near zero? An error of 5 cm loses 8 % of the term at 100 and 2 % at 25: who sees farther sees less sharply.

# %% jupyter={"source_hidden": true} tags=["solution"]
metres = np.linspace(0, 0.6, 601)
for alpha, reach, loss in ((100.0, 0.26, 0.08), (25.0, 0.53, 0.02)):
    term = rewards.position(moved(601, shift=0.6), moved(601), scale=alpha)
    tenth = float(metres[int((term < 0.1).int().argmax())])
    print(f"α = {alpha:g}: 0.1 at {100 * tenth:.0f} cm, {1 - term[50]:.0%} lost at 5 cm")
    assert abs(tenth - (3 * np.log(10) / alpha) ** 0.5) < 2e-3 and abs(tenth - reach) < 0.005
    assert abs(1 - float(term[50]) - loss) < 0.005

# %% [markdown]
# **2 · Weaker and harder pushes.** Push the walk four times with 100 N, without a policy, and four times with 400 N, the bundled expert (`PushTest(force=100, pushes=4)`). *Expect* all of the weak ones to be the end of residual control, and none of them that of balanced; and the expert to recover from none of the
# hard ones. How hard a push is matters more than who is pushed.

# %% jupyter={"source_hidden": true} tags=["solution"]
weak_and_hard = {}
for name, force in (("nothing, residual", 100), ("nothing, balanced", 100), ("bundled expert", 400)):
    policy, episode = RUNS[name]
    _, outcomes = push_clips(policy, library, episode, PushTest(force=force, pushes=4), simulator="mujoco_cpu")
    weak_and_hard[name] = sum(o.recovered for o in outcomes if o.push)
    print(f"{name}, {force} N: {weak_and_hard[name]} of 4")
assert list(weak_and_hard.values()) == [0, 4, 0]

# %% [markdown]
# **3 · What PPO starts from.** Of the 48 starts of "Too much noise", how many bodies are still within 25 cm of the walk after 100 steps if noise of width 0.05 shakes *balanced* control? With residual control it was 4 of them. *Expect* nearly all: with the virtual model episodes last from the first iteration
# on, and PPO has other things to learn than not to fall.

# %% jupyter={"source_hidden": true} tags=["solution"]
balanced = TrackingConfig(termination="none", control="balanced")
env = TrackingEnv(library, make_simulator("mujoco_cpu", num_envs=len(starts)), balanced)
env.reset(seed=0, options={"clip": torch.zeros_like(starts), "frame": starts})
within = torch.ones(len(starts), dtype=torch.bool)
for _ in range(STEPS):
    env.step(0.05 * torch.randn(len(starts), 69, generator=generator))
    within &= ~any_body_far(env.last_state.body_pos, env.reference_state.body_pos, 0.25)
env.close()
alone = float(kept[-1, DISTANCES.index(0.25), STDS.index(0.05)].float().mean())
print(
    f"within 25 cm after {STEPS / 30:.1f} s: {alone:.0%} without the virtual model, {within.float().mean():.0%} with it"
)
assert alone < 0.3 and within.float().mean() > 0.9

# %% [markdown]
# With more time: take `control="residual"` out of `config` and train. Does learning make the walk more exact than doing nothing does (`follow(nothing, control="balanced")`), or less?
#
# ## Summary
#
# Motors that are told the right thing carry the body for seconds, a virtual model carries it through every demo motion; what is left to learn is what nobody planned: other bodies' motions, and pushes. Each reward term is blind to something, so there are several. Begin anywhere, and more often before trouble.
# Trial and error is slow and sturdy. Look at what is followed, not at the reward.
#
# **Next:** lesson 6 hands an expert's knowledge to a student who only sees.
