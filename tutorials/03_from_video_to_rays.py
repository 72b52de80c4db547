# %% [markdown]
# # Lesson 3 · From a video to rays
#
# **Time:** half a minute on two CPU cores. **Needs:** lesson 2. With the project's real video (`PHYSHMR_DATA`) the lesson uses a man balancing on one leg; without it, a synthetic video of a demo motion.
#
# In lesson 2 the pixels were exact because we computed them. Now they come from a video: 60 frames a second, a noisy detector, a person of unknown size. This lesson follows the
# data from the video to the policy's observation, and shows at each step how an error there affects everything after it.
#
# Afterwards you will be able to
# - resample keypoints of any frame rate to the 30 Hz of the simulation, and say which of them to trust,
# - explain the encoder's input and its invariances,
# - read the reprojection error of a pose, and say what it cannot see,
# - detect a wrong camera, frame rate or left-right swap from a few numbers before you train on it.

# %%
import math
import os
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from physhmr_kit.body.skeleton import JOINT_NAMES, mean_offsets
from physhmr_kit.env import Rollout
from physhmr_kit.metrics.reprojection import reprojection_error
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.kinematics import forward_kinematics, heading
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.viewer import show
from physhmr_kit.viewer.frames import video_frames
from physhmr_kit.viewer.palette import CONTACT, DETECTED, REFERENCE, SIMULATED, unit
from physhmr_kit.vision import Camera, KeypointNoise, KeypointTrack, coco_from_bodies, detect
from physhmr_kit.vision.build_track import track_from_keypoints
from physhmr_kit.vision.keypoints import COCO_BONES, COCO_MIRROR, COCO_NAMES, RAY_JOINTS, RAY_NAMES, person_size
from physhmr_kit.vision.path import PathSpread
from physhmr_kit.vision.person_view import person_view
from physhmr_kit.vision.placement import encoder_clip
from physhmr_kit.vision.pretrained import load_encoder
from physhmr_kit.vision.rays import ray_residual
from physhmr_kit.vision.refinement import Refinement, refined_clip
from physhmr_kit.vision.uncalibrated import estimate_camera

torch.manual_seed(0)
torch.set_num_threads(2)
DATA = Path(os.environ.get("PHYSHMR_DATA", "../../shared/data")) / "video"
REAL = (DATA / "balance_cam01.mp4").is_file()

# %% [markdown]
# ## Step 1 · The video and its keypoints
#
# A detector outputs 17 points per frame, in COCO order, with confidences. For your own video this command writes the file (on first use it installs a detector in its own environment):
#
# ```bash
# python -m data_prep.video my_video.mp4 --out my_keypoints.npz
# ```
#
# Here we already have the file, and the camera: its intrinsics $K$, lens distortion and pose.

# %%
if REAL:
    detected = KeypointTrack.load(DATA / "balance_cam01_keypoints.npz")
    camera = Camera.load(DATA / "balance_cam01_camera.json")
    images = [image for _, image in video_frames(DATA / "balance_cam01.mp4", 30.0)]
else:  # a demo motion at 60 fps, seen by a portrait camera
    clip = demo_clip("wave").resample(60.0)
    camera = Camera.look_at((3.2, 1.4, 1.7), (0.0, 0.0, 0.95), focal=1680.0, image_size=(1080, 1920))
    points = coco_from_bodies(*forward_kinematics(clip.root_pos, clip.joint_rot, mean_offsets()))[:120]
    detected = KeypointTrack(
        detect(points, camera, KeypointNoise(), torch.Generator().manual_seed(0)), 60.0, camera.image_size, "synthetic"
    )
    images = []
width, height = detected.image_size
print(f"{'real' if REAL else 'synthetic'} video: {len(detected)} frames at {detected.fps:g} fps, {width}x{height}")


def draw_points(axes, points, colour, label=None, **style) -> None:
    """COCO's skeleton in an image: points (17, 2) pixels."""
    for k, pair in enumerate(COCO_BONES):
        axes.plot(
            *np.asarray(points)[list(pair)].T,
            color=unit(colour),
            label=label if k == 0 else None,
            **{"linewidth": 2} | style,
        )


def frame_axes(axes, frame: int, margin: float = 120.0) -> None:
    """The image of a 30 Hz frame, cropped to the person."""
    if images:
        axes.imshow(images[min(frame, len(images) - 1)])
    seen = keypoints[frame, :, :2]
    low, high = seen.amin(0) - margin, seen.amax(0) + margin
    axes.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]), aspect="equal", xticks=[], yticks=[])


# %% [markdown]
# ## Step 2 · Resampling and confidence
#
# Control runs at 30 Hz, so the track is resampled *by time*; of two neighbouring frames the more confident one gets more weight. Short gaps are interpolated; in long ones a keypoint keeps a position, but its
# confidence becomes 0, which tells everything downstream to ignore it. To see this, we cut one gap of each kind into the left wrist.

# %%
wrist = COCO_NAMES.index("left_wrist")
torn = detected.keypoints.clone()
torn[20:28, wrist, 2] = 0.0  # 0.13 s
torn[50:80, wrist, 2] = 0.0  # 0.5 s
filled = replace(detected, keypoints=torn).resample(30.0).filled()
track30 = detected.resample(30.0).filled()
keypoints = track30.keypoints

figure, (top, bottom) = plt.subplots(2, 1, figsize=(9, 4), sharex=True, layout="constrained")
top.plot(
    torch.arange(len(detected)) / detected.fps, detected.keypoints[:, wrist, 1], ".", color="0.7", label="detected"
)
top.plot(
    torch.arange(len(filled)) / 30,
    filled.keypoints[:, wrist, 1],
    color=unit(DETECTED),
    label="with two gaps, 30 Hz, filled",
)
top.set(ylabel="v of the left wrist (pixels)")
top.invert_yaxis()
top.legend(frameon=False, fontsize=8)
bottom.plot(torch.arange(len(filled)) / 30, filled.keypoints[:, wrist, 2], color=unit(DETECTED))
bottom.plot(torch.arange(len(detected)) / detected.fps, detected.keypoints[:, wrist, 2], ".", color="0.7")
bottom.set(xlabel="time (s)", ylabel="confidence", ylim=(-0.05, 1.05))
plt.show()

confidence = filled.keypoints[:, wrist, 2]
assert len(filled) == len(track30) and abs(len(filled) - len(detected) / 2) <= 1
assert confidence[10:14].min() > 0, "a short gap is interpolated"
assert (confidence[27:38] == 0).all(), "a long one is not trusted"

# %% [markdown]
# ## Step 3 · The encoder's input
#
# Pixels depend on the lens, the zoom, the camera roll and the person's position in the image. All of this is known, so `person_view` removes it: it turns every keypoint into a ray, projects the rays into a
# virtual camera that points at the person with a level horizon, and divides by the person's size. What this discards (elevation, size, the change of bearing, the camera rotation) is appended as numbers: 61 in all.

# %%
view = person_view(keypoints, camera)
middle = len(keypoints) // 2
figure, panels = plt.subplots(1, 3, figsize=(9, 3.6), layout="constrained")
frame_axes(panels[0], middle)
draw_points(panels[0], keypoints[middle, :, :2], DETECTED)
panels[0].set_title("the image")
draw_points(panels[1], view.tokens[middle, :34].reshape(17, 2), DETECTED)
panels[1].set(aspect="equal", title="the level view", xlim=(-4, 4), ylim=(4, -4))
panels[2].imshow(view.tokens.T, aspect="auto", cmap="coolwarm", vmin=-3, vmax=3, extent=(0, len(keypoints) / 30, 61, 0))
panels[2].set(title="61 numbers a frame", xlabel="time (s)")
plt.show()

half_camera = Camera(
    camera.K * torch.tensor([[0.5], [0.5], [1.0]]), camera.R, camera.t, camera.distortion, (width // 2, height // 2)
)
half_keypoints = torch.cat([keypoints[..., :2] / 2, keypoints[..., 2:]], dim=-1)
assert view.tokens.shape == (len(keypoints), 61)
assert torch.allclose(person_view(half_keypoints, half_camera).tokens, view.tokens, atol=1e-2), (
    "half the resolution, the same view"
)

# %% [markdown]
# ## Step 4 · The encoder: a pose and a feature
#
# A transformer reads 3.2 seconds of these inputs, past and future. It was trained on motion capture rendered through synthetic cameras and never saw a real image. It outputs root orientation, 23 joint rotations, foot contact and
# 512 numbers from the layer before, PhysHMR's *feature*. The pose has no position yet: it is translated so that its joints come closest to their rays, with stance feet on the floor (lesson 2, `place_on_rays`).
# The same least-squares fit estimates the person's size relative to the mean shape; the kit divides the *world* by that factor and leaves the body unchanged.

# %%
encoder = load_encoder()
track = track_from_keypoints(detected, camera, encoder, scale=None)


def pose_of(track):
    """The encoder's bodies on their rays, 30 Hz."""
    return MotionLibrary([encoder_clip(track)]).clip(0)


def reprojection_px(track) -> torch.Tensor:
    """(T, 12) pixels between projected and detected keypoints; NaN where the confidence is 0."""
    body = pose_of(track)
    return reprojection_error(body.body_pos, body.body_rot, track.keypoints, track.camera)


body, errors_px = pose_of(track), reprojection_px(track)
box = person_size(keypoints)
figure, panels = plt.subplots(1, 4, figsize=(9.5, 3.8), layout="constrained", width_ratios=(1, 1, 1, 1.3))
projected = track.camera.project(coco_from_bodies(body.body_pos, body.body_rot))
for axes, frame in zip(panels, np.linspace(0, len(track) - 1, 3).astype(int), strict=False):
    frame_axes(axes, int(frame))
    draw_points(axes, keypoints[frame, :, :2], DETECTED, "detected")
    draw_points(axes, projected[frame], SIMULATED, "the encoder's body")
    axes.set_title(f"{frame / 30:.1f} s", fontsize=9)
panels[0].legend(frameon=False, fontsize=7, loc="lower left")
panels[3].barh(RAY_NAMES, errors_px.nanmean(0), color=unit(SIMULATED))
panels[3].invert_yaxis()
panels[3].tick_params(labelsize=7)
panels[3].set(xlabel="reprojection error (pixels)")
plt.show()

median_px = float(errors_px.nanmedian())
distance = float((track.centre - body.root_pos).norm(dim=-1).mean())  # in the scaled world, m
print(f"reprojection error: {median_px:.0f} px at the median, {100 * median_px / box:.1f} % of the person's box")
print(f"the person is {track.scale:.2f} times the mean shape and {track.scale * distance:.2f} m from the camera")
assert median_px < 0.06 * box
assert 0.8 < track.scale < 1.25

# %% [markdown]
# Expect a reprojection error of a few percent of the box. It measures errors *across* the rays only: an arm that points at the camera and one that points away from it can project alike.
#
# ## Step 5 · What the policy observes
#
# Twelve rays, their confidences, the feature and the root orientation. The policy does not get the rays themselves but the distance of *its own* joints from them. We have no simulated body yet, so let us use the encoder's.

# %%
residual = ray_residual(body.body_pos[:, list(RAY_JOINTS)], track.centre, track.ray_point, heading(body.root_rot))
figure, panels = plt.subplots(1, 3, figsize=(9.5, 3.2), layout="constrained", width_ratios=(1.2, 1.2, 1))
span = (0, len(track) / 30)
drawn = panels[0].imshow(
    1000 * residual.norm(dim=-1).T, aspect="auto", cmap="viridis", vmax=120, extent=(*span, 11.5, -0.5)
)
panels[0].set_yticks(range(12), RAY_NAMES, fontsize=7)
panels[0].set(title="rays: residual (mm)", xlabel="time (s)")
figure.colorbar(drawn, ax=panels[0])
panels[1].imshow(track.feature.T, aspect="auto", cmap="coolwarm", vmin=-2, vmax=2, extent=(*span, 512, 0))
panels[1].set(title="feature", xlabel="time (s)")
panels[2].plot(torch.arange(len(track)) / 30, track.contact[:, :2], label=("left ankle", "right ankle"))
panels[2].set(title="foot contact (for the first pose)", xlabel="time (s)", ylim=(-0.05, 1.05))
panels[2].legend(frameon=False, fontsize=7)
plt.show()

assert residual.shape == (len(track), 12, 3) and track.feature.shape[1] == 512
assert 1000 * residual.norm(dim=-1).median() < 100

# %% [markdown]
# ## The effect of noise on each
#
# We add independent noise of $\sigma$ pixels to all keypoints in every frame, and compare all quantities. Rays respond immediately and proportionally, $Z/f\cdot\sigma$ each, because a ray depends on a single frame. The encoder
# sees 3 seconds and hardly changes as long as the errors are within its training distribution, about one percent of the box. This is why the policy gets both.

# %%
sigmas = (0.0, 2.0, 4.0, 8.0, 16.0, 32.0)
generator = torch.Generator().manual_seed(1)
rows = []
for sigma in sigmas:
    shaken = detected.keypoints.clone()
    shaken[..., :2] += sigma * torch.randn(shaken[..., :2].shape, generator=generator)
    other = track_from_keypoints(replace(detected, keypoints=shaken), camera, encoder, track.scale)
    other_body = pose_of(other)
    ray = (other.ray_point - track.ray_point).norm(dim=-1).mean() * distance  # at the person's distance
    turn = 2 * torch.rad2deg((other.root_rot * track.root_rot).sum(-1).abs().clamp(max=1).acos()).mean()
    local = [p.body_pos - p.body_pos[:, :1] for p in (other_body, body)]
    pose = (local[0] - local[1]).norm(dim=-1).mean()
    feature = (other.feature - track.feature).norm(dim=-1).mean() / track.feature.norm(dim=-1).mean()
    rows.append([1000 * float(ray), float(turn), 1000 * float(pose), 100 * float(feature)])
rows = np.array(rows)
figure, panels = plt.subplots(1, 4, figsize=(9.5, 2.6), layout="constrained")
titles = ("rays (mm)", "root orientation (deg)", "pose (mm)", "feature (% of its length)")
for axes, values, title, colour in zip(panels, rows.T, titles, (DETECTED, CONTACT, SIMULATED, REFERENCE), strict=True):
    axes.plot(100 * np.array(sigmas) / box, values, "o-", color=unit(colour), markersize=4)
    axes.set(title=title, xlabel="noise (% of the box)", ylim=(0, None))
plt.show()

steps = rows[2:5, 0] / rows[1, 0]
print("rays, for 2, 4, 8, 16 times the first noise:", steps.round(1))
assert (np.diff(rows[1:, 0]) > 0).all() and rows[4, 0] / rows[1, 0] > 4, "rays pass on every pixel error"
assert rows[2, 1] < 8, "a little noise hardly turns the root"

# %% [markdown]
# ## The encoder's uncertainty
#
# For every joint and frame the encoder also predicts an **uncertainty**: the median of its error. (The L1 loss between predicted and actual error is minimal at the median.) On held-out people 48 % of its
# errors are larger ([docs/vision.md](../docs/vision.md#the-encoder-against-noise)). Below we hide both legs for the middle third of the video and look where the uncertainty rises. On the real video it is high for the legs even without that: few people in the training data balance on one leg. The refinement below uses it to weight the encoder's pose, joint by joint.

# %%
at_30 = detected.resample(30.0)
hidden = at_30.keypoints.clone()
third = slice(len(track) // 3, 2 * len(track) // 3)
legs = [COCO_NAMES.index(f"{side}_{part}") for side in ("left", "right") for part in ("knee", "ankle")]
hidden[third, legs, 2] = 0.0
legs_hidden = track_from_keypoints(replace(at_30, keypoints=hidden), camera, encoder, track.scale)
figure, panels = plt.subplots(1, 3, figsize=(9.5, 3.2), layout="constrained", width_ratios=(1.2, 1.2, 1), sharex="row")
for axes, seen, title in zip(panels[:2], (track, legs_hidden), ("as detected", "legs hidden"), strict=True):
    drawn = axes.imshow(
        1000 * seen.uncertainty.T, aspect="auto", cmap="viridis", vmin=0, vmax=250, extent=(*span, 23.5, -0.5)
    )
    axes.set_yticks(range(24), JOINT_NAMES, fontsize=5)
    axes.set(title=f"uncertainty (mm), {title}", xlabel="time (s)")
figure.colorbar(drawn, ax=panels[1])
ankle = JOINT_NAMES.index("right_ankle")
for seen, colour, label in ((track, REFERENCE, "as detected"), (legs_hidden, SIMULATED, "legs hidden")):
    panels[2].plot(torch.arange(len(track)) / 30, 1000 * seen.uncertainty[:, ankle], color=unit(colour), label=label)
panels[2].axvspan(third.start / 30, third.stop / 30, alpha=0.15, color="grey")
panels[2].set(title="right ankle (mm)", xlabel="time (s)", ylim=(0, None))
panels[2].legend(frameon=False, fontsize=7)
plt.show()

assert legs_hidden.uncertainty[third, ankle].mean() > 1.2 * track.uncertainty[third, ankle].mean(), (
    "hidden joints are uncertain"
)
assert track.uncertainty[:, 18:22].mean() > track.uncertainty[:, 1:3].mean(), "wrists and elbows are harder than hips"

# %% [markdown]
# ## Refinement over the whole video
#
# The encoder predicts each frame separately; nothing makes its body match the keypoints, keep its stance feet in place, or move smoothly. `refined_clip` fits all of that over all frames jointly (`vision/refinement.py`): a robust sum of squares
# over hinges, root orientation and path, initialised from the encoder. Its result is what `reconstruct --method kinematic` returns and what a tracking policy follows. Removing a term shows what it is for.

# %%
off = math.inf  # a spread of infinity switches a term off
variants = {
    "encoder, frame by frame": encoder_clip(track),
    "refined": refined_clip(track),
    "without keypoints": refined_clip(track, Refinement(keypoint=off)),
    "without the encoder": refined_clip(track, Refinement(encoder=off, hinge=off)),
    "without smoothness": refined_clip(track, Refinement(acceleration=off, path_spread=PathSpread(acceleration=off))),
    "without feet": refined_clip(
        track,
        Refinement(foot_slip=off, foot_height=off, floor=off, path_spread=PathSpread(foot=off, floor=off)),
    ),
}


def qualities(motion) -> list[float]:
    """Reprojection error (px), mean acceleration of the joints (m/s^2), speed of standing ankles (m/s)."""
    moving = MotionLibrary([motion]).clip(0)
    pixels = reprojection_error(moving.body_pos, moving.body_rot, track.keypoints, track.camera).nanmedian()
    bend = 900 * moving.body_pos.diff(n=2, dim=0).norm(dim=-1).mean()
    stands = track.contact[1:, :2] > 0.5
    slip = 30 * moving.body_pos[:, 7:9].diff(dim=0).norm(dim=-1)[stands].mean() if stands.any() else torch.zeros(())
    return [float(pixels), float(bend), float(slip)]


table = np.array([qualities(motion) for motion in variants.values()])
figure, panels = plt.subplots(1, 3, figsize=(9.5, 2.6), layout="constrained", sharey=True)
labels = ("reprojection error (pixels)", "acceleration (m/s²)", "sliding of standing ankles (m/s)")
for axes, values, label, colour in zip(panels, table.T, labels, (SIMULATED, REFERENCE, CONTACT), strict=True):
    axes.barh(list(variants), values, color=unit(colour))
    axes.set_xlabel(label)
panels[0].invert_yaxis()
panels[0].tick_params(labelsize=8)
plt.show()

assert table[1, 0] < 0.8 * table[0, 0], "nearer to the keypoints than the encoder"
assert table[2, 0] > 1.3 * table[1, 0], "which is what the keypoints are for"
assert table[1, 1] < table[0, 1] and table[4, 1] > table[1, 1], "and smoother"

# %% [markdown]
# No term can recover what one camera cannot see: the depth along the rays. On the balance video the refined estimate is 5 pixels from the keypoints and still 138 mm from the true joints, most of it in depth ([docs/vision.md](../docs/vision.md)).

# %% [markdown]
# ## Without calibration
#
# Most videos come without $R$ and $t$. People stand upright on average, and their feet are on the floor: `estimate_camera` runs the encoder as if the camera were level, tilts the camera by the predicted up direction, and then fits
# the floor to the stance feet. The focal length is set to the image diagonal unless you know it. Here we know the true camera, so we can check.

# %%
for focal in (float(camera.K[0, 0]), None):
    found = estimate_camera(detected, encoder, focal)
    tilt = math.degrees(math.acos(min(1.0, float(found.camera.R[:, 2] @ camera.R[:, 2]))))
    print(f"focal length {'known' if focal else 'guessed'}: gravity off by {tilt:.1f} degrees; {found}")
    assert tilt < 35 and 0 < found.height_m < 4
print(f"true height: {float(camera.centre[2]):.2f} m")

# %% [markdown]
# Agreement between frames does not make them right: they show one person in one video, and somebody who leans all the time tilts the world. Use a calibration if you have one; otherwise check the result (`python -m physhmr_kit.doctor --track`).
#
# ## In the viewer
#
# The encoder's body, the video, the keypoints and the rays, in Rerun. There is no physics in this yet: watch the feet.

# %%
still = torch.zeros(len(track), 24, 3)
kinematic = Rollout(track.name, body, body, still, torch.zeros(len(track), 69), {}, len(track), True, None)
show(kinematic, track, [(k / 30, image) for k, image in enumerate(images) if k % 3 == 0] or None)

ankle = body.body_pos[:, 7:9]
speed = 30 * ankle.diff(dim=0).norm(dim=-1)
standing = track.contact[1:, :2] > 0.5
sliding = float(speed[standing].median()) if standing.any() else float("nan")
print(f"a stance ankle moves at {sliding:.2f} m/s, at the median; physics would hold it")
assert math.isnan(sliding) or sliding > 0.005

# %% [markdown]
# ## What failure looks like
#
# Four mistakes that happen with real videos. Each row is our video with that one mistake; compare with the first row.

# %%


def swapped(track: KeypointTrack) -> KeypointTrack:
    """Left for right, all the time."""
    return replace(track, keypoints=track.keypoints[:, list(COCO_MIRROR)])


half_k = camera.K.clone()
half_k[:2] *= 0.5
flipped = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
cases = {
    "nothing": (detected, camera),
    "left and right swapped": (swapped(detected), camera),
    "60 fps read as 30": (replace(detected, fps=detected.fps / 2), camera),
    "K of half the resolution": (detected, replace(camera, K=half_k)),
    "y and z of the world down": (detected, replace(camera, R=camera.R @ flipped)),
}
found = {}
print(f"{'mistake':28} pixels   distance  speed      root against the first")
for name, (points, cam) in cases.items():
    try:
        other = track_from_keypoints(points, cam, encoder, track.scale)
    except Exception as error:
        print(f"{name:28} {error}")
        continue
    other_body = pose_of(other)
    away = float((other.centre - other_body.root_pos).norm(dim=-1).mean()) * track.scale
    speed = float(30 * other_body.root_pos.diff(dim=0).norm(dim=-1).mean())
    turn = 2 * torch.rad2deg((other.root_rot[0] * track.root_rot[0]).sum().abs().clamp(max=1).acos())
    found[name] = float(reprojection_px(other).nanmedian()), away, speed, float(turn)
    print("{:28} {:4.0f} px  {:5.2f} m   {:.2f} m/s   {:4.0f} degrees".format(name, *found[name]))

assert found["left and right swapped"][3] > 60, "the person seems to face the other way"
assert found["60 fps read as 30"][2] < 0.8 * found["nothing"][2], "slow motion"
assert found["K of half the resolution"][1] < 0.75 * found["nothing"][1], "much too near"
assert found["y and z of the world down"][0] > 3 * found["nothing"][0], "no body fits both the floor and the rays"

# %% [markdown]
# | mistake | reprojection error | what reveals it |
# |---|---|---|
# | left and right swapped | grows a little | the body faces the other way and walks backwards |
# | wrong frame rate | hardly changes | everything is slow (or fast): gravity no longer fits |
# | $K$ of another resolution | grows a little | the person is too near or too far, feet float or sink |
# | world upside down | very large | the body cannot be both upright and on its rays |
#
# The first two are the dangerous ones: the overlay looks right, and a policy trained on it learns nonsense. So check heading and speed, not only pixels.
#
# ## Exercises
#
# Try them before you open the solutions. Numbers are for the real video; the synthetic one gives others with the same message.
#
# **1 · A lower frame rate.** Keep every fourth detection (`replace(detected, keypoints=detected.keypoints[::4], fps=detected.fps / 4)`), then every twelfth, and compare with the original keypoints at 30 Hz. *Expect* almost no change at 15 fps, a tenth of a
# pixel and a third of a degree: this man moves slowly. At 5 fps it is a pixel and a half_keypoints, and a degree.


# %% jupyter={"source_hidden": true} tags=["solution"]
def turned(other) -> float:
    """Mean angle between the root of another track and that of the lesson's, degrees."""
    frames = min(len(other), len(track))
    same = (other.root_rot[:frames] * track.root_rot[:frames]).sum(-1).abs()
    return float(2 * torch.rad2deg(same.clamp(max=1).acos()).mean())


thinned = {}
for every in (4, 12):
    fewer = replace(detected, keypoints=detected.keypoints[::every], fps=detected.fps / every)
    sparse = track_from_keypoints(fewer, camera, encoder, track.scale)
    sparse_body, frames = pose_of(sparse), min(len(sparse), len(track))
    pixels = reprojection_error(
        sparse_body.body_pos[:frames], sparse_body.body_rot[:frames], keypoints[:frames], sparse.camera
    ).nanmedian()
    thinned[every] = float(pixels), turned(sparse)
    print(
        f"{fewer.fps:g} fps: reprojection error {pixels:.1f} px instead of {median_px:.1f}, root turned by {turned(sparse):.1f} degrees"
    )
assert thinned[4][0] < 1.05 * median_px and thinned[4][1] < 1
assert thinned[12][0] > thinned[4][0] and thinned[12][1] > thinned[4][1]

# %% [markdown]
# **2 · No arms.** Set the confidence of elbows and wrists to 0. *Expect* the root to turn by some 5 degrees and the reprojection error of the remaining limbs to grow from 12 to 16 pixels: the encoder had used the arms to tell where the chest points. It knows that it does not know: the
# uncertainty of the wrists doubles, from 13 to 29 cm.

# %% jupyter={"source_hidden": true} tags=["solution"]
arms = [COCO_NAMES.index(f"{side}_{part}") for side in ("left", "right") for part in ("elbow", "wrist")]
without = detected.keypoints.clone()
without[:, arms, 2] = 0.0
armless = track_from_keypoints(replace(detected, keypoints=without), camera, encoder, track.scale)
left = reprojection_px(armless)
before_px, after_px = float(errors_px[~left.isnan()].nanmean()), float(left.nanmean())
wrists = [JOINT_NAMES.index(f"{side}_wrist") for side in ("left", "right")]
before_cm, after_cm = (100 * float(t.uncertainty[:, wrists].mean()) for t in (track, armless))
print(
    f"root turned by {turned(armless):.1f} degrees; error of the remaining limbs {before_px:.1f} -> {after_px:.1f} px"
)
print(f"stated uncertainty of the wrists {before_cm:.0f} -> {after_cm:.0f} cm")
assert 2 < turned(armless) < 10 and after_px > before_px
assert after_cm > 1.5 * before_cm, "hidden joints are uncertain"

# %% [markdown]
# **3 · A wrong focal length.** Multiply `K[0, 0]` and `K[1, 1]` by 1.5, once with `scale=None` and once with the lesson's scale. *Expect*, with an estimated size, a person about a tenth farther away, not half as far again: stance feet are held to the floor, and the size shrinks
# to 0.8 to compensate, the smallest value allowed (`doctor --track` warns about it), so that the reprojection error grows by 4 pixels only. With the correct size nothing can compensate, and it is 88: a size known from elsewhere reveals the mistake.

# %% jupyter={"source_hidden": true} tags=["solution"]
long_k = camera.K.clone()
long_k[[0, 1], [0, 1]] *= 1.5
zoomed = {}
for name, scale in (("estimated", None), ("known", track.scale)):
    other = track_from_keypoints(detected, replace(camera, K=long_k), encoder, scale)
    away = float((other.centre - pose_of(other).root_pos).norm(dim=-1).mean()) * other.scale
    zoomed[name] = other.scale, away / (track.scale * distance), float(reprojection_px(other).nanmedian())
    print("size {}: {:.2f}, {:.2f} times the distance, reprojection error {:.0f} px".format(name, *zoomed[name]))
assert zoomed["estimated"][0] < 0.85 and 1.05 < zoomed["estimated"][1] < 1.35
assert zoomed["known"][2] > 3 * zoomed["estimated"][2]

# %% [markdown]
# ## Summary
#
# - Keypoints are resampled by time; confidence 0 means *ignore*.
# - The encoder sees a level, centred, scaled view. It predicts a pose, a feature and contacts; rays and the floor give the position.
# - Rays pass on every pixel error, the feature averages over time: the policy gets both.
# - Without calibration, gravity and height are estimates with errors of several degrees.
# - A small reprojection error proves little. Heading, speed and distance reveal the mistakes it cannot see.
#
# **Next:** a policy has to act on these observations. Lesson 4 shows how one learns by trial and error: PPO from scratch.
