"""Height of the centre of mass during a jump, from the crouch before take-off to the crouch after landing.

In the air it falls freely. Before and after, a quintic polynomial joins position, velocity and acceleration of the standing
body to those of the flight; if it lasts long enough it dips, which is the crouch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from physhmr_kit.motion.balance import GRAVITY


@dataclass(frozen=True)
class Flight:
    """A jump in frames.

    Attributes:
        start, stop: where the crouch begins and where the landing is absorbed.
        takeoff, landing: the last frame before and the first frame after the flight with a foot on the floor.
        rise: m, how much higher the centre of mass is at take-off than at `start`: knees straight, heels up.
        sink: m, how much lower it is at landing than at `stop`: knees bent.
    """

    start: int
    takeoff: int
    landing: int
    stop: int
    rise: float
    sink: float

    def heights(self, height: np.ndarray, fps: float) -> np.ndarray:
        """Height of the centre of mass, m: without the jump (T,) -> with the jump (T,)."""
        out, speed = height.copy(), np.gradient(height) * fps
        bend = np.gradient(speed) * fps
        air = (self.landing - self.takeoff) / fps
        # take-off and landing may be at different heights
        up, down = height[self.start] + self.rise, height[self.stop] - self.sink
        leave = (down - up) / air + GRAVITY * air / 2
        t = np.arange(self.landing - self.takeoff + 1) / fps
        out[self.takeoff : self.landing + 1] = up + leave * t - GRAVITY * t**2 / 2
        takeoff, landing = (up, leave, -GRAVITY), (down, leave - GRAVITY * air, -GRAVITY)
        ends = [(height[k], speed[k], bend[k]) for k in (self.start, self.stop)]
        out[self.start : self.takeoff + 1] = _join(ends[0], takeoff, self.takeoff - self.start, fps)
        out[self.landing : self.stop + 1] = _join(landing, ends[1], self.stop - self.landing, fps)
        return out


def _join(begin: tuple[float, float, float], end: tuple[float, float, float], frames: int, fps: float) -> np.ndarray:
    """The quintic between two states (height m, velocity m/s, acceleration m/s^2): (frames + 1,) m."""
    last, s = frames / fps, np.linspace(0, 1, frames + 1)
    h0, v0, a0 = begin[0], begin[1] * last, begin[2] * last**2
    h1, v1, a1 = end[0], end[1] * last, end[2] * last**2
    gap, speed, bend = h1 - h0 - v0 - a0 / 2, v1 - v0 - a0, a1 - a0
    cubic = 10 * gap - 4 * speed + bend / 2
    quartic = -15 * gap + 7 * speed - bend
    quintic = 6 * gap - 3 * speed + bend / 2
    return h0 + v0 * s + a0 / 2 * s**2 + cubic * s**3 + quartic * s**4 + quintic * s**5
