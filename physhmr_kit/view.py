"""`python -m physhmr_kit.view X`: show a clip, a rollout, a run or a recording.

    python -m physhmr_kit.view demo:walk_forward             a demo motion, in Rerun's window
    python -m physhmr_kit.view runs/distill/mine             the rollout of a run
    python -m physhmr_kit.view walk.bvh --save walk.rrd      write the recording and exit
    python -m physhmr_kit.view rollout.npz --picture p.png   a film strip, no Rerun needed
    python -m physhmr_kit.view out/walk --picture walk.webp --video walk.mp4    an animation: video, body over it, simulation
    python -m physhmr_kit.view rollout.rrd --web             a page on 127.0.0.1, for a machine without a display
    python -m physhmr_kit.view out/kinematic out/physics     side by side in one recording

X is a clip (.npz, .bvh, .amc), a rollout (.npz), a recording (.rrd), the folder of a run or a reconstruction, or demo:<name>.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.named import check_named
from physhmr_kit import cli
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.files import atomic

if TYPE_CHECKING:
    from physhmr_kit.env.rollout import Rollout
    from physhmr_kit.vision.track import VisualTrack

NO_DISPLAY = "there is no display here for Rerun's window; add --web, --save out.rrd or --picture out.png"


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = cli.make_parser("view", __doc__)
    add = parser.add_argument
    add("what", help="clip, rollout, recording, folder of a run or a reconstruction, or demo:<name>")
    add("others", nargs="*", help="rollouts or folders of the same motion, to compare with the first")
    add("--save", type=Path, help="write the recording to this file (.rrd) and exit")
    add("--picture", type=Path, help="write a film strip (.png, .svg, .pdf) or an animation (.webp, .gif) and exit")
    add("--video", type=Path, help="video of a reconstruction, drawn behind its animation")
    add("--web", action="store_true", help="serve a page on 127.0.0.1 instead of opening a window")
    options = parser.parse_args(argv)
    if options.save is not None and options.save.suffix != ".rrd":
        raise KitError(f"{options.save}: a recording ends in .rrd")

    if options.others:
        if options.picture is not None:
            raise KitError("a picture is drawn of one motion; record a comparison with --save out.rrd")
        motion = find_comparison([options.what, *options.others])
    else:
        motion = find_motion(options.what, want_npz=options.picture is not None)
    if options.picture is not None:
        _draw(motion, options)
        print(f"wrote {options.picture}")
    if options.save is not None:
        _record(motion, options.save)
        print(f"wrote {options.save}")
    if options.picture is None and options.save is None:
        return _look(motion, options.web)
    return 0


def _draw(motion, options) -> None:
    """Write the requested picture."""
    from physhmr_kit.viewer.animation import KINDS, animate
    from physhmr_kit.viewer.picture import filmstrip

    if isinstance(motion, Path):
        raise KitError(f"{motion}: a picture cannot be drawn from a recording; give the rollout's or clip's .npz")
    if options.picture.suffix in KINDS:
        track = track_beside(options.what)
        if options.video is not None and track is None:
            raise KitError(f"{options.what}: no track.npz, so the camera of the video is unknown; omit --video")
        animate(options.picture, motion, track, options.video)
    else:
        filmstrip(motion, options.picture)


def track_beside(what: str) -> VisualTrack | None:
    """The visual track in a folder, if there is one."""
    from physhmr_kit.vision.track import VisualTrack

    file = Path(what) / "track.npz"
    return VisualTrack.load(file) if file.is_file() else None


def find_motion(what: str, want_npz: bool = False):
    """Load a motion by name: a `Clip`, a `Rollout`, or the path of an .rrd.

    Args:
        what: see the module's docstring.
        want_npz: prefer the arrays in a folder to its recording.
    """
    path = Path(what)
    if path.is_dir():
        return _of_folder(path, want_npz)
    if path.suffix != ".rrd":
        check_named([what])
    if path.suffix in (".npz", ".rrd"):
        from physhmr_kit.viewer.files import load_motion

        return load_motion(path)
    from data_prep.sources import load_clips

    clips = load_clips([what], check=False)  # clips that training refuses can still be shown
    if len(clips) > 1:
        raise KitError(f"{what}: {len(clips)} clips; choose one, e.g. {what}:{clips[0].name}")
    return clips[0]


@dataclass(frozen=True)
class Comparison:
    """Rollouts of one motion, by label, and its visual track."""

    rollouts: dict[str, Rollout]
    track: VisualTrack | None


def find_comparison(names: list[str]) -> Comparison:
    """Load rollouts by name, labelled by the names of their folders or files."""
    from physhmr_kit.env.rollout import Rollout

    rollouts: dict[str, Rollout] = {}
    for name in names:
        found, path = find_motion(name, want_npz=True), Path(name)
        if not isinstance(found, Rollout):
            raise KitError(
                f"{name}: only rollouts are compared: rollout.npz, or the folder of a run or a reconstruction"
            )
        label = re.sub(r"[^\w-]", "_", path.resolve().name if path.is_dir() else path.stem)
        rollouts[label if label not in rollouts else f"{label}_{len(rollouts) + 1}"] = found
    return Comparison(rollouts, track_beside(names[0]))


def _of_folder(folder: Path, want_npz: bool):
    from physhmr_kit.viewer.files import load_motion

    recordings, arrays = ["rollout.rrd", "reconstruction.rrd"], ["rollout.npz", "reconstruction.npz"]
    for name in arrays + recordings if want_npz else recordings + arrays:
        if (folder / name).is_file():
            return load_motion(folder / name)
    segments = sorted(folder.glob("reconstruction_*.rrd"))
    if segments:
        raise KitError(f"{folder}: {len(segments)} segments; choose one, e.g. {segments[0]}")
    raise KitError(f"{folder}: no rollout.rrd or reconstruction.rrd in this folder; only finished runs have one")


def _record(motion, path: Path) -> None:
    if isinstance(motion, Path):
        with atomic(path) as part:
            shutil.copyfile(motion, part)
        return
    from physhmr_kit.viewer.recording import record, record_comparison

    if isinstance(motion, Comparison):
        record_comparison(path, motion.rollouts, motion.track)
    else:
        record(path, motion)


def _look(motion, web: bool) -> int:
    from physhmr_kit.viewer import serve

    if not web and not serve.has_display():
        raise KitError(NO_DISPLAY)
    with tempfile.TemporaryDirectory() as folder:
        path = motion
        if not isinstance(motion, Path):
            path = Path(folder) / "view.rrd"
            _record(motion, path)
        if not web:
            return serve.open_window(path)
        with serve.stopped_by_signals(), serve.serve(path) as page:
            tunnels = " ".join(f"-L {port}:127.0.0.1:{port}" for port in page.ports)
            print(f"open {page.url}")
            print(f"from another machine, first run: ssh {tunnels} <this machine>")
            print("Ctrl+C stops it", flush=True)
            page.process.wait()
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
