"""Logs a camera to a Rerun recording: frustum, video frames, keypoints, projected skeleton and rays."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import rerun as rr
import torch
from PIL import Image

from physhmr_kit.viewer.bodies import BONES, Times
from physhmr_kit.viewer.palette import DETECTED, MIN_SHOWN, by_confidence
from physhmr_kit.viewer.viewpoint import ray_tips
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.keypoints import COCO_BONES

_LINES = 720  # pixels of the shorter side of logged images, at most, so that recordings stay small


def image_scale(camera: Camera) -> float:
    """Factor that scales the shorter side of the camera's image to at most 720 pixels."""
    return min(1.0, _LINES / min(camera.image_size))


def log_camera(rec: rr.RecordingStream, path: str, times: Times, camera: Camera, size: float) -> None:
    """Log the camera as a frustum, without lens distortion: Rerun has pinhole cameras only.

    Args:
        camera: fixed, or moving with batch shape (T,).
        size: distance of the drawn image from the camera centre, metres.
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
    centre, rot = camera.centre.numpy(), camera.camera_to_world.numpy()
    if camera.batch_shape:
        rec.send_columns(path, times.columns(), rr.Transform3D.columns(translation=centre, mat3x3=rot))
    else:
        rec.log(path, rr.Transform3D(translation=centre, mat3x3=rot), static=True)


def log_images(rec: rr.RecordingStream, path: str, times: Times, images: Iterable, camera: Camera) -> None:
    """Log video frames as JPEG, scaled by `image_scale`.

    Args:
        times: range of the rows; earlier and later images are skipped.
        images: pairs (seconds, (H, W, 3) uint8), e.g. from `frames.video_frames`.
    """
    width, height = (round(side * image_scale(camera)) for side in camera.image_size)
    seconds, blobs = [], []
    for when, image in images:
        if when > times.seconds[-1] + 1e-6:
            break
        if when < times.seconds[0] - 1e-6:
            continue
        out = io.BytesIO()
        picture = Image.fromarray(np.asarray(image)).resize((width, height), Image.Resampling.BILINEAR)
        picture.save(out, "JPEG", quality=80)
        seconds.append(float(when))
        blobs.append(out.getvalue())
    if blobs:
        columns = rr.EncodedImage.columns(blob=blobs, media_type=["image/jpeg"] * len(blobs))
        rec.send_columns(path, Times(np.array(seconds), times.fps).columns(), columns)


def log_keypoints(rec: rr.RecordingStream, path: str, times: Times, keypoints, camera: Camera) -> None:
    """Log detected keypoints, coloured by confidence: keypoints (T, 17, 3) u px, v px, confidence."""
    keypoints = np.asarray(keypoints, np.float32)
    info = rr.ClassDescription(info=rr.AnnotationInfo(1, "person", DETECTED), keypoint_connections=COCO_BONES)
    rec.log(path, rr.AnnotationContext(info), static=True)
    rec.log(
        path, rr.Points2D.from_fields(class_ids=[1], radii=rr.Radius.ui_points(4.0), show_labels=False), static=True
    )
    confident = (keypoints[..., 2] > MIN_SHOWN) & np.isfinite(keypoints).all(-1)
    names = np.broadcast_to(np.arange(keypoints.shape[1]), confident.shape)
    points = rr.Points2D.columns(
        positions=keypoints[confident][:, :2] * image_scale(camera),
        keypoint_ids=names[confident],
        colors=by_confidence(keypoints[confident][:, 2]),
    )
    rec.send_columns(path, times.columns(), points.partition(confident.sum(1)))


def log_overlay(rec: rr.RecordingStream, path: str, times: Times, camera: Camera, pos, colour) -> None:
    """Log a skeleton projected into the image, with lens distortion: pos (T, 24, 3) m, world."""
    pos = torch.as_tensor(pos, dtype=torch.float32)
    if not camera.batch_shape:
        camera = replace(camera, R=camera.R.expand(len(pos), 3, 3), t=camera.t.expand(len(pos), 3))
    pixels = camera.project(pos).numpy() * image_scale(camera)
    visible = (camera.to_camera(pos)[..., 2] > 0.1).all(-1).numpy()  # a body partly behind the camera has no image
    rec.log(path, rr.LineStrips2D.from_fields(colors=[colour], radii=rr.Radius.ui_points(1.5)), static=True)
    strips = pixels[visible][:, BONES].reshape(-1, 2, 2)
    columns = rr.LineStrips2D.columns(strips=strips).partition(visible * len(BONES))
    rec.send_columns(path, times.columns(), columns)


def log_rays(rec: rr.RecordingStream, path: str, times: Times, centre, ray_point, confidence, root) -> None:
    """Log the rays from the camera centre through the detected joints, coloured by confidence, to just behind the body.

    Args:
        centre, ray_point, confidence, root: see `ray_tips`.
    """
    tip, shown = ray_tips(centre, ray_point, confidence, root)
    centre, confidence = np.asarray(centre, np.float32), np.asarray(confidence, np.float32)
    strips = np.stack([np.broadcast_to(centre[:, None], tip.shape)[shown], tip[shown]], axis=1)
    rec.log(path, rr.LineStrips3D.from_fields(radii=rr.Radius.ui_points(0.8)), static=True)
    columns = rr.LineStrips3D.columns(strips=strips, colors=by_confidence(confidence[shown]))
    rec.send_columns(path, times.columns(), columns.partition(shown.sum(1)))
