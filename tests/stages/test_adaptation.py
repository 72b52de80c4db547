"""Adaptation to one video: rewards without ground truth, an assistive force that ends, the best policy is kept."""

from dataclasses import replace

import pytest
import torch

from physhmr_kit.env.settings import EXPERT_GROUPS
from physhmr_kit.learning import Policy
from physhmr_kit.stages.adaptation import ADAPTATION_CONFIG, AdaptationModule, VideoDataModule, adapt
from physhmr_kit.stages.build import build_stage
from physhmr_kit.stages.settings import FinetuneConfig, FinetunePPO, Simulation, StudentPolicy
from physhmr_kit.stages.student import fresh_student
from physhmr_kit.stages.views import film_library
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.encoder import VisionEncoder
from physhmr_kit.vision.keypoints import KeypointTrack

SMALL = replace(
    ADAPTATION_CONFIG, iterations=4, validate_every=2, sim=Simulation(simulator="mujoco_cpu", num_envs=4),
    ppo=FinetunePPO(horizon=4, epochs=1, minibatch_size=16, critic_hidden=(8,), critic_warmup=0, imitation_coef=0.0, ema_decay=0.5),
)  # fmt: skip


@pytest.fixture(scope="module")
def track(small_library):
    torch.manual_seed(0)
    return film_library(small_library, VisionEncoder(width=24, layers=1, heads=2).eval(), 1, seed=0)[1][1]


@pytest.fixture
def student():
    torch.manual_seed(0)
    return fresh_student(StudentPolicy(student="estimate"), Policy(EXPERT_GROUPS, (16,), 0.1, "balanced"))


def test_the_assistive_force_falls_to_zero_over_half_of_a_run(track, student, train):
    module, seen = AdaptationModule(SMALL, student), []
    module.data = VideoDataModule(track)
    collect = module.minibatches

    def looked_at():
        seen.append(module.env.assist)
        yield from collect()

    module.minibatches = looked_at
    train(module, 4, limit_val_batches=1)
    assert seen == pytest.approx([300, 150, 0, 0])
    assert module.evaluation is None, "closed"


def test_a_video_is_rewarded_by_rays_and_pose_and_not_by_root_position(track, student):
    module = AdaptationModule(SMALL, student)
    module.open(VideoDataModule(track))
    module.env.reset(seed=0)
    module.env.step(torch.zeros(4, 69))
    assert {"rays", "pose"} <= module.env.reward_terms.keys() and "position" not in module.env.reward_terms
    module.teardown("fit")


def test_adaptation_returns_the_best_policy_and_leaves_the_given_one_unchanged(track, student):
    before, told = {k: v.clone() for k, v in student.state_dict().items()}, []
    made = adapt(student, track, minutes=0.01, config=SMALL, progress=lambda *x: told.append(x))
    assert all(torch.equal(before[k], v) for k, v in student.state_dict().items())
    assert 0 < made.followed <= 1 and made.policy.groups == student.groups
    assert told and told[0][0] == 0 and all(0 <= followed <= 1 and off > 0 for _, followed, off in told)
    assert not any(p.requires_grad for p in made.policy.parameters())


def test_ctrl_c_returns_the_best_so_far(track, student):
    def interrupt(share, followed, off_mm):
        if share > 0:
            raise KeyboardInterrupt

    made = adapt(student, track, minutes=5, config=SMALL, progress=interrupt)
    assert made.followed > 0 and made.minutes < 1


def test_another_exit_is_not_taken_for_ctrl_c(track, student):
    def leave(share, followed, off_mm):
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        adapt(student, track, minutes=5, config=SMALL, progress=leave)


def test_a_video_is_a_clip_to_fine_tune_on(track, tmp_path, train):
    video = KeypointTrack(track.keypoints, 30.0, track.image_size).save(tmp_path / "walk_keypoints.npz")
    camera = track.camera.save(tmp_path / "walk_camera.json")
    config = replace(SMALL, video=str(video), camera=str(camera), policy=StudentPolicy(student="estimate"))
    module, data = build_stage(config)
    assert isinstance(module, AdaptationModule) and len(data.track) == len(track) and data.library.num_clips == 1
    module.data = data
    train(module, 2, limit_val_batches=1)
    figures = module.trainer.callback_metrics
    assert float(figures["val/frames_followed"]) == pytest.approx(module.followed)
    assert float(figures["val/rays_mm"]) == pytest.approx(module.off_mm) and float(figures["assist"]) < 300


def test_a_video_needs_its_camera_and_cannot_be_labelled(tmp_path):
    with pytest.raises(KitError, match="needs --video"):
        build_stage(replace(SMALL, video="walk_keypoints.npz"))
    with pytest.raises(KitError, match="no ground truth"):
        build_stage(FinetuneConfig(video="walk_keypoints.npz", camera="walk_camera.json"))
