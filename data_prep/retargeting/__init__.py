"""Retargeting: captured motion (`SourceMotion`) onto SMPL's 24 joints at the kit's proportions, and checks of the result."""
