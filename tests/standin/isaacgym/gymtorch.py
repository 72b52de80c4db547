"""Tensors in and out: descriptors that share memory with torch."""

import torch


class Descriptor:
    """Names a block of memory; all that gymapi takes and gives."""

    def __init__(self, array):
        self.array = array


def wrap_tensor(descriptor):
    """A torch tensor over the memory of a descriptor."""
    return torch.from_numpy(descriptor.array)


def unwrap_tensor(tensor):
    """A descriptor of a tensor's memory, which must be in one piece."""
    if not tensor.is_contiguous():
        raise RuntimeError("input tensor must be contiguous")
    return Descriptor(tensor.numpy())
