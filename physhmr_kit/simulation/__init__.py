"""The physics behind one small batched contract (`contract.py`); a simulator knows bodies and forces, no rewards, no motion.

`mujoco_cpu` runs everywhere through MuJoCo's native rollout threads, `mujoco_gpu` is mujoco_warp, `isaac_gym` lives in a
worker process of its own.
"""

from physhmr_kit.simulation.contract import CONTROL_DT, SimState, Simulator, SimulatorError
from physhmr_kit.simulation.registry import SIMULATORS, choose_simulator, make_simulator

__all__ = ["CONTROL_DT", "SIMULATORS", "SimState", "Simulator", "SimulatorError", "choose_simulator", "make_simulator"]
