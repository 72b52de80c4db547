"""A walking clip, a rollout that deviates from it, and a visual track of it."""

from dataclasses import replace
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
    """Wrong arguments to Rerun raise in tests; otherwise they only warn."""
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


@pytest.fixture(scope="session")
def make_rollout(clip):
    """The simulated body walks 30 mm beside the reference and fails at the end."""
    force = torch.zeros(FRAMES, 24, 3)
    force[:, 7, 2], force[:, 8, 2] = 500.0, 5.0  # the force on the right foot is too small to be drawn
    reference, simulated = body_state(clip, (0.0, 0.0, 0.0)), body_state(clip, (0.0, 0.03, 0.0))
    return lambda: SimpleNamespace(
        name="walk",
        reference=reference,
        simulated=simulated,
        contact_force=force,
        rewards={"pose": torch.linspace(0, 1, FRAMES), "power": torch.ones(FRAMES)},
        success=False,
        fail_frame=FRAMES - 1,
        fps=30.0,
    )


@pytest.fixture
def rollout(make_rollout):
    return make_rollout()


@pytest.fixture(scope="session")
def make_track(make_rollout):
    """Perfect keypoints through a lens with distortion; the first two are undetected."""
    camera = Camera.look_at((4.0, -3.0, 1.5), (0.5, 0.0, 0.9), focal=1400.0)
    camera = replace(camera, distortion=torch.tensor([-0.1, 0.02, 0.0, 0.0, 0.0]))
    seen = make_rollout().reference
    pixels = camera.project(coco_from_bodies(seen.body_pos, seen.body_rot))
    keypoints = torch.cat([pixels, torch.ones(FRAMES, 17, 1)], dim=-1)
    keypoints[:, :2, 2] = 0.0
    return lambda: SimpleNamespace(
        keypoints=keypoints.clone(),
        ray_point=lift(keypoints[:, RAY_COCO, :2], camera),
        ray_confidence=keypoints[:, RAY_COCO, 2],
        centre=camera.centre.expand(FRAMES, 3),
        camera=camera,
        fps=30.0,
        first=0,
    )


@pytest.fixture
def track(make_track):
    return make_track()


class Recorded:
    """The contents of an .rrd by entity."""

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
        """The value of a static component."""
        for chunk in self.chunks:
            batch = chunk.to_record_batch()
            names = [n for n in batch.schema.names if n.endswith(f":{component}")]
            if chunk.entity_path.strip("/") == entity and chunk.is_static and names:
                return batch.column(names[0])[0].as_py()[0]
        raise KeyError(f"{entity}: no static {component}")

    def column(self, entity: str, component: str) -> list:
        """Values over time: for each row, ordered by frame, a list of instances."""
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
        """`column` as an array, if every row has the same number of instances."""
        return np.array(self.column(entity, component), np.float64)


@pytest.fixture(scope="session")
def recorded():
    return Recorded
