"""`VisionEncoder`: maps COCO-17 tracks to a 512-d context feature and the root orientation; frozen when a policy is
trained.

PhysHMR uses the 512-d context feature and the root orientation of GVHMR. We may not redistribute GVHMR's weights, so we
train a small network in its spirit: a transformer with rotary position embedding over a window of past and future
frames, which predicts rotations in the gravity-view frame. Further heads (body pose, foot contact, uncertainty) are
auxiliary tasks and provide the initial motion for the refinement over time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import roma
import torch
import torch.nn.functional as F
from torch import nn

from physhmr_kit.body.skeleton import MIRROR, NUM_JOINTS, STANDING
from physhmr_kit.motion.kinematics import yaw_quaternion
from physhmr_kit.motion.mirror import mirrored
from physhmr_kit.utils.errors import KitError
from physhmr_kit.vision.camera import Camera
from physhmr_kit.vision.person_view import NUM_INPUTS, mirrored_tokens, person_view

FEATURE_DIM = 512
WINDOW = 96
"""Frames (3.2 s at 30 fps) of an attention window; longer tracks are split into overlapping windows."""

_SIZES = {"root": 6, "joints": 23 * 6, "contact": 4, "up": 3, "uncertainty": NUM_JOINTS}
_INITIAL_UNCERTAINTY = -3.0  # before softplus; 5 cm


@dataclass(frozen=True, eq=False)
class Encoding:
    """The encoder's estimate. T frames, world frame unless noted.

    Attributes:
        feature: (T, 512) context.
        joint_rot: (T, 24, 4) xyzw; the root in the world, other joints relative to their parents.
        contact: (T, 4) probability that left ankle, right ankle, left toe, right toe touch the floor.
        up: (T, 3) unit vector against gravity, (0, 0, 1) if the camera tilt is right; only of use when it is a guess.
        uncertainty: (T, 24) m, predicted median error of each joint relative to the pelvis.
    """

    feature: torch.Tensor
    joint_rot: torch.Tensor
    contact: torch.Tensor
    up: torch.Tensor
    uncertainty: torch.Tensor


class VisionEncoder(nn.Module):
    """Transformer encoder on person-view tokens.

    Args:
        width: of the transformer. layers: number of blocks. heads: of the attention; `width / heads` must be even.
        image_dim: size of an optional image feature (HMR2's token: 1024, DINOv2's: 384 to 1536); 0 for none. A
            zero-initialised linear map of it is added to the embedding.
    """

    def __init__(self, width: int = 192, layers: int = 4, heads: int = 6, image_dim: int = 0):
        super().__init__()
        self.hparams = {"width": width, "layers": layers, "heads": heads, "image_dim": image_dim}
        self.embed = nn.Linear(NUM_INPUTS, width)
        if image_dim:
            self.image = nn.Linear(image_dim, width)
            nn.init.zeros_(self.image.weight)
            nn.init.zeros_(self.image.bias)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.expand = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, FEATURE_DIM), nn.GELU(), nn.LayerNorm(FEATURE_DIM)
        )
        # all heads are affine in the feature, so that a linear policy can recover the pose from it
        self.heads = nn.Linear(FEATURE_DIM, sum(_SIZES.values()))
        self._init_heads()

    def _init_heads(self) -> None:
        nn.init.normal_(self.heads.weight, std=0.01)
        nn.init.zeros_(self.heads.bias)
        upright = roma.unitquat_to_rotmat(torch.tensor(STANDING))[:, :2].flatten()
        rest = torch.eye(3)[:, :2].flatten().repeat(23)
        with torch.no_grad():
            self.heads.bias[: 24 * 6] = torch.cat([upright, rest])
            self.heads.bias[-NUM_JOINTS - 1] = 1.0
            self.heads.bias[-NUM_JOINTS:] = _INITIAL_UNCERTAINTY

    def context(self, tokens: torch.Tensor, image: torch.Tensor | None = None) -> torch.Tensor:
        """Features of one window.

        Args:
            tokens: (B, T, 61).
            image: optional (B, T, image_dim) image features; frames with a NaN count as missing.

        Returns:
            (B, T, 512).
        """
        x = self.embed(tokens)
        if image is not None:
            present = torch.isfinite(image).all(-1, keepdim=True)
            x = x + self.image(image.where(present, torch.zeros(()))) * present
        angles = rotary(tokens.shape[1], x.shape[-1] // self.hparams["heads"]).to(x.device)
        for block in self.blocks:
            x = block(x, angles)
        return self.expand(x)

    def decode(self, feature: torch.Tensor) -> dict[str, torch.Tensor]:
        """Apply the heads to features (..., 512); results are in the gravity-view frame.

        Returns:
            'rotmat' (..., 24, 3, 3): root in the gravity-view frame, others parent-relative; 'contact' (..., 4) logits;
            'up' (..., 3) unit vector; 'uncertainty' (..., 24) m.
        """
        root, joints, contact, up, uncertainty = self.heads(feature).float().split(list(_SIZES.values()), dim=-1)
        six = torch.cat([root, joints], dim=-1).unflatten(-1, (NUM_JOINTS, 3, 2))
        return {
            "rotmat": roma.special_gramschmidt(six),
            "contact": contact,
            "up": F.normalize(up, dim=-1),
            "uncertainty": F.softplus(uncertainty),
        }

    @torch.no_grad()
    def encode(
        self, keypoints: torch.Tensor, camera: Camera, image: torch.Tensor | None = None, guessed: bool = False
    ) -> Encoding:
        """Encode a whole track; all results but the feature are averaged with those of the mirror image.

        Args:
            keypoints: (T, 17, 3) at 30 fps, raw pixels, gaps filled.
            camera: fixed (batch shape ()) or moving (batch shape (T,)).
            image: optional (T, image_dim) image features, NaN where there is none.
            guessed: whether the camera tilt is a guess, which `up` then corrects (`vision.uncalibrated`).

        Raises:
            KitError: the image features have the wrong size.
        """
        if image is not None and tuple(image.shape) != (len(keypoints), self.hparams["image_dim"]):
            raise KitError(
                f"image features {tuple(image.shape)}: the encoder expects {(len(keypoints), self.hparams['image_dim'])}; "
                "build one with VisionEncoder(image_dim=...) or load_encoder(..., image_dim=...)"
            )
        view = person_view(keypoints, camera, guessed)
        feature = self.context_of_track(view.tokens, image)
        other = self.decode(self.context_of_track(mirrored_tokens(view.tokens), image))
        out = averaged(self.decode(feature), mirrored_estimate(other))
        quat = roma.rotmat_to_unitquat(out["rotmat"])
        turn = yaw_quaternion(view.azimuth)
        root = roma.quat_product(turn, quat[:, 0])
        joint_rot = torch.cat([root.unsqueeze(1), quat[:, 1:]], dim=1)
        up = roma.quat_action(turn, out["up"])
        return Encoding(feature, joint_rot, out["contact"].sigmoid(), up, out["uncertainty"])

    def context_of_track(self, tokens: torch.Tensor, image: torch.Tensor | None = None) -> torch.Tensor:
        """Features of a track of any length, from half-overlapping, cross-faded windows: (T, 61) -> (T, 512)."""
        frames = tokens.shape[0]
        if frames <= WINDOW:
            return self.context(tokens.unsqueeze(0), None if image is None else image.unsqueeze(0))[0]
        starts = [*range(0, frames - WINDOW, WINDOW // 2), frames - WINDOW]

        def cut(x: torch.Tensor) -> torch.Tensor:
            return torch.stack([x[s : s + WINDOW] for s in starts])

        windows = self.context(cut(tokens), None if image is None else cut(image))
        ramp = torch.arange(1, WINDOW + 1).to(tokens)
        fade = torch.minimum(ramp, ramp.flip(0)).unsqueeze(-1)
        total, weight = tokens.new_zeros(frames, FEATURE_DIM), tokens.new_zeros(frames, 1)
        for start, window in zip(starts, windows, strict=True):
            total[start : start + WINDOW] += window * fade
            weight[start : start + WINDOW] += fade
        return total / weight


def mirrored_estimate(out: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Mirror an estimate in the form of `VisionEncoder.decode`."""
    _, quat = mirrored(out["up"], roma.rotmat_to_unitquat(out["rotmat"]))
    return {
        "rotmat": roma.unitquat_to_rotmat(quat),
        "contact": out["contact"][..., [1, 0, 3, 2]],
        "up": out["up"] * out["up"].new_tensor((1.0, -1.0, 1.0)),
        "uncertainty": out["uncertainty"][..., list(MIRROR)],
    }


def averaged(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Mean of two estimates in the form of `VisionEncoder.decode`; chordal mean for rotations."""
    mean = {key: (a[key] + b[key]) / 2 for key in a}
    return mean | {"rotmat": roma.special_procrustes(mean["rotmat"]), "up": F.normalize(mean["up"], dim=-1)}


class Block(nn.Module):
    """Pre-norm transformer block: attention with rotary position embedding, then a two-layer MLP."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
        """(B, T, width) -> (B, T, width); `angles` from `rotary`."""
        q, k, v = self.qkv(self.norm_attention(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(_rotate(q, angles).to(v), _rotate(k, angles).to(v), v)
        x = x + self.out(attended.transpose(1, 2).flatten(-2))
        return x + self.mlp(self.norm_mlp(x))


def rotary(frames: int, dim: int) -> torch.Tensor:
    """Angles of the rotary position embedding (Su et al. 2021): (frames, dim / 2) rad."""
    rate = torch.exp(-math.log(1000.0) * torch.arange(dim // 2) / (dim // 2))
    return torch.arange(frames)[:, None] * rate


def _rotate(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    a, b = x.chunk(2, dim=-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
