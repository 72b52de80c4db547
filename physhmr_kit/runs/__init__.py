"""What surrounds a training run: callbacks, its history, its report, its settings on disk, reference curves.

Nothing in here learns; the stages are complete without it.
"""
