"""Evaluation protocols: which measures a family of papers reports, over which clips, and how it pools them.

`WHAM` (WHAM, GVHMR, TRAM), `PHYSHMR` (its released evaluator) and `PHC` (trackers of a known reference) use the same
names for different definitions, so results of two protocols never share a table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from physhmr_kit.metrics import functional as F
from physhmr_kit.metrics import physhmr


@dataclass(frozen=True, eq=False)
class Points:
    """The points of a body that protocols compare; T frames, metres, z-up world with the floor at 0.

    Attributes:
        joints: (T, J, 3); joint 0 is the root, except among the 14 joints of 3DPW.
        feet: (T, P, 3) sole points, or None.
        surface: (T, V, 3) mesh vertices, or None; PhysHMR's protocol then uses joints and feet.
        hips: indices of the hip joints.
    """

    joints: torch.Tensor
    feet: torch.Tensor | None = None
    surface: torch.Tensor | None = None
    hips: tuple[int, int] = F.HIPS

    def __getitem__(self, rows) -> Points:
        """A subset of the frames."""
        feet, surface = (None if x is None else x[rows] for x in (self.feet, self.surface))
        return Points(self.joints[rows], feet, surface, self.hips)

    @property
    def outline(self) -> torch.Tensor:
        """(T, V, 3) the mesh, or joints and feet in its place."""
        if self.surface is not None:
            return self.surface
        return self.joints if self.feet is None else torch.cat([self.joints, self.feet], dim=1)


Values = dict[str, torch.Tensor]
"""Measure -> its values over a clip, one per frame or contact."""


def wham(pred: Points, target: Points, camera_rot: torch.Tensor | None = None, fps: float = 30.0) -> Values:
    """Measures of the WHAM family for the valid frames of one sequence.

    Args:
        camera_rot: (T, 3, 3) world to camera; Accel is measured in camera axes, or in world axes when omitted.
    """
    x, y = pred.joints, target.joints
    seen_x, seen_y = (x, y) if camera_rot is None else (x @ camera_rot.mT, y @ camera_rot.mT)
    values = {
        "pa_mpjpe": F.pa_mpjpe(x, y),
        "mpjpe": F.mpjpe(x, y, pred.hips),
        "accel": F.accel(seen_x, seen_y, fps, pred.hips),
        "wa_mpjpe": F.wa_mpjpe(x, y),
        "w_mpjpe": F.w_mpjpe(x, y),
        "rte": F.rte(x[:, 0], y[:, 0]),
        "jitter": F.jitter(x, fps),
    }
    if pred.surface is not None and target.surface is not None:
        values["pve"] = F.pve(pred.surface, target.surface, x, y, pred.hips)
    if pred.feet is not None and target.feet is not None:
        values["foot_sliding"] = F.foot_sliding(pred.feet, target.feet)
    return values


def physhmr_values(pred: Points, target: Points, camera_rot: torch.Tensor | None = None, fps: float = 30.0) -> Values:
    """PhysHMR's measures for one clip of 100 frames; height variance is that of the prediction before alignment."""
    assert pred.feet is not None and target.feet is not None
    _, joints = physhmr.fit_clip(pred.outline, target.outline, pred.joints)
    slid = F.foot_sliding(pred.feet, target.feet)  # invariant to a rigid alignment
    return {
        "pa_mpjpe": F.pa_mpjpe(joints, target.joints),
        "wa": physhmr.wa_first_root(joints, target.joints),
        "mpjpe": physhmr.mpjpe_root(joints, target.joints),
        "foot_sliding": slid if len(slid) else slid.new_zeros(1),  # PhysHMR counts a clip without contact as 0
        "height_variance": F.height_variance(pred.feet if pred.surface is None else pred.surface),
        "acc": physhmr.root_acceleration(joints, target.joints),
        "vel": physhmr.root_velocity(joints, target.joints),
    }


def phc(pred: Points, target: Points, camera_rot: torch.Tensor | None = None, fps: float = 30.0) -> Values:
    """PHC's measures for one sequence: world frame, without the first frame."""
    x, y = pred.joints, target.joints
    return {
        "e_g_mpjpe": F.e_g_mpjpe(x, y),
        "e_mpjpe": F.e_mpjpe(x, y),
        "e_pa_mpjpe": F.pa_mpjpe(x[1:], y[1:]),
        "e_acc": F.e_acc(x, y),
        "e_vel": F.e_vel(x, y),
    }


@dataclass(frozen=True)
class Protocol:
    """How one family of papers evaluates.

    Attributes:
        name: as on the command line.
        values: computes the measures of one clip.
        columns: measure -> heading with its unit, in order.
        world: the columns that need ground truth without drift in the world.
        clip_frames: length of the clips that are reconstructed and scored independently; None for whole sequences.
        mean_of_clips: average clip means instead of pooling all values.
        left_out: measure and clip mean above which a clip is excluded from all means, or None.
        notes: what a reader needs to know to compare results, one sentence each.
    """

    name: str
    values: Callable[..., Values]
    columns: dict[str, str]
    world: tuple[str, ...] = ()
    clip_frames: int | None = None
    mean_of_clips: bool = False
    left_out: tuple[str, float] | None = None
    notes: tuple[str, ...] = ()

    def headings(self, world: bool, found: set[str]) -> dict[str, str]:
        """The columns to print: those with values, and those in `self.world` only if the ground truth has a reliable world."""
        return {k: v for k, v in self.columns.items() if k in found and (world or k not in self.world)}


WHAM = Protocol(
    "wham",
    wham,
    {
        "pa_mpjpe": "PA-MPJPE mm", "mpjpe": "MPJPE mm", "pve": "PVE mm", "accel": "Accel m/s²", "wa_mpjpe": "WA-MPJPE100 mm",
        "w_mpjpe": "W-MPJPE100 mm", "rte": "RTE %", "jitter": "jitter 10 m/s³", "foot_sliding": "foot sliding mm/frame",
    },
    world=("wa_mpjpe", "w_mpjpe", "rte", "jitter", "foot_sliding"),
    notes=(
        "WHAM family: pelvis is the middle of the hips; WA and W in chunks of 100 valid frames, a short last one kept; Accel "
        "keeps all values, hip-centred, in the camera's axes; RTE of joint 0; invalid frames are removed first.",
        "Pooled over all frames of all sequences; failed sequences are kept.",
    ),
)  # fmt: skip

PHYSHMR = Protocol(
    "physhmr",
    physhmr_values,
    {
        "pa_mpjpe": "PA-MPJPE mm", "wa": "WA mm", "mpjpe": "MPJPE mm", "foot_sliding": "foot sliding mm/frame",
        "height_variance": "height var. mm²", "acc": "ACC mm/frame²", "vel": "VEL mm/frame",
    },
    clip_frames=100,
    mean_of_clips=True,
    left_out=("pa_mpjpe", physhmr.LEFT_OUT_MM),
    notes=(
        "PhysHMR's evaluator: clips of 100 frames, each reconstructed by itself; one rigid alignment of the whole clip first; WA "
        "translates by the first root and is not WHAM's WA-MPJPE; MPJPE about joint 0; ACC and VEL of the root alone.",
        "Mean over clips of clip means. Clips above 100 mm PA-MPJPE are excluded; coverage is the share of frames left.",
    ),
)  # fmt: skip

PHC = Protocol(
    "phc",
    phc,
    {
        "e_g_mpjpe": "E_g-mpjpe mm", "e_mpjpe": "E_mpjpe mm", "e_pa_mpjpe": "E_pa-mpjpe mm", "e_acc": "E_acc mm/frame²",
        "e_vel": "E_vel mm/frame",
    },
    world=("e_g_mpjpe", "e_acc", "e_vel"),
    notes=(
        "PHC: world frame, no alignment, first frame not counted, pooled over all frames; papers quote the successful sequences.",
    ),
)  # fmt: skip

PROTOCOLS = {p.name: p for p in (WHAM, PHYSHMR, PHC)}


@dataclass(frozen=True)
class ClipFigures:
    """Summary of one scored clip that allows exact pooling.

    Attributes:
        clip: its name. frames: at 30 fps. scored: number of valid frames, over which the measures are taken.
        success: mean distance of 20 bodies from the ground truth never above 0.5 m (PHC), and never reset onto an
            estimate.
        sums, counts: of the values of each measure.
    """

    clip: str
    frames: int
    scored: int
    success: bool
    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, clip: str, frames: int, scored: int, success: bool, values: Values) -> ClipFigures:
        """Sum the values of a clip, in double precision."""
        kept = {k: v for k, v in values.items() if len(v)}
        sums = {k: float(v.double().sum()) for k, v in kept.items()}
        return cls(clip, frames, scored, success, sums, {k: len(v) for k, v in kept.items()})

    def mean(self, measure: str) -> float:
        """Mean of a measure over the clip; NaN without values."""
        return self.sums[measure] / self.counts[measure] if self.counts.get(measure) else math.nan


@dataclass(frozen=True)
class SetFigures:
    """Results of a set of clips under a protocol.

    Attributes:
        clips: number of clips. kept: number of clips in the means.
        success, coverage: percent of the clips that succeed, and of all frames that are in the means.
        means: measure -> mean, NaN without values.
    """

    clips: int
    kept: int
    success: float
    coverage: float
    means: dict[str, float]


def enters(figures: ClipFigures, protocol: Protocol) -> bool:
    """Whether a clip is included in the protocol's means."""
    if not figures.scored:
        return False
    if protocol.left_out is None:
        return True
    measure, most = protocol.left_out
    return figures.mean(measure) <= most


def pool(figures: Sequence[ClipFigures], protocol: Protocol) -> SetFigures:
    """Pool clips into the protocol's means, with success and coverage; all NaN without clips."""
    kept = [f for f in figures if enters(f, protocol)]
    frames = sum(f.frames for f in figures)
    means = {}
    for measure in protocol.columns:
        held = [f for f in kept if f.counts.get(measure)]
        if protocol.mean_of_clips:
            total, count = sum(f.mean(measure) for f in held), len(held)
        else:
            total, count = sum(f.sums[measure] for f in held), sum(f.counts[measure] for f in held)
        means[measure] = total / count if count else math.nan
    return SetFigures(
        clips=len(figures),
        kept=len(kept),
        success=100 * sum(f.success for f in figures) / len(figures) if figures else math.nan,
        coverage=100 * sum(f.scored for f in kept) / frames if frames else math.nan,
        means=means,
    )
