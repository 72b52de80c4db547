"""The overlay shows the body where it projects, at its time, over an upright video."""

import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from physhmr_kit.body.skeleton import STANDING, standing_height
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.utils.errors import KitError
from physhmr_kit.viewer.overlay import BodyOverlay, Drawn, surface_points, write_overlay
from physhmr_kit.viewer.palette import CONTACT, DETECTED
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.keypoints import coco_from_bodies

sys.path.append(str(Path(__file__).parents[1] / "data_prep"))
from films import film, lay_down

SIZE = (160, 240)


def a_body(frames=20, speed=0.0):
    rot = torch.zeros(frames, 24, 4)
    rot[..., 3] = 1
    rot[:, 0] = torch.tensor(STANDING)
    root = torch.zeros(frames, 3)
    root[:, 1] = speed * torch.arange(frames) / 30
    root[:, 2] = standing_height()
    return MotionLibrary([Clip.from_joints(root, rot, 30.0, "stand")]).clip(0)


def a_camera(size=SIZE) -> Camera:
    return Camera.look_at((4.0, 0.0, 0.9), (0.0, 0.0, 0.9), focal=1.2 * size[1], image_size=size)


def white(frames: int, size=SIZE) -> list[np.ndarray]:
    return [np.full((size[1], size[0], 3), 255, np.uint8)] * frames


def pictures(path) -> tuple[list[np.ndarray], list[float]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [f.to_ndarray(format="rgb24").astype(int) for f in frames], [f.time for f in frames]


def is_blue(picture: np.ndarray) -> np.ndarray:
    return (picture[..., 2] - picture[..., 0]) > 40


def at(camera, body, frame, joint):
    u, v = camera.project(body.body_pos[frame, joint])
    return round(float(v)), round(float(u))


def test_the_body_is_drawn_where_it_projects_and_nowhere_else(tmp_path):
    body, camera = a_body(), a_camera()
    out = write_overlay(film(tmp_path / "v.mp4", white(20)), tmp_path / "o.mp4", [Drawn(body, camera)])
    seen, _ = pictures(out)
    assert len(seen) == 20 and seen[0].shape == (240, 160, 3)
    blue = is_blue(seen[10])
    assert blue[at(camera, body, 10, 0)] and blue[at(camera, body, 10, 15)]  # pelvis and head
    assert not blue[:, :10].any() and not blue[:, -10:].any() and 0.03 < blue.mean() < 0.5
    assert [p.name for p in tmp_path.iterdir() if "part" in p.name] == []


def test_every_shape_has_an_outline():
    outlines = list(BodyOverlay(a_body(2), a_camera()).polygons(0))
    assert len(outlines) == 24 and all(0 <= shade <= 0.45 for _, shade in outlines)
    points, owner = surface_points()
    assert len(points) == len(owner) and set(owner.tolist()) == set(range(24))


def test_a_video_frame_shows_the_nearest_body_frame_at_any_rate(tmp_path):
    body, camera = a_body(31, speed=1.0), a_camera()
    sixty = film(tmp_path / "60.mp4", white(60), fps=60)
    seen, times = pictures(write_overlay(sixty, tmp_path / "o60.mp4", [Drawn(body, camera)]))
    assert len(seen) == 30 and times[-1] == pytest.approx(58 / 60, abs=0.01)  # no more pictures than poses
    uneven = film(tmp_path / "uneven.mp4", white(4), times=(0.0, 0.1, 0.7, 0.9))
    odd, when = pictures(write_overlay(uneven, tmp_path / "odd.mp4", [Drawn(body, camera)]))
    assert np.allclose(when, (0.0, 0.1, 0.7, 0.9), atol=0.02)
    for picture, seconds in ((seen[0], 0.0), (seen[-1], 58 / 60), (odd[1], 0.1), (odd[2], 0.7)):
        columns = np.flatnonzero(is_blue(picture[100:140]).any(0))
        _, u = at(camera, body, round(seconds * 30), 0)
        assert abs(columns.mean() - u) < 8


def test_the_overlay_ends_with_the_body(tmp_path):
    out = write_overlay(film(tmp_path / "v.mp4", white(30)), tmp_path / "o.mp4", [Drawn(a_body(10), a_camera())])
    assert len(pictures(out)[0]) == 10


def test_marked_frames_start_a_red_border_of_half_a_second(tmp_path):
    out = write_overlay(
        film(tmp_path / "v.mp4", white(30)), tmp_path / "o.mp4", [Drawn(a_body(30), a_camera(), marked=[10])]
    )
    framed = [p[1, 80, 2] < 150 for p in pictures(out)[0]]
    assert framed == [10 <= k < 25 for k in range(30)]


def test_frames_between_the_parts_are_unchanged(tmp_path):
    parts = [Drawn(a_body(5), a_camera(), 3), Drawn(a_body(10), a_camera(), 15)]
    seen, _ = pictures(write_overlay(film(tmp_path / "v.mp4", white(40)), tmp_path / "o.mp4", parts))
    assert [bool(is_blue(p).any()) for p in seen] == [3 <= k < 8 or k >= 15 for k in range(25)]


def test_phone_videos_are_turned_upright(tmp_path):
    lying = lay_down(film(tmp_path / "phone.mp4", white(5, SIZE[::-1]), codec="mpeg4"))
    body, camera = a_body(5), a_camera()
    seen, _ = pictures(write_overlay(lying, tmp_path / "o.mp4", [Drawn(body, camera)]))
    assert seen[0].shape == (240, 160, 3) and is_blue(seen[0])[at(camera, body, 0, 0)]


def test_large_videos_are_downscaled():
    camera = a_camera((320, 481))
    assert BodyOverlay(a_body(2), camera, lines=160).size == (160, 240)
    assert BodyOverlay(a_body(2), camera, lines=720).size == (320, 480)


def test_visible_keypoints_and_their_distances_from_the_body_are_drawn():
    body, camera = a_body(2), a_camera()
    pixels = camera.project(coco_from_bodies(body.body_pos, body.body_rot))
    keypoints = torch.cat([pixels, torch.ones(2, 17, 1)], -1)
    keypoints[:, 10, :2] = torch.tensor([20.0, 40.0])  # the right wrist is detected at the upper left
    keypoints[:, 9, 2] = 0.0  # the left one is not seen
    overlay = BodyOverlay(body, camera, keypoints=keypoints)
    plain, drawn = (
        np.array(o.draw(Image.new("RGB", o.size, "white"), 0)) for o in (BodyOverlay(body, camera), overlay)
    )
    changed = (plain != drawn).any(-1)
    (u, v), (wrist_u, wrist_v) = keypoints[0, 10, :2].int().tolist(), pixels[0, 10].int().tolist()
    assert tuple(drawn[v, u]) == DETECTED
    assert tuple(drawn[(v + wrist_v) // 2, (u + wrist_u) // 2]) == CONTACT
    u, v = pixels[0, 9].int().tolist()
    assert not changed[v - 1 : v + 2, u - 1 : u + 2].any()


def test_moving_cameras_are_followed():
    body = a_body(2)
    centre = torch.tensor([[4.0, 0.0, 0.9], [0.0, 4.0, 0.9]])
    camera = Camera.look_at(centre, torch.tensor([0.0, 0.0, 0.9]).expand(2, 3), focal=288.0, image_size=SIZE)
    overlay = BodyOverlay(body, camera)
    width = [np.ptp([u for outline, _ in overlay.polygons(k) for u, _ in outline]) for k in (0, 1)]
    assert width[0] > 1.5 * width[1]  # from the front the arms are spread, from the side they are not


@pytest.mark.parametrize(
    ("what", "words"),
    [("missing", "no such video"), ("text", "cannot draw over"), ("size", "100x80, but the camera")],
)
def test_unusable_videos_are_refused_and_leave_no_file(what, words, tmp_path):
    path = tmp_path / "v.mp4"
    if what == "text":
        path.write_text("not a video")
    if what == "size":
        film(path, white(3, (100, 80)))
    with pytest.raises(KitError, match=words):
        write_overlay(path, tmp_path / "out" / "o.mp4", [Drawn(a_body(3), a_camera())])
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
