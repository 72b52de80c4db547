"""Isaac Gym behind the contract: `simulator.py` is the kit's side, `process.py` the wire, `worker.py` what another interpreter runs.

`asset.py` writes the humanoid for its importer, `joints.py` translates between hinges and its spherical joints.
"""
