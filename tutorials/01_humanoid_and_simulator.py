# %% [markdown]
# # Lesson 1 · The humanoid and its simulator
#
# **Time:** half a minute on two CPU cores. **Needs:** only the kit; lesson 0 helps.
#
# Before learning anything we look at the body: 24 rigid bodies, 69 hinges, 70 kilograms, an actuator at every hinge. We take it apart, put it on the
# floor, push it, drop it, and finally break its physics on purpose.
#
# Afterwards you will be able to
# - name the joints and say why every joint is *three hinges in a chosen order*,
# - predict the stiffness and lag of a PD actuator,
# - use any simulator of the kit through one small interface,
# - recognise a wrong integrator.

# %%
import math
from types import SimpleNamespace

import matplotlib.pyplot as plt
import mujoco
import numpy as np
import roma
import torch

from physhmr_kit.body import (
    JOINT_NAMES,
    NUM_DOFS,
    Humanoid,
    dof_limits,
    dof_names,
    dof_to_rotation,
    rotation_to_dof,
)
from physhmr_kit.body.hinges import axis_orders
from physhmr_kit.body.skeleton import rest_joints
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.state import BodyState
from physhmr_kit.simulation import CONTROL_DT, make_simulator
from physhmr_kit.viewer import filmstrip
from physhmr_kit.viewer.bodies import BONES
from physhmr_kit.viewer.palette import CONTACT, REFERENCE, SERIES, SIMULATED, unit

torch.manual_seed(0)
torch.set_num_threads(2)
humanoid = Humanoid.mean()

# %% [markdown]
# ## 24 joints
#
# The body uses SMPL's skeleton: the same joints, in the same order, as most data sets in the field. In the *rest pose* the arms are stretched out; x points to the
# body's left, y up, z forward. A joint's rotation is relative to its parent; the root of the tree is the pelvis.

# %%
joints = rest_joints().numpy()
figure, axes = plt.subplots(figsize=(8, 6), layout="constrained")
for parent, joint in BONES:
    axes.plot(*joints[[parent, joint], :2].T, color=unit(SIMULATED), linewidth=3, alpha=0.5)
axes.plot(joints[:, 0], joints[:, 1], "o", color=unit(SIMULATED))
for number, (x, y, _) in enumerate(joints):
    axes.annotate(f"{number}", (x, y), (5, 5), textcoords="offset points", fontsize=9)
legend = "\n".join(f"{i:2} {name}" for i, name in enumerate(JOINT_NAMES))
axes.text(1.05, 0.5, legend, transform=axes.transAxes, va="center", family="monospace", fontsize=8.5)
axes.set(
    aspect="equal", xlabel="x, to the body's left (m)", ylabel="y, up (m)", title="The rest pose, seen from the front"
)
plt.show()

assert len(JOINT_NAMES) == 24 and NUM_DOFS == 69 == 3 * (24 - 1)
assert math.isclose(float(humanoid.segment_masses().sum()), 70.0, rel_tol=1e-3)

# %% [markdown]
# Twenty-three joints move relative to their parents (the pelvis floats), with three hinges each: 69 *degrees of freedom*, `dof` for short. Each has a name.

# %%
print(dof_names()[:6], "...")
for name in ("left_hip", "left_knee", "left_shoulder", "left_elbow"):
    row = JOINT_NAMES.index(name) - 1
    low_high = torch.rad2deg(dof_limits()[3 * row : 3 * row + 3]).round().int().tolist()
    print(
        f"{name:14} axes {axis_orders()[row]}   "
        + "   ".join(f"{a}: {lo:4}°..{hi:3}°" for a, (lo, hi) in zip(axis_orders()[row], low_high, strict=True))
    )

# %% [markdown]
# ## Three hinges make a joint, until the middle one reaches 90°
#
# A joint's rotation is the product of three hinge rotations, outermost first:
#
# $$R = R_{a_1}(q_1)\,R_{a_2}(q_2)\,R_{a_3}(q_3)$$
#
# The outer hinges carry the inner axis along. When the middle hinge reaches 90°, the inner axis coincides with the
# outer one: two hinges then do the same thing and one direction of rotation is lost. This is *gimbal lock*. The distance from it is measured by the smallest
# singular value $\sigma$ of the map from hinge speeds to angular velocity: 1 is ideal, 0 is locked.


# %%
def smallest_singular_value(order: str, q: torch.Tensor) -> torch.Tensor:
    """Smallest singular value of the map from hinge speeds to angular velocity: q (N, 3) rad -> (N,)."""
    axis = {a: torch.eye(3)["xyz".index(a)] for a in "xyz"}
    outer = roma.rotvec_to_rotmat(q[:, :1] * axis[order[0]])
    middle = roma.rotvec_to_rotmat(q[:, 1:2] * axis[order[1]])
    columns = [axis[order[0]].expand(len(q), 3), outer @ axis[order[1]], outer @ middle @ axis[order[2]]]
    return torch.linalg.svdvals(torch.stack(columns, dim=-1))[:, -1]


angle = torch.linspace(-math.pi / 2, math.pi / 2, 181)
q = torch.stack([torch.zeros_like(angle), angle, torch.zeros_like(angle)], dim=-1)
sigma = smallest_singular_value("xzy", q)

middle = torch.rad2deg(dof_limits()[1::3])  # the middle hinge of each of the 23 joints
figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
axes.plot(torch.rad2deg(angle), sigma, color=unit(SIMULATED), linewidth=2, label="σ of three hinges")
for k, (low, high) in enumerate(sorted(middle.tolist(), key=lambda r: r[1] - r[0])):
    axes.plot(
        [low, high],
        [-0.06 - 0.022 * k] * 2,
        color=unit(REFERENCE),
        linewidth=1.5,
        label="range of each joint's middle hinge" if k == 0 else None,
    )
axes.set(
    xlabel="angle of the middle hinge (degrees)",
    ylabel="σ",
    xlim=(-92, 92),
    xticks=range(-90, 91, 30),
    yticks=(0, 0.5, 1),
)
axes.legend(frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.22))
plt.show()

assert torch.allclose(sigma, (1 - angle.sin().abs()).clamp(min=0).sqrt(), atol=1e-3), "σ² = 1 - |sin q₂|"
assert (middle.abs() < 90).all(), "none of our joints can lock"

# %% [markdown]
# So we choose the order: **the axis with the smallest anatomical range goes in the middle.** A hip flexes by 140° about x, but only 65° sideways (z),
# hence `xzy`. What happens with `yxz`, with flexion in the middle? Here is a thigh lifted from 60° to 120°, slightly turned out.

# %%
lift = torch.deg2rad(torch.linspace(60, 120, 61))
thigh = roma.quat_product(
    roma.rotvec_to_unitquat(torch.stack([-lift, 0 * lift, 0 * lift], -1)),
    roma.rotvec_to_unitquat(torch.tensor([0.0, 0.05, 0.05]).expand(61, 3)),
)
pose = roma.identity_quat(23).repeat(61, 1, 1)
pose[:, JOINT_NAMES.index("left_hip") - 1] = thigh
ours = torch.rad2deg(rotation_to_dof(pose)[:, :3])
naive = roma.unitquat_to_euler("YXZ", thigh, degrees=True)

figure, panels = plt.subplots(1, 2, figsize=(8, 3), sharey=True, layout="constrained")
for axes, angles, order in zip(panels, (ours, naive), ("xzy", "yxz"), strict=True):
    for k, name in enumerate(order):
        axes.plot(torch.rad2deg(lift), angles[:, k], color=unit(SERIES["xyz".index(name)]), label=f"hinge {name}")
    axes.set(title=f"order {order}" + (" (ours)" if order == "xzy" else ""), xlabel="thigh lifted by (degrees)")
panels[0].set_ylabel("hinge angle (degrees)")
panels[0].legend(frameon=False)
plt.show()

assert torch.allclose(dof_to_rotation(rotation_to_dof(pose))[:, 0].abs(), thigh.abs(), atol=1e-4), (
    "the angles represent the same rotation"
)
assert ours.diff(dim=0).abs().max() < 3 < 10 < naive.diff(dim=0).abs().max()

# %% [markdown]
# On the left a smooth lift gives smooth angles. On the right two hinges spin by half a turn at 90°, for the very same motion. No actuator can follow
# that, and no network should have to.
#
# ## PD actuators
#
# Every hinge has a *PD* actuator. Given a target angle $q^*$ it applies the torque
#
# $$\tau = k_p\,(q^* - q) - k_d\,\dot q$$
#
# The first term is a spring towards the target, the second a damper. The policy chooses $q^*$ thirty times a second, nothing else.

# %%
print("joint            kp N·m/rad   kd N·m·s/rad   at most N·m   kd/kp s")
for name in ("left_hip", "spine1", "neck", "left_shoulder", "left_elbow", "left_wrist"):
    k = 3 * (JOINT_NAMES.index(name) - 1)
    print(
        f"{name:16}{humanoid.kp[k]:11.0f}{humanoid.kd[k]:15.0f}{humanoid.torque_limit[k]:14.0f}{humanoid.kd[k] / humanoid.kp[k]:10.2f}"
    )
assert torch.allclose(humanoid.kd / humanoid.kp, torch.tensor(0.1))

# %% [markdown]
# Note the last column. The damper acts on *all* velocity, including the desired one. An actuator with a moving target falls behind until the spring
# balances the damper: $k_p(q^*-q)=k_d\dot q$, so it lags by $k_d/k_p = 0.1$ seconds. If the desired velocity is known, the target can lead by the same amount:
# $q^* + \tfrac{k_d}{k_p}\dot q^*$. The expert of lesson 0 leads by three quarters of that, because a target is held for a whole control step.
#
# ## The simulator interface
#
# | call | does |
# |---|---|
# | `make_simulator(num_envs=N)` | N copies of the humanoid on N floors |
# | `reset(env_ids, state)` | sets the state of some of them; the others are untouched |
# | `step(targets)` | one control step of 1/30 s towards targets (N, 69) |
# | `state` | poses, velocities, contact forces, torques, and whether the physics diverged |
# | `save()`, `restore()` | the complete simulation state |
#
# There are no rewards and no reference motions here, only bodies and forces, so any engine fits behind the same five calls.
#
# Two humanoids get the same desired elbow motion, one as a plain target and one with velocity lead.

# %%
library = MotionLibrary([demo_clip("stand")])
standing = library.frames(torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long))


def place(simulator, **changes) -> None:
    """Reset every environment to quiet stance; `changes` replace fields, e.g. body_pos (N, 24, 3)."""
    rows = torch.arange(simulator.num_envs)
    many = standing[torch.zeros_like(rows)]
    fields = {name: getattr(many, name) for name in many.__dataclass_fields__} | changes
    simulator.reset(rows, BodyState(**fields))


simulator = make_simulator(num_envs=2)
place(simulator)
elbow = dof_names().index("left_elbow_y")
rest = standing.dof_pos.repeat(2, 1)
lag = float(humanoid.kd[elbow] / humanoid.kp[elbow])
start = float(rest[0, elbow])

time = torch.arange(75) * CONTROL_DT
desired = start - 0.6 * (1 - torch.cos(2 * math.pi * 0.8 * time)) / 2
speed = torch.gradient(desired, spacing=CONTROL_DT)[0]
angles = []
for k in range(len(time)):
    target = rest.clone()
    target[0, elbow], target[1, elbow] = desired[k], desired[k] + lag * speed[k]
    angles.append(simulator.step(target).dof_pos[:, elbow].clone())
angles = torch.stack(angles)

figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
axes.plot(time, torch.rad2deg(desired), color=unit(REFERENCE), linewidth=2, label="desired")
axes.plot(time + CONTROL_DT, torch.rad2deg(angles[:, 0]), color=unit(SIMULATED), linestyle="--", label="plain target")
axes.plot(
    time + CONTROL_DT, torch.rad2deg(angles[:, 1]), color=unit(SIMULATED), label="target leading by kd/kp × velocity"
)
axes.set(xlabel="time (s)", ylabel="elbow (degrees)", title="A PD actuator lags a moving target by 0.1 s")
axes.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.25))
plt.show()

plain, led = (angles - desired.unsqueeze(1)).square().mean(0).sqrt().rad2deg()
print(f"root mean square error: plain {plain:.1f}°, led {led:.1f}°")
assert led < plain / 2

# %% [markdown]
# ## Stand, drop, push
#
# Five bodies, all with the same standing pose as target: one is left alone, one is dropped from half a metre, three are pushed forwards
# (by an initial velocity, which is equivalent).

# %%
CASES = ("left alone", "dropped 0.5 m", "pushed 0.3 m/s", "pushed 0.5 m/s", "pushed 1.2 m/s")
simulator = make_simulator(num_envs=len(CASES))
height = torch.tensor([0.0, 0.5, 0.0, 0.0, 0.0])
push = torch.tensor([0.0, 0.0, 0.3, 0.5, 1.2])
position, velocity = (getattr(standing, f).repeat(len(CASES), 1, 1) for f in ("body_pos", "body_lin_vel"))
position[..., 2] += height[:, None]
velocity[..., 0] += push[:, None]
place(simulator, body_pos=position, body_lin_vel=velocity)

targets = standing.dof_pos.repeat(len(CASES), 1)
history = [simulator.state] + [simulator.step(targets) for _ in range(75)]
pelvis = torch.stack([s.root_pos[:, 2] for s in history])
load = torch.stack([s.contact_force[..., 2].sum(1) for s in history])
seconds = torch.arange(len(history)) * CONTROL_DT

figure, (top, bottom) = plt.subplots(2, 1, figsize=(8, 5), sharex=True, layout="constrained")
for k, name in enumerate(CASES):
    top.plot(seconds, pelvis[:, k], color=unit(SERIES[k]), label=name)
top.set(ylabel="height of the pelvis (m)")
top.legend(frameon=False, ncols=3, fontsize=9)
bottom.plot(seconds, load[:, 1] / 1000, color=unit(SERIES[1]))
bottom.plot(seconds, load[:, 0] / 1000, color=unit(SERIES[0]))
bottom.axhline(70 * 9.81 / 1000, color=unit(CONTACT), linestyle=":", label="70 kg × 9.81 m/s²")
bottom.set(xlabel="time (s)", ylabel="ground reaction force (kN)", ylim=(0, None))
bottom.legend(frameon=False)
plt.show()

weight = float(load[30:, 0].mean())
print(f"ground reaction force of the body left alone: {weight:.0f} N; weight of 70 kg: {70 * 9.81:.0f} N")
assert abs(weight / (70 * 9.81) - 1) < 0.03, "the floor carries exactly the weight of a body at rest"
impact = float(load[:, 1].max())
print(f"landing from half a metre: {impact / weight:.0f} times the weight")
print(
    "height of the pelvis at the end:",
    ", ".join(f"{name} {h:.2f} m" for name, h in zip(CASES, pelvis[-1], strict=True)),
)
assert impact > 10 * weight and pelvis[-1, 1] > 0.8, "it lands hard and stays up"
assert pelvis[-1, 0] > 0.8 and pelvis[-1, 2] > 0.8, "a gentle push is absorbed"
assert (pelvis[-1, 3:] < 0.5).all(), "harder ones are not"

# %% [markdown]
# The dropped body feels more than ten times its weight when it lands, bounces, and comes to rest standing, because it fell straight. Bent knees would have softened the landing,
# but an actuator holding its target does not bend them. The pushed bodies show what PD control can *not* do: it holds a pose but does not balance. A push of 0.3 m/s is absorbed by the length of
# the feet, 0.5 m/s is not. Stepping in time is what a policy has to learn.

# %%
fallen = SimpleNamespace(
    name="pushed 1.2 m/s",
    fps=30.0,
    reference=None,
    simulated=SimpleNamespace(body_pos=torch.stack([s.body_pos[-1] for s in history[:31]])),
)
filmstrip(fallen, poses=8, azimuth=-90)

# %% [markdown]
# ### Determinism
#
# Restoring a saved state gives the same future to the last bit, and resetting one body leaves the others unchanged. Training relies on both.

# %%
saved = simulator.save()
once = simulator.step(targets).dof_pos.clone()
simulator.restore(saved)
assert torch.equal(once, simulator.step(targets).dof_pos)

before = simulator.state.body_pos.clone()
simulator.reset(torch.tensor([4]), standing)
assert torch.equal(simulator.state.body_pos[:4], before[:4])
assert simulator.state.root_pos[4, 2] > 0.8, "the fallen body stands again"

# %% [markdown]
# ## What failure looks like
#
# ### A wrong integrator
#
# Our dampers are strong and our limbs light: a hand hinge with $k_d = 30$ and an inertia of about $I = 0.02$ kg·m² has a velocity time constant of
# $I/k_d \approx 0.7$ ms, but a physics step lasts 8.3 ms. An *explicit* integrator damps with the velocity at the start of the step, overshoots to the opposite sign, damps harder, and so on. The
# `implicitfast` integrator solves for the velocity at the *end* of the step and is stable. This works only if the PD law is part of the model and unclamped: when a
# force limit clamps an actuator, its damping is lost just when it is needed.
#
# We shake three versions of the same body with the same random targets, 0.3 rad wide.

# %%
text = humanoid.mjcf()
limited = text
for name, torque in zip(
    dict.fromkeys(n for n in text.split('"') if n.startswith("torque_")), humanoid.torque_limit, strict=True
):
    joint = name.removeprefix("torque_")
    limited = limited.replace(
        f'<position name="{joint}" ', f'<position name="{joint}" forcerange="{-torque:g} {torque:g}" '
    )
VERSIONS = {
    "implicitfast (the kit)": text,
    "implicitfast, actuators clamped": limited,
    "Euler": text.replace('integrator="implicitfast"', 'integrator="Euler"'),
}


def shake(mjcf: str, seconds: float = 2.0, width: float = 0.3) -> np.ndarray:
    """Largest joint speed (rad/s) after each physics step under random targets, until it passes 10,000."""
    model = mujoco.MjModel.from_xml_string(mjcf)
    data, random = mujoco.MjData(model), np.random.default_rng(0)
    data.qpos[2], data.qpos[3:7] = 1.2, 0.5
    fastest = []
    for step in range(int(seconds / model.opt.timestep)):
        if step % 4 == 0:
            data.ctrl[:] = random.normal(0, width, model.nu)
        mujoco.mj_step(model, data)
        fastest.append(np.abs(data.qvel[6:]).max())
        if not fastest[-1] < 1e4:
            break
    return np.array(fastest)


figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
speeds = {name: shake(mjcf) for name, mjcf in VERSIONS.items()}
for (name, speed), colour in zip(speeds.items(), (SIMULATED, REFERENCE, CONTACT), strict=True):
    axes.semilogy(np.arange(1, len(speed) + 1) / 120, speed, color=unit(colour), label=name)
axes.axhline(200, color="0.6", linestyle=":", linewidth=1)
axes.text(1.99, 230, "divergence threshold", ha="right", fontsize=8, color="0.4")
axes.set(xlabel="time (s)", ylabel="fastest hinge (rad/s)", title="The same body, the same targets")
axes.legend(frameon=False, loc="upper right", bbox_to_anchor=(1.0, 0.95))
plt.show()

assert speeds["implicitfast (the kit)"].max() < 200
assert speeds["Euler"].max() > 1000

# %% [markdown]
# How then does the kit respect torque limits? It limits the *target* before the step (`Humanoid.limit_targets`), so that no actuator starts the step beyond its limit, and keeps the
# damping.
#
# ### NaN
#
# A diverged network may output NaN. That must not affect the other environments: the simulator flags only the one body.

# %%
place(simulator)
broken = targets.clone()
broken[2, elbow] = torch.nan
print("diverged:", simulator.step(broken).diverged.tolist())
assert simulator.state.diverged.tolist() == [False, False, True, False, False]
simulator.close()

# %% [markdown]
# | symptom | likely cause |
# |---|---|
# | limbs vibrate, then explode | explicit integrator, or PD torques computed outside the model |
# | the body jumps up at the start | feet initialised inside the floor |
# | arms lag behind fast motions | the 0.1 s of kd/kp: lead the target |
# | a knee spins | a hinge order with gimbal lock, or angles on the wrong branch |
# | `diverged` in training | occasionally: harmless, the episode ends; often: check the targets |
#
# ## Exercises
#
# **1 · How hard a push?** Push ten bodies *sideways* (`velocity[..., 1]`) at 0.1 to 1.0 m/s and simulate four seconds. Which is the first to fall? *Expect* 0.6 m/s; the feet make a wider base sideways than fore and aft, where 0.4 m/s is already too much.

# %% jupyter={"source_hidden": true} tags=["solution"]
pushes = torch.linspace(0.1, 1.0, 10)
first = {}
for axis, direction in ((1, "sideways"), (0, "forwards")):
    velocity = standing.body_lin_vel.repeat(10, 1, 1)
    velocity[..., axis] += pushes[:, None]
    with make_simulator(num_envs=10) as ten:
        place(ten, body_pos=standing.body_pos.repeat(10, 1, 1), body_lin_vel=velocity)
        for _ in range(120):
            end = ten.step(standing.dof_pos.repeat(10, 1))
        fallen_at = pushes[end.root_pos[:, 2] < 0.6]
    first[direction] = round(float(fallen_at.min()), 1)
    print(f"{direction}: {first[direction]} m/s")
assert first == {"sideways": 0.6, "forwards": 0.4}

# %% [markdown]
# **2 · A heavier body.** Build a `Humanoid` with another mass, `Humanoid(humanoid.offsets, mass=140.0)`, and let it stand. *Expect* about 1373 N under the feet: twice the mass, twice the load, and the same gains still hold it up.

# %% jupyter={"source_hidden": true} tags=["solution"]
with make_simulator(humanoid=Humanoid(humanoid.offsets, mass=140.0), num_envs=1) as heavy:
    place(heavy)
    loads = [float(heavy.step(standing.dof_pos).contact_force[..., 2].sum()) for _ in range(75)]
    assert heavy.state.root_pos[0, 2] > 0.8
print(f"{np.mean(loads[30:]):.0f} N")
assert abs(np.mean(loads[30:]) - 140 * 9.81) < 40

# %% [markdown]
# **3 · Too much lead.** Use twice the lag in the elbow experiment. *Expect* an arm that arrives early, and an error half as large again as with the plain target.

# %% jupyter={"source_hidden": true} tags=["solution"]
rate = torch.gradient(desired, spacing=CONTROL_DT)[0]
with make_simulator(num_envs=1) as leading:
    place(leading)
    elbow_angles = []
    for k in range(len(time)):
        target = standing.dof_pos.clone()
        target[0, elbow] = desired[k] + 2 * lag * rate[k]
        elbow_angles.append(float(leading.step(target).dof_pos[0, elbow]))
twice = (torch.tensor(elbow_angles) - desired).square().mean().sqrt().rad2deg()
print(f"root mean square error: plain {plain:.1f}°, led by twice the lag {twice:.1f}°")
assert 1.3 < twice / plain < 1.7

# %% [markdown]
# ## Summary
#
# 24 joints, each with three hinges in an order that avoids gimbal lock; PD actuators that lag by 0.1 s; a deterministic simulator behind five calls;
# and an integrator that should not be changed.
#
# **Next:** lesson 2 turns to the camera: what a single pixel tells.
