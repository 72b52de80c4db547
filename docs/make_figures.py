"""The pictures of README and docs, made by the kit from its bundled weights: `python docs/make_figures.py`.

Run from the repository's root; takes about a minute on two cores.
"""

from pathlib import Path

from data_prep.sources import load_clips
from physhmr_kit.env import TrackingConfig, track_clips
from physhmr_kit.learning import BUNDLED, load_policy
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.stages.views import film_library
from physhmr_kit.viewer import filmstrip
from physhmr_kit.viewer.animation import animate
from physhmr_kit.vision.pretrained import load_encoder

HERE = Path(__file__).parent
UNSEEN = 10_007
"""Seed of the synthetic cameras; the student was not trained on these."""

student = load_policy(BUNDLED / "distill.safetensors")
library = MotionLibrary(load_clips(["demo:punch", "demo:squat"]))
visual, tracks = film_library(library, load_encoder(), views=1, seed=UNSEEN)
config = TrackingConfig(groups=student.groups, control=student.control)
rollouts = track_clips(student, library, config, visual)
for rollout in rollouts:
    filmstrip(
        rollout, HERE / f"student_{rollout.name}.png", title=f"{rollout.name}: the student sees rays and features only"
    )
    print(HERE / f"student_{rollout.name}.png")
print(animate(HERE / "student.webp", rollouts[0], tracks[0]))
