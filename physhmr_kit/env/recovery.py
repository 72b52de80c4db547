"""Push test: each clip is tracked several times, with one push at the chest each time, to measure recovery."""

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
"""Minimum number of control steps before a push begins, and from its beginning to the last frame."""

BACK_DISTANCE = 0.1
"""Mean body distance, m, below which a body has recovered. The bundled expert stays within 0.03 m of the demo motions
without pushes; after a push it ends within 0.05 m or falls."""

CLOSE_DISTANCE = 0.05
"""Mean body distance, m, at which the recovery time is measured."""

BACK_FRAMES = 15
"""Frames at the end of a clip (0.5 s) over which the distance is averaged."""


@dataclass(frozen=True)
class PushTest:
    """Settings of a push test.

    Attributes:
        force: N, horizontal, at the chest (spine3).
        seconds: duration; rounded to control steps of 1/30 s.
        pushes: rollouts per clip, one push in each.
        seed: of the times and directions.
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
        """Duration of a push in control steps."""
        return round(self.seconds * 30)

    def plan(self, name: str, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Frames (K,) at which the pushes of a clip begin, and their directions (K,) rad.

        Frames are uniform between 0.5 s after the start and 1 s before the end; a clip too short for that is pushed in the
        middle. They depend on the clip's name and the seed only, and the first ones not on the number of pushes.
        """
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) + self.seed)
        time, direction = torch.rand(self.pushes, 2, generator=generator).T
        choices = length - LATEST - EARLIEST
        if choices < 1:
            return torch.full((self.pushes,), (length - 1) // 2), 2 * math.pi * direction
        return EARLIEST + (time * choices).long(), 2 * math.pi * direction


@dataclass(frozen=True)
class Recovery:
    """Outcome of one push.

    Attributes:
        clip: name. push: number of the push, from 1; 0 for the rollout without a push.
        second: start of the push. direction_deg: its direction, from the world's x axis towards y.
        stayed_up: the clip was tracked to its end: mean body distance never above 0.5 m (`track_clips`).
        recovered: stayed up, and that distance was below 0.1 m on average over the last 0.5 s.
        back_s: seconds from the end of the push until the distance stays below 0.05 m; NaN if it does not.
        largest_mm: largest mean body distance after the push began. final_mm: its mean over the last 0.5 s.
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
    """Track every clip once without a push and `test.pushes` times with one, all in parallel. Arguments as in `track_clips`.

    Returns:
        Rollouts named <clip>_push<number>, clip by clip, and the outcome of each push. Number 0 is the rollout without a
        push, the baseline for what the policy loses anyway.
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
        evaluate_push(rollout, index % each, int(first[index]), test.steps, math.degrees(angle[index]))
        for index, rollout in enumerate(rollouts)
    ]
    named = [replace(r, name=f"{r.name}_push{found.push}") for r, found in zip(rollouts, recoveries, strict=True)]
    return named, recoveries


def evaluate_push(rollout: Rollout, number: int, frame: int, steps: int, direction: float = math.nan) -> Recovery:
    """Outcome of a push that began at `frame` and lasted `steps` control steps, in direction `direction` degrees."""
    distance = mean_body_distance(rollout.simulated.body_pos, rollout.reference.body_pos)
    final, end = float(distance[-BACK_FRAMES:].mean()), frame + steps
    far = (distance[end:] > CLOSE_DISTANCE).nonzero()
    back = int(far[-1]) + 1 if len(far) else 0  # frames from the end of the push
    came_back = rollout.success and end + back < len(distance)
    largest = float(distance[frame + 1 :].max()) if len(distance) > frame + 1 else math.nan
    return Recovery(
        clip=rollout.name,
        push=number,
        second=frame / rollout.fps,
        direction_deg=direction,
        stayed_up=rollout.success,
        recovered=rollout.success and final < BACK_DISTANCE,
        back_s=back / rollout.fps if came_back else math.nan,
        largest_mm=1000 * largest,
        final_mm=1000 * final,
    )
