"""From a motion to the points that a protocol compares: on SMPL's meshes where a user has them, else on the kit's own skeleton.

The truth is the person's: their betas and gender, or the set's own joints. The prediction is the mean-shape humanoid, multiplied by the
scale by which its world had been divided (PhysHMR's normalisation and back).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import roma
import torch

from data_prep.filmed import JOINT_SETS, Filmed
from data_prep.own_shape import FOLDER, model_at_hand
from physhmr_kit.body.skeleton import mean_offsets
from physhmr_kit.body.smpl import load_body_model
from physhmr_kit.metrics.protocols import Points
from physhmr_kit.motion.kinematics import forward_kinematics, local_rotations
from physhmr_kit.motion.soles import sole_corners
from physhmr_kit.motion.state import BodyState
from physhmr_kit.utils.errors import KitError

FOOT_VERTICES = (3216, 3387, 6617, 6787)
"""Big toe and heel, left and right, of SMPL's mesh (smplx, vertex_ids.py): the WHAM family's contact points."""

LSP_14 = (6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10)
"""3DPW's 14 joints as rows of the 17 of `J_regressor_h36m.npy` (SPIN, constants.py, H36M_TO_J14); its hips are 2 and 3."""

REGRESSOR = "J_regressor_h36m.npy"
_AT_ONCE = 200  # frames of a mesh


@dataclass(frozen=True)
class KitBody:
    """Without a body model: joints of the kit's mean skeleton on both sides, or the set's own joints as the truth; soles for feet."""

    label: str = f"joints of the kit's mean skeleton, no SMPL model at hand ({FOLDER}): no PVE, feet are sole corners"

    def truth(self, filmed: Filmed) -> Points:
        """The truth of a sequence, in its world."""
        if filmed.clip is None:
            assert filmed.joints is not None
            return Points(filmed.joints)
        root = filmed.clip.root_pos / filmed.scale
        pos, rot = forward_kinematics(root, filmed.clip.joint_rot, mean_offsets())
        points = _kit_points(pos, rot, filmed.scale, filmed.joint_set)
        return points if filmed.joints is None else Points(filmed.joints, points.feet)

    def predicted(self, state: BodyState, scale: float, joint_set: str) -> Points:
        """A simulated body in the real world again."""
        return _kit_points(state.body_pos, state.body_rot, scale, joint_set)


def _kit_points(pos: torch.Tensor, rot: torch.Tensor, scale: float, joint_set: str) -> Points:
    return Points(scale * pos[:, JOINT_SETS[joint_set]], scale * sole_corners(pos, rot).flatten(-3, -2))


@dataclass(frozen=True, eq=False)
class SmplBody:
    """On SMPL: the truth by its gender and betas, the prediction by the neutral model with betas of zero.

    Attributes:
        models: gender -> `smplx.SMPL`.
        regressor: (17, 6890) from vertices to Human3.6M's joints, of which 3DPW counts 14; None for SMPL's 24.
    """

    models: dict = field(repr=False)
    regressor: torch.Tensor | None = None

    @property
    def label(self) -> str:
        """For the table."""
        joints = "3DPW's 14 joints" if self.regressor is not None else "SMPL's 24 joints"
        return f"{joints} and meshes of SMPL; truth by gender and betas, prediction neutral and of the mean shape"

    def truth(self, filmed: Filmed) -> Points:
        """The truth of a sequence, in its world."""
        assert filmed.clip is not None
        clip = filmed.clip
        return self._points(clip.gender, clip.root_pos, clip.joint_rot, torch.from_numpy(clip.betas), filmed.scale)

    def predicted(self, state: BodyState, scale: float, joint_set: str) -> Points:
        """A simulated body in the real world again."""
        return self._points("neutral", scale * state.root_pos, local_rotations(state.body_rot), torch.zeros(10), scale)

    @torch.no_grad()
    def _points(
        self, gender: str, root_pos: torch.Tensor, joint_rot: torch.Tensor, betas: torch.Tensor, scale: float
    ) -> Points:
        """Vertices = (SMPL(pose, betas) - j0) scale + pelvis."""
        model = self.models[gender]
        turns = roma.unitquat_to_rotvec(joint_rot).flatten(1)
        joints, meshes = [], []
        for pose, pelvis in zip(turns.split(_AT_ONCE), root_pos.split(_AT_ONCE), strict=True):
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
    """SMPL if all models that are needed are at hand (`PHYSHMR_BODY_MODELS`), else the kit's skeleton.

    Args:
        joints_only: the truth has no SMPL motion, only joints. genders: of the truth. lsp: count 3DPW's 14 joints if
            `J_regressor_h36m.npy` lies beside the models.

    Raises:
        KitError: a model or regressor that cannot be read.
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
        raise KitError(f"{FOLDER}: no {', '.join(missing)}, .npz or .pkl, in the folder; this set needs it")
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
