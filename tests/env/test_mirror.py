"""Observations and actions in the mirror."""

import pytest
import torch

from physhmr_kit.body.humanoid import Humanoid
from physhmr_kit.env import mirror, observations
from physhmr_kit.env.settings import GROUP_SIZES
from physhmr_kit.motion.demo import demo_clips
from physhmr_kit.motion.kinematics import heading
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.motion.mirror import mirrored_clip
from physhmr_kit.utils.errors import KitError

GROUPS = ("proprioception", "reference", "preview")


@pytest.fixture(scope="module")
def both() -> MotionLibrary:
    """A motion that uses both sides differently, and its mirror image."""
    clip = next(c for c in demo_clips() if c.name == "lunge").cut(20, 120)
    return MotionLibrary([clip, mirrored_clip(clip)])


def seen(states, ahead) -> torch.Tensor:
    """Every group of an imaginary body that is a little behind its reference."""
    yaw = heading(states.root_rot)
    glimpses = torch.stack([observations.glimpse(ahead)] * len(observations.PREVIEW_STEPS), dim=1)
    return torch.cat(
        [
            observations.proprioception(states, yaw),
            observations.reference(states, ahead, yaw),
            observations.preview(states, glimpses, yaw),
        ],
        dim=1,
    )


def test_a_mirrored_motion_is_seen_as_the_mirror_image_of_what_was_seen(both):
    motion, image = (seen(both.clip(c)[:-10], both.clip(c)[10:]) for c in (0, 1))
    assert not torch.allclose(motion, image, atol=0.1)
    torch.testing.assert_close(mirror.mirrored(motion, *mirror.observation_map(GROUPS)), image, atol=2e-3, rtol=0)


def test_hinges_mirror_as_the_motion_does(both):
    motion, image = both.clip(0).dof_pos, both.clip(1).dof_pos
    torch.testing.assert_close(mirror.mirrored(motion, *mirror.action_map()), image, atol=1e-4, rtol=0)


def test_limits_and_gains_do_not_tell_left_from_right():
    places, _ = mirror.action_map()
    humanoid = Humanoid.mean()
    assert torch.equal(humanoid.kp, humanoid.kp[places])
    assert torch.equal(humanoid.torque_limit, humanoid.torque_limit[places])


@pytest.mark.parametrize("pair", [*(mirror.observation_map((g,)) for g in GROUPS), mirror.action_map()])
def test_twice_mirrored_is_as_before(pair):
    x = torch.randn(3, len(pair[0]))
    torch.testing.assert_close(mirror.mirrored(mirror.mirrored(x, *pair), *pair), x)


def test_maps_are_as_wide_as_the_groups():
    for group in GROUPS:
        assert len(mirror.observation_map((group,))[0]) == GROUP_SIZES[group]


def test_what_a_camera_sees_has_no_mirror_image():
    with pytest.raises(KitError, match="rays"):
        mirror.observation_map(("rays",))
