"""Isaac Gym as a Simulator: `simulator.py` is the kit's side, `worker.py` runs in Isaac Gym's interpreter, `process.py` connects them.

`asset.py` writes the humanoid for Isaac Gym's importer, `joints.py` converts between hinges and its spherical joints.
"""
