"""Support for training runs: callbacks, history, final report, settings on disk, reference curves.

The stages also train without it.
"""
