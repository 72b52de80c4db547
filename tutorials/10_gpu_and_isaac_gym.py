# %% [markdown]
# # Lesson 10 · GPUs and Isaac Gym
#
# **Time:** half a minute on two CPU cores; every cell also runs without a GPU and says what is missing. **Needs:** lessons 1 and 4; to train, an NVIDIA GPU.
#
# Reinforcement learning takes millions of steps. Two cores make some thousand a second, one good GPU a few hundred thousand. This lesson is about that difference: what changes (one option), what does not (the interface of lesson 1), how to check that the other engine simulates the same body, and what has not been tested.
#
# Afterwards you will be able to
# - choose a simulator, and say why `auto` chose the one it did,
# - estimate how long a training will take on cores or on a GPU before you start it,
# - check that two engines agree on the same body,
# - set up Isaac Gym in its worker process, or several GPUs with one Trainer.

# %%
import os
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in `fit`: waiting threads sleep instead of spinning

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
# ## What is available?
#
# `python -m physhmr_kit.doctor` checks the whole installation. Here are its three simulator checks, and the simulator that `--simulator auto` chooses:

# %%
CHECKS = {"cuda": doctor.check_cuda, "mujoco_gpu": doctor.check_mujoco_gpu, "isaac_gym": doctor.check_isaac_gym}
FOUND = [doctor.find(name, check) for name, check in CHECKS.items()]
for finding in FOUND:
    print(finding.line())
choice = choose_simulator("auto")
print(choice)
HAS_GPU = next(f.ok for f in FOUND if f.name == "mujoco_gpu")
assert choice.name in SIMULATORS and (
    choice.name == "mujoco_cpu" or torch.cuda.is_available() or "isaac" in choice.name
)

# %% [markdown]
# | simulator | engine | device of the tensors | bit-exact | tested by |
# |---|---|---|---|---|
# | `mujoco_cpu` | MuJoCo, a thread pool, float64 | CPU | yes | everything in this course |
# | `mujoco_gpu` | mujoco_warp, one CUDA graph per control step, float32 | the GPU; no copy between physics and PyTorch | no (on Warp's CPU device it is) | the conformance suite on Warp's CPU device; it trained the bundled expert on an H100 |
# | `isaac_gym` | PhysX, in its own process with Python 3.8 | shared memory | no | the conformance suite against a mock; **never the real one** |
#
# To use a GPU (installs mujoco_warp and Warp; kernels are compiled on the first start, which takes minutes):
#
# ```bash
# pip install -c constraints.txt -e '.[gpu]'
# python -m physhmr_kit.fit --stage expert --simulator mujoco_gpu --num_envs 8192 --horizon 16 --minibatch_size 16384
# ```
#
# ## How fast?
#
# First your own machine, stepping the expert's environment with all observations for about a second:

# %%
library = MotionLibrary([demo_clip("walk_forward")])


def steps_per_second(num_envs: int, seconds: float = 1.0) -> float:
    """Control steps per second of all environments together, on the simulator that `auto` chooses."""
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


SIZES = (16, 64, 256) if not HAS_GPU else (256, 1024, 4096)
measured = {size: steps_per_second(size) for size in SIZES}
print("; ".join(f"{size} environments: {rate:,.0f} steps/s" for size, rate in measured.items()))
assert min(measured.values()) > 0

# %% [markdown]
# And measurements on other machines (two Xeon cores on an otherwise idle machine, one H100; [docs/performance.md](../docs/performance.md) has commands and dates):

# %%
MEASURED = {  # environments -> control steps/s of TrackingEnv
    "2 cores, mujoco_cpu": ({64: 6128, 256: 6982, 1024: 7241}, SIMULATED),
    "H100, mujoco_gpu": ({4096: 180_975, 8192: 230_939}, SERIES[2]),
}
figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
for name, (rates, colour) in MEASURED.items():
    axes.loglog(list(rates), list(rates.values()), "o-", color=unit(colour), label=name)
axes.loglog(list(measured), list(measured.values()), "s--", color=unit(REFERENCE), label=f"this machine, {choice.name}")
axes.set(xlabel="number of environments", ylabel="control steps/s")
axes.legend(frameon=False)
plt.show()

fastest_cpu, fastest_gpu = (max(rates.values()) for rates, _ in MEASURED.values())
print(f"the GPU is {fastest_gpu / fastest_cpu:.0f} times as fast; a second of motion is {1 / CONTROL_DT:.0f} steps")
assert fastest_gpu > 20 * fastest_cpu

# %% [markdown]
# Two observations. **A CPU saturates early**: beyond 256 environments it gains little. **A GPU needs thousands**: with few environments it is mostly idle. This changes the algorithm's sizes too: 8192 environments of 16 steps are 131,072 samples per iteration, so horizons are shorter and minibatches larger.
#
# ## How long will it take?
#
# Training also updates the networks, which takes about half of the time on either machine. PPO samples per second as a whole, from the same page: 3,834 on the two cores, 156,511 on the H100. So, for a few of the course's runs:

# %%
RATES = {"2 cores": 3834, "H100": 156_511}
RUNS = {
    "lesson 4, one seed": 30 * 64 * 16,
    "an expert on two cores (fit's defaults)": ExpertConfig().iterations
    * ExpertConfig().sim.num_envs
    * ExpertConfig().ppo.horizon,
    "the bundled expert": 82_200_000,
    "PhysHMR's released student, at most": 6_600_000_000,
}


def duration_text(seconds: float) -> str:
    """A duration in words."""
    for size, unit_name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit_name}"
    return f"{seconds:.0f} s"


table = [
    [name, f"{samples:,}", *(duration_text(samples / rate) for rate in RATES.values())]
    for name, samples in RUNS.items()
]
display(Markdown(markdown_table(["run", "samples", *RATES], table, "lrrr")))
assert RUNS["the bundled expert"] / RATES["H100"] < 15 * 60, "ten minutes, as it took"
assert RUNS["the bundled expert"] / RATES["2 cores"] > 5 * 3600

# %% [markdown]
# (The last row is computed from 67,500 epochs of 98,304 samples; how long the authors trained is not known.)
#
# ## Do they simulate the same body?
#
# A policy adapts to its engine. So every backend has to pass one suite, `pytest tests/conformance`: a hinge moves with the time constant of its gains, ground reaction force equals weight, a push gives its impulse. And the bundled expert, trained on a GPU, must track on another engine what it tracks on this one. Here it tracks a squat on every available engine:

# %%
expert = load_policy(BUNDLED / "expert.safetensors")
squat = MotionLibrary([demo_clip("squat")])
engines = ["mujoco_cpu", *(["mujoco_gpu"] if HAS_GPU else [])]
figure, axes = plt.subplots(figsize=(8, 2.6), layout="constrained")
followed = {}
for name, colour in zip(engines, (SIMULATED, SERIES[2]), strict=False):
    (run,) = track_clips(expert, squat, TrackingConfig(groups=expert.groups, control=expert.control), simulator=name)
    error = body_error(run.simulated.body_pos, run.reference.body_pos)
    followed[name] = run.simulated.body_pos
    axes.plot(np.arange(len(error)) / 30, error, color=unit(colour), label=name)
    assert run.success
axes.set(
    xlabel="time (s)",
    ylabel="mean body error (mm)",
    ylim=(0, None),
    title="The same expert on " + " and ".join(engines),
)
axes.legend(frameon=False)
plt.show()

if HAS_GPU:
    apart = (followed["mujoco_cpu"] - followed["mujoco_gpu"]).norm(dim=-1).mean()
    print(f"the two bodies are {1000 * apart:.0f} mm apart, on average")
    assert apart < 0.02
else:
    print("mujoco_gpu: no GPU here, nothing to compare with")

# %% [markdown]
# ## Isaac Gym
#
# It needs Python 3.8 and must be imported before torch; the kit needs 3.11. So it runs in another process, behind the same five calls:
#
# ```bash
# conda create -n isaacgym python=3.8 -y && conda run -n isaacgym pip install torch==2.4.1 "numpy<1.24" -e isaacgym/python
# export PHYSHMR_ISAACGYM_PYTHON=$(conda run -n isaacgym which python)
# python -m physhmr_kit.fit --stage expert --simulator isaac_gym
# ```
#
# `isaacgym/python` is NVIDIA's download, which requires an account. At each start the kit compares masses, names and the position of every body with its own kinematics, and stops if they disagree. What could not be verified without the real Isaac Gym is listed in [docs/isaac_gym.md](../docs/isaac_gym.md#known-unknowns); treat your first run as an experiment.

# %%
isaac = next(f for f in FOUND if f.name == "isaac_gym")
print(isaac.line())
if isaac.ok:
    with make_simulator("isaac_gym", num_envs=4) as simulator:
        print("four bodies in Isaac Gym, pelvis at", [round(h, 2) for h in simulator.state.root_pos[:, 2].tolist()])

# %% [markdown]
# ## Several GPUs
#
# Several GPUs are an option of Lightning's Trainer: every process has its own environments and seed, gradients and statistics are averaged, files are written once.
#
# ```bash
# python -m physhmr_kit.fit --stage expert --simulator mujoco_gpu --trainer.devices 4 --trainer.strategy ddp
# ```
#
# Two processes are tested on a CPU; several GPUs have not been tried.
#
# ## What failure looks like
#
# | symptom | likely cause |
# |---|---|
# | `auto` chooses `mujoco_cpu` despite a GPU | the `gpu` extra is not installed, or torch was built without CUDA: the printed line says which |
# | minutes without output at the first start | Warp compiles its kernels, once per GPU model |
# | out of memory | too many environments: 0.30 MiB each for physics, plus the rollout: horizon × observation × 4 bytes each |
# | `overflowed` in the metrics | more contacts than the buffers hold: raise `nconmax`, `njmax` |
# | no faster than the CPU | too few environments, or a policy network on the CPU (`--trainer.accelerator`) |
# | equal seeds, different weights | floating-point sums on a GPU have no fixed order; compare curves, not bits |
# | `libpython3.8.so.1.0: cannot open` | `LD_LIBRARY_PATH` for Isaac Gym's interpreter |
#
# ## Exercises
#
# **1 · Will it fit?** How much memory do 8192 environments take for physics (0.30 MiB each) and for a rollout of 16 steps of the expert's 1015 numbers? *Expect* 2.4 GiB and 0.5 GiB: a GPU with 8 GB will do.

# %% jupyter={"source_hidden": true} tags=["solution"]
physics, rollout = 8192 * 0.30 / 1024, 8192 * 16 * 1015 * 4 / 2**30
print(f"{physics:.1f} and {rollout:.1f} GiB")
assert abs(physics - 2.4) < 0.05 and abs(rollout - 0.5) < 0.05

# %% [markdown]
# **2 · Break-even.** A GPU needs two minutes of compiling at its first start. From how many samples on is it faster than two cores, at the rates above? *Expect* about half a million.

# %% jupyter={"source_hidden": true} tags=["solution"]
samples = 120 / (1 / RATES["2 cores"] - 1 / RATES["H100"])
print(f"{samples:,.0f} samples")
assert 4e5 < samples < 6e5

# %% [markdown]
# **3 · A missing simulator.** Build the simulator `mujoco_gpu` (or, with a GPU, `mujoco_tpu`). *Expect* one line that says what is missing and how to get it.

# %% jupyter={"source_hidden": true} tags=["solution"]
try:
    make_simulator("mujoco_tpu" if HAS_GPU else "mujoco_gpu", num_envs=1).close()
    message = ""
except KitError as error:
    message = str(error)
print(message)
assert message

# %% [markdown]
# ## Summary
#
# One option selects the engine; everything above the interface stays the same. CPU cores for lessons and evaluation, a GPU for experts. Estimate the time before you start; compare engines with the conformance suite; and note what has not been tested on its hardware.
#
# **Next:** there is no lesson 11. Continue with `python -m physhmr_kit.fit --stage expert --clips my_mocap/`.
