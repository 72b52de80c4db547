"""benchmarks/resume.py with the same options, made faster: sessions are forked from one process, shorter, and draw no pictures."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import resume

from physhmr_kit import cli, fit, viewer
from physhmr_kit.runs import callbacks, report  # noqa: F401
from physhmr_kit.stages import build  # noqa: F401


class Session:
    """The part of `subprocess.Popen` that `resume` uses."""

    returncode: int | None = None

    def __init__(self, command: list[str]):
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                code = cli.run(lambda: fit.main(command[len(resume.FIT) :]))
            except BaseException:
                traceback.print_exc()
            os._exit(code)

    def poll(self, options: int = os.WNOHANG) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def communicate(self) -> tuple[None, str]:
        self.poll(0)
        return None, ""

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


if __name__ == "__main__":
    resume.start, resume.ITERATIONS = Session, 8
    viewer.record_rollout = viewer.filmstrip = lambda *_: None
    sys.exit(resume.main(sys.argv[1:]))
