"""Small synthetic videos, and a fake detector that needs only the standard library."""

import struct
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def film(path: Path, pictures, fps: int = 30, times=None, codec: str = "mpeg4", options=None) -> Path:
    """Write RGB pictures as a video; `times` (s) instead of a constant rate."""
    pictures = list(pictures)
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = 4_000_000
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = round(1000 * times[number]), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def grey(frames: int, size: tuple[int, int] = (96, 64), value: int = 90) -> list[np.ndarray]:
    """Frames (width, height) with a bright block that moves to the right."""
    out = []
    for n in range(frames):
        picture = np.full((size[1], size[0], 3), value, np.uint8)
        picture[8:24, n % (size[0] - 16) : n % (size[0] - 16) + 16] = 250
        out.append(picture)
    return out


def lay_down(path: Path) -> Path:
    """Write a rotation of 90 degrees clockwise into the header of an .mp4, as phones do for portrait video."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4
    assert data[at] == 0, "version 0 of the track header, 32-bit times"
    (height,) = struct.unpack(">I", data[at + 80 : at + 84])
    one = 1 << 16
    data[at + 40 : at + 76] = struct.pack(">9i", 0, one, 0, -one, 0, 0, height, 0, 1 << 30)
    path.write_bytes(data)
    return path


FAKE_DETECTOR = '''# /// script
# requires-python = ">=3.8"
# dependencies = []
# ///
"""A detector whose result depends on the environment variable FAKE; standard library only."""
import os, struct, subprocess, sys, time, zipfile

def npy(kind, shape, values):
    head = repr({"descr": kind, "fortran_order": False, "shape": tuple(shape)})
    head += " " * (63 - (len(head) + 10) % 64) + "\\n"
    letter = {"<f8": "d", "<f4": "f", "<i8": "q"}[kind]
    return b"\\x93NUMPY\\x01\\x00" + struct.pack("<H", len(head)) + head.encode() + struct.pack("<%d%s" % (len(values), letter), *values)

mode = os.environ.get("FAKE", "walk")
if os.environ.get("FAKE_LOG"):
    open(os.environ["FAKE_LOG"], "a").write(" ".join(sys.argv[1:]) + "\\n")
if sys.argv[1:] == ["--version"]:
    sys.exit(print("fake", 7))
if mode == "unbuildable":
    sys.exit("error: no wheel for this platform")
print("ready", flush=True)
if mode == "fault":
    sys.exit("error: the lens cap is on")
if mode == "crash":
    raise RuntimeError("segmented")
if mode == "hang":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    open(os.environ["FAKE_PIDS"], "w").write("%d %d\\n" % (os.getpid(), child.pid))
    time.sleep(60)
frames, fps = int(os.environ.get("FAKE_FRAMES", 12)), 30.0
times = [n / fps for n in range(frames)]
if mode == "variable":
    times = [t + (0.1 if n >= frames // 2 else 0.0) for n, t in enumerate(times)]
spread = 3 if mode == "black" else 200
rows, points = [], []
for n in range(frames):
    print("progress", n + 1, frames, flush=True)
    if mode in ("nobody", "black") or (mode == "gap" and n in (4, 5)):
        continue
    rows.append(n)
    for k in range(17):
        points += [100.0 + 3 * n + 2 * (k % 3), 50.0 + 8 * k, float("nan") if mode == "nan" else 0.9]
with zipfile.ZipFile(sys.argv[2], "w") as out:
    out.writestr("times.npy", npy("<f8", (frames,), times))
    out.writestr("spread.npy", npy("<i8", (frames,), [spread] * frames))
    out.writestr("frame.npy", npy("<i8", (len(rows),), rows))
    out.writestr("keypoints.npy", npy("<f4", (len(rows), 17, 3), points))
    out.writestr("image_size.npy", npy("<i8", (2,), [640, 480]))
    out.writestr("notes.npy", b"\\x93NUMPY\\x01\\x00v\\x00" + "{'descr': '<U1', 'fortran_order': False, 'shape': (0,), }".ljust(117).encode() + b"\\n")
if mode == "half":
    data = open(sys.argv[2], "rb").read()
    open(sys.argv[2], "wb").write(data[: len(data) // 2])
'''


def use_fake_uv(folder: Path, monkeypatch, first: str = "") -> None:
    """Replace `uv` by a shell script that runs `first`, then the detector script with this interpreter."""
    folder.mkdir(exist_ok=True)
    run = f'while [ "$1" != --script ]; do shift; done; shift; exec {sys.executable} "$@"'
    (folder / "uv").write_text(f"#!/bin/sh\n{first}\n{run}\n")
    (folder / "uv").chmod(0o755)
    monkeypatch.setattr("data_prep.environments.find_uv", lambda: str(folder / "uv"))


def fake_detector(folder: Path, name: str = "fake", single_person: bool = False):
    """A `Detector` with the fake script."""
    from data_prep.detect import Detector

    script = folder / "fake_pose.py"
    script.write_text(FAKE_DETECTOR)
    return Detector(name, script, single_person)
