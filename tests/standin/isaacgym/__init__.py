"""A stand-in for Isaac Gym, for tests: the part of its API that the kit uses, over MuJoCo.

It is not NVIDIA's software and contains none of it; it was written from public documentation and from what public code
that uses Isaac Gym says about its behaviour: flat tensors over all actors, xyzw, world-frame velocities, three hinges of
a body merged into a spherical joint with rotation-vector positions, stale rigid bodies after a reset, int32 actor ids,
each setter once between two simulations, no torch before isaacgym. It is stricter than the original: where that would
silently misbehave, this raises. Not modelled: joint limits, effort limits, velocity caps, PhysX's contact model.

The environment variable ISAACGYM_STANDIN makes it misbehave on purpose; see `gymapi.Gym`.
"""

import sys

STANDIN = True

if "torch" in sys.modules:
    raise ImportError("PyTorch was imported before isaacgym modules.  Please import torch after isaacgym modules.")
# the worker must not import the kit, which does not run in Isaac Gym's interpreter
sys.modules["physhmr_kit"] = None
