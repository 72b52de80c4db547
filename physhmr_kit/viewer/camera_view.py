"""What the camera contributes to a scene: frustum, video frames, keypoints, and the rays through them."""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
import rerun as rr
import torch

from physhmr_kit.viewer.bodies import BONES, Times
from physhmr_kit.viewer.palette import DETECTED, MIN_SHOWN, by_confidence
from physhmr_kit.viewer.viewpoint import ray_tips
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.keypoints import COCO_BONES

_LINES = 720


def image_scale(camera: Camera) -> float:
    """Factor that brings the shorter side of the camera's image to at most 720 pixels, so that recordings stay small."""
    return min(1.0, _LINES / min(camera.image_size))


def log_camera(rec: rr.RecordingStream, path: str, times: Times, camera: Camera, size: float = 0.6) -> None:
    """The camera as a frustum. Lens distortion is left out: Rerun has pinhole cameras only.

    Args:
        camera: one for all frames, or a batch of T.
        size: distance of the drawn image from the camera's centre, metres.
    """
    scale = image_scale(camera)
    width, height = (round(side * scale) for side in camera.image_size)
    K = camera.K.reshape(-1, 3, 3)[0].numpy() * np.array([[scale], [scale], [1.0]])
    pinhole = rr.Pinhole(
        image_from_camera=K,
        width=width,
        height=height,
        camera_xyz=rr.ViewCoordinates.RDF,
        image_plane_distance=size,
        color=DETECTED,
    )
    rec.log(path, pinhole, static=True)
    if camera.batch_shape:
        poses = rr.Transform3D.columns(translation=camera.centre.numpy(), mat3x3=camera.camera_to_world.numpy())
        rec.send_columns(path, times.columns(), poses)
    else:
        pose = rr.Transform3D(translation=camera.centre.numpy(), mat3x3=camera.camera_to_world.numpy())
        rec.log(path, pose, static=True)


def log_images(rec: rr.RecordingStream, path: str, times: Times, images: Iterable, camera: Camera) -> None:
    """Video frames behind the keypoints, as JPEG.

    Args:
        times: of the rows; earlier and later pictures are left out.
        images: pairs (seconds, (H, W, 3) uint8), e.g. of `frames.video_frames`; scaled to the drawn size here.
    """
    from PIL import Image

    width, height = (round(side * image_scale(camera)) for side in camera.image_size)
    seconds, blobs = [], []
    for when, image in images:
        if when > times.seconds[-1] + 1e-6:
            break
        if when < times.seconds[0] - 1e-6:
            continue
        picture, out = (
            Image.fromarray(np.asarray(image)).resize((width, height), Image.Resampling.BILINEAR),
            io.BytesIO(),
        )
        picture.save(out, "JPEG", quality=80)
        seconds.append(float(when))
        blobs.append(out.getvalue())
    if blobs:
        columns = rr.EncodedImage.columns(blob=blobs, media_type=["image/jpeg"] * len(blobs))
        rec.send_columns(path, Times(np.array(seconds), times.fps).columns(), columns)


def log_keypoints(rec: rr.RecordingStream, path: str, times: Times, keypoints, scale: float) -> None:
    """Detected keypoints in the image, coloured by confidence: keypoints (T, 17, 3) u px, v px, confidence."""
    keypoints = np.asarray(keypoints, np.float32)
    info = rr.ClassDescription(info=rr.AnnotationInfo(1, "person", DETECTED), keypoint_connections=COCO_BONES)
    rec.log(path, rr.AnnotationContext(info), static=True)
    rec.log(
        path, rr.Points2D.from_fields(class_ids=[1], radii=rr.Radius.ui_points(4.0), show_labels=False), static=True
    )
    confident = (keypoints[..., 2] > MIN_SHOWN) & np.isfinite(keypoints).all(-1)
    names = np.broadcast_to(np.arange(keypoints.shape[1]), confident.shape)
    points = rr.Points2D.columns(
        positions=keypoints[confident][:, :2] * scale,
        keypoint_ids=names[confident],
        colors=by_confidence(keypoints[confident][:, 2]),
    )
    rec.send_columns(path, times.columns(), points.partition(confident.sum(1)))


def log_overlay(rec: rr.RecordingStream, path: str, times: Times, camera: Camera, pos, colour) -> None:
    """A skeleton drawn into the image, lens included: pos (T, 24, 3) m, world."""
    pos = torch.as_tensor(pos, dtype=torch.float32)
    batched = camera if camera.batch_shape else _repeat(camera, len(pos))
    pixels = batched.project(pos).numpy() * image_scale(camera)
    near = (batched.to_camera(pos)[..., 2] > 0.1).all(-1).numpy()  # a body partly behind the camera has no picture
    rec.log(path, rr.LineStrips2D.from_fields(colors=[colour], radii=rr.Radius.ui_points(1.5)), static=True)
    strips = pixels[near][:, BONES].reshape(-1, 2, 2)
    columns = rr.LineStrips2D.columns(strips=strips).partition(near * len(BONES))
    rec.send_columns(path, times.columns(), columns)


def log_rays(rec: rr.RecordingStream, path: str, times: Times, centre, ray_point, confidence, root) -> None:
    """Rays from the camera's centre through the detected joints, coloured by confidence and drawn to just behind the body.

    Args:
        centre: (T, 3), ray_point: (T, J, 3) m, world. confidence: (T, J). root: (T, 3) m, world, the body's pelvis.
    """
    tip, shown = ray_tips(centre, ray_point, confidence, root)
    centre, confidence = np.asarray(centre, np.float32), np.asarray(confidence, np.float32)
    strips = np.stack([np.broadcast_to(centre[:, None], tip.shape)[shown], tip[shown]], axis=1)
    rec.log(path, rr.LineStrips3D.from_fields(radii=rr.Radius.ui_points(0.8)), static=True)
    columns = rr.LineStrips3D.columns(strips=strips, colors=by_confidence(confidence[shown]))
    rec.send_columns(path, times.columns(), columns.partition(shown.sum(1)))


def _repeat(camera: Camera, count: int) -> Camera:
    from dataclasses import replace

    return replace(camera, R=camera.R.expand(count, 3, 3), t=camera.t.expand(count, 3))
