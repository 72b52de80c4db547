"""Weights on disk: safetensors files with the settings of the network in the header."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from physhmr_kit.learning.networks import Policy
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.files import atomic

BUNDLED = Path(__file__).resolve().parent.parent / "weights"
"""Folder of the bundled weights."""


def save_weights(module: nn.Module, path: str | os.PathLike, settings: dict, half: bool = False) -> Path:
    """Write the weights of a module and the settings to rebuild it, atomically.

    Args:
        settings: JSON-serialisable.
        half: store matrices as float16 (read back as float32).
    """
    tensors = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
    if half:
        tensors = {k: v.half() if v.dtype == torch.float32 and v.ndim >= 2 else v for k, v in tensors.items()}
    with atomic(path) as part:
        save_file(tensors, part, metadata={"physhmr_kit": json.dumps(settings)})
    return Path(path)


def read_weights(path: str | os.PathLike) -> tuple[dict[str, torch.Tensor], dict]:
    """Tensors (floats as float32) and settings of a weights file.

    Raises:
        KitError: missing, not safetensors (e.g. a git-lfs pointer), or not of this kit.
    """
    path = Path(path)
    if not path.is_file():
        raise KitError(f"{path}: no such weights file")
    if path.read_bytes()[:7] == b"version":
        raise KitError(f"{path}: a git-lfs pointer, not the weights; run 'git lfs pull'")
    try:
        with safe_open(path, framework="pt") as f:
            header = (f.metadata() or {}).get("physhmr_kit")
            tensors = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as fault:
        raise KitError(f"{path}: not a safetensors weights file ({fault})") from fault
    if header is None:
        raise KitError(f"{path}: safetensors, but not weights of physhmr_kit (no settings in its header)")
    return {k: v.float() if v.dtype == torch.float16 else v for k, v in tensors.items()}, json.loads(header)


def save_policy(policy: Policy, path: str | os.PathLike, stage: str, half: bool = False, **about) -> Path:
    """Write a policy; `about` (commit, command, samples, ...) goes into the header."""
    return save_weights(policy, path, {"stage": stage} | policy.spec | about, half)


def load_policy(path: str | os.PathLike) -> Policy:
    """Read a policy.

    Raises:
        KitError: as `read_weights`, or if the file does not contain a policy.
    """
    tensors, settings = read_weights(path)
    try:
        policy = Policy(settings["groups"], settings["hidden"], settings["std"], settings["control"])
        policy.load_state_dict(tensors)
    except (KeyError, RuntimeError) as fault:
        raise KitError(f"{path}: holds weights of stage '{settings.get('stage', '?')}', not a policy") from fault
    return policy.eval()
