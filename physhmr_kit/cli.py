"""What every command shares: one line on bad input, and a parser that keeps to it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from physhmr_kit.utils.errors import KitError


def run(main: Callable[[], int | None]) -> int:
    """Run a command's `main` and turn what the user can mend into one line on stderr.

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

    class Formatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
        pass

    class Parser(ArgumentParser):
        def error(self, message, ex=None):
            raise KitError(f"{message} (see python -m physhmr_kit.{name} --help)") from ex

    prog = f"python -m physhmr_kit.{name}"
    return Parser(prog=prog, description=description, formatter_class=Formatter, **options)
