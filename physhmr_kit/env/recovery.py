"""The push test: every clip is followed several times, each time somebody pushes at the chest once, and we see who comes back."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from physhmr_kit.env.pushes import at_chest, horizontal
from physhmr_kit.env.rollout import Policy, Rollout, track_clips
from physhmr_kit.env.settings import TrackingConfig
from physhmr_kit.env.visual import VisualLibrary
from physhmr_kit.motion.following import mean_body_distance
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.utils.errors import KitError

EARLIEST, LATEST = 15, 30
"""Control steps that lie between the first frame and a push, and between its beginning and the last frame, at least."""

BACK_DISTANCE = 0.1
"""Metres of mean body distance at which a body has recovered. The bundled expert, undisturbed, is within 0.03 of the demo
motions; pushed, it ends within 0.05 of them or is falling."""

CLOSE_DISTANCE = 0.05
"""Metres of mean body distance below which a body is back; the time until then is reported."""

BACK_FRAMES = 15
"""Frames at the end of a clip (0.5 s) over which a body must be back, on average."""


@dataclass(frozen=True)
class PushTest:
    """One push in each of several rollouts of every clip.

    Attributes:
        force: N, horizontal, at the chest (spine3).
        seconds: how long it lasts; rounded to control steps of 1/30 s.
        pushes: rollouts of each clip.
        seed: of moments and directions.
    """

    force: float = 200.0
    seconds: float = 0.1
    pushes: int = 8
    seed: int = 0

    def __post_init__(self):
        if not 0 <= self.force < math.inf:
            raise KitError(f"a push of {self.force} N; 0 or more is needed")
        if not 0.5 / 30 <= self.seconds < math.inf:
            raise KitError(f"a push lasts {self.seconds} s; at least one control step (0.033 s) is needed")
        if self.pushes < 1:
            raise KitError(f"{self.pushes} pushes for each clip; at least 1 is needed")

    @property
    def steps(self) -> int:
        """Control steps that a push lasts."""
        return round(self.seconds * 30)

    def plan(self, name: str, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """When and where to a clip is pushed: frames at which a push begins (K,), and directions (K,) rad in the floor.

        Frames are uniform between 0.5 s and 1 s before the end, or the middle of a clip too short for that. They do not
        hang on which other clips there are.
        """
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) + self.seed)
        when, where = torch.rand(self.pushes, 2, generator=generator).T  # more pushes begin with the same ones
        choices = length - 1 - LATEST - EARLIEST + 1
        if choices < 1:
            return torch.full((self.pushes,), (length - 1) // 2), 2 * math.pi * where
        return EARLIEST + (when * choices).long(), 2 * math.pi * where


@dataclass(frozen=True)
class Recovery:
    """What became of one push.

    Attributes:
        clip: name. push: number of the push, from 1; 0 for the rollout in which nobody pushed.
        second: when it began. direction_deg: where to, from the world's x towards its y.
        stayed_up: the clip was followed to its end: mean body distance never above 0.5 m (`track_clips`).
        recovered: and in the clip's last 0.5 s that distance was below 0.1 m on average.
        back_s: seconds from the end of the push until the distance stays below 0.05 m; NaN where it does not.
        largest_mm: largest mean body distance after the push began. final_mm: that of the last 0.5 s.
    """

    clip: str
    push: int
    second: float
    direction_deg: float
    stayed_up: bool
    recovered: bool
    back_s: float
    largest_mm: float
    final_mm: float


def push_clips(
    policy: Policy,
    library: MotionLibrary,
    config: TrackingConfig,
    test: PushTest = PushTest(),
    visual: VisualLibrary | None = None,
    simulator: str = "auto",
    substeps: int = 4,
    progress: Callable[[int, int], None] | None = None,
    device: str | None = None,
) -> tuple[list[Rollout], list[Recovery]]:
    """Follow every clip once undisturbed and `test.pushes` times with one push, all side by side.

    Returns:
        Rollouts named <clip>_push<number>, clip by clip, and what became of each push; number 0 is the undisturbed one, to
        tell what a push does from what the policy would have lost anyway. Arguments as in `track_clips`.
    """
    plans = [test.plan(n, int(count)) for n, count in zip(library.names, library.lengths, strict=True)]
    first, angle = (torch.stack(part) for part in zip(*plans, strict=True))  # (C, K)
    first, angle = (torch.cat([x[:, :1], x], dim=1).flatten() for x in (first, angle))
    each = test.pushes + 1
    forces = horizontal(test.force, angle)
    forces[::each] = 0

    def push(frame: int) -> torch.Tensor | None:
        now = (first <= frame) & (frame < first + test.steps)
        return at_chest(forces * now.unsqueeze(1)) if now.any() else None

    clips = torch.arange(library.num_clips).repeat_interleave(each).tolist()
    rollouts = track_clips(policy, library, config, visual, simulator, substeps, progress, device, clips, push)
    recoveries = [
        judge(rollout, index % each, int(first[index]), test.steps, math.degrees(angle[index]))
        for index, rollout in enumerate(rollouts)
    ]
    named = [replace(r, name=f"{r.name}_push{found.push}") for r, found in zip(rollouts, recoveries, strict=True)]
    return named, recoveries


def judge(rollout: Rollout, number: int, frame: int, steps: int, direction: float = math.nan) -> Recovery:
    """What became of a push that began at `frame` and lasted `steps` control steps, towards `direction` degrees."""
    distance = mean_body_distance(rollout.simulated.body_pos, rollout.reference.body_pos)
    final, over = float(distance[-BACK_FRAMES:].mean()), frame + steps
    # state `over` is the first one that the push has left; it is back after the last frame on which it was away
    away = (distance[over:] > CLOSE_DISTANCE).nonzero()
    back = int(away[-1]) + 1 if len(away) else 0
    found = rollout.success and over + back < len(distance)
    largest = float(distance[frame + 1 :].max()) if len(distance) > frame + 1 else math.nan
    return Recovery(
        clip=rollout.name,
        push=number,
        second=frame / rollout.fps,
        direction_deg=direction,
        stayed_up=rollout.success,
        recovered=rollout.success and final < BACK_DISTANCE,
        back_s=back / rollout.fps if found else math.nan,
        largest_mm=1000 * largest,
        final_mm=1000 * final,
    )
