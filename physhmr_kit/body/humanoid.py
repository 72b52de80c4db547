"""The simulated humanoid: PD gains, torque limits, segment masses, collision shapes, and its MJCF."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import torch

from physhmr_kit.body.hinges import axis_orders, dof_limits, hinge_names
from physhmr_kit.body.skeleton import (
    BODY_NAMES,
    FEET,
    JOINT_NAMES,
    NUM_JOINTS,
    PARENTS,
    SOLE_DEPTH,
    mean_offsets,
    without_side,
)

# (kp N m/rad, kd N m s/rad, largest torque N m): SMPLSim's table GAINS_PHC. Upstream limits the right thorax
# and shoulder to less torque than the left (150 and 250 against 500); we use the left's values on both sides.
_GAINS = {
    "hip": (800, 80, 500), "knee": (800, 80, 500), "ankle": (800, 80, 500), "foot": (500, 50, 500),
    "spine1": (1000, 100, 500), "spine2": (1000, 100, 500), "spine3": (1000, 100, 500),
    "neck": (500, 50, 250), "head": (500, 50, 250), "collar": (500, 50, 500), "shoulder": (500, 50, 500),
    "elbow": (500, 50, 150), "wrist": (300, 30, 150), "hand": (300, 30, 150),
}  # fmt: skip

# Share of body mass in percent: de Leva (1996), men, with the trunk spread over SMPL's segments.
_MASS_PERCENT = {
    "pelvis": 11.17, "spine1": 8.00, "spine2": 8.33, "spine3": 11.96, "collar": 2.00, "neck": 1.20, "head": 5.74,
    "shoulder": 2.71, "elbow": 1.62, "wrist": 0.35, "hand": 0.26, "hip": 14.16, "knee": 4.33, "ankle": 1.10, "foot": 0.27,
}  # fmt: skip

ARMATURE = 0.1
"""Rotor inertia of each hinge, kg m^2; SMPLSim uses 0.02. MuJoCo's implicitfast solves contacts without the actuators'
implicit damping, so stiff actuators on light bodies chatter on the floor at 120 Hz. More rotor inertia halves the fluctuation
of the contact load, and motions are tracked longer without any policy (benchmarks/open_loop.py, docs/expert.md)."""


@cache
@torch.inference_mode(False)
def _per_dof(column: int) -> torch.Tensor:
    return torch.tensor([float(_GAINS[without_side(n)][column]) for n in JOINT_NAMES[1:] for _ in range(3)])


@cache
@torch.inference_mode(False)
def _delay_and_max_error(dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """kd / kp (69,) s and largest torque / kp (69,) rad."""
    kp, kd, limit = (_per_dof(column).to(device, dtype) for column in range(3))
    return kd / kp, limit / kp


@dataclass(frozen=True)
class Humanoid:
    """A body to simulate: skeleton, PD actuators and their MJCF.

    Attributes:
        offsets: (24, 3) metres, each joint from its parent in the y-up rest frame.
        mass: total mass, kg.
    """

    offsets: torch.Tensor
    mass: float = 70.0

    @classmethod
    def mean(cls) -> Humanoid:
        """The humanoid of SMPL's mean shape, 70 kg."""
        return cls(mean_offsets())

    @property
    def kp(self) -> torch.Tensor:
        """(69,) proportional gains, N m/rad."""
        return _per_dof(0).clone()

    @property
    def kd(self) -> torch.Tensor:
        """(69,) derivative gains, N m s/rad."""
        return _per_dof(1).clone()

    @property
    def torque_limit(self) -> torch.Tensor:
        """(69,) largest torque, N m."""
        return _per_dof(2).clone()

    def limit_targets(self, target: torch.Tensor, dof_pos: torch.Tensor, dof_vel: torch.Tensor) -> torch.Tensor:
        """Clamp PD targets so that no actuator starts the control step beyond its torque limit.

        The torque kp (target - q) - kd v is clamped at the start of the control step, where q and v are known; during the
        step it still changes with them.

        Args:
            target, dof_pos, dof_vel: (N, 69) rad, rad, rad/s.
        """
        delay, max_error = _delay_and_max_error(target.dtype, target.device)
        neutral = torch.addcmul(dof_pos, dof_vel, delay)
        return target.clamp(neutral - max_error, neutral + max_error)

    @property
    def dof_limits(self) -> torch.Tensor:
        """(69, 2) anatomical limits, radians."""
        return dof_limits()

    def segment_masses(self) -> torch.Tensor:
        """(24,) mass of each body, kg; they add up to `mass`."""
        return torch.tensor([self.mass * _MASS_PERCENT[without_side(n)] / 100 for n in JOINT_NAMES])

    def segment_centres(self) -> torch.Tensor:
        """(24, 3) centre of mass of each body in its own frame, metres: the middle of its collision shape."""
        return torch.tensor([_geom(joint, self)[1] for joint in range(NUM_JOINTS)])

    def mjcf(self, timestep: float = 1 / 120) -> str:
        """MJCF of the body on a floor, with position actuators and one contact-force sensor for each body.

        The PD law is part of the model, so that the `implicitfast` integrator includes its gains; joints have no
        passive springs. Bodies are nested depth first and named with `BODY_NAMES`, hinges `<Body>_<axis>`.
        Actuators have no force range: a clamped actuator loses its implicit damping, and random targets of 0.3 rad
        then diverge within half a second. The simulator clamps the targets instead (`limit_targets`).

        Args:
            timestep: physics step, seconds.
        """
        return _mjcf(self, timestep)


# Collision shapes in the rest frame, left side. Capsules (radius, m) run along the bone to the child joint; spheres are
# (centre, radius), m.
_CAPSULES = {"hip": 0.062, "knee": 0.048, "shoulder": 0.042, "elbow": 0.034}
_SPHERES = {
    "spine1": ((0.0, 0.05, 0.005), 0.090), "spine2": ((0.0, 0.02, 0.010), 0.095), "spine3": ((0.0, 0.09, -0.015), 0.110),
    "neck": ((0.0, 0.035, 0.015), 0.045), "head": ((0.0, 0.085, 0.005), 0.090),
    "collar": ((0.045, 0.010, 0.0), 0.060), "wrist": ((0.035, 0.0, 0.0), 0.030), "hand": ((0.035, 0.0, 0.0), 0.030),
}  # fmt: skip
_FOOT_HALF_WIDTH = 0.045


def _number(values) -> str:
    return " ".join(f"{float(v):.6g}" for v in values)


def _geom(joint: int, humanoid: Humanoid) -> tuple[str, tuple[float, ...]]:
    """The collision geom of one body as MJCF, and its centre in the body's frame; the right side mirrors the left."""
    name = JOINT_NAMES[joint]
    mirror, base = -1.0 if name.startswith("right_") else 1.0, without_side(name)
    label = f'name="{BODY_NAMES[joint]}"'
    mass = f'mass="{humanoid.mass * _MASS_PERCENT[base] / 100:.5g}"'
    if base == "pelvis":
        centre: tuple[float, ...] = (0.0, -0.015, 0.0)
        return f'<geom {label} type="box" pos="{_number(centre)}" size="0.105 0.065 0.080" {mass}/>', centre
    if base in ("ankle", "foot"):
        centre, size = _foot_box(base, mirror, humanoid)
        return f'<geom {label} type="box" pos="{_number(centre)}" size="{_number(size)}" {mass} class="sole"/>', centre
    if base in _CAPSULES:
        radius, end = _CAPSULES[base], humanoid.offsets[PARENTS.index(joint)]
        inset = radius * 0.8 / float(end.norm())
        fromto = _number([*(end * inset), *(end * (1 - inset))])
        return f'<geom {label} type="capsule" fromto="{fromto}" size="{radius}" {mass}/>', tuple((end / 2).tolist())
    (x, y, z), radius = _SPHERES[base]
    centre = (mirror * x, y, z)
    return f'<geom {label} type="sphere" pos="{_number(centre)}" size="{radius}" {mass}/>', centre


def _foot_box(base: str, mirror: float, humanoid: Humanoid) -> tuple[tuple, tuple]:
    """Centre and half size of the box under the ankle (heel to ball) or the toes; both end on the same sole plane."""
    toe = humanoid.offsets[JOINT_NAMES.index("left_foot")]
    if base == "ankle":
        heel, ball = -0.062, float(toe[2]) - 0.010
        return (mirror * 0.022, -SOLE_DEPTH + 0.040, (heel + ball) / 2), (_FOOT_HALF_WIDTH, 0.040, (ball - heel) / 2)
    below = SOLE_DEPTH + float(toe[1])  # sole below the toe joint
    return (mirror * -0.003, -below + 0.020, 0.030), (_FOOT_HALF_WIDTH, 0.020, 0.040)


def foot_corners(humanoid: Humanoid | None = None) -> dict[int, torch.Tensor]:
    """Sole corners: the lower corners of the foot and toe boxes, for grounding and foot metrics.

    Returns:
        joint index (7, 8, 10, 11) -> (4, 3) metres in that body's frame; heel corners first for the ankles.
    """
    humanoid = humanoid or Humanoid.mean()
    corners = {}
    for joint in FEET:
        name = JOINT_NAMES[joint]
        mirror = -1.0 if name.startswith("right_") else 1.0
        (px, py, pz), (sx, sy, sz) = _foot_box(without_side(name), mirror, humanoid)
        corners[joint] = torch.tensor([(px + a * sx, py - sy, pz + b * sz) for b in (-1, 1) for a in (-1, 1)])
    return corners


def _body_xml(joint: int, humanoid: Humanoid, indent: int) -> list[str]:
    body, pad = BODY_NAMES[joint], "  " * indent
    lines = [f'{pad}<body name="{body}" pos="{_number(humanoid.offsets[joint])}">']
    if joint == 0:
        lines.append(f'{pad}  <freejoint name="root"/>')
    else:
        for k, axis in enumerate(axis_orders()[joint - 1]):
            low, high = (math.degrees(float(v)) for v in dof_limits()[3 * (joint - 1) + k])
            vector = _number(float(a == axis) for a in "xyz")
            lines.append(f'{pad}  <joint name="{body}_{axis}" axis="{vector}" range="{low:.6g} {high:.6g}"/>')
    lines.append(f"{pad}  {_geom(joint, humanoid)[0]}")
    for child, parent in enumerate(PARENTS):
        if parent == joint:
            lines += _body_xml(child, humanoid, indent + 1)
    return [*lines, f"{pad}</body>"]


_GIRDLE = {"spine1", "spine2", "spine3", "neck", "head", "collar", "shoulder", "pelvis"}
_GROIN = {"hip", "pelvis", "spine1", "spine2"}


def _excluded_pairs() -> list[tuple[str, str]]:
    """Bodies that may overlap by design: those up to two joints apart, the shoulder girdle, and thighs and lower trunk."""
    pairs = []
    for a, b in combinations(range(NUM_JOINTS), 2):
        near = PARENTS[b] == PARENTS[a] or PARENTS[b] == a or PARENTS[PARENTS[b]] == a
        names = {without_side(JOINT_NAMES[a]), without_side(JOINT_NAMES[b])}
        if near or names <= _GIRDLE or names <= _GROIN:
            pairs.append((BODY_NAMES[a], BODY_NAMES[b]))
    return pairs


def _mjcf(humanoid: Humanoid, timestep: float) -> str:
    actuators = [
        f'    <position name="{name}" joint="{name}" kp="{kp:g}" kv="{kd:g}"/>'
        for name, kp, kd in zip(hinge_names(), humanoid.kp.tolist(), humanoid.kd.tolist(), strict=True)
    ]
    torques = [f'    <actuatorfrc name="torque_{name}" actuator="{name}"/>' for name in hinge_names()]
    contacts = [f'    <contact name="contact_{b}" body1="{b}" data="force" reduce="netforce"/>' for b in BODY_NAMES]
    excludes = [f'    <exclude body1="{a}" body2="{b}"/>' for a, b in _excluded_pairs()]
    nl = "\n"
    return f"""<mujoco model="physhmr_humanoid">
  <compiler angle="degree" autolimits="true"/>
  <option timestep="{timestep:.10g}" integrator="implicitfast" gravity="0 0 -9.81" iterations="10" ls_iterations="20"/>
  <default>
    <joint type="hinge" armature="{ARMATURE}" damping="0" stiffness="0"/>
    <geom condim="3" friction="1 0.005 0.0001" contype="1" conaffinity="1" rgba="0.35 0.55 0.75 1"/>
    <default class="sole"><geom rgba="0.25 0.40 0.60 1"/></default>
  </default>
  <worldbody>
    <light pos="0 0 4" dir="0 0 -1"/>
    <geom name="floor" type="plane" size="50 50 1" rgba="0.9 0.9 0.9 1"/>
{nl.join(_body_xml(0, humanoid, 2))}
  </worldbody>
  <contact>
{nl.join(excludes)}
  </contact>
  <actuator>
{nl.join(actuators)}
  </actuator>
  <sensor>
{nl.join(contacts)}
{nl.join(torques)}
  </sensor>
</mujoco>
"""
