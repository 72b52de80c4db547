"""Precision of matrix products, for networks only."""

from __future__ import annotations

import contextlib

import torch

from physhmr_kit.utils.errors import KitError


@contextlib.contextmanager
def matmul_precision(level: str):
    """torch's float32 matmul precision for a while: 'highest', 'high' or 'medium'. Kinematics must never run under less than the
    highest, so it is not set for good.

    Raises:
        KitError: another level.
    """
    if level not in ("highest", "high", "medium"):
        raise KitError(f"matmul is '{level}'; choose one of: highest, high, medium")
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(level)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
