"""The console script `physhmr`, and what every command shares: one line on bad input, and a parser that keeps to it."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from physhmr_kit.utils.errors import KitError

COMMANDS = {
    "fit": "train a stage and leave a run folder behind",
    "evaluate": "how well a policy follows motions, clip by clip",
    "reconstruct": "the motion of a person in a video, in simulation",
    "view": "a clip, a rollout, a run or a recording",
    "doctor": "what works here, what is missing, and the command that fixes it",
}
"""The modules of physhmr_kit that are commands; the lines stand here so that the list costs no import."""

DATA_COMMANDS = {
    "video": "a video becomes one person's keypoints",
    "detect": "run a 2-D detector on a video, in the detector's own environment",
    "camera_track": "a moving camera from odometry",
    "gvhmr": "GVHMR's output folder as a visual track",
    "tram": "TRAM's output folder as a visual track",
    "wham": "WHAM's output as a visual track",
    "threedpw": "3DPW as a benchmark",
    "emdb": "EMDB as a benchmark",
    "human36m": "Human3.6M as a benchmark",
    "aistpp": "AIST++ as a benchmark",
    "pack": "many motion files become one library that opens at once",
    "report": "how well captured motion arrives",
}
"""The modules of data_prep that are commands."""


def run(main: Callable[[], int | None]) -> int:
    """Run a command's `main` and turn what the user can fix into one line on stderr.

    Returns:
        the exit code: main's own (None counts as 0), 2 for a `KitError`, 130 when interrupted from the keyboard.
        Anything else is a fault of the kit and keeps its traceback.
    """
    # torch's threads must not spin while MuJoCo's work; OpenMP looks at this when torch is first imported
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
    """The console script: `physhmr fit ...` does what `python -m physhmr_kit.fit ...` does, `physhmr data pack ...` what
    `python -m data_prep.pack ...` does; without a command, or with `--help`, it lists them.

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
    return f"usage: physhmr COMMAND ...   (physhmr COMMAND --help tells more)\n\n{listed}"


def one_line(message: object) -> str:
    """The message with its line breaks and runs of blanks closed up."""
    return " ".join(str(message).split())


@contextmanager
def progress_bar(title: str, total: int) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr that leaves no trace; hands out what to call with (steps done, steps in all)."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done, _: bar.update(task, completed=done)


def make_parser(name: str, description: str, **options):
    """A jsonargparse parser for `python -m physhmr_kit.<name>` whose faults are `KitError`s, so that `run` tells them.

    Args:
        name: the command, e.g. 'view'.
        description: the opening of `--help`; line breaks are kept.
        options: passed on to `jsonargparse.ArgumentParser`.
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
    """An option with its dashes and underscores as the parser knows it: `--held-out=5` becomes `--held_out=5`."""
    option, equals, value = word.partition("=")
    if not option.startswith("--") or option in known:
        return word
    for other in ("--" + option[2:].replace("-", "_"), "--" + option[2:].replace("_", "-")):
        if other in known:
            return other + equals + value
    return word
