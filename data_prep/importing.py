"""The command line of `data_prep`'s commands, and the options and output shared by `gvhmr`, `tram` and `wham`. Imports no torch."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from physhmr_kit.utils.errors import KitError

if TYPE_CHECKING:
    from data_prep.worlds import SeenBody


class Parser(argparse.ArgumentParser):
    """A parser for `python -m data_prep.<name>` that raises `KitError`; `--help` shows the module's docstring."""

    def __init__(self, name: str, description: str):
        opening, _, rest = description.partition("\n\n")
        super().__init__(prog=f"python -m data_prep.{name}", description=opening, epilog=rest)

    def error(self, message):
        raise KitError(f"{message} (see {self.prog} --help)")


def make_parser(name: str, description: str, source: str, model: str) -> Parser:
    """A parser with the common options of the importers; `source` describes the folder, `model` names the body model."""
    parser = Parser(name, description)
    parser.add_argument("source", type=Path, metavar="FOLDER", help=source)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="visual track to write, .npz")
    parser.add_argument("--motion", type=Path, metavar="FILE", help="also write the tool's motion as a clip, .npz")
    parser.add_argument("--fps", type=float, default=30.0, help="frame rate of the original video, 30 by default")
    parser.add_argument(
        "--body-model",
        type=Path,
        metavar="FILE",
        help=f"{model} model, .npz or .pkl, for the person's size and rest pelvis",
    )
    parser.add_argument("--scale", type=float, help="size of the person relative to the mean shape")
    parser.add_argument("--encoder", type=Path, metavar="FILE", help="the kit's encoder; the bundled one by default")
    return parser


def finish(body: SeenBody, options: argparse.Namespace, own_feature: bool = False) -> int:
    """Convert a body to the simulation's world, write the files and print a summary; returns the exit code.

    Args:
        own_feature: keep the tool's feature instead of computing one with the kit's encoder.
    """
    from data_prep.worlds import distance_from_rays, make_track, to_simulation
    from physhmr_kit.vision.pretrained import load_encoder

    settled = to_simulation(body)
    track = make_track(settled, None if own_feature else load_encoder(options.encoder))
    if options.motion:
        settled.clip().save(options.motion)
    track.save(options.out)
    for note in body.notes:
        print(note, file=sys.stderr)
    width, height = track.image_size
    used = 100 * float((track.ray_confidence > 0).float().mean())
    print(
        f"{options.out}: {len(track)} frames at {track.fps:g} fps, {len(track) / track.fps:.1f} s, image {width}x{height}, "
        f"{used:.0f} % of the rays used"
    )
    print(
        f"lengths divided by {track.scale:.3f}; camera {float(track.centre[:, 2].median()):.2f} m above the floor; "
        f"joints {1000 * distance_from_rays(settled, track):.0f} mm from their rays (median)"
    )
    return 0
