# %% [markdown]
# # Lesson 9 · Your own video and motion capture
#
# **Time:** about forty seconds on two CPU cores. **Needs:** lessons 0, 3 and 8. With the project's real video (`PHYSHMR_DATA`) the video part shows a man balancing on one leg; without it, keypoints of a demo motion.
#
# Everything so far, end to end, on external files. First a video: from pixels to a motion in simulation, and how to tell whether to trust it. Then motion capture: a BVH file as another program would write it, what the importer does with it, and a policy that tracks it.
#
# Afterwards you will be able to
# - reconstruct a video and read its summary line by line,
# - find the moments not to trust in `errors.csv`,
# - export the result (AMASS `.npz`, `.bvh`),
# - import your own motion capture, and understand the importer's messages.

# %%
import csv
import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in `fit`: waiting threads sleep instead of spinning

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown, display

from data_prep.imported import import_file
from physhmr_kit import reconstruct
from physhmr_kit.body.skeleton import mean_offsets
from physhmr_kit.env import Rollout, TrackingConfig, track_clips
from physhmr_kit.learning.storage import BUNDLED, load_policy
from physhmr_kit.metrics import score_rollouts
from physhmr_kit.metrics.table import COLUMNS, cells
from physhmr_kit.motion.clip import Clip
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.export import write_bvh
from physhmr_kit.motion.kinematics import forward_kinematics
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.utils.markdown import markdown_table
from physhmr_kit.viewer import filmstrip, show
from physhmr_kit.viewer.frames import video_frames
from physhmr_kit.viewer.palette import CONTACT, REFERENCE, SIMULATED, unit
from physhmr_kit.vision import Camera, KeypointNoise, KeypointTrack, coco_from_bodies, detect
from physhmr_kit.vision.track import VisualTrack

torch.manual_seed(0)
torch.set_num_threads(2)
DATA = Path(os.environ.get("PHYSHMR_DATA", "../../shared/data")) / "video"
REAL = (DATA / "balance_cam01.mp4").is_file()
WORK = Path(tempfile.mkdtemp())

# %% [markdown]
# ## A video
#
# For your own video it is one command,
#
# ```bash
# python -m physhmr_kit.reconstruct my_video.mp4 --camera my_camera.json --out out/my_video
# ```
#
# The detector is installed on first use, in its own environment. Recording tips are in [docs/own_video.md](../docs/own_video.md#recording-tips). Without a calibration, omit `--camera`: tilt and height of the camera are then estimated from the person, to within a few degrees
# ([docs/vision.md](../docs/vision.md#uncalibrated-cameras)).
#
# Here the keypoints exist already (`--keypoints`), so nothing is downloaded. We use `--method two_stage`: an expert tracks the refined estimate of lesson 3. The default, `physics`, uses the bundled student; `kinematic` returns the estimate without physics.

# %%
if REAL:
    source, camera_file = (
        [DATA / "balance_cam01.mp4", "--keypoints", DATA / "balance_cam01_keypoints.npz"],
        DATA / "balance_cam01_camera.json",
    )
else:  # a demo motion, seen by a synthetic camera and a synthetic detector
    clip = demo_clip("reach")
    camera = Camera.look_at((3.2, 1.4, 1.7), (0.0, 0.0, 0.95), focal=1680.0, image_size=(1080, 1920))
    points = coco_from_bodies(*forward_kinematics(clip.root_pos, clip.joint_rot, mean_offsets()))
    seen = detect(points, camera, KeypointNoise(), torch.Generator().manual_seed(0))
    KeypointTrack(seen, 30.0, camera.image_size, "reach").save(WORK / "reach_keypoints.npz")
    source, camera_file = ["--keypoints", WORK / "reach_keypoints.npz"], camera.save(WORK / "reach_camera.json")
out = WORK / "out"
argv = [
    *source,
    "--camera",
    camera_file,
    "--method",
    "two_stage",
    "--out",
    out,
    *(["--no-overlay"] if os.environ.get("CI") else []),
]
assert reconstruct.main([str(argument) for argument in argv]) == 0

# %% [markdown]
# The lines before "wrote" are the summary:
#
# | line | question | worry if |
# |---|---|---|
# | the world is divided by ... | how large is the person? | it is 0.80 or 1.25, the allowed limits: focal length or camera height is wrong |
# | reprojection error | does the body match the keypoints? | several times that of the estimate |
# | distance from the rays | the same in millimetres, without depth | above 100 mm |
# | upright in ... % of the frames, reset ... | did it stay on its feet? | every reset is a cut: the motion before and after is not continuous |
# | largest assistive force | was it supported by an external force? | it is not 0 |
#
# No line can tell how far away the person really was: one camera does not see it.

# %%
rollout = Rollout.load(out / "rollout.npz")
files = sorted(file.name for file in out.iterdir())
print(", ".join(files))
assert {"errors.csv", "reconstruction.rrd", "rollout.npz", "track.npz"} <= set(files)
filmstrip(rollout, poses=7, title="simulated body and the estimate that it tracked")

# %% [markdown]
# ## Which moments to trust
#
# `errors.csv` has a row per frame of the video.

# %%
with open(out / "errors.csv", newline="") as file:
    table = list(csv.DictReader(file))
errors = {name: np.array([float(row[name]) if row[name] else np.nan for row in table]) for name in table[0]}
print(", ".join(errors))

figure, axes = plt.subplots(figsize=(9, 3), layout="constrained")
axes.plot(errors["seconds"], errors["ray_distance_mm"], color=unit(SIMULATED), label="simulated body")
axes.plot(errors["seconds"], errors["estimate_ray_distance_mm"], color=unit(REFERENCE), label="estimate")
for second in errors["seconds"][errors["restart"] == 1]:
    axes.axvline(second, color=unit(CONTACT), linestyle=":")
axes.fill_between(
    errors["seconds"],
    0,
    1,
    where=errors["upright"] == 0,
    transform=axes.get_xaxis_transform(),
    color="0.9",
    label="not upright",
)
axes.set(xlabel="time of the video (s)", ylabel="distance from the rays (mm)", ylim=(0, None))
axes.legend(frameon=False, fontsize=8)
plt.show()

assert len(table) == len(rollout), "a row per frame"
assert np.nanmedian(errors["estimate_ray_distance_mm"]) < 100

# %% [markdown]
# Where blue is close to orange, physics agrees with the estimate. Where it is far off, one of the two is wrong, and the video shows which. Overlaid on the video, here or in the viewer:

# %%
figure, panels = plt.subplots(1, 4, figsize=(10, 4), layout="constrained")
track = VisualTrack.load(out / "track.npz")  # its camera is in the world of the simulation
shown = np.linspace(0, len(rollout) - 1, len(panels)).astype(int)
images = [image for _, image in video_frames(DATA / "balance_cam01.mp4", 30.0)] if REAL else []
drawn = [
    (track.camera.project(coco_from_bodies(state.body_pos, state.body_rot)), colour, label)
    for state, colour, label in (
        (rollout.reference, REFERENCE, "estimate"),
        (rollout.simulated, SIMULATED, "simulated"),
    )
]
for axes, frame in zip(panels, shown, strict=True):
    if images:
        axes.imshow(images[min(int(frame), len(images) - 1)])
    for pixels, colour, label in drawn:
        axes.scatter(*pixels[frame].T, s=9, color=unit(colour), label=label)
    low, high = drawn[0][0][frame].amin(0) - 200, drawn[0][0][frame].amax(0) + 200
    axes.set(
        xlim=(low[0], high[0]),
        ylim=(high[1], low[1]),
        aspect="equal",
        xticks=[],
        yticks=[],
        title=f"{frame / 30:.1f} s",
    )
panels[0].legend(fontsize=7, loc="lower left")
plt.show()
show(rollout, track)

# %% [markdown]
# ## Export
#
# `reconstruction.npz` uses AMASS's format, `reconstruction.bvh` opens in animation programs. (A reconstruction with resets is written in parts: `reconstruction_part1`, ...) Lengths are those of the mean shape; multiply by the scale in the summary for the person's own.

# %%
saved = next(out.glob("reconstruction*.npz"))
with np.load(saved, allow_pickle=False) as arrays:
    print(saved.name + ":", ", ".join(f"{name} {arrays[name].shape}" for name in arrays.files))
motion = Clip.load(saved)
bvh = saved.with_suffix(".bvh").read_text()
print(bvh[: bvh.index("}")][:300], "...")
assert motion.poses.shape[1] == 72 and motion.fps == 30
assert bvh.startswith("HIERARCHY")

# %% [markdown]
# ## Motion capture
#
# Every capture or animation program writes BVH differently: other names, units, axes, frame rates. We create such a file: a squat at 60 fps, with the joint names of a popular character library, in inches.

# %%
THEIRS = {
    "pelvis": "Hips", "spine1": "Spine", "spine2": "Spine1", "spine3": "Spine2", "neck": "Neck", "head": "Head",
    **{
        f"{side.lower()}_{ours}": side + other
        for side in ("Left", "Right")
        for ours, other in (
            ("hip", "UpLeg"), ("knee", "Leg"), ("ankle", "Foot"), ("foot", "ToeBase"), ("collar", "Shoulder"),
            ("shoulder", "Arm"), ("elbow", "ForeArm"), ("wrist", "Hand"), ("hand", "HandIndex1"),
        )
    },
}  # fmt: skip


def as_theirs(text: str) -> str:
    """A BVH of the kit with other joint names, in inches."""
    head, motion = text.split("MOTION\n")
    lines = []
    for line in head.splitlines():
        tokens = line.split()
        if tokens[:1] in (["ROOT"], ["JOINT"]):
            line = line.replace(tokens[1], "mixamorig:" + THEIRS[tokens[1]])
        elif tokens[:1] == ["OFFSET"]:
            line = "OFFSET " + " ".join(f"{float(value) / 2.54:.5f}" for value in tokens[1:])
        lines.append(line)
    frames, step, *rows = motion.splitlines()
    moved = [[float(value) for value in row.split()] for row in rows]
    rows = [" ".join(f"{value / 2.54 if k < 3 else value:.5f}" for k, value in enumerate(row)) for row in moved]
    return "\n".join([*lines, "MOTION", frames, step, *rows]) + "\n"


capture = WORK / "my_capture.bvh"
capture.write_text(as_theirs(write_bvh(demo_clip("squat").resample(60.0), WORK / "ours.bvh").read_text()))
print("\n".join(capture.read_text().splitlines()[:12]))

# %% [markdown]
# The importer assumes none of this: it identifies joints by their role, up and facing from the motion, units from the feet. Anything unusual is reported in a line; names and inches are common enough not to be.

# %%
imported = import_file(capture, cached=False)
print("\n".join((*imported.notes, *imported.doubts)) or "nothing unusual")
(mine,) = imported.clips
print(f"{mine.name}: {len(mine)} frames at {mine.fps:g} fps, {mine.duration:.1f} s")

truth = demo_clip("squat").resample(30.0)
both = [forward_kinematics(c.root_pos, c.joint_rot, mean_offsets())[0] for c in (mine, truth)]
count = min(map(len, both))
off = 1000 * (both[0][:count] - both[0][:count, :1] - both[1][:count] + both[1][:count, :1]).norm(dim=-1)
print(f"joints relative to the pelvis: {off.mean():.0f} mm from the original motion")
assert mine.fps == 30 and off.mean() < 40
filmstrip(mine, poses=7, title="my_capture")

# %% [markdown]
# ## Tracking it
#
# With the expert, which was trained on squats but not on this file, and with no policy. In a terminal: `python -m physhmr_kit.evaluate --stage expert --clips my_capture.bvh`, which prints both.

# %%
library = MotionLibrary([mine])
expert = load_policy(BUNDLED / "expert.safetensors")
RUNS = {
    "expert": track_clips(
        expert, library, TrackingConfig(groups=expert.groups, control=expert.control), simulator="mujoco_cpu"
    )[0],
    "no policy": track_clips(
        lambda obs: torch.zeros(1, 69), library, TrackingConfig(control="balanced"), simulator="mujoco_cpu"
    )[0],
}
rows = [[name, *cells(score_rollouts([run])[0])[1:]] for name, run in RUNS.items()]
display(Markdown(markdown_table(["", *list(COLUMNS.values())[1:]], rows, "lrlr")))
assert RUNS["expert"].success
filmstrip(RUNS["expert"], poses=7, title="my_capture, tracked by the expert")

# %% [markdown]
# For many files: `python -m data_prep.pack my_mocap/ --out my_library` packs a folder once, `--clips my_library` opens it at once, and `python -m data_prep.report my_mocap/` measures how well each file was retargeted ([docs/mocap.md](../docs/mocap.md)).
#
# ## What failure looks like
#
# A file that cannot be right is refused, with one line that says what to do. Minor problems are repaired and reported. Three broken files: truncated in the middle of a row, a frame rate in place of the frame time, and a thigh with a meaningless name.

# %%
text = capture.read_text()
broken = {
    "truncated": text[: int(0.8 * len(text))],
    "60 as frame time": text.replace(next(line for line in text.splitlines() if line.startswith("Frame Time")), "Frame Time: 60"),
    "a thigh called Bone07": text.replace("LeftUpLeg", "Bone07"),
}  # fmt: skip
messages = {}
for name, content in broken.items():
    path = WORK / "broken.bvh"
    path.write_text(content)
    found = import_file(path, cached=False)
    messages[name] = found.refusal or "; ".join(found.notes)
    print(f"{name}: {messages[name]}")
assert all(messages.values()), "each is refused or reported"

# %% [markdown]
# | symptom | likely cause |
# |---|---|
# | the body floats or sinks, rays are fine | the camera height; `python -m physhmr_kit.doctor --track out/track.npz` |
# | many resets, always at the same moment | the estimate is physically infeasible there: look at the orange body |
# | the wrong person is tracked | several people: `--box X Y W H --at SECONDS` |
# | everything in slow motion | the keypoints' frame rate differs from the video's (`--fps`) |
# | "doubted: off by ..." for a capture | joint names that mean something else; check it with `view` before training on it |
# | feet slide in the imported clip | path and skeleton in different units, or a treadmill |
#
# ## Exercises
#
# **1 · Without physics.** Reconstruct again with `--method kinematic`, and compare the median distance from the rays. *Expect* exactly the estimate's, because there is no simulated body.

# %% jupyter={"source_hidden": true} tags=["solution"]
kinematic = WORK / "kinematic"
argv = [*source, "--camera", camera_file, "--method", "kinematic", "--out", kinematic, "--no-overlay"]
assert reconstruct.main([str(argument) for argument in argv]) == 0
with open(kinematic / "errors.csv", newline="") as file:
    rays = [float(row["ray_distance_mm"]) for row in csv.DictReader(file) if row["ray_distance_mm"]]
assert abs(np.median(rays) - np.nanmedian(errors["estimate_ray_distance_mm"])) < 0.5

# %% [markdown]
# **2 · Round trip.** Write the imported capture with `write_bvh` and import that file. *Expect* the same motion, within a centimetre: the kit reads what it writes.

# %% jupyter={"source_hidden": true} tags=["solution"]
(again,) = import_file(write_bvh(mine, WORK / "again.bvh"), cached=False).clips
place = forward_kinematics(again.root_pos, again.joint_rot, mean_offsets())[0]
n = min(len(place), len(both[0]))
difference = 1000 * (place[:n] - place[:n, :1] - both[0][:n] + both[0][:n, :1]).norm(dim=-1).mean()
print(f"{difference:.1f} mm apart")
assert difference < 10

# %% [markdown]
# ## Summary
#
# One command turns a video into a physical motion; its summary and `errors.csv` say how far to trust it. A capture is imported whatever its joints are called, with a report of what was found. The results open in other programs.
#
# **Next:** lesson 10 does all of this thousands of times as fast.
