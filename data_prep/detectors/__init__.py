"""2-D detectors and GVHMR: scripts with inline metadata (PEP 723), each run in its own environment.

They import nothing of the kit but `detector_script.py` in this folder, and the kit never imports them; `data_prep.detect`
and `data_prep.gvhmr_run` run them and read their output files.
"""
