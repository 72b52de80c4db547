"""2-D detectors: single-file scripts with inline metadata (PEP 723), each run in an environment of its own.

They import nothing of the kit, and the kit never imports them; `data_prep.detect` runs them and reads the file they write.
"""
