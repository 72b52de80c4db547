"""Motions read for evaluation: output of HMR tools is recognised by its files, and the floor is estimated."""

import numpy as np
import test_importers as importers

from data_prep.as_read import read_motions
from physhmr_kit.body.skeleton import mean_offsets
from physhmr_kit.motion.kinematics import forward_kinematics

scene = importers.scene


def test_output_of_tools_is_recognised_and_agrees_with_the_true_motion(scene, tmp_path):
    importers.write_gvhmr(tmp_path / "runs" / "gvhmr", scene)
    importers.write_tram(tmp_path / "runs" / "tram", scene)
    (tmp_path / "runs" / "wham").mkdir(parents=True)
    importers.write_wham(tmp_path / "runs" / "wham" / "wham_output.pkl", scene)
    found = {motion.name: motion for motion in read_motions(tmp_path / "runs")}
    assert set(found) == {"gvhmr", "tram", "wham"}
    root, rot, *_ = scene
    wanted, _ = forward_kinematics(root, rot, mean_offsets())
    for motion in found.values():
        assert not motion.known_floor and motion.refusal == ""
        clip = motion.on_floor()
        pos, _ = forward_kinematics(clip.root_pos, clip.joint_rot, mean_offsets())
        off = (pos - pos[:1, :1]) - (wanted - wanted[:1, :1])
        assert off[:, :22].norm(dim=-1).max() < 5e-3
        assert abs(float((pos - wanted)[0, 0, 2])) < 0.02, "the pelvis is as high above the floor found"


def test_incomplete_output_is_a_refusal_and_other_output_is_read(scene, tmp_path):
    importers.write_gvhmr(tmp_path / "good", scene)
    importers.write_gvhmr(tmp_path / "bad", scene)
    (tmp_path / "bad" / "preprocess" / "vitpose.pt").unlink()
    bad, good = read_motions(tmp_path)
    assert bad.clip is None and "vitpose.pt" in bad.refusal and good.clip is not None


def test_a_single_frame_is_refused(tmp_path):
    np.savez(tmp_path / "one.npz", poses=np.zeros((1, 72)), trans=np.zeros((1, 3)), mocap_framerate=30.0)
    (one,) = read_motions(tmp_path / "one.npz")
    assert one.clip is None and one.refusal and one.path.name == "one.npz"
