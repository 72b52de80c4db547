"""Precision of matrix products in networks."""

from __future__ import annotations

import contextlib

import torch

from physhmr_kit.utils.errors import KitError


@contextlib.contextmanager
def matmul_precision(level: str):
    """Set torch's float32 matmul precision within a block: 'highest', 'high' or 'medium'. It is restored afterwards, because
    kinematics needs the highest.

    Raises:
        KitError: unknown level.
    """
    if level not in ("highest", "high", "medium"):
        raise KitError(f"matmul is '{level}'; choose one of: highest, high, medium")
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(level)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
