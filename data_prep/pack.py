"""Many motion files become one library that opens at once: `python -m data_prep.pack FOLDER ... --out LIBRARY`.

Every file is imported as training would import it (see `data_prep.sources`), on all cores. What was imported is kept in the
user's cache folder (PHYSHMR_CACHE) by the file's content, so a run that was stopped goes on where it was, and packing again
imports only what changed. The torques that carry each motion are worked out too, which training would do at every start. Then give the library to any command: `--clips LIBRARY`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from data_prep.named import check_named
from physhmr_kit.cli import run
from physhmr_kit.utils.errors import KitError


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise KitError(f"{message} (see python -m data_prep.pack --help)")


def main(argv: list[str] | None = None) -> int:
    """Entry point of `python -m data_prep.pack`."""
    opening, _, rest = __doc__.partition("\n\n")
    parser = _Parser(prog="python -m data_prep.pack", description=opening, epilog=rest)
    parser.add_argument("specs", nargs="+", metavar="FOLDER", help="motion files, or folders searched for them")
    parser.add_argument("--out", type=Path, required=True, metavar="LIBRARY", help="folder to write")
    parser.add_argument("--licence", "--license", default="", help="of these motions, for the index")
    parser.add_argument("--strict", action="store_true", help="stop at the first file that is refused")
    parser.add_argument("--workers", type=int, metavar="N", help="processes; one for each core by default")
    options = parser.parse_args(argv)
    if options.workers is not None and options.workers < 1:
        raise KitError(f"--workers {options.workers}: at least one is needed")
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
        print(f"{packed.fresh} frames were imported now, {packed.fresh / packed.seconds:.0f} a second on each core")
    else:
        print("nothing had to be imported anew")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
