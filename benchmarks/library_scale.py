"""How import and motion libraries scale: frames imported per second, bytes per frame and time to open, for hours of motion.

    python benchmarks/library_scale.py ../shared/data/cmu/asfamc --hours 0.17 1 10

Repeats the clips to libraries in a temporary folder (0.22 GB per hour) and prints a Markdown table. Each library is opened in a
process of its own, which looks up 4096 random frames 100 times, computes the previews and PD targets of every frame, as at the
start of training, and counts failures of 20 episodes. "memory" is anonymous memory of that process afterwards, "mapped" the
resident part of the memory-mapped files, which the system can reclaim.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from data_prep.imported import import_file
from data_prep.named import find_motion_files
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.body.skeleton import NUM_DOFS, mean_offsets
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.inverse_dynamics import reference_torques
from physhmr_kit.motion.library import states_of
from physhmr_kit.motion.library_files import STATE_WIDTH, ClipEntry, LibraryIndex, write_index

OPENING = """
import sys, time
import torch
from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.env.reference_motion import Place, ReferenceMotion
from physhmr_kit.env.sampling import StartSampler
from physhmr_kit.motion.library import MotionLibrary

def held(kind):
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith(kind))

private, began = held("RssAnon"), time.perf_counter()
library = MotionLibrary.open(sys.argv[1])
opened = time.perf_counter() - began
mapped = held("RssFile")
for seed in range(100):
    rows = torch.randint(library.num_frames, (4096,), generator=torch.Generator().manual_seed(seed))
    library.at(rows)
looked = time.perf_counter() - began - opened
motion, first = ReferenceMotion(library), torch.zeros(1, dtype=torch.long)
motion.preview(Place(first, first, first)), motion.targets(first, Humanoid.mean())
ready = time.perf_counter() - began - opened - looked
sampler, lost = StartSampler(library.lengths), torch.arange(20) % library.num_clips
began = time.perf_counter()
for _ in range(100):
    sampler.report(lost, lost, lost < 10)
counted = (time.perf_counter() - began) / 100
print(opened, looked, ready, 1e3 * counted, held("RssAnon") - private, held("RssFile") - mapped)
"""


def import_all(paths: list[Path]) -> tuple[list[Clip], float]:
    """The clips of all files, imported without cache on one core, and the frames imported per second."""
    torch.set_num_threads(1)
    began = time.process_time()
    clips = [clip for path in paths for clip in import_file(path, cached=False).clips]
    return clips, sum(map(len, clips)) / (time.process_time() - began)


def write_repeated(folder: Path, clips: list[Clip], hours: float) -> LibraryIndex:
    """Write a library of the given hours that repeats the clips."""
    each = [states_of(clip, mean_offsets()) for clip in clips]
    once = [states.pack().numpy() for states in each]
    torques = [reference_torques(states, Humanoid.mean()).numpy() for states in each]
    order, frames = [], 0
    while frames < hours * 108_000:
        order.append(len(order) % len(once))
        frames += len(once[order[-1]])
    entries = [ClipEntry(f"{clips[i].name}_{n}", "", "", len(once[i])) for n, i in enumerate(order)]
    index = LibraryIndex(entries, "states-benchmark.npy", "torques-benchmark.npy")
    folder.mkdir()
    for name, width, values in ((index.states, STATE_WIDTH, once), (index.torques, NUM_DOFS, torques)):
        array = np.lib.format.open_memmap(folder / name, mode="w+", dtype=np.float32, shape=(frames, width))
        start = 0
        for i in order:
            array[start : start + len(values[i])] = values[i]
            start += len(values[i])
        array.flush()
    write_index(folder, index)
    return index


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("paths", nargs="+", help="motion files or folders to import and repeat")
    parser.add_argument("--hours", type=float, nargs="+", default=[1 / 6, 1, 10])
    options = parser.parse_args()
    clips, rate = import_all([file for path in options.paths for file in find_motion_files(path)])
    print(
        f"{len(clips)} clips, {sum(map(len, clips))} frames at 30 fps: {rate:.0f} frames imported per second and core\n"
    )
    heads = ["hours", "clips", "on disk, bytes per frame", "opened, s", "100 x 4096 frames, s", "ready to train, s"]
    heads += ["counting failures, ms", "memory, MB", "mapped, MB"]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for hours in options.hours:
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder) / "library"
            index = write_repeated(library, clips, hours)
            size = sum(path.stat().st_size for path in library.iterdir()) / index.frames
            said = subprocess.run([sys.executable, "-c", OPENING, library], capture_output=True, text=True, check=True)
            opened, looked, ready, counted, private, mapped = map(float, said.stdout.split())
            print(
                f"| {hours:.3g} | {len(index.clips)} | {size:.0f} | {opened:.2f} | {looked:.2f} | {ready:.1f} | {counted:.2f} "
                f"| {private / 1e6:.0f} | {mapped / 1e6:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
