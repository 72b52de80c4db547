"""Other people's data in, the kit's `Clip` out: one module per source, each with one reading function.

Readers build a `SourceMotion`; `retarget.py` carries it to SMPL's 24 joints; `python -m data_prep.report` says how well.
"""
