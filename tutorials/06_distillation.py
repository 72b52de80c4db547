# %% [markdown]
# # Lesson 6 · Distillation: from an expert with the reference to a student with a camera
#
# **Time:** about three minutes on two CPU cores, half of it training. **Needs:** only the kit; lessons 0 and 2 help.
#
# The expert knows where the body should be next, which a video does not tell. So the expert teaches a *student* that only observes camera rays and its own body: in every state that the student reaches, the expert says what it would do,
# and the student learns the answer. That the *student* chooses the states is the key, and this lesson shows why.
#
# Afterwards you will be able to
# - convert an expert's action into a label for the student,
# - train a student from scratch with `DistillModule` and a Lightning `Trainer`,
# - explain why a student with a tiny loss can fall over after a second or two (covariate shift), and why labels on the student's own states prevent it (DAgger).

# %%
import logging
import os
import time
import warnings
from dataclasses import replace

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in `fit`: waiting threads sleep instead of spinning

import matplotlib.pyplot as plt
import numpy as np
import pytorch_lightning as pl
import torch
from IPython.display import Markdown, display

from physhmr_kit.body import Humanoid
from physhmr_kit.env import Rollout, TrackingConfig, TrackingEnv, track_clips
from physhmr_kit.env.actions import absolute_scale
from physhmr_kit.env.settings import EXPERT_GROUPS, GROUP_SIZES, STUDENT_GROUPS
from physhmr_kit.learning.networks import Policy
from physhmr_kit.learning.storage import BUNDLED, load_policy
from physhmr_kit.metrics import score_rollouts, summarise, to_markdown
from physhmr_kit.motion.demo import demo_clip, demo_clips
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation import make_simulator
from physhmr_kit.stages.data import FilmedMotionDataModule
from physhmr_kit.stages.distill import DistillModule
from physhmr_kit.stages.settings import Distillation, DistillConfig, Simulation, StudentPolicy
from physhmr_kit.stages.views import film_library
from physhmr_kit.viewer import filmstrip, show
from physhmr_kit.viewer.palette import SERIES, SIMULATED, unit
from physhmr_kit.viewer.plots import body_error
from physhmr_kit.vision.pretrained import load_encoder

pl.seed_everything(0, verbose=False)
torch.set_num_threads(2)
warnings.filterwarnings("ignore", module="pytorch_lightning")
logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)

# %% [markdown]
# ## Two observations
#
# Both policies observe the same body. In addition the expert reads the reference (one step ahead, and a preview of the next half second), and the student what the camera and the encoder provide.

# %%
colours = dict(zip(dict.fromkeys(STUDENT_GROUPS + EXPERT_GROUPS), SERIES, strict=True))
figure, axes = plt.subplots(figsize=(9, 2), layout="constrained")
for row, groups in enumerate((STUDENT_GROUPS, EXPERT_GROUPS)):
    left = 0
    for group in groups:
        axes.barh(row, GROUP_SIZES[group], left=left, color=unit(colours[group]), edgecolor="white")
        if GROUP_SIZES[group] > 100:
            axes.text(
                left + GROUP_SIZES[group] / 2,
                row,
                f"{group}\n{GROUP_SIZES[group]}",
                ha="center",
                va="center",
                color="white",
                fontsize=9,
            )
        left += GROUP_SIZES[group]
    axes.text(left + 8, row, f"{left}", va="center")
axes.annotate("rays 36, ray_confidence 12", (382, 0.4), (382, 0.55), ha="center", va="center", fontsize=8)
axes.annotate("root_orientation 6", (900, 0.4), (880, 0.55), ha="center", va="center", fontsize=8)
axes.annotate("preview 81", (974, 1.4), (974, 1.5), ha="center", va="center", fontsize=8)
axes.set_yticks((0, 1), ("student", "expert"))
axes.set(xlim=(0, 1080), ylim=(-0.5, 1.65), xlabel="numbers in the observation")
axes.spines[["top", "right"]].set_visible(False)
plt.show()

assert sum(GROUP_SIZES[g] for g in STUDENT_GROUPS) == 924, "as in PhysHMR"
assert not {"reference", "preview"} & set(STUDENT_GROUPS)
assert sum(GROUP_SIZES[g] for g in EXPERT_GROUPS) < axes.get_xlim()[1], "the whole chart is on the page"

# %% [markdown]
# To train live we keep it small: two motions, two cameras each, a small network. (The bundled student at the end of the lesson had all motions, more cameras and more time.)

# %%
library = MotionLibrary([demo_clip(name) for name in ("squat", "punch")])
expert, encoder = load_policy(BUNDLED / "expert.safetensors"), load_encoder()
views, _ = film_library(library, encoder, views=2, seed=0)
fresh_views, fresh_tracks = film_library(library, encoder, views=1, seed=99)

optim = Distillation(horizon=16, buffer_rollouts=50, updates=16, minibatch_size=512, learning_rate=1e-3)
config = DistillConfig(iterations=50, sim=Simulation(num_envs=32), policy=StudentPolicy(hidden=(256, 256)), optim=optim)
SAMPLES = config.sim.num_envs * optim.horizon * config.iterations
UPDATES = optim.updates * config.iterations
print(f"{SAMPLES:,} labelled states ({SAMPLES / 30 / 60:.0f} minutes of motion), {UPDATES} updates")

# %% [markdown]
# ## Residual and absolute targets
#
# The expert corrects the reference; the student has none. Their actions mean different things:
#
# $$
# \text{expert (residual): } q^* = q_{\text{ref}} + 0.75\,\tfrac{k_d}{k_p}\,\dot q_{\text{ref}} + \tfrac{\tau_{\text{ref}}}{k_p} + 0.5\,a
# \qquad
# \text{student (absolute): } q^* = s\odot a
# $$
#
# with a scale $s$ per joint. The expert's second term compensates three quarters of the actuators' lag (lesson 1); the third compensates the load, with the torque that the reference needs by inverse dynamics. The bundled expert's control is *balanced*:
# a virtual model (lesson 5) brings a leaning body back over its feet. A *zero action* ($a=0$) shows the difference. With residual control it tracks well as long as both feet stay on the floor, and loses the side step;
# with balanced control it tracks all three to the end. (On captured motions and under pushes it does not; that is what the expert has learned.) With absolute control it is always the rest pose. The student has more to learn.

# %%
COLOURS = {"squat": SERIES[2], "punch": SERIES[4], "side_step": SERIES[6]}


def zero_action(obs: dict) -> torch.Tensor:
    """A zero action for every environment."""
    return torch.zeros(len(next(iter(obs.values()))), 69)


def draw_errors(axes, rollouts: list[Rollout], **style) -> None:
    """Mean body error over time; a cross marks where a clip was lost."""
    for rollout in rollouts:
        error = body_error(rollout.simulated.body_pos, rollout.reference.body_pos)
        axes.plot(np.arange(len(error)) / 30, error, color=unit(COLOURS[rollout.name]), label=rollout.name, **style)
        if not rollout.success:
            axes.plot((len(error) - 1) / 30, error[-1], "x", color=unit(SERIES[5]), markersize=9, markeredgewidth=2.5)


three = MotionLibrary([demo_clip(name) for name in COLOURS])
figure, panels = plt.subplots(1, 3, figsize=(10, 3), sharey=True, layout="constrained")
outcome = {}
for axes, control in zip(panels, ("residual", "balanced", "absolute"), strict=True):
    zero_rollouts = track_clips(zero_action, three, TrackingConfig(control=control))
    outcome[control] = {rollout.name: rollout.success for rollout in zero_rollouts}
    draw_errors(axes, zero_rollouts)
    axes.set(title=f"{control}: zero action", xlabel="time (s)")
panels[0].set_ylabel("mean body error (mm)")
panels[0].legend(frameon=False)
plt.show()

assert outcome["residual"] == {"squat": True, "punch": True, "side_step": False}
assert all(outcome["balanced"].values())

# %% [markdown]
# What the expert knows is in its *target*, so that is what we transfer: compute $q^*$ and the absolute action that gives the same target, $a^{\text{label}} = q^*/s$. `TrackingEnv.label` does this; for the actuators the two are identical.


# %%
def make_env(control: str, num_envs: int = config.sim.num_envs) -> TrackingEnv:
    """The environment of the distillation stage, with a given control."""
    groups = (*STUDENT_GROUPS, "reference", "preview")  # the observations of both
    return TrackingEnv(
        library, make_simulator(num_envs=num_envs), TrackingConfig.of(config.env, groups, control), views
    )


env = make_env(expert.control, num_envs=4)
obs, _ = env.reset(seed=0)
with torch.no_grad():
    action = expert(obs)
label = env.label(action, expert.control, "absolute")
env.close()
assert torch.allclose(env.pd_targets(action), label * absolute_scale(Humanoid.mean()), atol=1e-5)
print(f"standard deviation of the labels {label.std():.2f}, of their varying part {label.std(0).mean():.2f}")

# %% [markdown]
# ## First attempt: behaviour cloning
#
# The obvious recipe: let the expert act, record what the student would have *observed* and what the expert *did*, and fit
#
# $$L_{BC} = \frac1{69}\left\lVert \pi_\theta(o) - a^{\text{label}}\right\rVert^2 .$$
#
# Fitting is plain regression and needs no simulator.


# %%
@torch.no_grad()
def demonstrations(student: Policy, samples: int = SAMPLES, noise: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Student observations and expert labels while the expert acts, with action noise of standard deviation `noise`."""
    env, seen, labels = make_env(expert.control), [], []
    obs, _ = env.reset(seed=0)
    for _ in range(samples // env.num_envs):
        action = expert(obs)
        seen.append(student.flatten(obs))
        labels.append(env.label(action, expert.control, "absolute"))
        obs, *_ = env.step(action + noise * torch.randn_like(action))
    env.close()
    return torch.cat(seen), torch.cat(labels)


def clone(student: Policy, seen: torch.Tensor, labels: torch.Tensor, updates: int = UPDATES) -> list[float]:
    """Regression on a fixed data set, with the optimiser and the number of updates of the distillation stage."""
    student.norm.update(seen)
    optimizer = torch.optim.Adam(student.parameters(), lr=optim.learning_rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, updates)
    losses = []
    for _ in range(updates):
        rows = torch.randint(len(seen), (optim.minibatch_size,))
        loss = (student.mean(seen[rows]) - labels[rows]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), optim.max_grad_norm)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    return losses


torch.manual_seed(0)
cloned = Policy(STUDENT_GROUPS, config.policy.hidden, config.policy.std, "absolute")
seen, labels = demonstrations(cloned)
cloning_loss = clone(cloned, seen, labels)

mean_loss = float((labels - labels.mean(0)).square().mean())
print(f"loss of predicting the mean: {mean_loss:.1e}; of the clone: {np.mean(cloning_loss[-50:]):.1e}")
assert np.mean(cloning_loss[-50:]) < mean_loss / 20, "an excellent regression"

# %% [markdown]
# A low loss. Now let the clone act, on the same motions through the same cameras as in training.

# %%
student_episode = TrackingConfig.of(config.env, STUDENT_GROUPS, "absolute")  # the student's observations and control
cloned_rollouts = track_clips(cloned.eval(), library, student_episode, views)
for rollout in cloned_rollouts:
    print(f"{rollout.name}: {len(rollout)} of {rollout.length} frames")
filmstrip(cloned_rollouts[0], poses=8, title="squat, behaviour cloning")

# %% [markdown]
# ## Second attempt: DAgger
#
# The clone has only seen the expert's states, where everything is nearly perfect. Its first small error leads to a state slightly off these, where it has no labels; there its error is larger, which leads further away. With $T$ steps and an error probability $\epsilon$
# on the expert's states, the expected number of errors grows like $\epsilon T^2$, not $\epsilon T$ (Ross and Bagnell 2010).
#
# DAgger (Ross, Gordon and Bagnell 2011) reverses the roles: **the student acts, the expert only labels.** In each iteration
#
# 1. roll out the *student* for 16 steps in 32 environments, with a little noise;
# 2. label every state with the expert's action;
# 3. add the pairs to a buffer and fit the student to all of it.
#
# `DistillModule` implements this: `minibatches` rolls out, labels and stores, `training_step` is the loss above. Clips and cameras come from a data module, and one epoch of the Lightning `Trainer` is one iteration,
# as in `python -m physhmr_kit.fit --stage distill`.


# %%
def degrees_apart(answer: torch.Tensor, label: torch.Tensor) -> float:
    """Root mean square difference of the PD targets of two absolute actions (..., 69)."""
    return float(torch.rad2deg((answer - label) * absolute_scale(Humanoid.mean())).square().mean().sqrt())


class History(pl.Callback):
    """After each iteration: the loss, and the student's distance from the expert on the new states, before learning from them."""

    def __init__(self):
        self.loss: list[float] = []
        self.apart: list[float] = []

    def on_train_epoch_end(self, trainer, module) -> None:
        visited = module.collector.batch
        self.loss.append(float(trainer.callback_metrics["loss/imitation"]))
        self.apart.append(degrees_apart(visited.mean, visited.label))


module, history = DistillModule(config, expert), History()
trainer = pl.Trainer(
    accelerator="cpu", max_epochs=config.iterations, limit_val_batches=0, callbacks=[history],
    logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
)  # fmt: skip
began = time.perf_counter()
trainer.fit(module, datamodule=FilmedMotionDataModule(library, views))
print(f"{module.samples:,} samples in {time.perf_counter() - began:.0f} s")
assert module.samples == SAMPLES, "as many labelled states as the clone had"

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
left.semilogy(
    np.arange(1, UPDATES + 1) / optim.updates,
    cloning_loss,
    color=unit(SERIES[3]),
    alpha=0.7,
    label="cloning, on the expert's states",
)
left.semilogy(
    np.arange(1, config.iterations + 1),
    history.loss,
    color=unit(SIMULATED),
    label="DAgger, on its own states",
)
left.set(xlabel="iteration (16 updates each)", ylabel="imitation loss")
left.legend(frameon=False, fontsize=9)
right.plot(np.arange(1, config.iterations + 1), history.apart, color=unit(SIMULATED))
right.set(
    xlabel="iteration",
    ylabel="degrees from the expert",
    title="DAgger, on states just visited",
    ylim=(0, None),
)
plt.show()

assert np.mean(cloning_loss[-50:]) < history.loss[-1], "the clone's loss is the lower one"
assert np.mean(history.apart[-10:]) < np.mean(history.apart[:5]) / 2, "it improves on new states"

# %% [markdown]
# Note the left panel: the clone's loss is far *lower*, because it is measured on easy states. The student's loss is measured on hard ones: all the states it has stumbled into. On the right,
# each iteration's states are new to the student, so this is a fair test, and it improves.
#
# ## The comparison
#
# Same network, same number of labels, same number of updates, same cameras.

# %%
student = module.policy.eval()
student_rollouts = track_clips(student, library, student_episode, views)

figure, panels = plt.subplots(1, 2, figsize=(9, 3), sharey=True, layout="constrained")
for axes, title, rollouts in zip(
    panels, ("behaviour cloning", "DAgger"), (cloned_rollouts, student_rollouts), strict=True
):
    draw_errors(axes, rollouts)
    axes.set(title=title, xlabel="time (s)", xlim=(0, 6.6), ylim=(0, 580))
panels[0].set_ylabel("mean body error (mm)")
panels[1].legend(frameon=False)
plt.show()

survived = [sum(len(r) for r in rollouts) for rollouts in (cloned_rollouts, student_rollouts)]
print(f"frames followed: cloning {survived[0]}, DAgger {survived[1]} of {sum(r.length for r in student_rollouts)}")
assert survived[1] > survived[0]

# %%
filmstrip(student_rollouts[0], poses=8, title="squat, DAgger")

# %% [markdown]
# ## Covariate shift, measured
#
# Let a policy act, and compare its target with the expert's in every state. Three curves: the clone on the expert's states (its training distribution), the clone on its own, and the DAgger student on its own.


# %%
@torch.no_grad()
def disagreement(student: Policy, actor: str, steps: int = 45, num_envs: int = 16) -> np.ndarray:
    """Root mean square difference of PD targets, student against expert, (steps,) degrees.

    Episodes begin on random frames of the clips and are not stopped by failure.

    Args:
        actor: 'expert' or 'student', whose actions are executed.
    """
    env = make_env(expert.control if actor == "expert" else "absolute", num_envs)
    env.config = replace(env.config, termination="none")
    frames = torch.linspace(0, int(library.lengths.min()) - steps - 2, num_envs).long()
    obs, _ = env.reset(seed=0, options={"clip": torch.arange(num_envs) % 2, "frame": frames})
    curve = []
    for _ in range(steps):
        answer, action = student(obs), expert(obs)
        curve.append(degrees_apart(answer, env.label(action, expert.control, "absolute")))
        obs, *_ = env.step(action if actor == "expert" else answer)
    env.close()
    return np.array(curve)


CURVES = {
    "clone, on the expert's states": (disagreement(cloned, "expert"), SERIES[3], "--"),
    "clone, on its own states": (disagreement(cloned, "student"), SERIES[3], "-"),
    "DAgger, on its own states": (disagreement(student, "student"), SIMULATED, "-"),
}
figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
for name, (curve, colour, style) in CURVES.items():
    axes.semilogy(np.arange(len(curve)) / 30, curve, style, color=unit(colour), label=name)
axes.set(xlabel="time since the start (s)", ylabel="degrees from the expert")
axes.legend(frameon=False)
plt.show()

on_expert, on_own, dagger = (curve for curve, _, _ in CURVES.values())
assert on_own[0] < 1.5 * on_expert[0], "it starts on the same states"
assert on_own[-15:].mean() > 3 * on_expert[-15:].mean(), "the same network, other states"
assert on_own[-15:].mean() > dagger[-15:].mean()

# %% [markdown]
# The dashed curve is what a test set would have shown: everything looks fine. The clone's solid curve starts at the same value and diverges within a fraction of a second. *The state distribution has shifted, and the
# student itself has shifted it.* The blue curve stays low: these are the states it was trained on.
#
# ## A new camera
#
# So far every camera was one from training. Here is an unseen one. Two training cameras are few; the bundled student had more.

# %%
fresh = track_clips(student, library, student_episode, fresh_views)
display(Markdown(to_markdown(score_rollouts(fresh), summarise(fresh))))

# %% [markdown]
# ## Train or load: the bundled student
#
# A full training takes too long for a lesson, so the kit ships a student trained on all demo motions. The card next to its weights gives the command, data and time. Without the file
# we continue with our own student, which has seen two motions only.


# %%
def train_or_load(name: str = "distill") -> Policy:
    """The bundled student; where there is none, the one we have just trained."""
    path = BUNDLED / f"{name}.safetensors"
    if path.is_file():
        return load_policy(path)
    print(f"{path.name} is not here; using our own student of two motions")
    return student


bundled = train_or_load()
everything = MotionLibrary(demo_clips())
all_views, all_tracks = film_library(everything, encoder, views=1, seed=99)
final = track_clips(bundled, everything, student_episode, all_views)
display(Markdown(to_markdown(score_rollouts(final), summarise(final))))

# %%
chosen = everything.names.index("punch")
filmstrip(final[chosen], poses=8, title="punch, the bundled student")

# %%
show(final[chosen], all_tracks[chosen])

# %% [markdown]
# ## What failure looks like
#
# | symptom | likely cause |
# |---|---|
# | a tiny loss, but the body soon falls | labels from the wrong states: the expert was acting |
# | a small loss, but limbs in odd places from the first frame | labels and actions in different units: `label` forgotten |
# | the loss falls, success does not rise | the expert itself fails on these motions: evaluate it first |
# | good on training cameras, bad on new ones | too few `views`; also check the encoder's error |
# | arms right, balance wrong | rays are fine, proprioception is not: is the normaliser updated? |
#
# The second one is easy to demonstrate: use the expert's residual actions as absolute ones.

# %%
env = make_env("absolute", num_envs=2)
obs, _ = env.reset(seed=0, options={"clip": torch.tensor([0, 1]), "frame": torch.tensor([0, 0])})
with torch.no_grad():
    raw = expert(obs)
right_target, wrong_target = (
    torch.rad2deg(env.pd_targets(a)) for a in (env.label(raw, expert.control, "absolute"), raw)
)
env.close()
gap = (right_target - wrong_target).abs()
print(f"targets off by {gap.mean():.0f}° on average and {gap.max():.0f}° at worst, which the loss would not show")
assert gap.max() > 20

# %% [markdown]
# ## Exercises
#
# Try them before you open the solutions.
#
# **1 · Error growth.** A clone errs with probability $\epsilon$ in each step on the expert's states, and once it has erred it never returns to them. How many of $T$ steps does it spend off the expert's states on average, with $\epsilon=0.001$ and $T=60$, and with twice the time? And a DAgger student, which
# recovers from each error? *Expect* 1.8 and 7.0: four times as many in twice the time, $\epsilon T^2/2$, against 0.06 and 0.12, $\epsilon T$.

# %% jupyter={"source_hidden": true} tags=["solution"]
chance = 0.001
for steps, expected in ((60, 1.8), (120, 7.0)):
    lost = sum(1 - (1 - chance) ** step for step in range(1, steps + 1))
    print(
        f"{steps} steps: {lost:.1f} off the expert's states (εT²/2 = {chance * steps**2 / 2:.1f}), DAgger {chance * steps:.2f}"
    )
    assert abs(lost - expected) < 0.05

# %% [markdown]
# **2 · The same regression, other states.** Is it the algorithm, or the states? Give `clone` the pairs that DAgger collected, `module.buffer.rows["obs"]` and `["label"]`, and a new network; a quarter of the updates suffices. *Expect* a loss at least ten times the clone's, but motions tracked several times as far: plain regression works if
# its states are those the student visits.

# %% jupyter={"source_hidden": true} tags=["solution"]
torch.manual_seed(0)
regressed = Policy(STUDENT_GROUPS, config.policy.hidden, config.policy.std, "absolute")
gathered = module.buffer.rows
other_loss = clone(regressed, gathered["obs"], gathered["label"], UPDATES // 4)
other_rollouts = track_clips(regressed.eval(), library, student_episode, views)
followed = sum(len(r) for r in other_rollouts)
print(f"loss {np.mean(other_loss[-50:]):.1e}, the clone's {np.mean(cloning_loss[-50:]):.1e}")
print(f"frames followed: {followed}, the clone {survived[0]}, DAgger {survived[1]}")
assert np.mean(other_loss[-50:]) > 10 * np.mean(cloning_loss[-50:]) and followed > 2 * survived[0]

# %% [markdown]
# **3 · A noisy expert.** Add noise to the expert's actions but keep the clean labels: `demonstrations(student, SAMPLES // 8, noise=0.1)`, with an eighth of the states and a quarter of the updates. *Expect* a loss at least ten times as high, and a clone that tracks the motions several times as far as the one trained on all the clean ones, because the expert now demonstrates recovery. This is the idea of DART (Laskey
# et al. 2017). The noise level has to be chosen, though; DAgger finds the right states by itself.

# %% jupyter={"source_hidden": true} tags=["solution"]
torch.manual_seed(0)
noisy = Policy(STUDENT_GROUPS, config.policy.hidden, config.policy.std, "absolute")
noisy_loss = clone(noisy, *demonstrations(noisy, SAMPLES // 8, noise=0.1), UPDATES // 4)
noisy_rollouts = track_clips(noisy.eval(), library, student_episode, views)
followed = sum(len(r) for r in noisy_rollouts)
print(f"loss {np.mean(noisy_loss[-50:]):.1e}; frames followed: {followed}, the clone {survived[0]}")
assert np.mean(noisy_loss[-50:]) > 10 * np.mean(cloning_loss[-50:]) and followed > 2 * survived[0]

# %% [markdown]
# With more time: `buffer_rollouts=1`, so that each iteration learns from its own rollout only. *Whose* states are labelled turns out to matter more than how long the labels are kept. And four cameras, 300 iterations, all demo motions, which takes minutes:
# `python -m physhmr_kit.fit --stage distill --iterations 300 --views 4`.
#
# ## Summary
#
# Labels must mean the same to both policies: transfer targets, not actions. A low loss on the expert's states is worth little, because the student does not stay there. Let the student act, let the expert label, keep the old labels. That is distillation in PhysHMR.
#
# **Next:** imitation cannot improve on the expert's physics. Lesson 7 continues with rewards.
