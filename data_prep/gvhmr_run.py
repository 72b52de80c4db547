"""Runs GVHMR on a video, in its own environment, for `reconstruct VIDEO --encoder gvhmr`.

GVHMR (Shen et al. 2024) is for education, research and non-profit use only. It does not come with the kit: uv installs the
package `gvhmr`, and the user downloads its checkpoints and SMPL-X. The script `detectors/gvhmr_motion.py` runs it;
`data_prep.gvhmr` reads its output. Results are cached like detections.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from data_prep.cache import cache_folder
from data_prep.detect import GVHMR, content_key, draft_folder, run_script, script_bar
from data_prep.gvhmr import read_gvhmr
from data_prep.retargeting.own_shape import FOLDER, model_at_hand
from data_prep.retargeting.rest_shape import read_rest_shape
from data_prep.video import VideoInfo, read_video_info
from data_prep.worlds import SeenBody
from physhmr_kit.motion.clip import CONTROL_FPS
from physhmr_kit.utils.errors import KitError

CHECKPOINTS = (
    "gvhmr/gvhmr_siga24_release.ckpt", "hmr2/epoch=10-step=25000.ckpt", "vitpose/vitpose-h-multi-coco.pth",
    "yolo/yolov8x.pt",
)  # fmt: skip
"""Files in the weights folder, as GVHMR's authors name them."""

RESULTS = ("hmr4d_results.pt", "preprocess/vitpose.pt")
"""Files that a run writes and `data_prep.gvhmr` reads."""

_SMPLX = "SMPLX_NEUTRAL"


@dataclass(frozen=True)
class Weights:
    """The folder with `CHECKPOINTS`, and SMPLX_NEUTRAL.npz; absolute paths."""

    folder: Path
    body_model: Path

    @classmethod
    def find(cls, folder: str | os.PathLike | None) -> Weights:
        """Find everything GVHMR needs, before any work is done.

        Args:
            folder: of the checkpoints; SMPL-X is searched in its body_models/smplx, then in `PHYSHMR_BODY_MODELS`.

        Raises:
            KitError: no folder given, or a file missing or wrong; the message says where to get it.
        """
        if folder is None:
            raise KitError(f"gvhmr needs --encoder-weights: download {GVHMR.weights}")
        folder = Path(folder).expanduser().absolute()
        absent = [name for name in CHECKPOINTS if not (folder / name).is_file()]
        if absent:
            raise KitError(f"{folder}: no {', no '.join(absent)} in the folder; gvhmr needs {GVHMR.weights}")
        inside = folder / "body_models" / "smplx" / f"{_SMPLX}.npz"
        body_model = inside if inside.is_file() else model_at_hand(_SMPLX)
        if body_model is None or body_model.suffix != ".npz":
            raise KitError(
                f"{inside}: no such body model, and gvhmr needs SMPL-X: register at https://smpl-x.is.tue.mpg.de and put "
                f"{_SMPLX}.npz there or into the folder named by {FOLDER}"
            )
        read_rest_shape(body_model, torch.zeros(10), "SMPL-X")  # fail now on a wrong file, not after the run
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
    """GVHMR's estimate of the most prominent person in a video, in GVHMR's world rotated to z-up, metres.

    Args:
        video: a single shot of one person; GVHMR does not handle cuts.
        focal: pixels of the upright video; by default from the file's metadata, or the image diagonal.
        moving: estimate the camera's rotation (SimpleVO); otherwise the camera is assumed fixed.
        scale: size of the person relative to the mean shape; by default SMPL-X's for the estimated betas.
        cache: folder for results; `cache_folder()` by default. progress: show a progress bar on a terminal.

    Returns:
        the estimate at the video's rate, or at 30 fps where GVHMR resampled the video.

    Raises:
        KitError: not a video, no environment, a failed or incomplete run, or a result that does not match the video.
    """
    video, cache = Path(video).absolute(), Path(cache or cache_folder()).absolute()
    info = read_video_info(video)
    cached = cache / "gvhmr" / _key(video, weights, focal, moving)

    def read(folder: Path) -> SeenBody:
        body = read_gvhmr(folder, weights.body_model, scale=scale)
        return replace(body, fps=_rate(body, info, video), name=video.stem)

    with contextlib.suppress(KitError):  # a damaged result is replaced
        return read(cached)
    with draft_folder(cache, cached) as draft:
        result = draft / "result"
        arguments = [str(video), str(result), "--weights", str(weights.folder), "--body-model", str(weights.body_model)]
        arguments += [] if focal is None else ["--focal", repr(focal)]
        arguments += ["--moving"] if moving else []
        with script_bar(GVHMR.name, progress) as show:
            run_script(GVHMR, arguments, draft, show)
        missing = [name for name in RESULTS if not (result / name).is_file()]
        if missing:
            raise KitError(f"gvhmr: ended without {' and '.join(missing)}; does its version match {GVHMR.script.name}?")
        body = read(result)
        shutil.rmtree(cached, ignore_errors=True)
        os.replace(result, cached)
    return body


def _rate(body: SeenBody, info: VideoInfo, video: Path) -> float:
    """Frames per second of a result: gvhmr keeps the frames of a video near 30 fps and resamples others to 30.

    Raises:
        KitError: neither matches the video, or the image size differs.
    """
    if body.camera.image_size != info.image_size:
        (a, b), (c, d) = body.camera.image_size, info.image_size
        raise KitError(f"{video}: {c}x{d}, but gvhmr saw {a}x{b}; rotate it first (ffmpeg -i VIDEO UPRIGHT.mp4)")
    fps = info.fps if info.fps > 0 and len(body) == info.frames else CONTROL_FPS
    seconds = info.frames / info.fps if info.fps > 0 else len(body) / fps
    if abs(len(body) / fps - seconds) > 0.02 * seconds + 2 / fps:
        raise KitError(f"{video}: lasts {seconds:.2f} s, but gvhmr saw {len(body)} frames, {len(body) / fps:.2f} s")
    return fps


def _key(video: Path, weights: Weights, focal: float | None, moving: bool) -> str:
    """Cache key of a result; the large checkpoints enter by size and modification time."""
    files = [weights.body_model, *(weights.folder / name for name in CHECKPOINTS)]
    states = [(path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return content_key((focal, moving, states), (video, GVHMR.script))
