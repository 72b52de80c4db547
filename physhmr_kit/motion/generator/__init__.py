"""Motion generator: unlimited, seeded, physically feasible motions of the kit's own body.

    from physhmr_kit.motion.generator import generated_clips
    clips = generated_clips(200)                    # always the same 200
    python -m physhmr_kit.fit --clips generated:200 # the same from any command; generated:200:7 uses seed 7

Clip k is of kind `KINDS[k % len(KINDS)]` and depends only on the seed and k: 50 clips are the first 50 of 200. It starts in
quiet stance at the origin, facing +x, and lasts 5 to 10 s. A kind prescribes feet, pelvis and weight as a `Choreography`;
arms, trunk and head move at random (`upper_body.wander`); inverse kinematics and the cart table compute legs and balance. A
draw with a fault (`faults.find_fault`) or a foot out of reach is discarded; each further draw stays closer to quiet stance.
"""

from __future__ import annotations

from functools import lru_cache

from physhmr_kit.motion.choreography import Choreography
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.generator import jumping, standing, stepping
from physhmr_kit.motion.generator.draw import Draw
from physhmr_kit.motion.generator.faults import find_fault
from physhmr_kit.motion.generator.upper_body import wander
from physhmr_kit.utils.errors import KitError

_WRITERS = {
    "one_leg": standing.one_leg,
    "lunge": stepping.lunge,
    "kick": standing.kick,
    "steps": stepping.steps,
    "reach": standing.reach,
    "walk": stepping.walk,
    "crouch": standing.crouch,
    "turn": stepping.turn,
    "lean": standing.lean,
    "jump": jumping.jump,
}
KINDS = (*_WRITERS, "medley")
"""The kinds of generated motions; a medley combines up to three of the others."""

_SECONDS = 5.0  # a motion is repeated with new draws until the clip is this long
_ATTEMPTS = 40
_CALM = {"jump": 0.35, "kick": 0.7, "walk": 0.7}  # range of the arms and trunk, as a share of the full one


def generated_clips(count: int, seed: int = 0) -> list[Clip]:
    """The first `count` generated motions of a seed, at 30 fps; kinds take turns."""
    return [generated_clip(k, seed) for k in range(count)]


@lru_cache(maxsize=1024)
def generated_clip(index: int, seed: int = 0) -> Clip:
    """One generated motion, e.g. `generated_0003_steps`, by index and seed (added to the name unless 0)."""
    kind = KINDS[index % len(KINDS)]
    name = f"generated_{index:04d}_{kind}" + (f"_seed{seed}" if seed else "")
    for attempt in range(_ATTEMPTS):
        try:
            clip = write(kind, Draw((seed, index, attempt), 0.93**attempt), name).clip(lower=True)
        except KitError:
            continue  # a foot out of reach or a joint beyond its limits
        if not find_fault(clip):
            return clip
    raise AssertionError(f"{name}: none of {_ATTEMPTS} draws passes the checks")


def write(kind: str, d: Draw, name: str) -> Choreography:
    """One draw of a kind of motion, not checked for faults."""
    m = Choreography(name, 0.0, width=d.between(0.15, 0.26), splay=d.between(2, 14), pelvis_height=-0.015)
    now, parts = d.between(0.2, 0.5), [kind]
    if kind == "medley":
        parts = [d.one_of(list(_WRITERS)) for _ in range(3)]
    if kind == "jump":
        # two landings in a row are seldom survived without a policy
        parts.append(d.one_of(("lean", "reach", "crouch")))
    while now < _SECONDS:
        now = _WRITERS[parts[0]](m, d, now)
        parts = parts[1:] + parts[:1]
    wander(m, d, now, min(_CALM.get(part, 1.0) for part in parts))
    m.seconds = now + 0.3
    return m
