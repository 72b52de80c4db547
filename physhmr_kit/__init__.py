"""physhmr_kit: from one monocular video to human motion that obeys physics, after PhysHMR (arXiv 2510.02566)."""

__version__ = "0.1.0"
