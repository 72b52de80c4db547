"""Builds an untrained student of either kind."""

from __future__ import annotations

from physhmr_kit.env.settings import ESTIMATE_STUDENT_GROUPS, ESTIMATES, STUDENT_GROUPS
from physhmr_kit.learning.networks import Policy
from physhmr_kit.stages.settings import StudentPolicy


def fresh_student(settings: StudentPolicy, expert: Policy | None = None) -> Policy:
    """An untrained student: PhysHMR's, or one that starts as the expert and follows the refined estimate.

    Args:
        expert: initial weights of an 'estimate' student.

    Raises:
        ValueError: an 'estimate' student without an expert.
    """
    if settings.student == "paper":
        return Policy(settings.groups or STUDENT_GROUPS, settings.hidden, settings.std, "absolute")
    if expert is None:
        raise ValueError("a student of kind 'estimate' starts from an expert")
    shown = expert.reading([ESTIMATES.get(group, group) for group in expert.groups])
    return shown.widened([group for group in ESTIMATE_STUDENT_GROUPS if group not in shown.groups])
