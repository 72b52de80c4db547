"""What the detector scripts of this folder share: reading a video upright, writing what was seen, and the command line.

They import it by its bare name, for Python looks beside a script first. It must run wherever they do: Python 3.10 or
newer, with NumPy and PyAV, and nothing of the kit.
"""

import argparse
import contextlib
import os
import sys

LONGEST_SIDE = 1920  # larger pictures are shrunk before detection; no detector here looks closer than that


class Fault(Exception):
    """What the user can mend, in one line."""


def upright_frames(video, start=0.0, end=None, max_frames=None, every=1, notes=None):
    """The pictures of a video one by one, as a player shows them; none is kept.

    Args:
        video: any file PyAV reads. start, end: seconds since its first picture; end is excluded.
        every: take each n-th picture; of a film of 60 a second, every second one is enough for a motion at 30.
        notes: a list that gets a line when part of the video could not be decoded.

    Yields:
        seconds since the first picture (presentation time), (H, W, 3) uint8 RGB with H and W at most LONGEST_SIDE,
        and how many pixels of the video make one of the picture's.
    """
    import av
    import numpy as np

    with av.open(video) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        origin = float((stream.start_time or 0) * stream.time_base)
        rate = float(stream.average_rate or 30)
        if start > 0:
            with contextlib.suppress(av.FFmpegError):  # a file that cannot be searched is read from its beginning
                container.seek(int((start + origin) / stream.time_base), stream=stream)  # to the key frame before
        count = given = damaged = passed = 0
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                damaged += 1
                continue
            for frame in frames:
                seconds = count / rate if frame.time is None else frame.time - origin
                count += 1
                if seconds < start - 1e-6:
                    continue
                if (end is not None and seconds >= end - 1e-6) or (max_frames is not None and given >= max_frames):
                    return
                passed += 1
                if (passed - 1) % every:
                    continue
                shrink = max(1.0, max(frame.width, frame.height) / LONGEST_SIDE)
                size = (round(frame.width / shrink), round(frame.height / shrink))
                image = frame.reformat(*size, format="rgb24").to_ndarray()
                # FFmpeg's angle is counter-clockwise, as rot90's is
                image = np.ascontiguousarray(np.rot90(image, round(getattr(frame, "rotation", 0) / 90) % 4))
                given += 1
                yield seconds, image, shrink
        if notes is not None and damaged:
            notes.append(f"{damaged} packets of the video could not be decoded")
        whole = start <= 0 and end is None and max_frames is None
        if notes is not None and whole and count < 0.95 * stream.frames:
            notes.append(f"the video promises {stream.frames} frames, {count} could be read: it is cut short")


def tell(*words):
    """A line for the program that runs this script; when that is gone, the script ends here."""
    try:
        print(*words, flush=True)
    except BrokenPipeError:
        os._exit(1)


def expected_frames(video, start, end, max_frames, every=1):
    """How many pictures there will be, from the header; 0 where it does not say."""
    import av

    with av.open(video) as container:
        stream = container.streams.video[0]
        rate = float(stream.average_rate or 0)
        total = stream.frames or int(float((stream.duration or 0) * stream.time_base) * rate)
    if rate and total:
        last = total if end is None else min(total, int(end * rate))
        total = -(-max(0, last - int(start * rate)) // every)
    return total if max_frames is None else min(total or max_frames, max_frames)


class Window:
    """The part of the pictures around the person that was pointed at, for a detector that sees one person and takes the largest.

    It stays where it is while the person is well inside, for such a detector looks first where it saw the person last; it waits,
    a little wider, where the person was lost.

    Args:
        box: left, top, width, height of the person, in the picture's pixels.
    """

    def __init__(self, box):
        left, top, width, height = box
        self.person, self.lost = (left, top, left + width, top + height), 0
        self.view = self._around(0.4)

    def _around(self, margin):
        left, top, right, bottom = self.person
        room = margin * max(right - left, bottom - top)
        return left - room, top - room, right + room, bottom + room

    def part(self, image):
        """The part of a picture (H, W, 3), and where its corner is in it: x, y."""
        left, top, right, bottom = (max(0, round(side)) for side in self.view)
        return image[top:bottom, left:right].copy(), (left, top)

    def follow(self, body, size):
        """Move with a body, a list of x, y, confidence or None where none was found, in pictures of a size (width, height)."""
        sure = [point for point in body if point[2] >= 0.3] if body is not None else []
        if len(sure) < 4:
            self.lost += 1
            self.view = self._around(min(0.8, 0.4 + 0.02 * self.lost))
            return
        x, y = [point[0] for point in sure], [point[1] for point in sure]
        self.person, self.lost = (min(x), min(y), max(x), max(y)), 0
        left, top, right, bottom = self._around(0.15)
        inside = max(left, 0) >= self.view[0] and max(top, 0) >= self.view[1]
        if not (inside and min(right, size[0]) <= self.view[2] and min(bottom, size[1]) <= self.view[3]):
            self.view = self._around(0.4)


def look_in_window(window, image, seconds, people_in):
    """The bodies that `people_in` sees in a window of a picture, at most one, in the picture's pixels; the window follows it."""
    part, corner = window.part(image)
    seen = people_in(part, seconds)[:1] if part.size else []
    found = [[(x + corner[0], y + corner[1], c) for x, y, c in body] for body in seen]
    window.follow(found[0] if found else None, (image.shape[1], image.shape[0]))
    return found


def detect(options, people_in):
    """Run `people_in` on every picture and write what it saw: an .npz that appears whole or not at all.

    Args:
        people_in: RGB picture, seconds -> list of (17, 3) x, y in the picture's pixels and confidence 0..1.

    Writes:
        times (T,) s; spread (T,) brightest minus darkest value of the picture, 0..255; change (T,) mean difference of the
        picture from the one before, 0..255; frame (K,) the row in `times` of each of the K bodies; keypoints (K, 17, 3) in
        the video's pixels; image_size (2,) width, height of the upright video; notes, a line for each thing the user should know.
    """
    import numpy as np

    times, spread, change, rows, bodies, size, notes = [], [], [], [], [], (0, 0), []
    video = (options.video, options.start, options.end, options.max_frames, options.every)
    total, before, window = expected_frames(*video), None, None
    for seconds, image, shrink in upright_frames(*video, notes):
        if options.box and window is None:
            window = Window([side / shrink for side in options.box])
        found = []
        if window is None:
            found = people_in(image, seconds)
        elif seconds >= options.at - 1e-6:  # the person was pointed at in this picture, not in those before
            found = look_in_window(window, image, seconds, people_in)
        for body in found:
            body = np.array(body, dtype=np.float32)
            body[:, :2] *= shrink
            body[:, 2] = body[:, 2].clip(0, 1)
            rows.append(len(times))
            bodies.append(body)
        size = (round(image.shape[1] * shrink), round(image.shape[0] * shrink))
        small = image[::8, ::8].astype(np.int16)
        times.append(seconds)
        spread.append(int(small.max()) - int(small.min()))
        change.append(0.0 if before is None else float(np.abs(small - before).mean()))
        before = small
        tell("progress", len(times), total)
    if not times:
        raise Fault(f"{options.video}: no picture could be decoded between --start and --end")
    part = options.out + ".part"
    with open(part, "wb") as file:
        np.savez_compressed(
            file,
            times=np.array(times),
            spread=np.array(spread),
            change=np.array(change),
            frame=np.array(rows, dtype=np.int64),
            keypoints=np.array(bodies, dtype=np.float32).reshape(-1, 17, 3),
            image_size=np.array(size),
            notes=np.array(notes, dtype=str),
        )
    os.replace(part, options.out)


def main(description, version, import_detector, detector):
    """What a detector script does when it is run.

    Args:
        description: the script's docstring; its first paragraph opens `--help`.
        version: name and version, for `--version`.
        import_detector: imports what is slow or could be missing.
        detector: context manager; the weights' path or None -> `people_in`, see `detect`.
    """
    parser = argparse.ArgumentParser(description=description.partition("\n\n")[0])
    parser.add_argument("video")
    parser.add_argument("out", help="the .npz to write")
    parser.add_argument("--weights", help="a local file or folder")
    parser.add_argument("--start", type=float, default=0.0, help="first second")
    parser.add_argument("--end", type=float, help="last second")
    parser.add_argument("--max-frames", type=int)
    parser.add_argument("--every", type=int, default=1, help="look at each n-th picture")
    parser.add_argument("--box", type=float, nargs=4, help="left, top, width and height of the only person to look for")
    parser.add_argument("--at", type=float, default=0.0, help="seconds when the person is there")
    parser.add_argument(
        "--version", action="store_true", help="say name and version, when the detector can be imported"
    )
    if sys.argv[1:] == ["--version"]:
        import_detector()
        return print(version)
    options = parser.parse_args()
    try:
        import_detector()
        tell("ready")
        with detector(options.weights) as people_in:
            detect(options, people_in)
    except Fault as fault:
        sys.exit(f"error: {fault}")
    except KeyboardInterrupt:
        sys.exit(130)
