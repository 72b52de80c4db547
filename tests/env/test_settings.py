"""The settings of an episode."""

import pytest

from physhmr_kit.env.settings import GROUP_SIZES, VISUAL_GROUPS
from physhmr_kit.env.tracking import TrackingConfig, TrackingEnv
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.simulation import make_simulator
from physhmr_kit.utils.errors import KitError


@pytest.mark.parametrize("group", VISUAL_GROUPS)
def test_a_group_that_a_camera_sees_is_refused_without_a_camera(group):
    assert group in GROUP_SIZES
    with make_simulator("mujoco_cpu", num_envs=1) as simulator, pytest.raises(KitError, match=r"visual|camera"):
        TrackingEnv(MotionLibrary([demo_clip("stand")]), simulator, TrackingConfig(groups=("proprioception", group)))
