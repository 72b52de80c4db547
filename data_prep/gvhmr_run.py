"""GVHMR on a video, in an environment of its own: what `reconstruct VIDEO --encoder gvhmr` asks.

GVHMR (Shen et al. 2024) is for education, research and non-profit use only. Nothing of it comes with the kit: uv fetches the
package `gvhmr`, the user its checkpoints and SMPL-X. The script `detectors/gvhmr_motion.py` runs it; `data_prep.gvhmr` reads
what it leaves. Results are kept in the user's cache folder, as detections are.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from data_prep.cache import cache_folder
from data_prep.detect import GVHMR, run_script, script_bar
from data_prep.gvhmr import read_gvhmr
from data_prep.own_shape import FOLDER, model_at_hand
from data_prep.rest_shape import read_rest_shape
from data_prep.video import VideoInfo, read_video_info
from data_prep.worlds import SeenBody
from physhmr_kit.motion.clip import CONTROL_FPS
from physhmr_kit.utils.errors import KitError

CHECKPOINTS = (
    "gvhmr/gvhmr_siga24_release.ckpt", "hmr2/epoch=10-step=25000.ckpt", "vitpose/vitpose-h-multi-coco.pth",
    "yolo/yolov8x.pt",
)  # fmt: skip
"""Files of the weights' folder, as GVHMR's authors name them."""

RESULTS = ("hmr4d_results.pt", "preprocess/vitpose.pt")
"""Files that a run leaves and `data_prep.gvhmr` reads."""

_SMPLX = "SMPLX_NEUTRAL"


@dataclass(frozen=True)
class Weights:
    """The user's files: the folder of `CHECKPOINTS`, and SMPLX_NEUTRAL.npz; absolute paths."""

    folder: Path
    body_model: Path

    @classmethod
    def find(cls, folder: str | os.PathLike | None) -> Weights:
        """Look for everything that GVHMR needs, before any work.

        Args:
            folder: of the checkpoints; SMPL-X is looked for in its body_models/smplx, then in `PHYSHMR_BODY_MODELS`.

        Raises:
            KitError: no folder, a checkpoint or SMPL-X absent or another model; the message says where it comes from.
        """
        if folder is None:
            raise KitError(f"gvhmr needs --encoder-weights: fetch {GVHMR.weights}")
        folder = Path(folder).expanduser().absolute()
        absent = [name for name in CHECKPOINTS if not (folder / name).is_file()]
        if absent:
            raise KitError(f"{folder}: no {', no '.join(absent)} there; gvhmr needs {GVHMR.weights}")
        inside = folder / "body_models" / "smplx" / f"{_SMPLX}.npz"
        body_model = inside if inside.is_file() else model_at_hand(_SMPLX)
        if body_model is None or body_model.suffix != ".npz":
            raise KitError(
                f"{inside}: no such body model, and gvhmr needs SMPL-X: register at https://smpl-x.is.tue.mpg.de, put "
                f"{_SMPLX}.npz there or into the folder that {FOLDER} names"
            )
        read_rest_shape(body_model, torch.zeros(10), "SMPL-X")  # or another body's file would be noticed after the run
        return cls(folder, body_model.absolute())


def run_gvhmr(
    video: str | os.PathLike,
    weights: Weights,
    focal: float | None = None,
    moving: bool = False,
    scale: float | None = None,
    cache: str | os.PathLike | None = None,
    progress: bool = True,
) -> SeenBody:
    """The person that covers most of a video, as GVHMR sees them, in GVHMR's world turned z-up, metres.

    Args:
        video: one shot that shows one person throughout; GVHMR knows no cuts.
        focal: pixels of the upright video; the file's own word, or the image's diagonal, when omitted.
        moving: the camera moves and its turning is followed (SimpleVO); else it is taken for fixed.
        scale: size of the person beside the mean shape, in place of what SMPL-X says of the estimated shape.
        cache: folder for results; `cache_folder()` by default. progress: show a bar on a terminal.

    Returns:
        the body at the video's rate, or at 30 fps where GVHMR has put it on that.

    Raises:
        KitError: not a video, no environment, a run that failed or left too little, or one of another video.
    """
    video, cache = Path(video).absolute(), Path(cache or cache_folder()).absolute()
    info = read_video_info(video)
    kept = cache / "gvhmr" / _key(video, weights, focal, moving)

    def read(folder: Path) -> SeenBody:
        body = read_gvhmr(folder, weights.body_model, scale=scale)
        return replace(body, fps=_rate(body, info, video), name=video.stem)

    with contextlib.suppress(KitError):  # a damaged one is made anew
        return read(kept)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".gvhmr-", dir=kept.parent) as draft:
            made = Path(draft) / "result"
            words = [str(video), str(made), "--weights", str(weights.folder), "--body-model", str(weights.body_model)]
            words += [] if focal is None else ["--focal", repr(focal)]
            words += ["--moving"] if moving else []
            with script_bar(GVHMR.name, progress) as show:
                run_script(GVHMR, words, Path(draft), show)
            lacking = [name for name in RESULTS if not (made / name).is_file()]
            if lacking:
                raise KitError(
                    f"gvhmr: ended without {' and '.join(lacking)}; is it the version of {GVHMR.script.name}?"
                )
            body = read(made)
            shutil.rmtree(kept, ignore_errors=True)
            os.replace(made, kept)
            return body
    except OSError as fault:
        raise KitError(
            f"{cache}: cannot be written ({fault.strerror}); set PHYSHMR_CACHE to a folder that can"
        ) from fault


def _rate(body: SeenBody, info: VideoInfo, video: Path) -> float:
    """Frames per second of a result. gvhmr keeps the frames of a film near 30 fps and puts others on 30.

    Raises:
        KitError: neither fits the video, or the pictures were of another size.
    """
    if body.camera.image_size != info.image_size:
        (a, b), (c, d) = body.camera.image_size, info.image_size
        raise KitError(f"{video}: {c}x{d}, but gvhmr saw {a}x{b}; turn it first (ffmpeg -i VIDEO UPRIGHT.mp4)")
    fps = info.fps if info.fps > 0 and len(body) == info.frames else CONTROL_FPS
    seconds = info.frames / info.fps if info.fps > 0 else len(body) / fps
    if abs(len(body) / fps - seconds) > 0.02 * seconds + 2 / fps:
        raise KitError(f"{video}: lasts {seconds:.2f} s, but gvhmr saw {len(body)} frames, {len(body) / fps:.2f} s")
    return fps


def _key(video: Path, weights: Weights, focal: float | None, moving: bool) -> str:
    """A name for the result that changes with whatever could change it; of the large checkpoints, size and time count."""
    files = [weights.body_model, *(weights.folder / name for name in CHECKPOINTS)]
    states = [(path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    key = hashlib.sha256(repr((focal, moving, states)).encode())
    for path in (video, GVHMR.script):
        with open(path, "rb") as file:
            key.update(hashlib.file_digest(file, "sha256").digest())
    return key.hexdigest()[:32]
