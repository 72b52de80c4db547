# %% [markdown]
# # Lesson 7 · Fine-tuning: beyond imitation
#
# **Time:** about three minutes on two CPU cores (an estimate), two of them training. **Needs:** only the kit; lessons 4 to 6. With the project's real video (`PHYSHMR_DATA`) the last part adapts a student to it.
#
# The student of lesson 6 can at best do what its expert would have done. It has never been told what *good* is: that feet should not slip, that a body should be over its feet. PhysHMR's last stage adds a reward for this, and keeps an imitation term so that nothing is
# unlearned. We look at what each reward term measures, at the balance between reward and imitation, and then train, on a few clips and on one video.
#
# Afterwards you will be able to
# - say what each physical reward term measures and what it is blind to,
# - explain $\lambda$ and measure the strength of each side,
# - fine-tune a student with `FinetuneModule`, and judge honestly whether it helped,
# - adapt a policy to one video without ground truth.

# %%
import copy
import logging
import os
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in `fit`: waiting threads sleep instead of spinning

import matplotlib.pyplot as plt
import numpy as np
import pytorch_lightning as pl
import roma
import torch
from IPython.display import Markdown, display
from pytorch_lightning.loggers import CSVLogger

from physhmr_kit.body import Humanoid
from physhmr_kit.env import TrackingConfig, rewards, track_clips
from physhmr_kit.env.settings import EXPERT_REWARD, FINETUNE_REWARD, VIDEO_REWARD, RewardWeights
from physhmr_kit.learning import ppo
from physhmr_kit.learning.storage import BUNDLED, load_policy
from physhmr_kit.metrics.followed import score_clips, total
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.state import BodyState
from physhmr_kit.reconstruction import errors_over_time, simulate_track
from physhmr_kit.runs.history import read_metrics
from physhmr_kit.stages.adaptation import adapt
from physhmr_kit.stages.data import FilmedMotionDataModule
from physhmr_kit.stages.finetune import FinetuneModule
from physhmr_kit.stages.settings import FinetuneConfig, FinetunePPO, Simulation
from physhmr_kit.stages.views import film_library
from physhmr_kit.utils.markdown import markdown_table
from physhmr_kit.viewer.palette import SERIES, SIMULATED, unit
from physhmr_kit.vision import RAY_JOINTS, Camera, KeypointTrack, lift
from physhmr_kit.vision.build_track import track_from_keypoints
from physhmr_kit.vision.pretrained import load_encoder

QUICK = bool(os.environ.get("CI"))  # the same code, fewer iterations
DATA = Path(os.environ.get("PHYSHMR_DATA", "../../shared/data")) / "video"
pl.seed_everything(0, verbose=False)
torch.set_num_threads(2)
warnings.filterwarnings("ignore", module="pytorch_lightning")
logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)

# %% [markdown]
# ## The reward terms
#
# The reward is a weighted sum of terms, each a short function in `env/rewards.py` with values between 0 and 1 (only power is a cost, in watts). The stages differ in the weights:

# %%
COLUMNS = {"PhysHMR": RewardWeights(), "expert": EXPERT_REWARD, "fine-tuning": FINETUNE_REWARD, "video": VIDEO_REWARD}
table = [[term, *(f"{getattr(weights, term):g}" for weights in COLUMNS.values())] for term in rewards.TERMS]
display(Markdown(markdown_table(["term", *COLUMNS], table, "lr")))

rewarded = {name: [term for term in rewards.TERMS if getattr(weights, term)] for name, weights in COLUMNS.items()}
assert "balance" not in rewarded["expert"] and {"balance", "foot_contact"} <= set(rewarded["fine-tuning"])
assert "position" not in rewarded["video"], "on a video the root position is unknown"

# %% [markdown]
# Lesson 5 moved a body by hand to see the imitation terms. Here are the others. **Foot contact** compares each foot with the reference's: is it in stance when the reference's is, and if so, does it stay in place? **Balance** measures the offset of the centre of mass from the line between the feet, without a reference.
# **Pose** compares the body with the reference relative to the root, and **rays** uses a camera (lesson 2). We put a standing body in front of one.

# %%
library = MotionLibrary([demo_clip("stand")])
masses = Humanoid.mean().segment_masses() / Humanoid.mean().mass
camera = Camera.look_at((4.0, 0.0, 1.2), (0.0, 0.0, 0.9), focal=1500.0)
COUNT = 41
stand = library.clip(0)[torch.zeros(COUNT, dtype=torch.long)]
view = rewards.View(
    camera.centre.expand(COUNT, 3),
    lift(camera.project(stand.body_pos[:, list(RAY_JOINTS)]), camera),
    torch.ones(COUNT, 12),
)
weight = torch.zeros(COUNT, 24, 3)
weight[:, [7, 8], 2] = 70 * 9.81 / 2  # each ankle carries half of the body


def shifted(metres: torch.Tensor, direction: tuple[float, float, float]) -> BodyState:
    """The body, shifted by `metres` along a direction."""
    return replace(stand, body_pos=stand.body_pos + (metres[:, None] * torch.tensor(direction))[:, None])


def slipping(speed: torch.Tensor, feet: tuple[int, ...]) -> BodyState:
    """The body with these feet (ankles and toes) moving along the floor, m/s."""
    velocity = stand.body_lin_vel.clone()
    velocity[:, list(feet), 0] = speed[:, None]
    return replace(stand, body_lin_vel=velocity)


def leaning(angle: torch.Tensor) -> BodyState:
    """The body tipped forwards about its ankles as a rigid plank, rad."""
    middle = stand.body_pos[:, [7, 8]].mean(1, keepdim=True)
    turn = roma.rotvec_to_unitquat(angle[:, None] * torch.tensor([0.0, 1.0, 0.0]))
    return replace(stand, body_pos=middle + roma.quat_action(turn[:, None].expand(-1, 24, -1), stand.body_pos - middle))


speed, metres, angle = torch.linspace(0, 1, COUNT), torch.linspace(0, 0.5, COUNT), torch.linspace(0, 0.4, COUNT)
lifted = weight.clone()
lifted[:, 8] = 0
contact = {
    "both feet slip": rewards.foot_contact(slipping(speed, (7, 8, 10, 11)), stand, weight),
    "one foot slips": rewards.foot_contact(slipping(speed, (7, 10)), stand, weight),
    "one foot in the air": rewards.foot_contact(stand, stand, lifted),
}
places = {
    "across the view": shifted(metres, (0.0, 1.0, 0.0)),
    "away from the camera": shifted(metres, (-1.0, 0.0, 0.0)),
}
terms = {
    where: {
        "position": rewards.position(body, stand),
        "pose": rewards.pose(body, stand),
        "rays": rewards.rays(body, view),
    }
    for where, body in places.items()
}
balance = rewards.balance(leaning(angle), masses)

figure, panels = plt.subplots(1, 4, figsize=(12, 2.8), sharey=True, layout="constrained")
for (name, values), colour in zip(contact.items(), SERIES, strict=False):
    panels[0].plot(speed, values, color=unit(colour), label=name)
panels[0].set(title="foot contact", xlabel="speed of the foot (m/s)", ylim=(-0.03, 1.05))
panels[1].plot(torch.rad2deg(angle), balance, color=unit(SIMULATED))
panels[1].set(title="balance", xlabel="leaning (degrees)")
for axes, (where, values) in zip(panels[2:], terms.items(), strict=True):
    for (name, value), colour in zip(values.items(), SERIES, strict=False):
        axes.plot(metres, value, color=unit(colour), label=name)
    axes.set(title="moved " + where, xlabel="m")
for axes in (panels[0], panels[2]):
    axes.legend(frameon=False, fontsize=8)
plt.show()

assert contact["both feet slip"][0] > 0.99 > 0.5 > contact["both feet slip"][-1]
assert abs(float(contact["one foot in the air"][0]) - 0.5) < 0.01, "half of the feet match the reference"
assert balance[0] > 0.9 > 0.5 > balance[-1]
assert (terms["away from the camera"]["pose"] > 0.999).all(), "pose ignores the position"
assert terms["away from the camera"]["rays"][-1] > 2 * terms["across the view"]["rays"][-1], (
    "a camera hardly sees depth"
)
assert terms["away from the camera"]["position"][-1] < 0.05

# %% [markdown]
# Together they leave few loopholes: a floating body has the wrong contacts, a body in the wrong place is off its rays, and one that leans is out of balance. None of them sees a body with the right pose at the wrong depth with both feet down. No camera does.
#
# ## Reward against imitation
#
# $$L = L_{\text{PPO}} + \lambda\, L_{BC}$$
#
# The first term pulls towards reward; the second, the imitation loss of lesson 6, back to what the expert would do in the same state. PhysHMR's released default is $\lambda = 0.1$, the kit's is 10; because the losses have different units, neither number means anything by itself. The gradients do.
# We let the bundled student act on two motions it does badly, and compute the gradient of both losses.

# %%
clips = MotionLibrary([demo_clip(name) for name in ("lunge", "walk_forward")])
expert, student, encoder = (
    load_policy(BUNDLED / "expert.safetensors"),
    load_policy(BUNDLED / "distill.safetensors"),
    load_encoder(),
)
views, _ = film_library(clips, encoder, views=2, seed=0)
fresh_views, _ = film_library(clips, encoder, views=1, seed=99)
data = FilmedMotionDataModule(clips, views, fresh_views)
config = FinetuneConfig(
    iterations=5 if QUICK else 24,
    sim=Simulation("mujoco_cpu", num_envs=32 if QUICK else 64),
    ppo=FinetunePPO(
        critic_warmup=2 if QUICK else 6, minibatch_size=1024, learning_rate=2e-5, desired_kl=0.05, ema_decay=0.8
    ),
)


def gradient(loss: torch.Tensor, network: torch.nn.Module) -> torch.Tensor:
    """Gradient of a loss with respect to a network's weights, flattened."""
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(network.parameters()), retain_graph=True)])


probe = FinetuneModule(config, expert, copy.deepcopy(student))
probe.open(data)
batch = next(probe.minibatches())
probe.teardown("fit")
mean = probe.policy.net(batch.obs)
log_prob = probe.policy.log_prob(mean, batch.action)


def both_gradients(rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradients of the PPO loss and of the imitation loss over some samples."""
    surrogate = ppo.policy_loss(log_prob[rows], batch.log_prob[rows], batch.advantage[rows], config.ppo.clip_range)
    imitation = (mean[rows] - batch.label[rows]).square().mean()
    return gradient(surrogate, probe.policy.net), gradient(imitation, probe.policy.net)


half = len(mean) // 2
ppo_gradient, imitation_gradient = both_gradients(slice(None))
equal = float(ppo_gradient.norm() / imitation_gradient.norm())
agree = [
    float(torch.nn.functional.cosine_similarity(one, other, dim=0))
    for one, other in zip(both_gradients(slice(0, half)), both_gradients(slice(half, None)), strict=True)
]
print(
    f"gradient norms: PPO {ppo_gradient.norm():.0f}, imitation {imitation_gradient.norm():.3f} x λ; equal at λ = {equal:.0f}"
)
print(f"cosine between two halves of the samples: {agree[0]:.2f} for PPO, {agree[1]:.2f} for imitation")

figure, axes = plt.subplots(figsize=(8, 2.6), layout="constrained")
lambdas = np.geomspace(0.01, 1e5, 60)
axes.loglog(lambdas, lambdas * float(imitation_gradient.norm()), color=unit(SERIES[1]), label="λ × imitation")
axes.axhline(float(ppo_gradient.norm()), color=unit(SIMULATED), label="PPO")
for value, label in ((0.1, "PhysHMR"), (config.ppo.imitation_coef, "the kit")):
    axes.axvline(value, color="0.6", linestyle=":", linewidth=1)
    axes.text(value * 1.1, float(imitation_gradient.norm()) * 0.02, label, fontsize=8, color="0.4")
axes.set(xlabel="λ", ylabel="gradient norm", title="PPO against imitation")
axes.legend(frameon=False)
plt.show()

assert equal > 10
assert agree[1] > agree[0], "the imitation gradient is consistent"

# %% [markdown]
# The reward gradient seems to dominate: with a `std` of 0.02 a small change of the mean changes the likelihood a lot. But it is mostly noise. On two halves of the same samples its directions hardly agree, while those of the imitation loss do: over many small steps noise cancels and
# agreement adds up. (Here the critic is still untrained, which makes it worse. This is why only the critic learns in the first iterations, `critic_warmup`: meaningless advantages would undo the distillation.)
#
# ## A short run
#
# The critic may observe the reference, which the student may not: it is discarded after training. The noise is small, `std` 0.02, because a student that stands need not be shaken. Before and after, the student tracks both clips through a camera it was not trained on.

# %%
episode = TrackingConfig.of(config.env, student.groups, student.control)
PHYSICAL = ("foot_contact", "balance", "power")


def examine(policy) -> dict[str, float]:
    """Track both clips once: share followed, error, and the physical terms."""
    runs = track_clips(policy.eval(), clips, episode, fresh_views, simulator="mujoco_cpu")
    totals = total(score_clips(runs))
    means = {name: float(torch.cat([run.rewards[name][1:] for run in runs]).mean()) for name in PHYSICAL}
    return {"share followed": totals.covered, "error (mm)": totals.followed_mm} | means


before = examine(student)
module, folder = FinetuneModule(config, expert, copy.deepcopy(student)), Path(tempfile.mkdtemp())
trainer = pl.Trainer(
    accelerator="cpu", max_epochs=config.iterations, limit_val_batches=0, logger=CSVLogger(folder, name="metrics"), log_every_n_steps=1,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
)  # fmt: skip
trainer.fit(module, datamodule=data)
after = examine(module.policy)
display(
    Markdown(
        markdown_table(["", "before", "after"], [[k, f"{before[k]:.3g}", f"{after[k]:.3g}"] for k in before], "lrr")
    )
)

# %%
metrics = read_metrics(folder)
warmup = config.ppo.critic_warmup
CURVES = {
    "explained_variance": "explained variance of the critic",
    "loss/kl": "KL of an update",
    "loss/imitation": "λ × imitation",
    "reward": "reward of a step",
}
figure, panels = plt.subplots(1, 4, figsize=(12, 2.6), layout="constrained")
for axes, (name, title) in zip(panels, CURVES.items(), strict=True):
    axes.plot([np.nan if m.get(name) is None else m[name] for m in metrics], ".-", color=unit(SIMULATED))
    axes.axvspan(-0.5, warmup - 0.5, color="0.93", zorder=0)
    axes.set(title=title, xlabel="iteration (grey: critic only)")
plt.show()

assert len(metrics) == config.iterations
assert all(m["loss/kl"] == 0 for m in metrics[:warmup]), "the student does not move while the critic warms up"
assert 0 < max(m["loss/kl"] for m in metrics[warmup:]) < 1
assert after["share followed"] > 0.3, "nothing was unlearned"

# %% [markdown]
# Do not expect much from this table. A run of this length (some ten thousand steps) demonstrates the procedure; the paper's budget is in the billions. What to check, in this order: is the share unchanged (nothing unlearned)? Did the physical terms change, and by more than between two seeds?
# The bundled fine-tuned student was made differently: from the expert, reading the estimate of lesson 3, without imitation, an hour on all captured motion ([stage 4](../docs/stage_finetune.md)). We have not shown that fine-tuning improves a distilled student on its training motions.
#
# ## Adapting to one video
#
# On a video there is no reference to imitate and no expert to ask. `adapt` trains a policy on the video itself, with the weights of the column *video* in the first table, an assistive force that fades out over the first half of the time, and the refined estimate of lesson 3 in place of the
# reference. It overfits to this one motion on purpose. In a terminal: `python -m physhmr_kit.reconstruct VIDEO --adapt MINUTES`.

# %%
MINUTES = 0.1 if QUICK else 1.0
REAL = (DATA / "balance_cam01_keypoints.npz").is_file()
if REAL:
    keypoints = KeypointTrack.load(DATA / "balance_cam01_keypoints.npz")
    track = track_from_keypoints(keypoints, Camera.load(DATA / "balance_cam01_camera.json"), encoder, scale=None)
    general = TrackingConfig(groups=student.groups, control=student.control)
    adapted = adapt(student, track, MINUTES)
    print(f"{adapted.samples:,} steps in {adapted.minutes:.1f} minutes")
    figure, axes = plt.subplots(figsize=(8, 2.8), layout="constrained")
    distance = {}
    for policy, label, colour in (
        (student, "bundled student", SERIES[3]),
        (adapted.policy, "adapted to the video", SIMULATED),
    ):
        result = simulate_track(policy, track, general)
        errors = errors_over_time(result)
        distance[label] = float(np.nanmedian(errors["ray_distance_mm"]))
        axes.plot(errors["seconds"], errors["ray_distance_mm"], color=unit(colour), label=label)
        print(f"{label}: {distance[label]:.0f} mm from the rays at the median, {len(result.restarts)} reset(s)")
    axes.plot(
        errors["seconds"],
        errors["estimate_ray_distance_mm"],
        color="0.6",
        linestyle="--",
        label="the estimate, without physics",
    )
    axes.set(xlabel="time (s)", ylabel="distance from the rays (mm)", ylim=(0, None))
    axes.legend(frameon=False, fontsize=8)
    assert all(np.isfinite(value) for value in distance.values())
else:
    figure, axes = plt.subplots(figsize=(8, 1))
    axes.text(0.5, 0.5, "skipped: the real video is not available (PHYSHMR_DATA)", ha="center")
    axes.set_axis_off()
plt.show()

# %% [markdown]
# A minute may not help: the best policy of all validations is kept, possibly the initial one. Twenty minutes do: starting from the expert that tracks the estimate (`--method two_stage --adapt 20`) they brought the simulated body from 79 to 26 px of this video's keypoints, and from 185 to 119 mm of the true joints (152 in a second run) ([results](../docs/results.md#one-real-video)).
#
# ## What failure looks like
#
# | symptom | likely cause |
# |---|---|
# | the share falls in the first iterations after the grey band | advantages from an untrained critic: a longer `--critic_warmup` |
# | the imitation loss grows steadily | λ too small, the student forgets its expert: a larger `--imitation_coef` |
# | nothing changes at all | λ too large, or a learning rate too small: check the KL |
# | reward rises, the body shuffles | reward hacking: foot contact rewards feet that stay down |
# | power falls and so does the share | the cheapest body lies on the floor: a smaller weight on power |
# | on a video: close to the rays, but falling backwards | depth is unconstrained: only the `relative` termination and the floor hold it |
#
# ## Exercises
#
# **1 · The price of trembling.** A hinge of the standing body trembles at 2 rad/s against a torque of 100 N m, and nothing else moves. What does *power* cost under each column of the first table, and which *position* error costs the same in fine-tuning? *Expect* 200 W: 0.1 at PhysHMR's weight, 0.01 at fine-tuning's; the latter equals a shift of about three centimetres.

# %% jupyter={"source_hidden": true} tags=["solution"]
torque, trembling = torch.zeros(1, 69), torch.zeros(1, 69)
torque[0, 5], trembling[0, 5] = 100.0, 2.0
watts = float(rewards.power(torque, trembling))
cost = {name: -weights.power * watts for name, weights in COLUMNS.items()}
print(f"{watts:.0f} W cost", {name: round(value, 4) for name, value in cost.items()})
share = (
    cost["fine-tuning"] / FINETUNE_REWARD.position
)  # of the position term, which is exp(-100 d^2 / 3) for a shift d along one axis
far = (-3 / 100 * np.log(1 - share)) ** 0.5
print(f"equal to a shift of {100 * far:.0f} cm")
assert watts == 200 and abs(cost["PhysHMR"] - 0.1) < 1e-6 and 0.025 < far < 0.035

# %% [markdown]
# **2 · Perfect agreement.** What is the imitation gradient when student and expert agree exactly? *Expect* zero, whatever λ: the label is compared with the student's *mean*, so its noise costs nothing.

# %% jupyter={"source_hidden": true} tags=["solution"]
agreed = gradient((mean - mean.detach()).square().mean(), probe.policy.net)
assert float(agreed.norm()) == 0

# %% [markdown]
# **3 · Slip or lift.** Both feet slip at 0.26 m/s, or one foot is in the air and the other stands still: which earns more? *Expect* nearly the same, 0.5 each: $e^{-10\,v^2}$ is a half at $v=0.26$ m/s.

# %% jupyter={"source_hidden": true} tags=["solution"]
at = int((speed - 0.26).abs().argmin())
assert abs(float(contact["both feet slip"][at]) - 0.5) < 0.05

# %% [markdown]
# ## Summary
#
# A reward expresses what imitation cannot: feet that stay in place, a body above them, joints on their rays. Each term is blind to something. λ holds the student to its expert while PPO optimises the reward, and gradients show the balance. The critic must learn before the student may move. Claims need more than one run.
#
# **Next:** lesson 8 is about such claims: what the metrics mean, and how to compare.
