"""The physics behind one small batched contract (`contract.py`); a simulator handles bodies and forces, no rewards, no motion.

`mujoco_cpu` runs everywhere through MuJoCo's native rollout threads, `mujoco_gpu` is mujoco_warp, `isaac_gym` lives in a
worker process of its own.
"""

from typing import TYPE_CHECKING

from physhmr_kit.simulation.registry import SIMULATORS, choose_simulator, make_simulator

if TYPE_CHECKING:
    from physhmr_kit.simulation.contract import CONTROL_DT, SimState, Simulator, SimulatorError

__all__ = ["CONTROL_DT", "SIMULATORS", "SimState", "Simulator", "SimulatorError", "choose_simulator", "make_simulator"]


def __getattr__(name: str):
    # the contract needs torch, which takes seconds to import; listing the simulators' names should not
    if name in __all__:
        from physhmr_kit.simulation import contract

        return getattr(contract, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
