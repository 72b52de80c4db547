"""The physics behind one small batched contract (`contract.py`); a simulator knows bodies and forces, no rewards, no motion.

`mujoco_cpu` runs everywhere through MuJoCo's native rollout threads.
"""

from physhmr_kit.simulation.contract import CONTROL_DT, SimState, Simulator
from physhmr_kit.simulation.registry import SIMULATORS, make_simulator

__all__ = ["CONTROL_DT", "SIMULATORS", "SimState", "Simulator", "make_simulator"]
