"""2-D detectors: scripts with inline metadata (PEP 723), each run in an environment of its own.

They import nothing of the kit but `detector_script.py` beside them, and the kit never imports them; `data_prep.detect`
runs them and reads the file they write.
"""
