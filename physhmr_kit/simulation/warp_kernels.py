"""Warp kernels of `mujoco_gpu`: PD targets to controls, contacts to net forces, divergence check."""

from __future__ import annotations

import warp as wp

wp.set_module_options({"enable_backward": False})


@wp.kernel
def hold_targets(
    target: wp.array2d[float], qpos: wp.array2d[float], qvel: wp.array2d[float],
    qpos_adr: wp.array[int], qvel_adr: wp.array[int], ctrl_adr: wp.array[int],
    kp: wp.array[float], kd: wp.array[float], limit: wp.array[float],
    ctrl: wp.array2d[float],
):  # fmt: skip
    """`Humanoid.limit_targets`; targets that are not finite become 0."""
    world, dof = wp.tid()
    goal = target[world, dof]
    if not wp.isfinite(goal):
        goal = 0.0
    neutral = qpos[world, qpos_adr[dof]] + kd[dof] * qvel[world, qvel_adr[dof]] / kp[dof]
    reach = limit[dof] / kp[dof]
    ctrl[world, ctrl_adr[dof]] = wp.max(wp.min(goal, neutral + reach), neutral - reach)


@wp.kernel
def add_contacts(
    contacts: wp.array[int], geoms: wp.array[wp.vec2i], worlds: wp.array[int], force: wp.array[wp.spatial_vector],
    joint_of_geom: wp.array[int], total: wp.array2d[wp.vec3],
):  # fmt: skip
    """Net force on each body; a contact force acts on the second geom and its opposite on the first."""
    contact = wp.tid()
    if contact >= contacts[0]:
        return
    world, pair, push = worlds[contact], geoms[contact], wp.spatial_top(force[contact])
    first, second = joint_of_geom[pair[0]], joint_of_geom[pair[1]]
    if first >= 0:
        wp.atomic_add(total, world, first, -push)
    if second >= 0:
        wp.atomic_add(total, world, second, push)


@wp.kernel
def check_worlds(
    target: wp.array2d[float], qpos: wp.array2d[float], qvel: wp.array2d[float], max_speed: float, overflow_bits: int,
    overflow: wp.array[int], diverged: wp.array[bool], overflowed: wp.array[wp.int64],
):  # fmt: skip
    """Find diverged worlds, and count those that dropped contacts or constraints in this control step."""
    world = wp.tid()
    good = wp.isfinite(target[world, 0])  # a constant could not be changed in a loop of Warp
    for i in range(target.shape[1]):
        good = good and wp.isfinite(target[world, i])
    for i in range(qpos.shape[1]):
        good = good and wp.isfinite(qpos[world, i])
    for i in range(qvel.shape[1]):
        good = good and wp.abs(qvel[world, i]) <= max_speed  # false for NaN too
    diverged[world] = not good
    if (overflow[world] & overflow_bits) != 0:
        wp.atomic_add(overflowed, 0, wp.int64(1))
    overflow[world] = 0
