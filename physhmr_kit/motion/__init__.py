"""Motion data and kinematics: clips, the motion library, forward kinematics, demo and generated motions, grounding, export.

Start with `clip.py`; `data_prep.sources` loads the clips a user names (demo motions, files, folders).
"""
