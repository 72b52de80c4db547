"""A quick interpreter for Isaac Gym's worker: every start is a fork of one process that has imported the stand-in and torch.

quick_python.py serve FD               forks for each connection to the listening socket FD, until its parent ends
quick_python.py NAME worker.py FD      has the worker run in a fork: with the output, life and exit code of this process
"""

import contextlib
import json
import os
import runpy
import signal
import socket
import socketserver
import sys
import threading
import traceback


class Start(socketserver.BaseRequestHandler):
    """One start of the worker. Runs in a process of its own, which waits for the worker."""

    def handle(self):
        request, (stdout, stderr, channel), *_ = socket.recv_fds(self.request, 1 << 16, 3)
        worker, os.environ["ISAACGYM_STANDIN"] = json.loads(request)
        self.pid = os.fork()
        if self.pid == 0:
            os.dup2(stdout, 1)
            os.dup2(stderr, 2)
            code = 0
            try:
                runpy.run_path(worker)["main"](channel)
            except BaseException:
                traceback.print_exc()
                code = 1
            os._exit(code)
        for descriptor in (stdout, stderr, channel):
            os.close(descriptor)
        threading.Thread(target=self.kill_with_client, daemon=True).start()
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]) % 256
        with contextlib.suppress(OSError):  # the other side may have been killed
            self.request.send(bytes([code]))

    def kill_with_client(self):
        self.request.recv(1)  # nothing is ever sent: returns when the other side is gone
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


class ForkServer(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
    pass


def serve(listening: int) -> None:
    from isaacgym import gymapi, gymtorch  # noqa: F401  (imports torch)

    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    server = ForkServer(None, Start, bind_and_activate=False)
    server.socket.close()
    server.socket = socket.socket(fileno=listening)
    server.serve_forever()


def run(name: str, worker: str, channel: int) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"\0{name}")
        request = json.dumps([worker, os.environ.get("ISAACGYM_STANDIN", "")]).encode()
        socket.send_fds(connection, [request], [1, 2, channel])
        os.close(channel)
        sys.exit((connection.recv(1) or b"\1")[0])


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        run(*sys.argv[1:3], int(sys.argv[3]))
