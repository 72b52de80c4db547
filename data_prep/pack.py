"""Pack motion files into a library that opens at once: `python -m data_prep.pack FOLDER ... --out LIBRARY`.

Files are imported as for training (see `data_prep.sources`), on all cores. Imported motions are cached by the file's content in
the user's cache folder (PHYSHMR_CACHE), so an interrupted run continues where it stopped, and packing again imports only what
changed. The torques of each motion are computed as well, which training would otherwise do at every start. Any command takes
the library: `--clips LIBRARY`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from data_prep.importing import Parser
from data_prep.named import check_named
from physhmr_kit.cli import run
from physhmr_kit.utils.errors import KitError


def main(argv: list[str] | None = None) -> int:
    """Entry point of `python -m data_prep.pack`."""
    parser = Parser("pack", __doc__)
    parser.add_argument("specs", nargs="+", metavar="FOLDER", help="motion files, or folders searched for them")
    parser.add_argument("--out", type=Path, required=True, metavar="LIBRARY", help="folder to write")
    parser.add_argument("--licence", "--license", default="", help="licence of these motions, for the index")
    parser.add_argument("--strict", action="store_true", help="stop at the first file that is refused")
    parser.add_argument("--workers", type=int, metavar="N", help="number of processes; one per core by default")
    options = parser.parse_args(argv)
    if options.workers is not None and options.workers < 1:
        raise KitError(f"--workers {options.workers}: must be at least 1")
    check_named(options.specs)
    from data_prep.packing import pack

    packed = pack(options.specs, options.out, options.licence, options.strict, options.workers)
    for line in packed.lines:
        print(line, file=sys.stderr)
    index = packed.index
    print(
        f"{options.out}: {len(index.clips)} clips, {index.frames / 1800:.1f} minutes, {packed.bytes / 1e6:.0f} MB "
        f"({packed.bytes // index.frames} bytes a frame), {len(index.refused)} file(s) skipped"
    )
    if packed.seconds:
        print(f"{packed.fresh} frames imported, {packed.fresh / packed.seconds:.0f} per second and core")
    else:
        print("nothing new to import")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
