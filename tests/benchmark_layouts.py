"""Small data sets in the published layouts, written from one known scene without the code under test.

The scene is a demo motion in front of a camera; every function returns the folder to give to the reader.
"""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import roma
import torch

from physhmr_kit.body.skeleton import PELVIS_AT_REST, mean_offsets
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.keypoints import coco_from_bodies

FRAMES = 40
Y_UP = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
"""(x, y, z) of a z-up world as (x, z, -y) of a y-up one."""
J0 = torch.tensor(PELVIS_AT_REST)


@dataclass(frozen=True, eq=False)
class Scene:
    """Ground truth in the kit's world: motion, 24 joints, 17 keypoints in pixels, camera."""

    clip: Clip
    joints: torch.Tensor
    pixels: torch.Tensor
    camera: Camera


def scene(fps: float = 30.0, moving: bool = True, frames: int = FRAMES, size=(1080, 1920)) -> Scene:
    clip = demo_clip("bow").resample(fps).cut(20, 20 + frames)
    joints, rot = forward_kinematics(clip.root_pos, clip.joint_rot, mean_offsets())
    angle = (0.01 if moving else 0.0) * torch.arange(frames)
    place = torch.stack([4 * angle.cos(), 4 * angle.sin(), 1.5 + 0 * angle], dim=-1)
    camera = Camera.look_at(place, torch.tensor([0.0, 0.0, 0.9]).expand(frames, 3), focal=1500.0, image_size=size)
    pixels = camera.project(coco_from_bodies(joints, rot))
    return Scene(clip, joints, pixels, camera if moving else camera[0])


def in_y_up(given: Scene, raised: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """poses (T, 72) and SMPL's trans (T, 3) in a y-up world shifted up by `raised` m."""
    turn = roma.rotmat_to_unitquat(Y_UP)
    rot = given.clip.joint_rot.clone()
    rot[:, 0] = roma.quat_product(turn.expand(len(rot), 4), rot[:, 0])
    lift = torch.tensor([0.0, raised, 0.0])
    return roma.unitquat_to_rotvec(rot).flatten(1).numpy(), (given.joints[:, 0] @ Y_UP.mT - J0 + lift).numpy()


def extrinsics_y_up(given: Scene, raised: float = 0.0) -> np.ndarray:
    """(T, 4, 4) world to camera of that world."""
    R = given.camera.R @ Y_UP.mT
    t = given.camera.t - R @ torch.tensor([0.0, raised, 0.0])
    out = torch.eye(4).repeat(len(R), 1, 1)
    out[:, :3, :3], out[:, :3, 3] = R, t
    return out.double().numpy()


def write_threedpw(root: Path, given: Scene, split: str = "test", protocol: int = 2, **changed) -> Path:
    poses, trans = in_y_up(given, 0.7)
    n = len(poses)
    joints = (given.joints @ Y_UP.mT + torch.tensor([0.0, 0.7, 0.0])).flatten(1).double().numpy()
    # OpenPose-18: nose, neck, right arm, left arm, right leg, left leg, eyes, ears
    coco = [0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]
    seen = np.zeros((n, 3, 18))
    for row, source in enumerate(coco):
        if source is not None:
            seen[:, :2, row] = given.pixels[:, source].numpy()
            seen[:, 2, row] = 0.8
    valid = np.ones(n, bool)
    valid[5:9] = False
    other = {"trans": trans + np.array([1.0, 0, 0]), "jointPositions": joints + np.tile([1.0, 0, 0], 24)}
    data = {
        "sequence": "courtyard", "poses": [poses, poses], "trans": [trans, other["trans"]],
        "betas": [np.zeros(10), np.zeros(10)],
        "poses_60Hz": [np.repeat(poses, 2, 0)] * 2, "trans_60Hz": [np.repeat(trans, 2, 0)] * 2, "genders": ["m", "f"],
        "poses2d": [seen, seen], "jointPositions": [joints, other["jointPositions"]],
        "cam_poses": extrinsics_y_up(given, 0.7),
        "cam_intrinsics": given.camera.K[0].double().numpy(), "campose_valid": [valid, ~valid],
        "img_frame_ids": 2 * np.arange(n),
    }  # fmt: skip
    data = {k: v for k, v in (data | changed).items() if v is not None}
    path = root / "sequenceFiles" / split / "courtyard_00.pkl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(data, protocol=protocol))
    return root


def write_emdb(root: Path, given: Scene, name: str = "P1_14_outdoor_climb", **changed) -> Path:
    poses, trans = in_y_up(given, -0.4)
    valid = np.ones(len(poses), bool)
    valid[-3:] = False
    width, height = given.camera.image_size
    seen = given.camera.project(given.joints).double().numpy()
    data = {
        "gender": "female", "name": name, "emdb1": True, "emdb2": False, "n_frames": len(poses), "good_frames_mask": valid,
        "camera": {
            "intrinsics": given.camera.K[0].double().numpy(), "extrinsics": extrinsics_y_up(given, -0.4),
            "width": width, "height": height,
        },
        "smpl": {"poses_root": poses[:, :3], "poses_body": poses[:, 3:], "trans": trans, "betas": np.zeros(10)},
        "kp2d": seen, "bboxes": {"bboxes": np.zeros((len(poses), 4)), "invalid_idxs": np.zeros(0, int)},
    }  # fmt: skip
    path = root / name[:2] / name[3:] / f"{name}_data.pkl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(data | changed))
    return root


def write_aistpp(root: Path, given: Scene, name: str = "gBR_sBM_cAll_d04_mBR0_ch01", scaling: float = 95.0) -> Path:
    """A body 0.95 times the mean shape, in front of a fixed camera at 60 Hz."""
    poses, _ = in_y_up(given)
    trans = 100 * (0.95 * given.joints[:, 0]) @ Y_UP.mT
    for folder in ("motions", "keypoints2d", "cameras", "splits"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    motion = {
        "smpl_poses": poses,
        "smpl_scaling": np.array([scaling]),
        "smpl_trans": trans.double().numpy(),
        "smpl_loss": 1.0,
    }
    (root / "motions" / f"{name}.pkl").write_bytes(pickle.dumps(motion))
    camera = given.camera
    seen = np.full((9, len(poses) + 2, 17, 3), np.nan)
    seen[:, :-2, :, :2], seen[:, :-2, :, 2] = camera.project(0.95 * given.joints.new_tensor(_coco(given))).numpy(), 0.9
    seen[0, 4, 9] = np.nan
    found = {"keypoints2d": seen, "det_scores": np.ones((9, len(poses))), "timestamps": np.arange(len(poses))}
    (root / "keypoints2d" / f"{name}.pkl").write_bytes(pickle.dumps(found))
    R = camera.R @ Y_UP.mT
    entry = {
        "size": list(camera.image_size), "matrix": camera.K.tolist(), "rotation": roma.rotmat_to_rotvec(R).tolist(),
        "translation": (100 * camera.t).tolist(), "distortions": [0.0] * 5,
    }  # fmt: skip
    cameras = [{"name": f"c{n:02d}", **entry} for n in range(1, 10)]
    (root / "cameras" / "setting1.json").write_text(json.dumps(cameras))
    (root / "cameras" / "mapping.txt").write_text(f"{name} setting1\ngOther setting2\n")
    (root / "splits" / "pose_test.txt").write_text(f"{name}\n")
    (root / "splits" / "pose_train.txt").write_text("gOther\n")
    (root / "ignore_list.txt").write_text("gKR_sBM_cAll_d30_mKR5_ch10\n")
    return root


def _coco(given: Scene):
    _, rot = forward_kinematics(given.clip.root_pos, given.clip.joint_rot, mean_offsets())
    return coco_from_bodies(given.joints, rot).tolist()


def write_human36m(root: Path, given: Scene, kind: str = "cpn_ft_h36m_dbb") -> Path:
    """S9 walks in front of one camera (listed four times); of the 32 joints, the 17 that are read are meaningful."""
    root.mkdir(parents=True, exist_ok=True)
    of_32 = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]
    smpl = [0, 2, 5, 8, 1, 4, 7, 3, 9, 12, 15, 16, 18, 20, 17, 19, 21]  # H36M-17 by SMPL's numbers
    joints = np.full((len(given.joints), 32, 3), 77.0, np.float32)
    joints[:, of_32] = given.joints[:, smpl].numpy()
    seen = given.camera.project(given.joints[:, smpl]).numpy()
    positions = {"S9": {"Walking 1": joints}, "S1": {"Walking": joints}}
    np.savez_compressed(root / "data_3d_h36m.npz", positions_3d=np.array(positions, dtype=object))
    views = [np.concatenate([seen, seen[-1:]])] * 4
    meta = {"layout_name": "h36m", "num_joints": 17, "keypoints_symmetry": [[4, 5, 6], [1, 2, 3]]}
    np.savez_compressed(
        root / f"data_2d_h36m_{kind}.npz",
        positions_2d=np.array({"S9": {"Walking 1": views}, "S1": {"Walking": views}}, dtype=object),
        metadata=np.array(meta, dtype=object),
    )
    camera = given.camera
    x, y, z, w = roma.rotmat_to_unitquat(camera.R.mT).tolist()
    lens = {
        "id": "54138969", "center": camera.K[:2, 2].tolist(), "focal_length": [camera.K[0, 0].item()] * 2,
        "radial_distortion": [0.0, 0.0, 0.0], "tangential_distortion": [0.0, 0.0], "res_w": camera.image_size[0],
        "res_h": camera.image_size[1], "azimuth": 70,
    }  # fmt: skip
    lenses = [lens | {"id": name} for name in ("54138969", "55011271", "58860488", "60457274")]
    place = {"orientation": [w, x, y, z], "translation": (1000 * camera.centre).tolist()}
    places = {"S1": [place] * 4, "S2": [{}] * 4, "S9": [place] * 4}
    text = (
        "import does_not_exist\n"
        f"h36m_cameras_intrinsic_params = {lenses!r}\n\nh36m_cameras_extrinsic_params = {places!r}\n"
        "raise SystemExit('it ran')\n"
    )
    (root / "h36m_dataset.py").write_text(text)
    return root
