"""`python -m physhmr_kit.view X`: view a clip, a rollout, a run or a recording.

    python -m physhmr_kit.view demo:walk_forward             a demo motion, in Rerun's window
    python -m physhmr_kit.view runs/distill/mine             the rollout of a run
    python -m physhmr_kit.view walk.bvh --save walk.rrd      write the recording and exit
    python -m physhmr_kit.view rollout.npz --picture p.png   a film strip, no Rerun needed
    python -m physhmr_kit.view rollout.rrd --web             a page on 127.0.0.1, for a machine without a display

X is a clip (.npz, .bvh, .amc), a rollout (.npz), a recording (.rrd), a run folder, or demo:<name>.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from data_prep.named import check_named
from physhmr_kit import cli
from physhmr_kit.utils.errors import KitError
from physhmr_kit.utils.files import atomic

NO_DISPLAY = "there is no display here for Rerun's window; add --web, --save out.rrd or --picture out.png"


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = cli.make_parser("view", __doc__)
    parser.add_argument("what", help="clip, rollout, recording, run folder or demo:<name>")
    parser.add_argument("--save", type=Path, help="write the recording to this file (.rrd) and exit")
    parser.add_argument("--picture", type=Path, help="write a film strip to this file (.png, .svg or .pdf) and exit")
    parser.add_argument("--web", action="store_true", help="serve a page on 127.0.0.1 instead of opening a window")
    options = parser.parse_args(argv)
    if options.save is not None and options.save.suffix != ".rrd":
        raise KitError(f"{options.save}: a recording ends in .rrd")

    motion = find_motion(options.what, want_npz=options.picture is not None)
    if options.picture is not None:
        from physhmr_kit.viewer.picture import filmstrip

        if isinstance(motion, Path):
            raise KitError(f"{motion}: a picture cannot be drawn from a recording; give the rollout's or clip's .npz")
        filmstrip(motion, options.picture)
        print(f"wrote {options.picture}")
    if options.save is not None:
        _record(motion, options.save)
        print(f"wrote {options.save}")
    if options.picture is None and options.save is None:
        return _look(motion, options.web)
    return 0


def find_motion(what: str, want_npz: bool = False):
    """The motion that the user named: a `Clip`, a `Rollout`, or the path of an .rrd.

    Args:
        what: see the module's docstring.
        want_npz: of a run folder, take the rollout.npz rather than the rollout.rrd.
    """
    path = Path(what)
    if path.is_dir():
        return _of_run(path, want_npz)
    if path.suffix != ".rrd":
        check_named([what])
    if path.suffix in (".npz", ".rrd"):
        from physhmr_kit.viewer.files import load_motion

        return load_motion(path)
    from data_prep.sources import load_clips

    clips = load_clips([what], check=False)  # clips that training refuses can be viewed
    if len(clips) > 1:
        raise KitError(f"{what}: {len(clips)} clips; choose one, e.g. {what}:{clips[0].name}")
    return clips[0]


def _of_run(folder: Path, want_npz: bool):
    from physhmr_kit.viewer.files import load_motion

    order = (".npz", ".rrd") if want_npz else (".rrd", ".npz")
    for stem in ("rollout", "reconstruction"):
        for suffix in order:
            if (folder / f"{stem}{suffix}").is_file():
                return load_motion(folder / f"{stem}{suffix}")
    raise KitError(f"{folder}: no rollout.rrd in this folder; a finished run has one")


def _record(motion, path: Path) -> None:
    if isinstance(motion, Path):
        with atomic(path) as part:
            shutil.copyfile(motion, part)
        return
    from physhmr_kit.viewer.recording import record

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
        with serve.serve(path) as page:
            first, second = page.ports
            print(f"open {page.url}")
            print(
                f"from another machine, first: ssh -L {first}:127.0.0.1:{first} -L {second}:127.0.0.1:{second} <this machine>"
            )
            print("Ctrl+C stops it", flush=True)
            page.process.wait()
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
