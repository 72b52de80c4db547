"""Shared by the detector scripts of this folder: reading video frames upright, writing detections, and the command line.

They import it by its bare name, because Python searches a script's own folder first. It must run in their environments:
Python 3.10 or newer, with NumPy and PyAV, and nothing of the kit.
"""

import argparse
import contextlib
import os
import sys

LONGEST_SIDE = 1920  # larger frames are downscaled before detection; no detector here uses a higher resolution


class Fault(Exception):
    """An error that the user can fix, in one line."""


def upright_frames(video, start=0.0, end=None, max_frames=None, every=1, notes=None):
    """Iterate over the frames of a video, rotated upright.

    Args:
        video: any file PyAV reads. start, end: seconds since its first frame; end is exclusive.
        every: yield every n-th frame only.
        notes: list to which a line is appended if part of the video could not be decoded.

    Yields:
        seconds since the first frame (presentation time), image (H, W, 3) uint8 RGB with H and W at most LONGEST_SIDE,
        and the downscaling factor.
    """
    import av
    import numpy as np

    with av.open(video) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        origin = float((stream.start_time or 0) * stream.time_base)
        rate = float(stream.average_rate or 30)
        if start > 0:
            with contextlib.suppress(av.FFmpegError):  # a file without seeking is read from its beginning
                container.seek(int((start + origin) / stream.time_base), stream=stream)  # to the preceding key frame
        frames_read = yielded = damaged = in_span = 0
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                damaged += 1
                continue
            for frame in frames:
                seconds = frames_read / rate if frame.time is None else frame.time - origin
                frames_read += 1
                if seconds < start - 1e-6:
                    continue
                if (end is not None and seconds >= end - 1e-6) or (max_frames is not None and yielded >= max_frames):
                    return
                in_span += 1
                if (in_span - 1) % every:
                    continue
                shrink = max(1.0, max(frame.width, frame.height) / LONGEST_SIDE)
                size = (round(frame.width / shrink), round(frame.height / shrink))
                image = frame.reformat(*size, format="rgb24").to_ndarray()
                # FFmpeg's angle is counter-clockwise, like rot90's
                image = np.ascontiguousarray(np.rot90(image, round(getattr(frame, "rotation", 0) / 90) % 4))
                yielded += 1
                yield seconds, image, shrink
        if notes is not None and damaged:
            notes.append(f"{damaged} packets of the video could not be decoded")
        whole = start <= 0 and end is None and max_frames is None
        if notes is not None and whole and frames_read < 0.95 * stream.frames:
            notes.append(
                f"the header announces {stream.frames} frames but only {frames_read} could be read: the video is truncated"
            )


def send(*words):
    """Print a line for the parent process; exit if it is gone."""
    try:
        print(*words, flush=True)
    except BrokenPipeError:
        os._exit(1)


def expected_frames(video, start, end, max_frames, every=1):
    """Number of frames that `upright_frames` will yield, from the header; 0 if unknown."""
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
    """A crop around the selected person, for a single-person detector that would take the largest one.

    It stays in place while the person is well inside, because such a detector searches first where it last found the person;
    while the person is lost it stays there and widens slowly.

    Args:
        box: left, top, width, height of the person, in pixels of the frame.
    """

    def __init__(self, box):
        left, top, width, height = box
        self.person, self.lost = (left, top, left + width, top + height), 0
        self.view = self._around(0.4)

    def _around(self, margin):
        left, top, right, bottom = self.person
        room = margin * max(right - left, bottom - top)
        return left - room, top - room, right + room, bottom + room

    def crop(self, image):
        """The crop of an image (H, W, 3), and its corner x, y in the image."""
        left, top, right, bottom = (max(0, round(side)) for side in self.view)
        return image[top:bottom, left:right].copy(), (left, top)

    def follow(self, body, size):
        """Follow a detected body, a list of x, y, confidence, or None, in images of a size (width, height)."""
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


def detect_in_window(window, image, seconds, people_in):
    """At most one body that `people_in` finds in the window, in pixels of the image; the window follows it."""
    crop, (left, top) = window.crop(image)
    bodies = people_in(crop, seconds)[:1] if crop.size else []
    found = [[(x + left, y + top, c) for x, y, c in body] for body in bodies]
    window.follow(found[0] if found else None, (image.shape[1], image.shape[0]))
    return found


def detect(options, people_in):
    """Run `people_in` on every frame and write the detections to an .npz, atomically.

    Args:
        people_in: RGB image, seconds -> list of (17, 3) x, y in pixels of the image and confidence 0..1.

    Writes:
        times (T,) s; spread (T,) brightest minus darkest value of the frame, 0..255; change (T,) mean absolute difference from
        the previous frame, 0..255; frame (K,) index into `times` of each of the K bodies; keypoints (K, 17, 3) in pixels of the
        upright video; image_size (2,) its width and height; notes, messages for the user, one line each.
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
        elif seconds >= options.at - 1e-6:  # not before the time of the box
            found = detect_in_window(window, image, seconds, people_in)
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
        send("progress", len(times), total)
    if not times:
        raise Fault(f"{options.video}: no frame could be decoded between --start and --end")
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
    """Entry point of a detector script.

    Args:
        description: the script's docstring, whose first paragraph is shown by `--help`.
        version: name and version, for `--version`.
        import_detector: imports the detector's package, which is slow and may fail.
        detector: context manager; path of the weights or None -> `people_in`, see `detect`.
    """
    parser = argparse.ArgumentParser(description=description.partition("\n\n")[0])
    parser.add_argument("video")
    parser.add_argument("out", help="the .npz to write")
    parser.add_argument("--weights", help="a local file or folder")
    parser.add_argument("--start", type=float, default=0.0, help="start time, s")
    parser.add_argument("--end", type=float, help="end time, s")
    parser.add_argument("--max-frames", type=int)
    parser.add_argument("--every", type=int, default=1, help="process every n-th frame")
    parser.add_argument("--box", type=float, nargs=4, help="left, top, width and height of the person to detect")
    parser.add_argument("--at", type=float, default=0.0, help="time at which the person is in the box, s")
    parser.add_argument("--version", action="store_true", help="import the detector and print its name and version")
    if sys.argv[1:] == ["--version"]:
        import_detector()
        return print(version)
    options = parser.parse_args()
    try:
        import_detector()
        send("ready")
        with detector(options.weights) as people_in:
            detect(options, people_in)
    except Fault as fault:
        sys.exit(f"error: {fault}")
    except KeyboardInterrupt:
        sys.exit(130)
