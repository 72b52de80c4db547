"""The part of `isaac_gym` that runs in Isaac Gym's interpreter: a script, started by path, never imported.

It needs Python 3.8, isaacgym, torch and numpy, and nothing of the kit. Its arrays are in the importer's order of drives and
bodies; `simulator.py` converts them.

Usage: worker.py FD, where FD is a connected socket. Requests and answers are lines of JSON. Both sides map these arrays from
a file:

    set_root (N, 13), set_dof (N, D, 2), pending (N,)   states to set before the next step, in the rows where pending is 1
    target (N, D)                                       position targets
    push (N, B, 3)                                      forces on the bodies during a step with `pushed`, N
    root (N, 13), dof (N, D, 2), contact (N, B, 3), torque (N, D), bodies (N, B, 13)   the state after the step

float32, pending uint8; quaternions xyzw, world frame.
"""

import ctypes
import json
import signal
import socket
import sys
import traceback

SPACING = 5.0  # metres between environments; they cannot collide, but distance speeds up the broad phase
START_HEIGHT = 1.0


class Worker:
    """One simulation. Requests call its methods."""

    def __init__(self, setup):
        # Isaac Gym must be imported before torch
        import isaacgym  # isort: skip
        from isaacgym import gymapi, gymtorch  # isort: skip
        import numpy  # isort: skip
        import torch  # isort: skip

        self.np, self.torch, self.gymtorch = numpy, torch, gymtorch
        self.gym = gymapi.acquire_gym()
        self.standin = bool(getattr(isaacgym, "STANDIN", False))
        self.setup = setup
        self.count = setup["num_envs"]
        memory = numpy.memmap(setup["memory"], dtype=numpy.uint8, mode="r+")
        places = setup["arrays"].items()
        self.arrays = {k: numpy.ndarray(shape, kind, memory, offset) for k, (kind, shape, offset) in places}

    def load(self):
        """Start the engine and load the asset; returns the names of its drives and bodies in the engine's order."""
        from isaacgym import gymapi

        setup = self.setup
        gpu = self.torch.cuda.is_available()
        if setup["need_cuda"] and not gpu:
            return {"error": f"no CUDA device for torch {self.torch.__version__} of this interpreter"}
        self.gpu = gpu
        self.device = "cuda:" + str(setup["device_index"]) if gpu else "cpu"
        params = gymapi.SimParams()
        params.dt = setup["timestep"]
        params.substeps = 1  # a control step calls simulate several times
        params.up_axis = gymapi.UP_AXIS_Z
        params.gravity = gymapi.Vec3(0.0, 0.0, -9.81)
        params.use_gpu_pipeline = gpu
        physx = params.physx  # MimicKit's values
        physx.use_gpu = gpu
        physx.num_threads = 4
        physx.solver_type = 1
        physx.num_position_iterations = 4
        physx.num_velocity_iterations = 0
        physx.contact_offset = 0.02
        physx.rest_offset = 0.0
        physx.bounce_threshold_velocity = 0.2
        physx.max_depenetration_velocity = 10.0
        physx.default_buffer_size_multiplier = 10.0
        physx.max_gpu_contact_pairs = 8 * 1024 * 1024
        self.sim = self.gym.create_sim(setup["device_index"], -1, gymapi.SIM_PHYSX, params)
        if self.sim is None:
            return {"error": "create_sim returned no simulation"}
        plane = gymapi.PlaneParams()
        plane.normal = gymapi.Vec3(0.0, 0.0, 1.0)
        plane.static_friction = 1.0
        plane.dynamic_friction = 1.0
        plane.restitution = 0.0
        self.gym.add_ground(self.sim, plane)
        options = gymapi.AssetOptions()
        options.angular_damping = 0.01
        options.max_angular_velocity = 1000.0
        options.max_linear_velocity = 1000.0
        options.default_dof_drive_mode = int(gymapi.DOF_MODE_NONE)
        self.asset = self.gym.load_asset(self.sim, setup["asset_folder"], setup["asset_file"], options)
        if self.asset is None:
            return {"error": "load_asset could not read the humanoid"}
        return {
            "dofs": list(self.gym.get_asset_dof_names(self.asset)),
            "bodies": list(self.gym.get_asset_rigid_body_names(self.asset)),
        }

    def build(self, drives, filters):
        """Create the actors.

        Args:
            drives: (stiffness, damping, armature, torque limit) of each dof.
            filters: collision filter of each body.
        """
        from isaacgym import gymapi

        gym, np = self.gym, self.np
        stiffness, damping, armature, effort = np.array(drives, dtype=np.float32).T
        shapes = gym.get_asset_rigid_body_shape_indices(self.asset)
        half = SPACING / 2
        pose = gymapi.Transform()
        pose.p = gymapi.Vec3(0.0, 0.0, START_HEIGHT)
        per_row = max(1, int(self.count**0.5))
        ids, masses = [], []
        for index in range(self.count):
            env = gym.create_env(self.sim, gymapi.Vec3(-half, -half, 0.0), gymapi.Vec3(half, half, SPACING), per_row)
            actor = gym.create_actor(env, self.asset, pose, "humanoid", index, 0, 0)
            gym.enable_actor_dof_force_sensors(env, actor)
            props = gym.get_actor_dof_properties(env, actor)
            props["driveMode"].fill(gymapi.DOF_MODE_POS)
            props["stiffness"][:] = stiffness
            props["damping"][:] = damping
            props["armature"][:] = armature
            props["effort"][:] = effort
            gym.set_actor_dof_properties(env, actor, props)
            parts = gym.get_actor_rigid_shape_properties(env, actor)
            for body, bits in enumerate(filters):
                span = shapes[body]
                for part in range(span.start, span.start + span.count):
                    parts[part].filter = bits
                    parts[part].friction = 1.0
                    parts[part].restitution = 0.0
            gym.set_actor_rigid_shape_properties(env, actor, parts)
            if index == 0:
                masses = [float(p.mass) for p in gym.get_actor_rigid_body_properties(env, actor)]
            ids.append(gym.get_actor_index(env, actor, gymapi.DOMAIN_SIM))
        gym.prepare_sim(self.sim)

        wrap = self.gymtorch.wrap_tensor
        self.all_root = wrap(gym.acquire_actor_root_state_tensor(self.sim))
        self.all_dof = wrap(gym.acquire_dof_state_tensor(self.sim))
        self.all_bodies = wrap(gym.acquire_rigid_body_state_tensor(self.sim))
        self.all_contact = wrap(gym.acquire_net_contact_force_tensor(self.sim))
        self.all_torque = wrap(gym.acquire_dof_force_tensor(self.sim))
        # with one actor per env, the flat tensors are batches of envs in the order of creation
        self.root = self.all_root.view(self.count, 13)
        self.dof = self.all_dof.view(self.count, -1, 2)
        self.bodies = self.all_bodies.view(self.count, -1, 13)
        self.contact = self.all_contact.view(self.count, -1, 3)
        self.torque = self.all_torque.view(self.count, -1)
        self.actor_ids = self.torch.tensor(ids, dtype=self.torch.int32, device=self.device)
        gym.refresh_actor_root_state_tensor(self.sim)
        # all actors are at the origin of their env: the tensor holds the positions of the envs in the world
        self.origin = self.root[:, :3].clone()
        self.origin[:, 2] = 0.0
        return {"masses": masses, "standin": self.standin, "device": self.device}

    def step(self, substeps, with_bodies=False, pushed=False):
        """Set the pending rows, then simulate, with external forces if `pushed`, and write the new state to the arrays."""
        from isaacgym import gymapi

        gym, torch = self.gym, self.torch
        self._place()
        # the tensor must outlive the call
        self.target = torch.from_numpy(self.arrays["target"].copy()).to(self.device).contiguous()
        gym.set_dof_position_target_tensor(self.sim, self.gymtorch.unwrap_tensor(self.target))
        if pushed:
            self.push = torch.from_numpy(self.arrays["push"].copy()).to(self.device).contiguous()
        for _ in range(substeps):
            if pushed:  # at the centres of mass, world axes; valid for one simulate
                force = self.gymtorch.unwrap_tensor(self.push)
                gym.apply_rigid_body_force_tensors(self.sim, force, space=gymapi.ENV_SPACE)
            gym.simulate(self.sim)
            if not self.gpu:
                gym.fetch_results(self.sim, True)
        gym.refresh_dof_state_tensor(self.sim)
        gym.refresh_actor_root_state_tensor(self.sim)
        gym.refresh_net_contact_force_tensor(self.sim)
        gym.refresh_dof_force_tensor(self.sim)
        root = self.root.clone()
        root[:, :3] -= self.origin
        self._give("root", root)
        self._give("dof", self.dof)
        self._give("contact", self.contact)
        self._give("torque", self.torque)
        if with_bodies:
            gym.refresh_rigid_body_state_tensor(self.sim)
            bodies = self.bodies.clone()
            bodies[:, :, :3] -= self.origin.unsqueeze(1)
            self._give("bodies", bodies)
        return {}

    def _place(self):
        # each setter may be called only once between two simulations
        rows = self.np.flatnonzero(self.arrays["pending"])
        if len(rows) == 0:
            return
        torch, unwrap = self.torch, self.gymtorch.unwrap_tensor
        where = torch.from_numpy(rows).to(self.device)
        root = torch.from_numpy(self.arrays["set_root"][rows]).to(self.device)
        root[:, :3] += self.origin[where]
        self.root[where] = root
        self.dof[where] = torch.from_numpy(self.arrays["set_dof"][rows]).to(self.device)
        self.placed = self.actor_ids[where].contiguous()
        self.gym.set_actor_root_state_tensor_indexed(
            self.sim, unwrap(self.all_root), unwrap(self.placed), len(self.placed)
        )
        self.gym.set_dof_state_tensor_indexed(self.sim, unwrap(self.all_dof), unwrap(self.placed), len(self.placed))
        self.arrays["pending"][:] = 0

    def _give(self, name, tensor):
        self.arrays[name][...] = tensor.cpu().numpy()


def die_with_parent():
    """Let Linux kill this process when the thread that started it ends, even while the engine hangs."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1: PR_SET_PDEATHSIG


def main(fd):
    """Answer requests until the socket is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the parent, which closes this process
    stream = socket.socket(fileno=fd).makefile("rw", encoding="utf-8", newline="\n")
    worker = None
    for line in stream:
        request = json.loads(line)
        name = request.pop("do")
        try:
            if name == "start":
                if request.pop("tied"):
                    die_with_parent()
                worker = Worker(request)
                answer = {}
            elif name == "exit":
                return
            else:
                answer = getattr(worker, name)(**request)
        except Exception as fault:
            place = traceback.extract_tb(fault.__traceback__)[-1]
            what = f"{type(fault).__name__}: {fault} ({place.filename}, line {place.lineno})"
            answer = {"error": " ".join(what.split())}
        try:
            stream.write(json.dumps(answer) + "\n")
            stream.flush()
        except OSError:
            return


if __name__ == "__main__":
    main(int(sys.argv[1]))
