"""`gymapi` of the stand-in (see the package's docstring): one MuJoCo data per env, all of one model."""

import os
import time
import xml.etree.ElementTree as ET

import mujoco
import numpy as np

SIM_PHYSX, UP_AXIS_Y, UP_AXIS_Z = 1, 0, 1
DOF_MODE_NONE, DOF_MODE_POS, DOF_MODE_VEL, DOF_MODE_EFFORT = 0, 1, 2, 3
DOMAIN_ENV, DOMAIN_ACTOR, DOMAIN_SIM = 0, 1, 2
ENV_SPACE, LOCAL_SPACE, GLOBAL_SPACE = 0, 1, 2

_NUMBERS = ("lower", "upper", "velocity", "effort", "stiffness", "damping", "friction", "armature")
DOF_PROPERTIES = np.dtype([("hasLimits", "?"), ("driveMode", "i4"), *((name, "f4") for name in _NUMBERS)])


class _Record:
    def __init__(self, **values):
        self.__dict__.update(values)


class Vec3:
    def __init__(self, x=0.0, y=0.0, z=0.0):
        self.x, self.y, self.z = x, y, z


class Quat:
    def __init__(self, x=0.0, y=0.0, z=0.0, w=1.0):
        self.x, self.y, self.z, self.w = x, y, z, w


class Transform:
    def __init__(self, p=None, r=None):
        self.p, self.r = p or Vec3(), r or Quat()


class SimParams:
    def __init__(self):
        self.dt, self.substeps, self.up_axis = 1 / 60, 2, UP_AXIS_Y
        self.gravity, self.use_gpu_pipeline, self.physx = Vec3(0.0, -9.8, 0.0), False, _Record()


class PlaneParams:
    def __init__(self):
        self.normal, self.static_friction, self.dynamic_friction, self.restitution = Vec3(0, 1, 0), 1.0, 1.0, 0.0


class AssetOptions:
    pass


class _Asset:
    """What the importer makes of an MJCF: names in depth-first order, three hinges of a body one spherical joint."""

    def __init__(self, path):
        self.xml = ET.parse(path).getroot()
        self.bodies = list(self.xml.find("worldbody").iter("body"))
        self.body_names = [b.get("name") for b in self.bodies]
        self.dof_names, self.spheres = [], []
        for body in self.bodies[1:]:
            hinges = body.findall("joint")
            axes = [h.get("axis") for h in hinges]
            assert axes == ["1 0 0", "0 1 0", "0 0 1"], "the stand-in knows triples of hinges x, y, z"
            self.dof_names += [h.get("name") for h in hinges]
            self.spheres.append(body.get("name"))
        self.geom_counts = [len(b.findall("geom")) for b in self.bodies]
        # for tests of the name maps: the order of names and tensors
        self.dof_order, self.body_order = np.arange(len(self.dof_names)), np.arange(len(self.bodies))
        if os.environ.get("ISAACGYM_STANDIN") == "shuffled":
            dice = np.random.default_rng(0)
            self.dof_order, self.body_order = dice.permutation(self.dof_order), dice.permutation(self.body_order)

    def shape_spans(self):
        starts = np.cumsum([0, *self.geom_counts])
        return [_Record(start=int(starts[b]), count=self.geom_counts[b]) for b in self.body_order]

    def compile(self, params, props, filters):
        """The MuJoCo model of one env."""
        root = ET.fromstring(ET.tostring(self.xml))
        for tag in ("actuator", "default"):
            for old in root.findall(tag):
                root.remove(old)
        ET.SubElement(
            root, "option", timestep=str(params.dt / params.substeps), integrator="implicitfast", iterations="20",
            gravity=f"{params.gravity.x} {params.gravity.y} {params.gravity.z}",
        ).append(ET.Element("flag", warmstart="disable"))  # fmt: skip
        world = root.find("worldbody")
        ET.SubElement(world, "geom", name="ground", type="plane", size="50 50 1")
        actuators, excludes = ET.SubElement(root, "actuator"), ET.SubElement(root, "contact")
        row_of = np.argsort(self.dof_order)
        for s, body in enumerate(list(world.iter("body"))[1:]):
            for hinge in body.findall("joint"):
                body.remove(hinge)
            three = [props[row_of[3 * s + k]] for k in range(3)]
            name = self.spheres[s]
            body.insert(0, ET.Element("joint", name=name, type="ball", armature=str(three[0]["armature"])))
            for k, p in enumerate(three):
                assert p["driveMode"] == DOF_MODE_POS, "the stand-in has position drives only"
                gear = " ".join(str(int(i == k)) for i in range(6))
                ET.SubElement(
                    actuators, "position", joint=name, gear=gear, kp=str(p["stiffness"]), kv=str(p["damping"])
                )
        owner = np.repeat(np.arange(len(self.bodies)), self.geom_counts)
        for i in range(len(filters)):
            for j in range(i):
                # PhysX never lets a link touch its own parent; a common bit keeps other shapes apart
                if owner[i] != owner[j] and filters[i] & filters[j]:
                    a, b = self.body_names[owner[i]], self.body_names[owner[j]]
                    ET.SubElement(excludes, "exclude", body1=a, body2=b)
        return mujoco.MjModel.from_xml_string(ET.tostring(root, encoding="unicode"))


class _Sim:
    def __init__(self, params):
        self.params, self.asset, self.ground, self.props, self.filters = params, None, False, None, None
        self.count, self.per_row, self.spacing, self.start = 0, 1, 0.0, None
        self.prepared = self.simulated = self.fetched = False
        self.forces = set()
        self.set_since = set()


class Gym:
    """The gym object, which misbehaves by ISAACGYM_STANDIN.

    shuffled: names and tensors are in another order. deaf: the second simulate hangs. abort: it prints an error and dies while
    loading. heavy: bodies report twice their mass. crooked: the first joint turns in the opposite direction. swift: the
    tensors contain twice the joint velocity.
    """

    def __init__(self):
        self._manner = os.environ.get("ISAACGYM_STANDIN", "")
        print("Importing module 'gym_38' (a stand-in)\n+++ this is not the protocol")

    # making

    def create_sim(self, compute_device, graphics_device, engine, params):
        assert engine == SIM_PHYSX and params.up_axis == UP_AXIS_Z and params.gravity.z < 0
        assert not params.use_gpu_pipeline, "the stand-in computes on the CPU"
        return _Sim(params)

    def add_ground(self, sim, plane):
        assert plane.normal.z == 1, "the default normal is y"
        sim.ground = True

    def load_asset(self, sim, folder, file, options):
        if self._manner == "abort":
            print("[Error] [carb.gym.plugin] Gym cuda error: an illegal memory access was encountered", flush=True)
            os._exit(139)
        sim.asset = _Asset(os.path.join(folder, file))
        return sim.asset

    def get_asset_dof_names(self, asset):
        return [asset.dof_names[i] for i in asset.dof_order]

    def get_asset_rigid_body_names(self, asset):
        return [asset.body_names[i] for i in asset.body_order]

    def get_asset_rigid_body_shape_indices(self, asset):
        return asset.shape_spans()

    def create_env(self, sim, lower, upper, per_row):
        assert not sim.prepared
        sim.count, sim.per_row, sim.spacing = sim.count + 1, per_row, upper.x - lower.x
        return sim, sim.count - 1

    def create_actor(self, env, asset, pose, name, group, filter, segmentation=0):
        sim, index = env
        assert group == index, "envs must not collide with each other"
        sim.start = pose
        sim.props = np.zeros(len(asset.dof_names), DOF_PROPERTIES)
        sim.filters = [filter] * sum(asset.geom_counts)
        return 0

    def enable_actor_dof_force_sensors(self, env, actor):
        env[0].forces.add(env[1])

    def get_actor_dof_properties(self, env, actor):
        return env[0].props.copy()

    def set_actor_dof_properties(self, env, actor, props):
        env[0].props = props.copy()

    def get_actor_rigid_shape_properties(self, env, actor):
        return [_Record(filter=f, friction=1.0, restitution=0.0) for f in env[0].filters]

    def set_actor_rigid_shape_properties(self, env, actor, props):
        assert all(-(1 << 31) <= p.filter < 1 << 31 for p in props), "a filter is an int32"
        env[0].filters = [p.filter for p in props]

    def get_actor_rigid_body_properties(self, env, actor):
        sim = env[0]
        model = sim.asset.compile(sim.params, sim.props, sim.filters)
        factor = 2 if self._manner == "heavy" else 1
        return [_Record(mass=factor * model.body(sim.asset.body_names[i]).mass[0]) for i in sim.asset.body_order]

    def get_actor_index(self, env, actor, domain):
        assert domain == DOMAIN_SIM
        return env[1]

    def prepare_sim(self, sim):
        assert not sim.prepared, "prepare_sim is called once"
        assert sim.ground
        sim.prepared = True
        sim.model = sim.asset.compile(sim.params, sim.props, sim.filters)
        sim.data = [mujoco.MjData(sim.model) for _ in range(sim.count)]
        sim.body_ids = np.array([sim.model.body(sim.asset.body_names[i]).id for i in sim.asset.body_order])
        n, dofs, bodies = sim.count, len(sim.asset.dof_names), len(sim.asset.bodies)
        # internal state; the tensors are updated by refresh
        sim.root, sim.dof = np.zeros((n, 13), np.float32), np.zeros((n, dofs, 2), np.float32)
        p = sim.start.p
        for i in range(n):
            sim.root[i, :3] = p.x + sim.spacing * (i % sim.per_row), p.y + sim.spacing * (i // sim.per_row), p.z
        sim.root[:, 6] = 1
        sim.contact, sim.torque = np.zeros((n, bodies, 3), np.float32), np.zeros((n, dofs), np.float32)
        sim.target, sim.push = np.zeros((n, dofs), np.float32), np.zeros((n, bodies, 3), np.float32)
        sim.tensors = {
            "root": np.zeros((n, 13), np.float32), "dof": np.zeros((n * dofs, 2), np.float32),
            "bodies": np.zeros((n * bodies, 13), np.float32), "contact": np.zeros((n * bodies, 3), np.float32),
            "torque": np.zeros(n * dofs, np.float32),
        }  # fmt: skip

    # stepping

    def simulate(self, sim):
        if self._manner == "deaf" and sim.simulated:
            time.sleep(3600)
        sim.set_since.clear()
        sim.simulated, sim.fetched = True, False
        for i in range(sim.count):
            self._step_env(sim, i)
        sim.push[:] = 0  # a force is valid for one simulate

    def _step_env(self, sim, i):
        data, order = sim.data[i], sim.asset.dof_order
        root, dof = sim.root[i].astype(float), np.empty((len(order), 2))
        dof[order] = sim.dof[i]
        ctrl = np.empty(len(order))
        ctrl[order] = sim.target[i]
        data.qpos[:3], data.qpos[3:7] = root[:3], root[[6, 3, 4, 5]]
        mujoco.mju_normalize4(data.qpos[3:7])
        data.qvel[:3], data.qvel[3:6] = root[7:10], _turn(root[10:], data.qpos[3:7], back=True)
        for s in range(len(order) // 3):
            vector = dof[3 * s : 3 * s + 3, 0]
            angle = np.linalg.norm(vector)
            mujoco.mju_axisAngle2Quat(data.qpos[7 + 4 * s : 11 + 4 * s], vector / max(angle, 1e-12), angle)
        if self._manner == "crooked":
            data.qpos[8:11] *= -1
        data.qvel[6:] = dof[:, 1]
        data.ctrl[:] = ctrl
        data.xfrc_applied[sim.body_ids, :3] = sim.push[i]
        data.warning.number[:] = 0
        for _ in range(sim.params.substeps):
            mujoco.mj_step(sim.model, data)
        if data.warning.number.any():  # MuJoCo resets a diverged state; PhysX does not
            sim.root[i], sim.dof[i] = np.nan, np.nan
            return
        self._read_forces(sim, i)
        quat = data.qpos[3:7]
        sim.root[i] = np.concatenate([data.qpos[:3], quat[[1, 2, 3, 0]], data.qvel[:3], _turn(data.qvel[3:6], quat)])
        vector = np.empty(3)
        for s in range(len(order) // 3):
            mujoco.mju_quat2Vel(vector, data.qpos[7 + 4 * s : 11 + 4 * s], 1.0)
            dof[3 * s : 3 * s + 3, 0] = vector
        if self._manner == "crooked":
            dof[:3, 0] *= -1
        dof[:, 1] = data.qvel[6:] * (2 if self._manner == "swift" else 1)
        sim.dof[i] = dof[order]

    def _read_forces(self, sim, i):
        data, model = sim.data[i], sim.model
        force, net = np.zeros(6), np.zeros((model.nbody, 3))
        for k in range(data.ncon):
            contact = data.contact[k]
            mujoco.mj_contactForce(model, data, k, force)
            world = contact.frame.reshape(3, 3).T @ force[:3]
            net[model.geom_bodyid[contact.geom[1]]] += world
            net[model.geom_bodyid[contact.geom[0]]] -= world
        sim.contact[i] = net[sim.body_ids]
        if i in sim.forces:
            sim.torque[i] = data.actuator_force[sim.asset.dof_order]

    def fetch_results(self, sim, wait):
        sim.fetched = True

    # tensors

    def _acquire(self, sim, name):
        from isaacgym.gymtorch import Descriptor

        assert sim.prepared, "tensors exist after prepare_sim"
        return Descriptor(sim.tensors[name])

    def acquire_actor_root_state_tensor(self, sim):
        return self._acquire(sim, "root")

    def acquire_dof_state_tensor(self, sim):
        return self._acquire(sim, "dof")

    def acquire_rigid_body_state_tensor(self, sim):
        return self._acquire(sim, "bodies")

    def acquire_net_contact_force_tensor(self, sim):
        return self._acquire(sim, "contact")

    def acquire_dof_force_tensor(self, sim):
        return self._acquire(sim, "torque")

    def _refresh(self, sim, name, values):
        assert sim.fetched or not sim.simulated, "on the CPU pipeline fetch_results comes before a refresh"
        sim.tensors[name][...] = values.reshape(sim.tensors[name].shape)

    def refresh_actor_root_state_tensor(self, sim):
        self._refresh(sim, "root", sim.root)

    def refresh_dof_state_tensor(self, sim):
        self._refresh(sim, "dof", sim.dof)

    def refresh_net_contact_force_tensor(self, sim):
        self._refresh(sim, "contact", sim.contact)

    def refresh_dof_force_tensor(self, sim):
        self._refresh(sim, "torque", sim.torque)

    def refresh_rigid_body_state_tensor(self, sim):
        """Body states of the last simulate; later resets are not included."""
        states, velocity = np.zeros((sim.count, len(sim.body_ids), 13)), np.zeros(6)
        for i, data in enumerate(sim.data):
            mujoco.mj_kinematics(sim.model, data)
            mujoco.mj_comPos(sim.model, data)
            mujoco.mj_comVel(sim.model, data)
            for row, body in enumerate(sim.body_ids):
                mujoco.mj_objectVelocity(sim.model, data, mujoco.mjtObj.mjOBJ_XBODY, body, velocity, 0)
                quat = data.xquat[body][[1, 2, 3, 0]]
                states[i, row] = np.concatenate([data.xpos[body], quat, velocity[3:], velocity[:3]])
        self._refresh(sim, "bodies", states)

    def _setter(self, sim, name):
        assert name not in sim.set_since, f"{name} is called at most once between two simulations"
        sim.set_since.add(name)

    def _indexed(self, sim, name, source, ids, count):
        self._setter(sim, name)
        assert ids.array.dtype == np.int32, "actor ids are int32"
        assert len(set(ids.array.tolist())) == count == len(ids.array) and source.array.dtype == np.float32
        return ids.array

    def set_actor_root_state_tensor_indexed(self, sim, source, ids, count):
        rows = self._indexed(sim, "set_actor_root_state_tensor_indexed", source, ids, count)
        sim.root[rows] = source.array.reshape(sim.root.shape)[rows]

    def set_dof_state_tensor_indexed(self, sim, source, ids, count):
        rows = self._indexed(sim, "set_dof_state_tensor_indexed", source, ids, count)
        sim.dof[rows] = source.array.reshape(sim.dof.shape)[rows]

    def set_dof_position_target_tensor(self, sim, source):
        self._setter(sim, "set_dof_position_target_tensor")
        assert source.array.dtype == np.float32
        sim.target = source.array.reshape(sim.target.shape).copy()

    def apply_rigid_body_force_tensors(self, sim, forceTensor=None, torqueTensor=None, space=ENV_SPACE):
        self._setter(sim, "apply_rigid_body_force_tensors")
        assert space == ENV_SPACE and torqueTensor is None, "the stand-in knows forces along the env's axes"
        assert forceTensor.array.dtype == np.float32
        sim.push[:] = forceTensor.array.reshape(sim.push.shape)


def _turn(vector, quat, back=False):
    """Turn a vector by a quaternion wxyz, or by its inverse."""
    out, inverse = np.empty(3), np.empty(4)
    mujoco.mju_negQuat(inverse, quat)
    mujoco.mju_rotVecQuat(out, vector, inverse if back else quat)
    return out


_GYM = []


def acquire_gym():
    """The one gym of this process."""
    if not _GYM:
        _GYM.append(Gym())
    return _GYM[0]
