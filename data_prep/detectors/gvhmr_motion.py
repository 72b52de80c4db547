# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = [
#     "gvhmr==1.6.1", "ultralytics>=8.2", "lapx>=0.5", "pycolmap>=0.6", "yacs>=0.1.8", "opencv-python>=4.9,<5", "timm>=1.0.9,<1.1",
# ]
#
# [tool.uv]
# exclude-dependencies = ["chumpy"]
# ///
"""GVHMR (Zhejiang University): one person's motion in the world and in the camera, from local weights.

Its licence permits education, research and non-profit use only; its person detector (ultralytics' YOLO) is AGPL-3.0, and
SMPL-X has its own licence. `--weights` names a folder with the four checkpoints of GVHMR's authors, `--body-model` the user's
SMPLX_NEUTRAL.npz; nothing is downloaded. Checkpoints are pickles, and gvhmr unpickles them: use only files from a trusted
source. Written against the code of gvhmr 1.6.1; its dependencies were resolved but never installed, and we have not run it with
weights. chumpy is excluded: it can no longer be built, and only SMPL's .pkl would need it. On Linux the environment takes
gigabytes: torch from the package index brings CUDA.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

from detector_script import Fault, send

VERSION = "gvhmr 1.6.1"
RESULTS = ("hmr4d_results.pt", "preprocess/vitpose.pt")


def import_gvhmr():
    """Import the package, which is slow and may fail."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "YOLO_OFFLINE": "true"}  # weights come only from the given folder
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ["GVHMR_CONFIG"] = os.devnull  # not the user's gvhmr.toml, which may name other models
    from gvhmr import pipeline  # noqa: F401
    from gvhmr.utils.preproc import Tracker  # noqa: F401


def link(source, name):
    """Link a file into the working folder under a name that GVHMR's option parser does not split."""
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    try:
        os.symlink(source, name)
    except OSError:  # Windows requires a privilege for links
        shutil.copyfile(source, name)
    return name


def check_weights():
    """Raise a Fault unless the checkpoints have the released sizes; gvhmr would download them again otherwise."""
    from gvhmr.utils import assets

    for name in ("gvhmr", "hmr2", "vitpose", "yolo"):
        asset = assets.ASSETS[name]
        if not assets.is_present(asset):
            found = f"{asset.path.stat().st_size} bytes" if asset.path.is_file() else "absent"
            raise Fault(f"{asset.path}: {found}, the released file has {asset.size}; download it again")


def recover(options):
    """Run GVHMR on the video in the working folder, and move `RESULTS` to `options.out`."""
    if shutil.which("ffprobe") is None:  # without it gvhmr assumes upright video at 30 fps
        raise Fault("ffprobe is not installed, and gvhmr needs it to read the video's header; install ffmpeg")
    check_weights()
    from gvhmr import pipeline
    from gvhmr.utils import assets

    link(options.body_model, "body_models/smplx/SMPLX_NEUTRAL.npz")
    video = link(options.video, "film" + Path(options.video).suffix)
    try:
        pipeline(ckpt_path=str(assets.GVHMR_CKPT))(
            video,
            static_camera=not options.moving,
            f_px=options.focal,
            output_root="run",
            progress=False,
            progress_callback=lambda done, label: send("stage", label) if done == 0 else None,
        )
    except IndexError as fault:
        if not Path("run/film/preprocess/bbx.pt").exists():  # it indexes an empty list of tracks
            raise Fault("found nobody in the video; the person must be fully in view and not too far away") from fault
        raise
    for name in RESULTS:
        result, target = Path("run/film") / name, Path(options.out) / name
        if result.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(result, target)


def main():
    """The command line, called by `data_prep.gvhmr_run`."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("video")
    parser.add_argument("out", help="folder for hmr4d_results.pt and preprocess/vitpose.pt")
    parser.add_argument("--weights", required=True, help="folder of the checkpoints")
    parser.add_argument("--body-model", required=True, help="SMPLX_NEUTRAL.npz")
    parser.add_argument("--focal", type=float, help="focal length, pixels of the upright video")
    parser.add_argument("--moving", action="store_true", help="the camera moves: estimate its rotation")
    parser.add_argument("--version", action="store_true", help="import gvhmr and print its version")
    if sys.argv[1:] == ["--version"]:
        import_gvhmr()
        return print(VERSION)
    options = parser.parse_args()
    os.environ["GVHMR_CHECKPOINTS"] = options.weights
    os.environ["GVHMR_BODY_MODELS"] = str(Path("body_models").absolute())
    try:
        import_gvhmr()
        send("ready")
        recover(options)
    except Fault as fault:
        sys.exit(f"error: {fault}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
