"""A stand-in for the package gvhmr 1.6.1, for tests: what the kit's script calls, up to the model.

It contains nothing of the original. As there, roots of files are read from the environment when `utils.assets` is imported; checkpoints
are told by their size; the video is opened by ffprobe; results lie in OUTPUT_ROOT/VIDEO. The run "finds" what lies in
the folder that GVHMR_STANDIN names, and notes in call.json there what it was asked; its file `mode` makes it misbehave.
"""

import inspect
import json
import os
import shutil
import sys
from pathlib import Path

_FOLDER = Path(os.environ["GVHMR_STANDIN"])
_MODE = (_FOLDER / "mode").read_text()
sys.modules["physhmr_kit"] = sys.modules["data_prep"] = None  # a script that leans on the kit would not run elsewhere
if _MODE == "broken":
    raise ImportError("libcudart.so.13: cannot open shared object file")


class GVHMRPipeline:
    """Keywords of 1.6.1."""

    def __call__(
        self, video, *, static_camera=False, camera=None, detector=None, pose2d=None, backbone=None, f_mm=None, f_px=None,
        intrinsics=None, flip_test=False, world_from_incam=True, render=False, mesh="smpl", output_dir=None, output_root=None,
        render_scale=None, recipe=None, set_overrides=None, progress=True, progress_callback=None,
    ):  # fmt: skip
        from gvhmr.utils import assets

        frame = inspect.currentframe()
        asked = {k: v for k, v in frame.f_locals.items() if isinstance(v, bool | float | str | None)}
        body = assets.BODY_MODEL_ROOT / "smplx" / "SMPLX_NEUTRAL.npz"
        asked |= {"body_model": str(body.resolve()), "film": str(Path(video).resolve())}
        asked["offline"] = [os.environ.get(name) for name in ("HF_HUB_OFFLINE", "YOLO_OFFLINE", "GVHMR_CONFIG")]
        with open(_FOLDER / "calls.jsonl", "a") as log:
            log.write(json.dumps(asked) + "\n")
        for fraction in (0.0, 0.5, 1.0):
            progress_callback(fraction, "Tracking person")
        out = Path(output_root or "outputs/demo") / Path(video).stem
        if _MODE == "nobody":
            [][0]
        if _MODE == "memory":
            raise RuntimeError("CUDA error: out of memory")
        shutil.copytree(_FOLDER / "result", out)
        (out / "preprocess" / "bbx.pt").touch()
        if _MODE == "lacking":
            (out / "preprocess" / "vitpose.pt").unlink()


def pipeline(task="human-motion-recovery", *, model="nowhere/gvhmr", device=None, ckpt_path=None):
    """As there, weights are fetched when no path is given; here that fails."""
    assert Path(ckpt_path).is_file()
    return GVHMRPipeline()
