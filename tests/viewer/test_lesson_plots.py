"""The plots of the lessons are drawn correctly."""

import matplotlib.pyplot as plt
import torch

from physhmr_kit.body.skeleton import mean_offsets
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.viewer.bodies import BONES
from physhmr_kit.viewer.lesson_plots import draw_rays
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.keypoints import RAY_JOINTS


def test_twelve_rays_go_from_the_camera_through_the_image_to_their_joints():
    clip = demo_clip("wave")
    joints = forward_kinematics(clip.root_pos[:1], clip.joint_rot[:1], mean_offsets())[0][0]
    camera = Camera.look_at(position=(4.0, 1.2, 1.5), target=(0.0, 0.0, 0.9), focal=1500.0)
    seen = joints[list(RAY_JOINTS)]
    axes = plt.figure().add_subplot(projection="3d")
    draw_rays(axes, camera, joints, camera.project(seen))
    lines = [torch.tensor([list(part) for part in line.get_data_3d()]).T.float() for line in axes.lines]
    rays = [line for line in lines if torch.allclose(line[0], camera.centre, atol=1e-5)]
    assert len(rays) == 12 and len(lines) == 12 + 2 * len(BONES)
    for ray, joint in zip(rays, seen, strict=True):
        along = torch.nn.functional.normalize(ray[1] - ray[0], dim=0)
        off = (joint - ray[0]) - torch.dot(joint - ray[0], along) * along
        assert off.norm() < 1e-3
        torch.testing.assert_close((ray[1] - ray[0]).norm(), 1.08 * (joint - ray[0]).norm())  # past the joint
    plt.close("all")
