"""A walk, a rollout that follows it badly, and a camera that sees both."""

from types import SimpleNamespace

import numpy as np
import pytest
import rerun as rr
import torch

from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.motion.state import BodyState
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.keypoints import RAY_COCO, coco_from_bodies
from physhmr_kit.vision.rays import lift

FRAMES = 45


@pytest.fixture(autouse=True)
def strict():
    """Wrong arguments to Rerun raise here; outside tests they only warn."""
    rr.set_strict_mode(True)
    yield
    rr.set_strict_mode(False)


@pytest.fixture(scope="session")
def clip():
    return demo_clip("walk_forward").cut(0, FRAMES)


def body_state(clip, shift) -> BodyState:
    pos, rot = forward_kinematics(clip.root_pos + torch.tensor(shift), clip.joint_rot, Humanoid.mean().offsets)
    still, dofs = torch.zeros_like(pos), torch.zeros(len(clip), 69)
    return BodyState(pos, rot, still, still, dofs, dofs)


@pytest.fixture
def rollout(clip):
    """The simulated body walks 30 mm beside the reference and loses it at the end."""
    force = torch.zeros(FRAMES, 24, 3)
    force[:, 7, 2], force[:, 8, 2] = 500.0, 5.0  # the right foot touches too lightly to be drawn
    return SimpleNamespace(
        name="walk",
        reference=body_state(clip, (0.0, 0.0, 0.0)),
        simulated=body_state(clip, (0.0, 0.03, 0.0)),
        contact_force=force,
        rewards={"pose": torch.linspace(0, 1, FRAMES), "power": torch.ones(FRAMES)},
        success=False,
        fail_frame=FRAMES - 1,
        fps=30.0,
    )


@pytest.fixture
def track(rollout):
    """A perfect detector behind a lens that bends, two keypoints unseen."""
    camera = Camera.look_at((4.0, -3.0, 1.5), (0.5, 0.0, 0.9), focal=1400.0)
    camera = Camera(camera.K, camera.R, camera.t, torch.tensor([-0.1, 0.02, 0.0, 0.0, 0.0]), camera.image_size)
    seen = rollout.reference
    pixels = camera.project(coco_from_bodies(seen.body_pos, seen.body_rot).flatten(0, 1)).unflatten(0, (FRAMES, 17))
    keypoints = torch.cat([pixels, torch.ones(FRAMES, 17, 1)], dim=-1)
    keypoints[:, :2, 2] = 0.0
    return SimpleNamespace(
        keypoints=keypoints,
        ray_point=lift(keypoints[:, RAY_COCO, :2].flatten(0, 1), camera).unflatten(0, (FRAMES, 12)),
        ray_confidence=keypoints[:, RAY_COCO, 2],
        centre=camera.centre.expand(FRAMES, 3),
        camera=camera,
        fps=30.0,
        first=0,
    )


class Recorded:
    """What an .rrd holds, entity by entity."""

    def __init__(self, path):
        from rerun.chunk import RrdReader

        reader = RrdReader(str(path))
        self.blueprints = len(reader.blueprints())
        self.chunks = [c for c in reader.stream().to_chunks() if not c.entity_path.startswith("/__")]

    @property
    def entities(self) -> set[str]:
        return {c.entity_path.strip("/") for c in self.chunks}

    @property
    def timelines(self) -> set[str]:
        return {t for c in self.chunks for t in c.timeline_names}

    def static(self, entity: str, component: str):
        """A value that holds for all times."""
        for chunk in self.chunks:
            batch = chunk.to_record_batch()
            names = [n for n in batch.schema.names if n.endswith(f":{component}")]
            if chunk.entity_path.strip("/") == entity and chunk.is_static and names:
                return batch.column(names[0])[0].as_py()[0]
        raise KeyError(f"{entity}: no static {component}")

    def column(self, entity: str, component: str) -> list:
        """Values over time: a list with one list of instances for each row, ordered by frame."""
        rows = {}
        for chunk in self.chunks:
            if chunk.entity_path.strip("/") != entity or chunk.is_static:
                continue
            batch = chunk.to_record_batch()
            name = next((n for n in batch.schema.names if n.endswith(f":{component}")), None)
            if name is not None:
                frames, values = batch.column("frame").to_pylist(), batch.column(name).to_pylist()
                rows |= dict(zip(frames, values, strict=True))
        return [rows[frame] for frame in sorted(rows)]

    def array(self, entity: str, component: str) -> np.ndarray:
        """The same as an array, for columns with equally many instances in every row."""
        return np.array(self.column(entity, component), np.float64)


@pytest.fixture
def recorded():
    return Recorded
