"""Simulators behind one small batched interface, `contract.py`: bodies and forces, no rewards, no reference motion.

`mujoco_cpu` runs everywhere with MuJoCo's native rollout threads, `mujoco_gpu` is mujoco_warp, `isaac_gym` runs in a worker
process.
"""

from typing import TYPE_CHECKING

from physhmr_kit.simulation.registry import SIMULATORS, choose_simulator, make_simulator

if TYPE_CHECKING:
    from physhmr_kit.simulation.contract import CONTROL_DT, SimState, Simulator, SimulatorError

__all__ = ["CONTROL_DT", "SIMULATORS", "SimState", "Simulator", "SimulatorError", "choose_simulator", "make_simulator"]


def __getattr__(name: str):
    # the contract imports torch, which takes seconds; listing the simulators' names should not
    if name in __all__:
        from physhmr_kit.simulation import contract

        return getattr(contract, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
