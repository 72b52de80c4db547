# %% [markdown]
# # Lesson 10 · On a GPU, and with Isaac Gym
#
# **Time:** half a minute on two CPU cores, as a dry reading: every cell runs without a card and says what is missing. **Needs:** lessons 1 and 4; for more than reading, an NVIDIA card.
#
# Trial and error counts in millions of steps. Two cores make some thousand a second, one good card a few hundred thousand. This lesson is about that step: what changes (one option), what does not (the contract of lesson 1), how to know that the other engine simulates the same body, and what has never been tried.
#
# Afterwards you will be able to
# - choose a simulator, and say why `auto` took the one it took,
# - work out how long a training will take, on cores or on a card, before you start it,
# - check that two engines agree on the same body,
# - set up Isaac Gym behind its worker process, or several cards behind one Trainer.

# %%
import os
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `fit` has it: threads that wait burn no CPU seconds

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown, display

from physhmr_kit import doctor
from physhmr_kit.body import dof_names
from physhmr_kit.env import TrackingConfig, TrackingEnv, track_clips
from physhmr_kit.env.settings import EXPERT_GROUPS
from physhmr_kit.learning.storage import BUNDLED, load_policy
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation import CONTROL_DT, make_simulator
from physhmr_kit.simulation.registry import SIMULATORS, choose_simulator
from physhmr_kit.stages.settings import ExpertConfig
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.markdown import markdown_table
from physhmr_kit.viewer.palette import REFERENCE, SERIES, SIMULATED, unit
from physhmr_kit.viewer.plots import body_error

torch.manual_seed(0)
torch.set_num_threads(2)

# %% [markdown]
# ## What is here?
#
# `python -m physhmr_kit.doctor` asks this of the whole installation. Its three questions about simulators, and what `--simulator auto` makes of the answers:

# %%
CHECKS = {"cuda": doctor.check_cuda, "mujoco_gpu": doctor.check_mujoco_gpu, "isaac_gym": doctor.check_isaac_gym}
FOUND = [doctor.find(name, check) for name, check in CHECKS.items()]
for finding in FOUND:
    print(finding.line())
choice = choose_simulator("auto")
print(choice)
CARD = next(f.ok for f in FOUND if f.name == "mujoco_gpu")
assert choice.name in SIMULATORS and (
    choice.name == "mujoco_cpu" or torch.cuda.is_available() or "isaac" in choice.name
)

# %% [markdown]
# | simulator | engine | where the tensors are | repeats bit by bit | proven by |
# |---|---|---|---|---|
# | `mujoco_cpu` | MuJoCo, a pool of threads, float64 | CPU | yes | everything in this course |
# | `mujoco_gpu` | mujoco_warp, one CUDA graph for a control step, float32 | the card; no copy between physics and PyTorch | no (on Warp's CPU device it does) | the conformance suite on Warp's CPU device; it trained the bundled expert on an H100 |
# | `isaac_gym` | PhysX, in a process of its own with Python 3.8 | shared memory | no | the conformance suite against a stand-in; **never yet the real one** |
#
# A card for the kit (mujoco_warp and Warp, once; kernels are compiled on the first start, which takes minutes):
#
# ```bash
# pip install -c constraints.txt -e '.[gpu]'
# python -m physhmr_kit.fit --stage expert --simulator mujoco_gpu --num_envs 8192 --horizon 16 --minibatch_size 16384
# ```
#
# ## How fast?
#
# First your own machine. The environment steps the expert's way, with all it observes, for about a second:

# %%
library = MotionLibrary([demo_clip("walk_forward")])


def steps_per_second(num_envs: int, seconds: float = 1.0) -> float:
    """Control steps a second of all environments together, on the simulator that `auto` takes."""
    with make_simulator(choice.name, num_envs=num_envs) as simulator:
        env = TrackingEnv(library, simulator, TrackingConfig(groups=EXPERT_GROUPS))
        env.reset(seed=0)
        action = torch.zeros(num_envs, len(dof_names()), device=env.device)
        for _ in range(2):
            env.step(action)
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            env.step(action)
            count += num_envs
        return count / (time.perf_counter() - began)


SIZES = (16, 64, 256) if not CARD else (256, 1024, 4096)
here = {size: steps_per_second(size) for size in SIZES}
print("; ".join(f"{size} environments: {rate:,.0f} steps/s" for size, rate in here.items()))
assert min(here.values()) > 0

# %% [markdown]
# And what was measured elsewhere (two Xeon cores on an otherwise idle machine, one H100; [docs/performance.md](../docs/performance.md) has the commands and the dates):

# %%
MEASURED = {  # environments -> control steps/s of TrackingEnv
    "2 cores, mujoco_cpu": ({64: 6128, 256: 6982, 1024: 7241}, SIMULATED),
    "H100, mujoco_gpu": ({4096: 180_975, 8192: 230_939}, SERIES[2]),
}
figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
for name, (rates, colour) in MEASURED.items():
    axes.loglog(list(rates), list(rates.values()), "o-", color=unit(colour), label=name)
axes.loglog(list(here), list(here.values()), "s--", color=unit(REFERENCE), label=f"here, {choice.name}")
axes.set(xlabel="environments side by side", ylabel="control steps/s")
axes.legend(frameon=False)
plt.show()

fastest_cpu, fastest_card = (max(rates.values()) for rates, _ in MEASURED.values())
print(f"the card is {fastest_card / fastest_cpu:.0f} times as fast; a second of motion is {1 / CONTROL_DT:.0f} steps")
assert fastest_card > 20 * fastest_cpu

# %% [markdown]
# Two things to read from it. **Cores saturate at once**: beyond 256 environments a CPU gains little. **A card wants thousands**: with few environments it waits for itself. That changes the algorithm's sizes too: 8192 environments of 16 steps are 131,072 samples an iteration, so horizons are shorter and minibatches larger.
#
# ## How long will it take?
#
# A training also updates its networks, which on either machine is about half of the time. Samples a second of PPO as a whole, from the same page: 3,834 on the two cores, 156,511 on the H100. So, for the samples of a few runs of the course:

# %%
RATES = {"2 cores": 3834, "H100": 156_511}
RUNS = {
    "lesson 4, one seed": 60 * 64 * 24,
    "an expert on two cores (fit's defaults)": ExpertConfig().iterations
    * ExpertConfig().sim.num_envs
    * ExpertConfig().ppo.horizon,
    "the bundled expert": 82_200_000,
    "PhysHMR's released student, at most": 6_600_000_000,
}


def words(seconds: float) -> str:
    """A duration that can be read."""
    for size, unit_name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit_name}"
    return f"{seconds:.0f} s"


table = [[name, f"{samples:,}", *(words(samples / rate) for rate in RATES.values())] for name, samples in RUNS.items()]
display(Markdown(markdown_table(["run", "samples", *RATES], table, "lrrr")))
assert RUNS["the bundled expert"] / RATES["H100"] < 15 * 60, "ten minutes, as it took"
assert RUNS["the bundled expert"] / RATES["2 cores"] > 5 * 3600

# %% [markdown]
# (The last row is arithmetic from 67,500 epochs of 98,304 samples; how long the authors trained is not known.)
#
# ## Do they simulate the same body?
#
# A policy learns the habits of its engine. So every backend has to pass one suite, `pytest tests/conformance`: a hinge moves by the time constant of its gains, a standing body weighs what it weighs, a push gives its impulse. And the bundled expert, trained on a card, must follow on another engine what it follows on this one. Here it follows a squat, on every engine there is:

# %%
expert = load_policy(BUNDLED / "expert.safetensors")
squat = MotionLibrary([demo_clip("squat")])
engines = ["mujoco_cpu", *(["mujoco_gpu"] if CARD else [])]
figure, axes = plt.subplots(figsize=(8, 2.6), layout="constrained")
followed = {}
for name, colour in zip(engines, (SIMULATED, SERIES[2]), strict=False):
    (run,) = track_clips(expert, squat, TrackingConfig(groups=expert.groups, control=expert.control), simulator=name)
    error = body_error(run.simulated.body_pos, run.reference.body_pos)
    followed[name] = run.simulated.body_pos
    axes.plot(np.arange(len(error)) / 30, error, color=unit(colour), label=name)
    assert run.success
axes.set(xlabel="time (s)", ylabel="mean body error (mm)", ylim=(0, None), title="one expert, " + " and ".join(engines))
axes.legend(frameon=False)
plt.show()

if CARD:
    apart = (followed["mujoco_cpu"] - followed["mujoco_gpu"]).norm(dim=-1).mean()
    print(f"the two bodies are {1000 * apart:.0f} mm apart, on average")
    assert apart < 0.02
else:
    print("mujoco_gpu: no card here, nothing to compare with")

# %% [markdown]
# ## Isaac Gym
#
# It wants Python 3.8 and to be imported before torch; the kit wants 3.11. So it lives in another process, and the kit sees five calls as ever:
#
# ```bash
# conda create -n isaacgym python=3.8 -y && conda run -n isaacgym pip install torch==2.4.1 "numpy<1.24" -e isaacgym/python
# export PHYSHMR_ISAACGYM_PYTHON=$(conda run -n isaacgym which python)
# python -m physhmr_kit.fit --stage expert --simulator isaac_gym
# ```
#
# `isaacgym/python` is NVIDIA's download, which needs an account. At each start the kit compares masses, names and the place of every bent body with its own kinematics, and stops where they disagree. What we could not find out without the real thing is listed in [docs/isaac_gym.md](../docs/isaac_gym.md), "Known unknowns"; if you have it, your first run is the experiment.

# %%
isaac = next(f for f in FOUND if f.name == "isaac_gym")
print(isaac.line())
if isaac.ok:
    with make_simulator("isaac_gym", num_envs=4) as simulator:
        print("four bodies in Isaac Gym, pelvis at", [round(h, 2) for h in simulator.state.root_pos[:, 2].tolist()])

# %% [markdown]
# ## More than one card
#
# The Trainer is Lightning's, so several cards are an option of it: every process has environments and a seed of its own, gradients and statistics are averaged, files are written once.
#
# ```bash
# python -m physhmr_kit.fit --stage expert --simulator mujoco_gpu --trainer.devices 4 --trainer.strategy ddp
# ```
#
# Two processes are tested on a CPU; several cards have not been tried.
#
# ## What failure looks like
#
# | you see | it is usually |
# |---|---|
# | `auto` takes `mujoco_cpu` beside a card | the `gpu` extra is not installed, or torch was built without CUDA: the line says which |
# | minutes of nothing at the first start | Warp compiles its kernels, once for each card |
# | out of memory | too many environments: 0.30 MiB each for physics, and the rollout: horizon × observation × 4 bytes for each |
# | `overflowed` in the metrics | more contacts than the buffers hold: raise `nconmax`, `njmax` |
# | no faster than the CPU | too few environments, or a policy network on the CPU (`--trainer.accelerator`) |
# | equal seeds, other weights | floating point on a card adds in any order; compare curves, not bits |
# | `libpython3.8.so.1.0: cannot open` | `LD_LIBRARY_PATH` for Isaac Gym's interpreter |
#
# ## Exercises
#
# **1 · Will it fit?** How much memory do 8192 environments take for physics (0.30 MiB each) and for a rollout of 16 steps of the expert's 1015 numbers? *Expect* 2.4 GiB and 0.5 GiB: a card of 8 GB will do.

# %% jupyter={"source_hidden": true} tags=["solution"]
physics, rollout = 8192 * 0.30 / 1024, 8192 * 16 * 1015 * 4 / 2**30
print(f"{physics:.1f} and {rollout:.1f} GiB")
assert abs(physics - 2.4) < 0.05 and abs(rollout - 0.5) < 0.05

# %% [markdown]
# **2 · Break-even.** A card costs two minutes of compiling at its first start. From how many samples on does it pay against two cores, at the rates above? *Expect* about half a million.

# %% jupyter={"source_hidden": true} tags=["solution"]
samples = 120 / (1 / RATES["2 cores"] - 1 / RATES["H100"])
print(f"{samples:,.0f} samples")
assert 4e5 < samples < 6e5

# %% [markdown]
# **3 · Ask for what is not there.** Build a simulator `mujoco_gpu` (or, with a card, `mujoco_tpu`). *Expect* one line that says what is missing and how to get it.

# %% jupyter={"source_hidden": true} tags=["solution"]
try:
    make_simulator("mujoco_tpu" if CARD else "mujoco_gpu", num_envs=1).close()
    said = ""
except KitError as fault:
    said = str(fault)
print(said)
assert said

# %% [markdown]
# ## Summary
#
# One option chooses the engine, and everything above the contract stays the same. Cores for lessons and evaluation, a card for experts. Work out the time before you start; compare engines by the suite, not by trust; and what has never met its hardware is said to be so.
#
# **Next:** there is no lesson 11. `python -m physhmr_kit.fit --stage expert --clips my_mocap/` is yours.
