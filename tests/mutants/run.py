"""Mutation testing: change the kit one line at a time and check that the tests listed for that line fail.

    make mutants                                   all of `mutants.py`
    python tests/mutants/run.py --only ppo         only those whose file or fragment contains a word

Exits with 1 if fewer than 95 % of the mutants are killed, and with 2 if the list is invalid: a fragment that does not occur
exactly once in its file, a mutant that does not compile, tests that fail on the unmodified kit or do not run.

No file is changed. Each mutant runs in a forked process in which an import hook compiles the mutated source, so the listed tests
must use the kit in their own process (a test that starts `python -m physhmr_kit...` would run the original).
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import multiprocessing.connection
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MIN_KILLED = 0.95
TIMEOUT = 180  # s for the tests of one mutant; one that hangs counts as killed
_PRELOADED = ("torch", "pytorch_lightning", "torchmetrics.classification", "mujoco", "gymnasium", "roma", "scipy.stats", "pytest")  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A mutation of the source.

    Attributes:
        edits: (file, old fragment, new fragment), files relative to the root of the repository.
        tests: pytest arguments of the tests that must fail, e.g. 'tests/learning/test_ppo.py::test_kl_equals_that_of_torch'.
        reason: why it may survive.
    """

    edits: tuple[tuple[str, str, str], ...]
    tests: tuple[str, ...]
    reason: str = ""

    def __str__(self) -> str:
        file, old, new = self.edits[0]
        more = f" and {len(self.edits) - 1} more" if len(self.edits) > 1 else ""
        return f"{file.removeprefix('physhmr_kit/')}: {old.strip()}  ->  {new.strip() or '(nothing)'}{more}"

    def sources(self) -> dict[str, str]:
        """The mutated text of each file.

        Raises:
            ValueError: a fragment does not occur exactly once, or the mutated text is not valid Python.
        """
        sources: dict[str, str] = {}
        for file, old, new in self.edits:
            text = sources.get(file) or (ROOT / file).read_text(encoding="utf-8")
            if text.count(old) != 1:
                raise ValueError(f"{file}: the fragment occurs {text.count(old)} times, not once: {old!r}")
            sources[file] = text.replace(old, new)
        for file, text in sources.items():
            try:
                compile(text, file, "exec")
            except SyntaxError as fault:
                raise ValueError(f"{file}: invalid Python ({fault}): {self}") from fault
        return sources


def listed() -> list[Mutant]:
    """The mutants of `mutants.py`."""
    import mutants

    named = lambda tests: tuple(f"tests/{test}" for test in tests.split())  # noqa: E731
    edit = lambda file, old, new: (f"physhmr_kit/{file}", old, new)  # noqa: E731
    one = [
        Mutant((edit(file, *change),), named(tests), mutants.REASONS.get((file, *change), ""))
        for (file, tests), changes in mutants.MUTANTS.items()
        for change in changes
    ]
    return one + [Mutant(tuple(edit(*e) for e in edits), named(tests)) for edits, tests in mutants.TOGETHER]


class _TextLoader(SourceFileLoader):
    """Loads a module from a text instead of its file, without the bytecode cache."""

    def __init__(self, name: str, path: str, text: str):
        super().__init__(name, path)
        self.text = text

    def get_code(self, fullname: str):
        return compile(self.text, self.path, "exec", dont_inherit=True)


class _Hook:
    """Import hook: `texts` is module name -> (path, text)."""

    def __init__(self, texts: dict[str, tuple[str, str]]):
        self.texts = texts

    def find_spec(self, name, path=None, target=None):
        if name not in self.texts:
            return None
        return spec_from_file_location(name, self.texts[name][0], loader=_TextLoader(name, *self.texts[name]))


def _run(tests: tuple[str, ...], sources: dict[str, str], output: Path) -> None:
    """In a forked process: run tests with other sources of some files, and exit with pytest's code."""
    log = os.open(output, os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    modules = {file.removesuffix(".py").replace("/", "."): (str(ROOT / file), text) for file, text in sources.items()}
    sys.meta_path.insert(0, _Hook(modules))
    import pytest

    code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=line", *tests])
    sys.stdout.flush()
    os._exit(int(code))


def _all(jobs: list[tuple[tuple[str, ...], dict[str, str]]], processes: int, done) -> None:
    """Run (tests, sources) jobs in parallel; calls `done(number, exit code or None on timeout, output)` as each ends."""
    fork, waiting = multiprocessing.get_context("fork"), list(enumerate(jobs))[::-1]
    running: dict[int, tuple] = {}
    with tempfile.TemporaryDirectory() as folder:
        while waiting or running:
            while waiting and len(running) < processes:
                number, (tests, sources) = waiting.pop()
                output = Path(folder, str(number))
                process = fork.Process(target=_run, args=(tests, sources, output))
                process.start()
                running[number] = process, output, time.monotonic() + TIMEOUT
            multiprocessing.connection.wait([process.sentinel for process, _, _ in running.values()], timeout=1)
            for number, (process, output, deadline) in list(running.items()):
                late = process.is_alive() and time.monotonic() > deadline
                if late:
                    process.kill()
                if late or not process.is_alive():
                    process.join()
                    del running[number]
                    text = output.read_text(errors="replace") if output.exists() else ""
                    done(number, None if late else process.exitcode, text)


def _fail(*lines: str) -> int:
    print(*lines, sep="\n", file=sys.stderr)
    return 2


def _killer(output: str) -> str:
    """Name of the first test that failed."""
    failed = [line for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0].split(" - ")[0].split("::")[-1] if failed else "a failure"


def check(mutants: list[Mutant], processes: int) -> int:
    """Run all mutants, report the results, and return the exit code."""
    sources, faults = [], []
    for mutant in mutants:
        try:
            sources.append(mutant.sources())
        except (ValueError, OSError) as fault:
            faults.append(str(fault))
    if faults or not mutants:
        return _fail(f"{len(faults)} of {len(mutants)} mutants are invalid:", *faults)

    for name in _PRELOADED:  # once, before forking, instead of for each mutant
        importlib.import_module(name)
    began = time.monotonic()
    wanted = sorted({test for mutant in mutants for test in mutant.tests})
    broken: list[str] = []
    parts = [tuple(wanted[k::processes]) for k in range(processes) if wanted[k::processes]]
    _all([(part, {}) for part in parts], processes, lambda _, code, text: code == 0 or broken.append(text))
    if broken:
        return _fail("some of the listed tests fail on the unmodified kit:", *broken)
    print(f"{len(wanted)} tests or test files pass on the unmodified kit, {time.monotonic() - began:.0f} s", flush=True)

    survivors: list[Mutant] = []

    def done(number: int, code: int | None, text: str) -> None:
        mutant = mutants[number]
        if code is not None and code not in (0, 1):
            broken.append(f"{mutant}\n{text}")
        elif code == 0:
            survivors.append(mutant)
            print(f"SURVIVED  {mutant}", flush=True)
        else:
            print(f"killed    {mutant}  [{'timeout' if code is None else _killer(text)}]", flush=True)

    _all([(mutant.tests, text) for mutant, text in zip(mutants, sources, strict=True)], processes, done)
    if broken:
        return _fail(f"the tests of {len(broken)} mutants did not run:", *broken)
    killed = len(mutants) - len(survivors)
    share = f"{killed} of {len(mutants)} mutants killed ({100 * killed / len(mutants):.1f} %)"
    print(f"\n{share}, {time.monotonic() - began:.0f} s")
    for mutant in survivors:
        print(f"survived: {mutant}\n          {mutant.reason or 'NO REASON GIVEN: add a test'}")
    return 0 if killed >= MIN_KILLED * len(mutants) else 1


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--jobs", type=int, default=2, help="mutants tested in parallel")
    parser.add_argument("--only", default="", help="only mutants whose file or fragment contains this word")
    given = parser.parse_args(arguments)

    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    os.environ |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1"}
    return check([m for m in listed() if given.only in str(m)], given.jobs)


if __name__ == "__main__":
    sys.exit(main())
