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

Its licence permits education, research and non-profit use only; the person detector in it (ultralytics' YOLO) is AGPL-3.0, and
SMPL-X has a licence of its own. `--weights` names a folder with the four checkpoints of GVHMR's authors, `--body-model` the
user's SMPLX_NEUTRAL.npz; nothing is fetched. Checkpoints are pickles, and gvhmr opens them as such: take them from
where you trust. Written against the code of gvhmr 1.6.1; its dependencies were resolved but never installed, and it never ran
with weights where this was written. chumpy is left out: it cannot be built any more, and only SMPL's .pkl would need it. On
Linux the environment takes gigabytes: torch from the package index brings CUDA.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

from detector_script import Fault, tell

VERSION = "gvhmr 1.6.1"
RESULTS = ("hmr4d_results.pt", "preprocess/vitpose.pt")


def import_gvhmr():
    """Import what is slow or could be missing."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "YOLO_OFFLINE": "true"}  # weights come from the folder, never from elsewhere
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ["GVHMR_CONFIG"] = os.devnull  # not the user's gvhmr.toml, which may name other models
    from gvhmr import pipeline  # noqa: F401
    from gvhmr.utils.preproc import Tracker  # noqa: F401


def link(source, name):
    """A file of this folder that is one from elsewhere, under a name that says nothing to GVHMR's parser of options."""
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    try:
        os.symlink(source, name)
    except OSError:  # Windows wants a privilege for links
        shutil.copyfile(source, name)
    return name


def check_weights():
    """Raise a Fault unless the checkpoints are the released ones: gvhmr would fetch others, and tells by size."""
    from gvhmr.utils import assets

    for name in ("gvhmr", "hmr2", "vitpose", "yolo"):
        asset = assets.ASSETS[name]
        if not assets.is_present(asset):
            found = f"{asset.path.stat().st_size} bytes" if asset.path.is_file() else "absent"
            raise Fault(f"{asset.path}: {found}, the released file has {asset.size}; fetch it again")


def recover(options):
    """Run GVHMR on the video in this folder, and leave its two files that count in `options.out`."""
    if shutil.which("ffprobe") is None:  # without it gvhmr takes any video for upright and for 30 fps
        raise Fault("ffprobe is not installed, which gvhmr asks about the video; install ffmpeg")
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
            progress_callback=lambda done, label: tell("stage", label) if done == 0 else None,
        )
    except IndexError as fault:
        if not Path("run/film/preprocess/bbx.pt").exists():  # it takes the first of no tracks
            raise Fault("found nobody in the video; film one person whole, and not too far away") from fault
        raise
    for name in RESULTS:
        made = Path("run/film") / name
        if made.exists():
            kept = Path(options.out) / name
            kept.parent.mkdir(parents=True, exist_ok=True)
            os.replace(made, kept)


def main():
    """The command line; see `data_prep.gvhmr_run`, which builds it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("video")
    parser.add_argument("out", help="folder for hmr4d_results.pt and preprocess/vitpose.pt")
    parser.add_argument("--weights", required=True, help="folder of the checkpoints")
    parser.add_argument("--body-model", required=True, help="SMPLX_NEUTRAL.npz")
    parser.add_argument("--focal", type=float, help="focal length, pixels of the upright video")
    parser.add_argument("--moving", action="store_true", help="the camera moves: follow its turning")
    parser.add_argument("--version", action="store_true", help="say name and version, when gvhmr can be imported")
    if sys.argv[1:] == ["--version"]:
        import_gvhmr()
        return print(VERSION)
    options = parser.parse_args()
    os.environ["GVHMR_CHECKPOINTS"] = options.weights
    os.environ["GVHMR_BODY_MODELS"] = str(Path("body_models").absolute())
    try:
        import_gvhmr()
        tell("ready")
        recover(options)
    except Fault as fault:
        sys.exit(f"error: {fault}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
