"""Stand-in: where files are and how large the released ones are (ten bytes each)."""

import os
from dataclasses import dataclass
from pathlib import Path

CHECKPOINT_ROOT = Path(os.environ["GVHMR_CHECKPOINTS"])
BODY_MODEL_ROOT = Path(os.environ["GVHMR_BODY_MODELS"])
GVHMR_CKPT = CHECKPOINT_ROOT / "gvhmr/gvhmr_siga24_release.ckpt"


@dataclass(frozen=True)
class Asset:
    path: Path
    size: int = 10


ASSETS = {
    "gvhmr": Asset(GVHMR_CKPT),
    "hmr2": Asset(CHECKPOINT_ROOT / "hmr2/epoch=10-step=25000.ckpt"),
    "vitpose": Asset(CHECKPOINT_ROOT / "vitpose/vitpose-h-multi-coco.pth"),
    "yolo": Asset(CHECKPOINT_ROOT / "yolo/yolov8x.pt"),
    "dpvo": Asset(CHECKPOINT_ROOT / "dpvo/dpvo.pth"),
}


def is_present(asset):
    return asset.path.exists() and asset.path.stat().st_size == asset.size
