"""Second chances: a lost episode is begun again from where its own body was shortly before.

Reference-state initialisation begins on the reference. From there a hard moment may well be mastered, and yet be lost by
a body that arrives with a foot a hand's breadth from where it should stand. Begun again from the bodies that
failed, such arrivals are trained on as often as they need.
"""

from __future__ import annotations

import torch

from physhmr_kit.motion.state import BodyState

_BACK = (10, 60)
"""Control steps from a retry's beginning to the failure: 1/3 to 2 s."""

_WIDTH = 450  # numbers of a packed body


class Retries:
    """What the bodies did lately, and which of those that failed go back.

    Args:
        num_envs: N.
        share: of the failed episodes that are begun again.
        device: of the bodies.
    """

    def __init__(self, num_envs: int, share: float, device: torch.device):
        self.share = share
        self._past = torch.zeros(_BACK[1] + 1, num_envs, _WIDTH, device=device)
        self._now = 0  # row of `_past` written last

    def note(self, state: BodyState) -> None:
        """Remember where all bodies are after a control step."""
        self._now = (self._now + 1) % len(self._past)
        self._past[self._now] = state.pack()

    def draw(self, steps: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """How many steps each of K failed episodes goes back: (K,), 0 for an ordinary start.

        An episode of `steps` (K,) control steps that is too short to go back in is started anew.
        """
        dice, how_far = torch.rand(2, len(steps), generator=generator, device=steps.device)
        longest = (steps - 1).clamp(max=_BACK[1])
        back = (_BACK[0] + how_far * (longest - _BACK[0] + 1)).long().minimum(longest)
        return torch.where((dice < self.share) & (longest >= _BACK[0]), back, 0)

    def before(self, rows: torch.Tensor, back: torch.Tensor) -> BodyState:
        """Where the bodies `rows` (K,) were `back` (K,) control steps ago."""
        return BodyState.unpack(self._past[(self._now - back) % len(self._past), rows])

    def state_dict(self) -> dict:
        """What is remembered."""
        return {"past": self._past.clone(), "now": self._now}

    def load_state_dict(self, state: dict) -> None:
        """Take up a `state_dict`."""
        self._past.copy_(state["past"])
        self._now = state["now"]
