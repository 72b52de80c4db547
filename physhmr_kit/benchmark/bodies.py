"""The points that a protocol compares, from a motion: on SMPL's mesh if the user has the models, else on the kit's skeleton.

The ground truth has the person's betas and gender, or is the set's own joints. The prediction is the mean-shape humanoid,
multiplied by the scale by which its world had been divided (PhysHMR's normalisation).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import roma
import torch

from data_prep.benchmark_sequence import JOINT_SETS, BenchmarkSequence
from data_prep.retargeting.own_shape import FOLDER, model_at_hand
from physhmr_kit.body.skeleton import mean_offsets
from physhmr_kit.body.smpl import load_body_model
from physhmr_kit.metrics.protocols import Points
from physhmr_kit.motion.kinematics import forward_kinematics, local_rotations
from physhmr_kit.motion.soles import sole_corners
from physhmr_kit.motion.state import BodyState
from physhmr_kit.utils.errors import KitError

FOOT_VERTICES = (3216, 3387, 6617, 6787)
"""Left and right big toe and heel on SMPL's mesh (smplx, vertex_ids.py): the WHAM family's contact points."""

LSP_14 = (6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10)
"""3DPW's 14 joints as indices into the 17 of `J_regressor_h36m.npy` (SPIN, constants.py, H36M_TO_J14); its hips are 2 and 3."""

REGRESSOR = "J_regressor_h36m.npy"
_CHUNK = 200  # frames of mesh at a time


@dataclass(frozen=True)
class KitBody:
    """Without a body model: joints and sole corners of the kit's mean skeleton; the ground truth may be the set's own joints."""

    label: str = f"joints of the kit's mean skeleton, no SMPL model at hand ({FOLDER}): no PVE, feet are sole corners"

    def truth(self, sequence: BenchmarkSequence) -> Points:
        """Ground truth of a sequence, in its world."""
        if sequence.clip is None:
            assert sequence.joints is not None
            return Points(sequence.joints)
        root = sequence.clip.root_pos / sequence.scale
        pos, rot = forward_kinematics(root, sequence.clip.joint_rot, mean_offsets())
        points = _kit_points(pos, rot, sequence.scale, sequence.joint_set)
        return points if sequence.joints is None else Points(sequence.joints, points.feet)

    def predicted(self, state: BodyState, scale: float, joint_set: str) -> Points:
        """A simulated body, scaled back to the real world."""
        return _kit_points(state.body_pos, state.body_rot, scale, joint_set)


def _kit_points(pos: torch.Tensor, rot: torch.Tensor, scale: float, joint_set: str) -> Points:
    return Points(scale * pos[:, JOINT_SETS[joint_set]], scale * sole_corners(pos, rot).flatten(-3, -2))


@dataclass(frozen=True, eq=False)
class SmplBody:
    """With SMPL: ground truth with its gender and betas, prediction with the neutral model and zero betas.

    Attributes:
        models: gender -> `smplx.SMPL`.
        regressor: (17, 6890) from vertices to Human3.6M's joints, of which 3DPW uses 14; None for SMPL's 24.
    """

    models: dict = field(repr=False)
    regressor: torch.Tensor | None = None

    @property
    def label(self) -> str:
        """For the table."""
        joints = "3DPW's 14 joints" if self.regressor is not None else "SMPL's 24 joints"
        return f"{joints} and meshes of SMPL; truth by gender and betas, prediction neutral and of the mean shape"

    def truth(self, sequence: BenchmarkSequence) -> Points:
        """Ground truth of a sequence, in its world."""
        assert sequence.clip is not None
        clip = sequence.clip
        return self._points(clip.gender, clip.root_pos, clip.joint_rot, torch.from_numpy(clip.betas), sequence.scale)

    def predicted(self, state: BodyState, scale: float, joint_set: str) -> Points:
        """A simulated body, scaled back to the real world."""
        return self._points("neutral", scale * state.root_pos, local_rotations(state.body_rot), torch.zeros(10), scale)

    @torch.no_grad()
    def _points(
        self, gender: str, root_pos: torch.Tensor, joint_rot: torch.Tensor, betas: torch.Tensor, scale: float
    ) -> Points:
        """Vertices = (SMPL(pose, betas) - j0) scale + pelvis."""
        model = self.models[gender]
        turns = roma.unitquat_to_rotvec(joint_rot).flatten(1)
        joints, meshes = [], []
        for pose, pelvis in zip(turns.split(_CHUNK), root_pos.split(_CHUNK), strict=True):
            shape = betas[: model.num_betas].expand(len(pose), -1)
            found = model(
                global_orient=pose[:, :3], body_pose=pose[:, 3:], betas=shape, transl=torch.zeros(len(pose), 3)
            )
            j0 = found.joints[:, :1]
            joints.append((found.joints[:, :24] - j0) * scale + pelvis[:, None])
            meshes.append((found.vertices - j0) * scale + pelvis[:, None])
        mesh = torch.cat(meshes)
        feet = mesh[:, FOOT_VERTICES]
        if self.regressor is None:
            return Points(torch.cat(joints), feet, mesh)
        return Points((self.regressor @ mesh)[:, LSP_14], feet, mesh, (2, 3))


Bodies = KitBody | SmplBody


def find_bodies(joints_only: bool, genders: set[str], lsp: bool) -> Bodies:
    """SMPL if the models are in the folder `PHYSHMR_BODY_MODELS`, else the kit's skeleton.

    Args:
        joints_only: the ground truth is joints without SMPL motion. genders: of the ground truth. lsp: use 3DPW's 14 joints
            if `J_regressor_h36m.npy` is beside the models.

    Raises:
        KitError: only some of the models are there, or a model or regressor cannot be read.
    """
    if joints_only:
        return KitBody(
            "13 joints that Human3.6M and SMPL share, of skeletons of different proportions; no PVE, no feet"
        )
    paths = {gender: model_at_hand(f"SMPL_{gender.upper()}") for gender in sorted({*genders, "neutral"})}
    if not any(paths.values()):
        return KitBody()
    missing = [f"SMPL_{gender.upper()}" for gender, path in paths.items() if path is None]
    if missing:
        raise KitError(f"{FOLDER}: no {', '.join(missing)} (.npz or .pkl) in the folder; this set needs it")
    models = {gender: load_body_model(path) for gender, path in paths.items() if path is not None}
    return SmplBody(models, _regressor(paths["neutral"]) if lsp else None)


def _regressor(model: Path | None) -> torch.Tensor | None:
    assert model is not None
    for path in (model.with_name(REGRESSOR), model.parent.parent / REGRESSOR):
        if path.is_file():
            try:
                rows = np.load(path, allow_pickle=False)
            except ValueError as fault:
                raise KitError(f"{path}: not a readable .npy ({fault})") from fault
            if rows.shape[0] != 17:
                raise KitError(f"{path}: shape {rows.shape}; expected (17, 6890)")
            return torch.from_numpy(rows).float()
    return None
