"""Input of the command tests: untrained weights, and keypoints, camera and video of a person filmed from behind."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import torch
from motions import rest_clip

from physhmr_kit import cli
from physhmr_kit.learning.networks import Policy
from physhmr_kit.learning.storage import save_policy
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.encoder import VisionEncoder
from physhmr_kit.vision.keypoints import KeypointTrack, coco_from_bodies
from physhmr_kit.vision.pretrained import save_encoder

EXPERT_GROUPS = ("proprioception", "reference")
STUDENT_GROUPS = ("proprioception", "rays", "ray_confidence", "feature", "root_orientation")
IMAGE = (320, 240)


def weights(folder: Path) -> dict[str, Path]:
    """Untrained expert, student and encoder: the reference under plain PD, the rest pose, and the rest pose seen from behind."""
    torch.manual_seed(0)
    small = {"hidden": (16,), "std": 0.1}
    return {
        "expert": save_policy(Policy(EXPERT_GROUPS, **small), folder / "expert.safetensors", "expert"),
        "distill": save_policy(
            Policy(STUDENT_GROUPS, control="absolute", **small), folder / "distill.safetensors", "distill"
        ),
        "encoder": save_encoder(rest_encoder(), folder / "encoder.safetensors"),
    }


def rest_encoder() -> VisionEncoder:
    """An encoder that always returns its initial output: the rest pose, facing away from the camera."""
    encoder = VisionEncoder(width=24, layers=1, heads=2).eval()
    torch.nn.init.zeros_(encoder.heads.weight)
    return encoder


def filmed(folder: Path, frames: int = 40, fps: float = 60.0) -> dict[str, Path]:
    """Keypoints, camera and video of the standing body, seen from behind, for which `rest_encoder` is correct."""
    camera = Camera.look_at((-4.0, 0.0, 1.0), (0.0, 0.0, 0.95), focal=300.0, image_size=IMAGE)
    body = MotionLibrary([rest_clip(frames)]).clip(0)
    points = coco_from_bodies(body.body_pos, body.body_rot)
    keypoints = torch.cat([camera.project(points), torch.ones(frames, 17, 1)], dim=-1)
    paths = {"keypoints": folder / "man_keypoints.npz", "camera": folder / "man.json", "video": folder / "man.mp4"}
    KeypointTrack(keypoints, fps, IMAGE).save(paths["keypoints"])
    camera.save(paths["camera"])
    write_video(paths["video"], frames, fps)
    return paths


def write_video(path: Path, frames: int, fps: float = 60.0, size: tuple[int, int] = IMAGE) -> Path:
    """A grey video."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=int(fps))
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        picture = np.full((size[1], size[0], 3), 128, np.uint8)
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return path


def edit_camera(path: Path, **entries) -> Path:
    """The camera file with some entries changed, beside the old one."""
    changed = path.with_name("edited.json")
    changed.write_text(json.dumps({**json.loads(path.read_text()), **entries}))
    return changed


def run(main, *argv) -> int:
    """A command's exit code, as a shell would see it."""
    return cli.run(lambda: main([str(a) for a in argv]))
