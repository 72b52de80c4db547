"""Rotations of SMPL's bones from joint positions alone (HumanML3D).

Bones with several children (pelvis, chest) are fitted to them rigidly; limbs point along their bones and bend about their hinges;
rotations that no position determines (of a head or a hand) are those of the parent bone.
"""

from __future__ import annotations

import roma
import torch
from scipy.ndimage import gaussian_filter1d

from data_prep.retargeting.axes import find_up, upright_turn
from data_prep.retargeting.source import JOINT, SourceMotion, frame, smallest_turn, unit
from physhmr_kit.body.skeleton import NUM_JOINTS, PARENTS, rest_joints
from physhmr_kit.utils.errors import KitError

_X, _Y, _ = torch.eye(3, dtype=torch.float64)
_STRAIGHT = 0.2  # sine of the bend below which a limb's hinge axis is rather the one guessed from its parent


def source_of_positions(pos: torch.Tensor, fps: float, name: str) -> SourceMotion:
    """A motion given as joint positions as a source for the retargeter.

    Args:
        pos: (T, 22 or 24, 3) SMPL's joints in its order, in any unit, y-up by convention (detected).
        fps: frames per second. name: of the clip, for messages.

    Raises:
        KitError: another number of joints, or an ambiguous up axis.
    """
    if pos.ndim != 3 or pos.shape[1] not in (22, NUM_JOINTS) or pos.shape[2] != 3:
        raise KitError(f"{name}: positions have shape {tuple(pos.shape)}; expected (frames, 22, 3) or (frames, 24, 3)")
    pos = pos.double()
    if pos.shape[1] == 22:  # hands extend the forearms
        hands = [pos[:, w] + (pos[:, w] - pos[:, e]) / 3 for e, w in ((18, 20), (19, 21))]
        pos = torch.cat([pos, torch.stack(hands, dim=1)], dim=1)
    up, note = find_up(pos, fps, _Y, name)
    pos = pos @ upright_turn(up).T
    rest, rot = rotations_of(pos, fps)
    return SourceMotion(pos, rot, rest, fps, name, (note,) if note else ())


def rotations_of(pos: torch.Tensor, fps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """SMPL's rest pose with the bone lengths of positions (T, 24, 3), y-up: (24, 3), and rotations since it: (T, 24, 4) xyzw."""
    rest = _own_rest(pos)
    return rest, _rotations(pos, rest, fps)


def _own_rest(pos: torch.Tensor) -> torch.Tensor:
    """SMPL's rest pose with the lengths of these bones: (24, 3)."""
    smpl = rest_joints().double()
    rest = torch.zeros_like(smpl)
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            length = (pos[:, joint] - pos[:, parent]).norm(dim=-1).median()
            rest[joint] = rest[parent] + unit(smpl[joint] - smpl[parent]) * length
    return rest


def _rotations(pos: torch.Tensor, rest: torch.Tensor, fps: float) -> torch.Tensor:
    """World rotations since rest: (T, 24, 4) xyzw."""
    rot = torch.zeros(len(pos), NUM_JOINTS, 4, dtype=torch.float64)

    def rigid(joint: int, children: list[int]) -> None:
        still = torch.stack([unit(rest[c] - rest[joint]) for c in children])
        seen = torch.stack([unit(pos[:, c] - pos[:, joint]) for c in children], dim=1)
        rot[:, joint] = roma.rotmat_to_unitquat(roma.special_procrustes(torch.einsum("tki,kj->tij", seen, still)))

    def swing(joint: int, child: int, parent: int) -> None:
        """The smallest turn from the parent's rotation that aligns the bone."""
        start = roma.quat_action(rot[:, parent], unit(rest[child] - rest[joint]).expand(len(pos), 3))
        turn = smallest_turn(start, unit(pos[:, child] - pos[:, joint]))
        rot[:, joint] = roma.quat_product(turn, rot[:, parent])

    def hinge(upper: int, lower: int, end: int, parent: int, axis: torch.Tensor) -> None:
        swing(upper, lower, parent)
        above, below = unit(pos[:, lower] - pos[:, upper]), unit(pos[:, end] - pos[:, lower])
        guess = roma.quat_action(rot[:, upper], axis.expand(len(pos), 3))
        side = torch.linalg.cross(above, below) + _STRAIGHT * guess
        side = torch.from_numpy(gaussian_filter1d(side.numpy(), 0.05 * fps, axis=0, mode="nearest"))
        for joint, bone, child in ((upper, above, lower), (lower, below, end)):
            at_rest = frame(rest[child] - rest[joint], axis)
            rot[:, joint] = roma.rotmat_to_unitquat(frame(bone, side) @ at_rest.T)

    hips = pos[:, [1, 2]] - pos[:, :1]
    below = float((hips.mean(1).norm(dim=-1) / (hips[:, 0] - hips[:, 1]).norm(dim=-1)).median())
    rigid(0, [1, 2] if below > 0.3 else [1, 2, 9])  # hips level with the root leave its pitch to the trunk
    swing(3, 6, 0)
    swing(6, 9, 3)
    apart = float((pos[:, 13] - pos[:, 14]).norm(dim=-1).median() / (pos[:, 16] - pos[:, 17]).norm(dim=-1).median())
    rigid(9, [12, 13, 14] if apart > 0.2 else [12, 16, 17])  # some rigs have both collars start in the spine
    swing(12, 15, 9)
    rot[:, 15] = rot[:, 12]
    for side, sign in (("left", 1.0), ("right", -1.0)):
        names = ("hip", "knee", "ankle", "foot", "collar", "shoulder", "elbow", "wrist", "hand")
        hip, knee, ankle, foot, collar, shoulder, elbow, wrist, hand = (JOINT[f"{side}_{n}"] for n in names)
        hinge(hip, knee, ankle, 0, _X)
        swing(ankle, foot, knee)
        rot[:, foot] = rot[:, ankle]
        swing(collar, shoulder, 9)
        hinge(shoulder, elbow, wrist, collar, -sign * _Y)
        swing(wrist, hand, elbow)
        rot[:, hand] = rot[:, wrist]
    return rot
