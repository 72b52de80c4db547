"""Reads SMPL motions in the array layouts of common tools, and detects units and the up axis.

AMASS (SMPL+H and SMPL-X `_stageii`), GMR's input (`root_orient`, `pose_body`, `trans`), PHC and ASAP pickles (`pose_aa`, `trans_orig` or
`root_trans_offset`, `fps`; several clips in one file), AIST++ (`smpl_poses`, `smpl_trans`, `smpl_scaling`), ROMP (`results`).
Other arrays in a file are ignored.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import roma
import torch

from data_prep.retargeting.axes import find_up, path_unit, upright_turn
from data_prep.retargeting.own_shape import on_mean_legs, own_shape
from physhmr_kit.body.skeleton import PELVIS_AT_REST, mean_offsets
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.utils.errors import KitError

RATES = ("mocap_framerate", "mocap_frame_rate", "fps", "frame_rate", "framerate", "mocap_fps")
_WHOLE = ("poses", "pose_aa", "fullpose", "smpl_poses", "smpl_thetas", "pose")
_ROOT = ("root_orient", "global_orient")
_BODY = ("pose_body", "body_pose")
_TRANS = ("trans", "transl", "trans_orig", "root_trans_offset", "root_trans", "root_translation", "smpl_trans")
_PELVIS_ITSELF = "root_trans_offset"  # the pelvis; the others are SMPL's translation, pelvis minus j0
_BETAS = ("betas", "beta", "shape", "smpl_betas")
_JOINTS = (22, 24, 52, 55)
_ROBOT = ("dof", "dof_pos", "dof_positions", "joint_pos")
_Z = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)


def clips_of(data: object, path: str | Path) -> list[tuple[Clip, list[str]]]:
    """The motions in a file's contents, each with notes on what was detected.

    Args:
        data: a dictionary of arrays, or a dictionary of such dictionaries. path: the file, for messages.

    Raises:
        KitError: no motion, a robot's motion, an array of wrong shape, no rate, NaN.
    """
    path = Path(path)
    if not isinstance(data, dict):
        raise KitError(f"{path}: holds {type(data).__name__}; expected named arrays: poses, trans and a frame rate")
    if "results" in data and not _has(data, *_WHOLE, *_ROOT):
        return [_clip_of(_of_romp(data, path), path, path.stem, seen_by_camera=True)]
    inner = {name: value for name, value in data.items() if _has(value, *_WHOLE, *_ROOT, *_ROBOT)}
    if inner and not _has(data, *_WHOLE, *_ROOT):
        return [_clip_of(value, path, str(name) if len(inner) > 1 else path.stem) for name, value in inner.items()]
    return [_clip_of(data, path, path.stem)]


def _clip_of(data: dict, path: Path, name: str, seen_by_camera: bool = False) -> tuple[Clip, list[str]]:
    notes: list[str] = []
    poses = _poses(data, path)
    trans = _trans(data, path, len(poses))
    fps, note = _rate(data, path)
    notes += [note] if note else []
    angles = np.linalg.norm(poses.reshape(-1, 3), axis=-1)
    if np.isfinite(angles).all() and np.quantile(angles, 0.95) > 2 * np.pi + 0.5:
        poses = np.deg2rad(poses)
        notes.append("rotations are in degrees, not radians")
    try:
        clip = Clip(poses, trans, fps, name, _betas(data), _gender(data))
    except KitError as fault:
        raise KitError(f"{path}: {str(fault).split(': ', 1)[-1]}") from fault
    shape, said = own_shape(clip.betas, clip.gender, _model_of(data, key=_has(data, *_WHOLE)))
    pelvis: tuple[float, ...] = PELVIS_AT_REST
    if shape is not None and _has(data, *_TRANS) != _PELVIS_ITSELF:
        pelvis = tuple(shape.pelvis.tolist())
    clip, more = _upright_in_metres(clip, path, seen_by_camera, pelvis)
    return clip if shape is None else on_mean_legs(clip, shape), [*notes, *more, *said]


def _upright_in_metres(
    clip: Clip, path: Path, seen_by_camera: bool, pelvis_at_rest: tuple[float, ...]
) -> tuple[Clip, list[str]]:
    lines = []
    expected = torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64) if seen_by_camera else _Z
    at_origin = torch.zeros(len(clip), 3, dtype=torch.float64)
    limbs, _ = forward_kinematics(at_origin, clip.joint_rot.double(), mean_offsets().double())
    root = clip.root_pos.double()
    up, _ = find_up(limbs + root[:, None], clip.fps, expected, str(path))
    metres, unit = path_unit(root, limbs[:, [7, 8, 10, 11]], up, clip.fps)
    own, mean = (torch.tensor(j0, dtype=torch.float64) for j0 in (pelvis_at_rest, PELVIS_AT_REST))
    root = (root - mean) * metres + own
    if metres != 1.0:  # a wrong unit may have hidden the up axis
        lines.append(f"trans is in {unit}: multiplied by {metres:g}")
        up, _ = find_up(limbs + root[:, None], clip.fps, expected, str(path))
    if torch.equal(up, _Z):
        same = metres == 1.0 and torch.equal(own, mean)
        return (clip if same else _moved(clip, root, clip.joint_rot)), lines
    turn = upright_turn(up, "z")
    quat = roma.rotmat_to_unitquat(turn)
    joint_rot = clip.joint_rot.double()
    joint_rot[:, 0] = roma.quat_product(quat.expand(len(clip), 4), joint_rot[:, 0])
    axis = ("-" if float(up.sum()) < 0 else "") + "xyz"[int(up.abs().argmax())]
    why = f"{axis} is up in the file" + (", which is in its camera's frame" if seen_by_camera else ", not z")
    return _moved(clip, root @ turn.T, joint_rot), [*lines, f"turned upright: {why}"]


def _moved(clip: Clip, root: torch.Tensor, joint_rot: torch.Tensor) -> Clip:
    return replace(Clip.from_joints(root, joint_rot, clip.fps, clip.name), betas=clip.betas, gender=clip.gender)


def _poses(data: dict, path: Path) -> np.ndarray:
    """(T, 72) axis-angle of SMPL's joints; hands at rest if the file has none, or has SMPL+H's fingers."""
    if key := _has(data, *_WHOLE):
        poses = _numbers(data, key, path)
    elif (root_key := _has(data, *_ROOT)) and (body_key := _has(data, *_BODY)):
        key = f"{root_key} + {body_key}"
        root, body = _numbers(data, root_key, path), _numbers(data, body_key, path)
        if root.ndim < 2 or body.ndim < 2 or len(root) != len(body) or not len(root):
            raise KitError(f"{path}: {key} have shapes {root.shape} and {body.shape}; expected as many frames")
        poses = np.concatenate([root.reshape(len(root), -1), body.reshape(len(body), -1)], axis=1)
    else:
        held = ", ".join(str(k) for k in list(data)[:8]) or "nothing"
        if _has(data, *_ROBOT):
            raise KitError(f"{path}: a robot's motion (it holds {held}), not a body's")
        raise KitError(
            f"{path}: no 'poses' in the file, which holds {held}; a clip holds poses, trans and mocap_framerate"
        )
    shape = poses.shape
    if poses.ndim and not len(poses):
        raise KitError(f"{path}: the clip has no frames")
    if poses.ndim == 4 and shape[2:] == (3, 3):
        poses = roma.rotmat_to_rotvec(torch.from_numpy(poses)).numpy()
    flat = poses.reshape(len(poses), -1) if poses.ndim > 1 else poses
    if flat.ndim != 2 or flat.shape[1] not in [3 * j for j in _JOINTS]:
        robot = "; it looks like a robot's motion" if _has(data, *_ROBOT) else ""
        columns = ", ".join(f"(frames, {3 * j})" for j in _JOINTS)
        raise KitError(f"{path}: {key} have shape {shape}; expected {columns} or (frames, joints, 3){robot}")
    if flat.shape[1] != 72:
        flat = np.concatenate([flat[:, :66], np.zeros((len(flat), 6))], axis=1)
    return flat


def _trans(data: dict, path: Path, frames: int) -> np.ndarray:
    key = _has(data, *_TRANS)
    if not key:
        raise KitError(f"{path}: no 'trans' in the file; a clip holds poses, trans and mocap_framerate")
    trans = _numbers(data, key, path)
    trans = trans.reshape(len(trans), -1) if trans.ndim == 3 and len(trans) else trans
    if trans.shape != (frames, 3):
        raise KitError(f"{path}: {key} has shape {trans.shape}; expected ({frames}, 3)")
    if key == _PELVIS_ITSELF:
        trans = trans - np.array(PELVIS_AT_REST)
    if key == "smpl_trans" and "smpl_scaling" in data:
        trans = trans / _numbers(data, "smpl_scaling", path).ravel()[0]
    return trans


def _rate(data: dict, path: Path) -> tuple[float, str]:
    key = _has(data, *RATES)
    if not key:
        for mark, usual, reason in (("smpl_scaling", 60.0, "as AIST++"), ("romp", 30.0, "as most videos")):
            if mark in data:
                return usual, f"no frame rate in the file: read at {usual:g} Hz, {reason}"
        raise KitError(f"{path}: no mocap_framerate in the file; add it, in frames per second")
    values = _numbers(data, key, path).ravel()
    if len(values) == 0 or (values != values[0]).any():
        raise KitError(f"{path}: {key} holds {len(values)} numbers; expected one, in frames per second")
    fps, rounded = float(values[0]), float(np.round(values[0]))
    return (rounded if abs(fps - rounded) < 0.01 else fps), ""  # AMASS writes 120.00004


def _betas(data: dict) -> np.ndarray:
    betas = np.zeros(10, np.float32)
    key = _has(data, *_BETAS)
    try:
        given = np.asarray(data[key], np.float32) if key else betas
    except (TypeError, ValueError):
        return betas
    given = (given.mean(0) if given.ndim == 2 and len(given) else given.ravel())[:10]
    betas[: len(given)] = np.nan_to_num(given)
    return betas


def _model_of(data: dict, key: str) -> str:
    """The body model that a file's betas belong to, by `surface_model_type` or the number of pose columns."""
    said = str(np.ravel(np.asarray(data.get("surface_model_type", "")))[0]).lower()
    columns = int(np.prod(np.shape(data[key])[1:])) if key else 0
    if "smplx" in said or columns == 165:
        return "SMPL-X"
    return "SMPL-H" if "smplh" in said or columns == 156 else "SMPL"


def _gender(data: dict) -> str:
    """'male', 'female' or 'neutral', from any form a file has it in; anything else is 'neutral'."""
    said = np.ravel(np.asarray(data.get("gender", "neutral")))
    word = said[0] if len(said) else ""
    word = (word.decode("latin-1") if isinstance(word, bytes) else str(word)).lower()
    return word if word in ("male", "female") else "neutral"


def _of_romp(data: dict, path: Path) -> dict:
    """ROMP's frames (name -> people in it) as one motion: in each frame the person nearest to the camera."""
    results = data["results"]
    results = results.item() if isinstance(results, np.ndarray) and results.shape == () else results
    if _has(results, "smpl_thetas", *_ROOT):
        frames = [results]
    else:
        frames = [results[k] for k in sorted(results)] if isinstance(results, dict) else []
    rows = []
    for frame in frames:
        if _has(frame, "smpl_thetas") and _has(frame, "cam_trans"):
            thetas, places = (
                _numbers(frame, k, path).reshape(-1, n) for k, n in (("smpl_thetas", 72), ("cam_trans", 3))
            )
            if len(frames) == 1:
                rows += list(zip(thetas, places, strict=True))
            elif len(thetas):
                nearest = int(places[:, 2].argmin())
                rows.append((thetas[nearest], places[nearest]))
    if not rows:
        raise KitError(f"{path}: 'results' holds no frame with smpl_thetas and cam_trans; was it written by ROMP?")
    thetas, places = (np.stack(part) for part in zip(*rows, strict=True))
    return {"poses": thetas, "trans": places, "romp": True}


def _has(data: object, *keys: str) -> str:
    """The first of these keys in the data if it is a dictionary; '' if none."""
    return next((key for key in keys if isinstance(data, dict) and key in data), "")


def _numbers(data: dict, key: str, path: Path) -> np.ndarray:
    value = data[key]
    try:
        return np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value, np.float64)
    except (TypeError, ValueError) as fault:
        raise KitError(f"{path}: '{key}' is not an array of numbers") from fault
