"""Encoder weights on disk: half-precision safetensors, with the network's hyperparameters in the header."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.files import atomic
from physhmr_kit.vision.encoder import VisionEncoder

BUNDLED = Path(__file__).parent.parent / "weights" / "encoder.safetensors"
_KIND = "physhmr_kit.VisionEncoder"


def save_encoder(encoder: VisionEncoder, path: str | os.PathLike, **notes: str) -> Path:
    """Write weights as float16, atomically.

    Args:
        notes: further header entries, e.g. commit=..., steps=...
    """
    tensors = {
        name: value.detach().cpu().to(torch.float16).contiguous() for name, value in encoder.state_dict().items()
    }
    header = {"kind": _KIND, "hparams": json.dumps(encoder.hparams), **{k: str(v) for k, v in notes.items()}}
    with atomic(path) as part:
        save_file(tensors, part, metadata=header)
    return Path(path)


def load_encoder(path: str | os.PathLike | None = None, image_dim: int | None = None) -> VisionEncoder:
    """Load the bundled encoder, or one from a file, in float32, frozen, in evaluation mode.

    Args:
        image_dim: add an input for image features of this size to an encoder without one; the output stays the same
            until it is trained further.

    Raises:
        KitError: no such file, not a safetensors file, or weights of something else.
    """
    path = BUNDLED if path is None else Path(path)
    if not path.is_file():
        raise KitError(f"{path}: no such weights file; train one with `python -m physhmr_kit.fit --stage encoder`")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as fault:
        raise KitError(f"{path}: not a readable .safetensors weights file ({fault})") from fault
    if header.get("kind") != _KIND:
        raise KitError(f"{path}: holds '{header.get('kind', 'unknown')}' weights, not those of a vision encoder")
    try:
        sizes = json.loads(header["hparams"])
        grow = image_dim is not None and not sizes.get("image_dim")
        encoder = VisionEncoder(**(sizes | ({"image_dim": image_dim} if grow else {})))
        fresh = {k: v for k, v in encoder.state_dict().items() if grow and k.startswith("image.")}
        encoder.load_state_dict(tensors | fresh)
    except (KeyError, TypeError, ValueError, RuntimeError) as fault:
        raise KitError(
            f"{path}: the weights do not fit this version of the encoder; train it again or use the bundled one"
        ) from fault
    return encoder.eval().requires_grad_(False)
