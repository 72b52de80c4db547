"""Number of threads that PyTorch uses while environments are stepped."""

from __future__ import annotations

import contextlib

import torch


@contextlib.contextmanager
def one_thread():
    """Run PyTorch on one thread within the block.

    A step is hundreds of short operations; waking a second thread for each costs more than it saves, while the simulator's own
    threads use all cores (docs/performance.md).
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
