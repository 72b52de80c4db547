"""Stand-in: the person detector can be imported."""


class Tracker:
    """Never made."""
