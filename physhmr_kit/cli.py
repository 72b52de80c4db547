"""The console script `physhmr`, and helpers of all commands: one-line errors, argument parsers, progress bars."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from physhmr_kit.utils.errors import KitError

COMMANDS = {
    "fit": "train a stage and write a run folder",
    "evaluate": "evaluate a policy on motions, clip by clip",
    "reconstruct": "reconstruct the motion of a person in a video, in simulation",
    "view": "show a clip, a rollout, a run or a recording",
    "doctor": "check the installation, with the command that fixes what is missing",
}
"""The modules of physhmr_kit that are commands, described here so that listing them needs no import."""

DATA_COMMANDS = {
    "video": "extract one person's keypoints from a video",
    "detect": "run a 2-D detector on a video, in the detector's own environment",
    "camera_track": "convert the visual odometry of a moving camera",
    "gvhmr": "convert the output folder of GVHMR to a visual track",
    "tram": "convert the output folder of TRAM to a visual track",
    "wham": "convert the output of WHAM to a visual track",
    "threedpw": "prepare 3DPW as a benchmark",
    "emdb": "prepare EMDB as a benchmark",
    "human36m": "prepare Human3.6M as a benchmark",
    "aistpp": "prepare AIST++ as a benchmark",
    "pack": "pack many motion files into one library that opens at once",
    "report": "compare imported motion with its source",
}
"""The modules of data_prep that are commands."""


def run(main: Callable[[], int | None]) -> int:
    """Run a command's `main`, and print errors that the user can fix as one line on stderr.

    Returns:
        the exit code: main's own (None counts as 0), 2 for a `KitError`, 130 when interrupted from the keyboard.
        Any other exception is a bug in the kit and keeps its traceback.
    """
    # torch's threads must not spin while MuJoCo's run; OpenMP reads this when torch is first imported
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        return main() or 0
    except KitError as fault:
        print(f"error: {one_line(fault)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def main(argv: list[str] | None = None) -> int:
    """The console script: `physhmr fit ...` is `python -m physhmr_kit.fit ...`, `physhmr data pack ...` is
    `python -m data_prep.pack ...`; without a command, or with `--help`, it lists the commands.

    Returns:
        the exit code, see `run`; 2 for a command that does not exist.
    """
    return run(lambda: _dispatch(sys.argv[1:] if argv is None else argv))


def _dispatch(argv: list[str]) -> int | None:
    package, commands, prefix = "physhmr_kit", COMMANDS, "physhmr"
    if argv[:1] == ["data"]:
        package, commands, prefix, argv = "data_prep", DATA_COMMANDS, "physhmr data", argv[1:]
    if not argv or argv[0] in ("-h", "--help"):
        print(_usage())
        return 0
    name, *rest = argv
    if name not in commands:
        raise KitError(f"'{prefix} {name}' is not a command (see physhmr --help)")
    return importlib.import_module(f"{package}.{name}").main(rest)


def _usage() -> str:
    lines = COMMANDS | {f"data {name}": line for name, line in DATA_COMMANDS.items()}
    listed = "\n".join(f"  {name:<18} {line}" for name, line in lines.items())
    return f"usage: physhmr COMMAND ...   (for details: physhmr COMMAND --help)\n\n{listed}"


def one_line(message: object) -> str:
    """The message on one line, with single spaces."""
    return " ".join(str(message).split())


@contextmanager
def progress_bar(title: str, total: int) -> Iterator[Callable[[int, int], None]]:
    """A transient progress bar on stderr; yields a function of (steps done, all steps) that updates it."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done, _: bar.update(task, completed=done)


def make_parser(name: str, description: str, **options):
    """A jsonargparse parser for `python -m physhmr_kit.<name>` that raises `KitError`, which `run` prints.

    Args:
        name: the command, e.g. 'view'.
        description: text at the top of `--help`; line breaks are kept.
        options: passed to `jsonargparse.ArgumentParser`.
    """
    from argparse import RawDescriptionHelpFormatter

    from jsonargparse import ArgumentParser, DefaultHelpFormatter

    prog = f"python -m physhmr_kit.{name}"

    class Formatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
        pass

    class Parser(ArgumentParser):
        def parse_args(self, args=None, *more, **options):
            known = {option for action in self._actions for option in action.option_strings}
            words = [spelled_as_known(word, known) for word in (sys.argv[1:] if args is None else args)]
            return super().parse_args(words, *more, **options)

        def error(self, message, ex=None):
            raise KitError(f"{message} (see {prog} --help)") from ex

    return Parser(prog=prog, description=description, formatter_class=Formatter, **options)


def spelled_as_known(word: str, known: set[str]) -> str:
    """Replace dashes by underscores, or the reverse, to match a known option: `--held-out=5` becomes `--held_out=5`."""
    option, equals, value = word.partition("=")
    if not option.startswith("--") or option in known:
        return word
    for other in ("--" + option[2:].replace("-", "_"), "--" + option[2:].replace("_", "-")):
        if other in known:
            return other + equals + value
    return word
