"""Clips sorted by how they move."""

import roma
import torch
from motions import rest_clip, waving_clip

from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.demo import demo_clips
from physhmr_kit.motion.kinds import kinds_of_motion
from physhmr_kit.motion.kinematics import yaw_quaternion
from physhmr_kit.motion.library import MotionLibrary


def test_what_moves_alike_is_of_one_kind():
    library = MotionLibrary(
        [rest_clip(40), waving_clip(40), rest_clip(60, "again"), waving_clip(60, "more"), rest_clip(30, "third")]
    )
    assert kinds_of_motion(library, 2).tolist() == [0, 1, 0, 1, 0]


def test_every_kind_has_a_clip_and_kinds_are_numbered_by_their_first():
    library = MotionLibrary(demo_clips())
    kinds = kinds_of_motion(library, 5).tolist()
    assert list(dict.fromkeys(kinds)) == [0, 1, 2, 3, 4]


def test_the_place_and_the_way_a_clip_faces_do_not_matter():
    def elsewhere(clip: Clip) -> Clip:
        turn = yaw_quaternion(torch.tensor(2.0)).expand(len(clip), 4)
        rot = clip.joint_rot.clone()
        rot[:, 0] = roma.quat_product(turn, rot[:, 0])
        root = roma.quat_action(turn, clip.root_pos) + torch.tensor([3.0, -1.0, 0.0])
        return Clip.from_joints(root, rot, clip.fps, clip.name)

    clips = demo_clips()
    turned = [elsewhere(clip) if i % 2 else clip for i, clip in enumerate(clips)]
    assert torch.equal(kinds_of_motion(MotionLibrary(clips), 4), kinds_of_motion(MotionLibrary(turned), 4))


def test_one_kind_or_one_clip_needs_no_sorting():
    assert kinds_of_motion(MotionLibrary(demo_clips()), 1).tolist() == [0] * 12
    assert kinds_of_motion(MotionLibrary([rest_clip()]), 8).tolist() == [0]


def test_more_kinds_than_clips_are_as_many_as_there_are_clips():
    library = MotionLibrary([rest_clip(40), waving_clip(40)])
    assert kinds_of_motion(library, 8).tolist() == [0, 1]
