"""Keypoints of other tools: a small file in each published layout is read back."""

import csv
import json

import numpy as np
import pytest
import torch
from films import film, grey

from data_prep.keypoints.files import read_keypoints
from data_prep.keypoints.names import LAYOUTS, coco_name
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.keypoints import COCO_NAMES, KeypointTrack

FRAMES, SIZE = 12, (640, 480)


def truth(shift=0.0, height=300.0) -> np.ndarray:
    """(T, 17, 3): a person who walks to the right."""
    points = np.zeros((FRAMES, 17, 3))
    points[..., 0] = 200 + shift + 3 * np.arange(FRAMES)[:, None] + 7 * (np.arange(17) % 2)
    points[..., 1] = 60 + height * np.arange(17) / 17
    points[..., 2] = 0.9
    return points


def laid_out(points: np.ndarray, count: int) -> np.ndarray:
    """(..., 17, 3) in another layout; keypoints that COCO lacks get a fixed value."""
    out = np.tile(np.array([5.0, 6.0, 0.8]), (*points.shape[:-2], count, 1))
    for column, name in enumerate(LAYOUTS[count]):
        if coco_name(name):
            out[..., column, :] = points[..., COCO_NAMES.index(coco_name(name)), :]
    return out


def flat(body) -> list[float]:
    return np.asarray(body).reshape(-1).tolist()


def write(path, data):
    path.write_text(json.dumps(data))
    return path


def table(path, header, rows):
    with open(path, "w", newline="") as f:
        csv.writer(f).writerows([*header, *rows])
    return path


def openpose(folder, people=None, count=25):
    people = people or [truth()]
    folder.mkdir()
    for n in range(FRAMES):
        entry = {
            "version": 1.3,
            "people": [{"person_id": [-1], "pose_keypoints_2d": flat(laid_out(p[n], count))} for p in people],
        }
        write(folder / f"walk_{n:012d}_keypoints.json", entry)
    return folder


def results(path, first=0, name="{}.jpg", count=17, people=None):
    """AlphaPose and COCO results: a list of bodies; one frame has none."""
    people = people or [truth()]
    rows = [
        {
            "image_id": name.format(n + first) if name else n + first,
            "category_id": 1,
            "keypoints": flat(laid_out(p[n], count)),
            "score": 2.5,
        }
        for n in range(FRAMES)
        if n != 5
        for p in people
    ]
    return write(path, rows)


def annotations(path):
    images = [{"id": 900 - n, "file_name": f"{n:04d}.png", "width": 640, "height": 480} for n in range(FRAMES)]
    bodies = [{"id": n, "image_id": 900 - n, "category_id": 1, "keypoints": flat(truth()[n])} for n in range(FRAMES)]
    categories = [{"id": 1, "name": "person", "keypoints": list(COCO_NAMES)}]
    return write(path, {"images": images, "annotations": bodies, "categories": categories})


def mmpose(path, wrapped=True):
    def entry(n):
        scores = truth()[n, :, 2].tolist()
        return {
            "frame_id": n + wrapped,
            "instances": [{"keypoints": truth()[n, :, :2].tolist(), "keypoint_scores": scores}],
        }

    frames = [entry(n) for n in range(FRAMES)]
    return write(path, {"meta_info": {"dataset_name": "coco"}, "instance_info": frames} if wrapped else frames)


def landmarks():
    marks = laid_out(truth(), 33)
    marks[..., :2] /= SIZE
    return marks


def mediapipe_json(path):
    frames = [[{"x": x, "y": y, "z": 0.1, "visibility": v} for x, y, v in body] for body in landmarks()]
    return write(path, {"fps": 30, "width": 640, "height": 480, "frames": [{"landmarks": f} for f in frames]})


def mediapipe_numbered(path):
    header = ["frame", *(f"{axis}{k}" for k in range(33) for axis in "xyzv")]
    rows = [[n, *(v for x, y, c in body for v in (x, y, 0.1, c))] for n, body in enumerate(landmarks())]
    return table(path, [header], rows)


def mediapipe_named(path):
    header = ["timestamp_ms", *(f"{n.upper()}_{axis}" for n in LAYOUTS[33] for axis in ("x", "y", "z", "visibility"))]
    rows = [
        [round(33.3333 * n), *(v for x, y, c in body for v in (x, y, 0.1, c))] for n, body in enumerate(landmarks())
    ]
    return table(path, [header], rows)


def mediapipe_long(path):
    header = ["frame", "landmark_id", "x", "y", "z", "visibility"]
    rows = [[n, k, x, y, 0, c] for n, body in enumerate(landmarks()) for k, (x, y, c) in enumerate(body)]
    return table(path, [header], rows)


def deeplabcut(path, people=None):
    names = ["leftKnee" if n == "left_knee" else n for n in COCO_NAMES]
    who = people or [""]
    columns = [(p, n, axis) for p in who for n in names for axis in ("x", "y", "likelihood")]
    header = [["scorer", *["DLC_resnet50"] * len(columns)]]
    header += [["individuals", *(c[0] for c in columns)]] if people else []
    header += [["bodyparts", *(c[1] for c in columns)], ["coords", *(c[2] for c in columns)]]
    shifts = [250.0 * k for k in range(len(who))]
    rows = [[n, *(v for s in shifts for v in flat(truth(s, 300 - s / 5)[n]))] for n in range(FRAMES)]
    return table(path, header, rows)


def trc(path, unit=1.0):
    names = [
        "Hip",
        "Neck",
        *("".join(w[0].upper() if w in ("left", "right") else w.title() for w in n.split("_")) for n in COCO_NAMES),
    ]
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{path.name}",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"30\t30\t{FRAMES}\t{len(names)}\tm\t30\t0\t{FRAMES}",
        "Frame#\tTime\t" + "\t\t\t".join(names) + "\t\t",
        "\t\t" + "\t".join(f"X{k}\tY{k}\tZ{k}" for k in range(1, len(names) + 1)),
    ]
    for n, body in enumerate(truth()):
        points = [(0, 0), (0, 0), *(unit * body[:, :2])]
        cells = ["" if n == 3 and k > 15 else f"{v:.6f}" for k, (x, y) in enumerate(points) for v in (x, y, 0.0)]
        lines.append("\t".join([str(n), f"{n / 30:.4f}", *cells]))
    path.write_text("\n".join(lines) + "\n")
    return path


def array(path, squeeze=False):
    np.save(path, truth() if squeeze else truth()[:, None])
    return path


def tensor(path, **options):
    torch.save(torch.tensor(truth()), path, **options)
    return path


READERS = {
    "OpenPose, BODY_25": lambda d: openpose(d / "walk_json"),
    "OpenPose, COCO": lambda d: openpose(d / "walk_json", count=18),
    "Sports2D, Halpe-26": lambda d: openpose(d / "walk_json", count=26),
    "AlphaPose": lambda d: results(d / "alphapose-results.json", count=26),
    "AlphaPose, 136": lambda d: results(d / "alphapose-results.json", count=136),
    "COCO results from 1": lambda d: results(d / "r.json", 1, ""),
    "COCO annotations": lambda d: annotations(d / "a.json"),
    "MMPose demo": lambda d: mmpose(d / "m.json"),
    "MMPose inferencer": lambda d: mmpose(d / "m.json", False),
    "MediaPipe JSON": lambda d: mediapipe_json(d / "m.json"),
    "MediaPipe CSV, numbered": lambda d: mediapipe_numbered(d / "m.csv"),
    "MediaPipe CSV, named": lambda d: mediapipe_named(d / "m.csv"),
    "MediaPipe CSV, long": lambda d: mediapipe_long(d / "m.csv"),
    "DeepLabCut": lambda d: deeplabcut(d / "d.csv"),
    "Sports2D .trc": lambda d: trc(d / "walk_px_person00.trc"),
    "ViTPose .npy": lambda d: array(d / "v.npy"),
    "ViTPose .pt": lambda d: tensor(d / "v.pt"),
    "ViTPose .pt, before PyTorch 1.6": lambda d: tensor(d / "v.pt", _use_new_zipfile_serialization=False),
    "the kit's own": lambda d: KeypointTrack(truth(), 30, SIZE).save(d / "k.npz"),
}


@pytest.mark.parametrize("layout", READERS)
def test_every_layout_is_read_back(layout, tmp_path):
    made = READERS[layout](tmp_path)
    wrong_name = made.rename(made.with_name("data.bin"))  # formats are detected from the content
    track = read_keypoints(wrong_name, fps=30.0, image_size=SIZE)
    expected = torch.tensor(truth(), dtype=torch.float32)
    seen = track.confidence > 0
    assert (track.fps, track.image_size, len(track)) == (30.0, SIZE, FRAMES)
    torch.testing.assert_close(track.pixels[seen], expected[..., :2][seen], atol=2e-2, rtol=0)
    unseen = 17 if layout.startswith(("AlphaPose", "COCO results")) else 3 if layout.endswith(".trc") else 0
    assert int((~seen).sum()) == unseen
    sure = 1.0 if layout.endswith(".trc") else 0.9
    torch.testing.assert_close(track.confidence[seen], torch.full((int(seen.sum()),), sure))


def test_rate_and_size_come_from_file_or_video_or_are_required(tmp_path):
    assert read_keypoints(trc(tmp_path / "a.trc"), image_size=SIZE).fps == 30.0
    own = read_keypoints(mediapipe_json(tmp_path / "m.json"))
    assert (own.fps, own.image_size) == (30.0, SIZE)
    assert read_keypoints(annotations(tmp_path / "a.json"), fps=25.0).image_size == SIZE
    video = film(tmp_path / "walk.mp4", grey(FRAMES + 3, SIZE), fps=30)
    seen = read_keypoints(results(tmp_path / "r.json"), video=video)
    assert (seen.fps, seen.image_size, len(seen)) == (30.0, SIZE, FRAMES + 3) and not seen.confidence[FRAMES:].any()
    for words, given in (
        ("--fps and --image-size", {}),
        ("--fps", {"image_size": SIZE}),
        ("--image-size", {"fps": 30.0}),
    ):
        with pytest.raises(KitError, match=f"give the VIDEO, or {words}$"):
            read_keypoints(tmp_path / "r.json", **given)


@pytest.mark.parametrize("make", ["openpose", "results", "deeplabcut"])
def test_requested_person_is_tracked(make, tmp_path):
    people = (truth(), truth(250.0, 250.0))
    path = {
        "openpose": lambda: openpose(tmp_path / "o", people),
        "results": lambda: results(tmp_path / "r.json", people=people),
        "deeplabcut": lambda: deeplabcut(tmp_path / "d.csv", ["ann", "bob"]),
    }[make]()
    for person, shift in (("largest", 0.0), ("1", 250.0)):
        track = read_keypoints(path, person, fps=30.0, image_size=SIZE)
        assert float(track.pixels[0, 0, 0]) == pytest.approx(200 + shift)
    with pytest.raises(KitError, match="only 2 detected"):
        read_keypoints(path, "2", fps=30.0, image_size=SIZE)


@pytest.mark.parametrize(
    ("name", "part"),
    [("RKnee", "right_knee"), ("left knee", "left_knee"), ("kneeL", "left_knee"), ("RIGHT_HIP", "right_hip"), ("lankle", "left_ankle"),
     ("Nose", "nose"), ("hip_right", "right_hip"), ("left_eye_inner", None), ("MidHip", None), ("LBigToe", None), ("right_index", None), ("", None)],
)  # fmt: skip
def test_keypoint_names_map_to_coco(name, part):
    assert coco_name(name) == part


class Evil:
    def __reduce__(self):
        import os

        return os.system, ("touch /tmp/should_not_exist",)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda d: d / "none.json", "no such file"),
        (lambda d: d, "no .json in this folder"),
        (lambda d: write(d / "a.json", {"people": [{"pose_keypoints_2d": [1, 2, 3]}]}), "contains a single frame"),
        (lambda d: write(d / "a.json", [{"image_id": 1, "keypoints": [1, 2, 0.5] * 20}]), "bodies of 20 keypoints"),
        (lambda d: write(d / "a.json", [{"image_id": 1, "keypoints": "abc"}]), "not a list of x, y and confidence"),
        (lambda d: write(d / "a.json", []), "contains no keypoints"),
        (lambda d: write(d / "a.json", {"annotations": [{"keypoints": [1] * 51}]}), "not a known layout"),
        (lambda d: write(d / "a.json", [{"image_id": [1], "keypoints": [1] * 50}]), "not a list of x, y"),
        (lambda d: trc(d / "a.trc", 0.002), "is in metres"),
        (lambda d: table(d / "a.csv", [["a", "b"]], [[1, 2]]), "not a known table of keypoints"),
        (lambda d: table(d / "a.csv", [["tail_x", "tail_y"]], [[1, 2]] * 3), "none of its keypoints is one of COCO's"),
        (lambda d: torch.save({"keypoints": Evil()}, d / "a.pt") or d / "a.pt", "not run"),
        (lambda d: np.save(d / "a.npy", np.zeros(3)) or d / "a.npy", "not an array"),
        (lambda d: (d / "a.json").write_text('{"people": [') and d / "a.json", "not readable JSON"),
        (lambda d: (d / "a.csv").write_text("<html>no</html>") and d / "a.csv", "a web page"),
    ],
)
def test_unreadable_file_is_a_one_line_error(make, words, tmp_path):
    with pytest.raises(KitError) as error:
        read_keypoints(make(tmp_path), fps=30.0, image_size=SIZE)
    message = str(error.value)
    assert words in message and str(tmp_path) in message and "\n" not in message
