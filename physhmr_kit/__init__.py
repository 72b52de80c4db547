"""physhmr_kit: from one monocular video to human motion that obeys physics, after PhysHMR (arXiv 2510.02566)."""

import contextlib

__version__ = "0.1.0"

# So that gymnasium.make_vec("PhysHMR/Tracking-v0") knows us; the environment itself is imported when one is made.
# `doctor` must also run where gymnasium is missing.
with contextlib.suppress(ImportError):
    import gymnasium

    gymnasium.register("PhysHMR/Tracking-v0", vector_entry_point="physhmr_kit.env.registration:make_tracking_vec")
