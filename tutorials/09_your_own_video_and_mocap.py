# %% [markdown]
# # Lesson 9 · Your own video, and your own mocap
#
# **Time:** about forty seconds on two CPU cores. **Needs:** lessons 0, 3 and 8. With the project's real film (`PHYSHMR_DATA`) the video part is about a man who balances on one leg; without it, about keypoints of a demo motion.
#
# Everything so far, end to end, on files that are not the kit's. First a video: from pixels to a motion in simulation, and how to tell whether to believe it. Then a capture: a BVH file as another program would write it, what the importer makes of it, and a body that follows it.
#
# Afterwards you will be able to
# - reconstruct a video and read its summary line by line,
# - find in `errors.csv` the moments not to be trusted,
# - take the result elsewhere (AMASS `.npz`, `.bvh`),
# - bring in motion capture of your own, and understand what the importer says about it.

# %%
import csv
import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `fit` has it: threads that wait burn no CPU seconds

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
# With a video of your own it is one command,
#
# ```bash
# python -m physhmr_kit.reconstruct my_video.mp4 --camera my_camera.json --out out/my_video
# ```
#
# The detector is installed the first time, in an environment of its own. **Film it well**: one person, wholly in the picture, feet too; a camera that stands still; a flat floor; light enough that limbs are not blurred. No calibration? Leave `--camera` out, and the camera's tilt and height are estimated from the person, which costs a few degrees
# ([docs/vision.md](../docs/vision.md)).
#
# Here the keypoints are there already (`--keypoints`), so nothing is downloaded. We choose `--method two_stage`: an expert follows the refined estimate of lesson 3. The default, `physics`, is PhysHMR's one policy, which so far knows few motions; `kinematic` is the estimate without a body.

# %%
if REAL:
    source, camera_file = (
        [DATA / "balance_cam01.mp4", "--keypoints", DATA / "balance_cam01_keypoints.npz"],
        DATA / "balance_cam01_camera.json",
    )
else:  # the same, made up: a demo motion, filmed by a synthetic camera and a synthetic detector
    clip = demo_clip("reach")
    camera = Camera.look_at((3.2, 1.4, 1.7), (0.0, 0.0, 0.95), focal=1680.0, image_size=(1080, 1920))
    points = coco_from_bodies(*forward_kinematics(clip.root_pos, clip.joint_rot, mean_offsets()))
    seen = detect(points, camera, KeypointNoise(), torch.Generator().manual_seed(0))
    KeypointTrack(seen, 30.0, camera.image_size, "reach").save(WORK / "reach_keypoints.npz")
    source, camera_file = ["--keypoints", WORK / "reach_keypoints.npz"], camera.save(WORK / "reach_camera.json")
out = WORK / "out"
words = [
    *source,
    "--camera",
    camera_file,
    "--method",
    "two_stage",
    "--out",
    out,
    *(["--no-overlay"] if os.environ.get("CI") else []),
]
assert reconstruct.main([str(word) for word in words]) == 0

# %% [markdown]
# The lines before "wrote" are the summary. Read it as a list of questions:
#
# | line | asks | worry when |
# |---|---|---|
# | the world is divided by ... | how large is the person? | it is 0.80 or 1.25, the ends of what is allowed: focal length or camera height is wrong |
# | reprojection error | does the body meet the keypoints? | several times that of the estimate |
# | distance from the rays | the same in millimetres, without depth | above 100 mm |
# | upright in ... % of the frames, reset ... | did it stay on its feet by itself? | every reset is a cut: the motion before and after is not one |
# | largest assistive force | was it held by a hand from above? | it is not 0 |
#
# What no line can say is how far away the person really was: one camera does not see it.

# %%
rollout = Rollout.load(out / "rollout.npz")
files = sorted(file.name for file in out.iterdir())
print(", ".join(files))
assert {"errors.csv", "reconstruction.rrd", "rollout.npz", "track.npz"} <= set(files)
filmstrip(rollout, poses=7, title="what the body did, and the estimate that it followed")

# %% [markdown]
# ## Which moments to believe
#
# `errors.csv` has a row for each frame of the film.

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
axes.set(xlabel="time of the film (s)", ylabel="distance from the rays (mm)", ylim=(0, None))
axes.legend(frameon=False, fontsize=8)
plt.show()

assert len(table) == len(rollout), "a row for each frame"
assert np.nanmedian(errors["estimate_ray_distance_mm"]) < 100

# %% [markdown]
# Where blue is close to orange, physics agrees with the estimate. Where it is far away, one of the two is wrong, and the picture tells which. On the film, here or in the viewer:

# %%
figure, panels = plt.subplots(1, 4, figsize=(10, 4), layout="constrained")
track = VisualTrack.load(out / "track.npz")  # its camera lives in the world of the simulation
shown = np.linspace(0, len(rollout) - 1, len(panels)).astype(int)
film = [image for _, image in video_frames(DATA / "balance_cam01.mp4", 30.0)] if REAL else []
drawn = [
    (track.camera.project(coco_from_bodies(state.body_pos, state.body_rot)), colour, words)
    for state, colour, words in (
        (rollout.reference, REFERENCE, "estimate"),
        (rollout.simulated, SIMULATED, "simulated"),
    )
]
for axes, frame in zip(panels, shown, strict=True):
    if film:
        axes.imshow(film[min(int(frame), len(film) - 1)])
    for pixels, colour, words in drawn:
        axes.scatter(*pixels[frame].T, s=9, color=unit(colour), label=words)
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
# ## Taking it elsewhere
#
# `reconstruction.npz` is in the convention of AMASS, `reconstruction.bvh` opens in animation programs. (A reconstruction with restarts is written in parts: `reconstruction_part1`, ...) Lengths are those of the mean shape; multiply by the scale of the summary for the person's own.

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
# ## A capture
#
# Every program that captures or animates writes BVH, and no two alike: other names, other units, other axes, other rates. We make one such file: a squat, 60 times a second, with the joint names of a popular character library, in inches.

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
    """A BVH of the kit as somebody else's: their names, and inches for centimetres."""
    head, motion = text.split("MOTION\n")
    lines = []
    for line in head.splitlines():
        words = line.split()
        if words[:1] in (["ROOT"], ["JOINT"]):
            line = line.replace(words[1], "mixamorig:" + THEIRS[words[1]])
        elif words[:1] == ["OFFSET"]:
            line = "OFFSET " + " ".join(f"{float(value) / 2.54:.5f}" for value in words[1:])
        lines.append(line)
    frames, step, *rows = motion.splitlines()
    moved = [[float(value) for value in row.split()] for row in rows]
    rows = [" ".join(f"{value / 2.54 if k < 3 else value:.5f}" for k, value in enumerate(row)) for row in moved]
    return "\n".join([*lines, "MOTION", frames, step, *rows]) + "\n"


capture = WORK / "my_capture.bvh"
capture.write_text(as_theirs(write_bvh(demo_clip("squat").resample(60.0), WORK / "ours.bvh").read_text()))
print("\n".join(capture.read_text().splitlines()[:12]))

# %% [markdown]
# Nothing of this is assumed, all of it is found out: joints by their role, up and facing from the motion, units from the feet. What is unusual is said, in a line each; names and inches alone are not worth one.

# %%
imported = import_file(capture, cached=False)
print("\n".join((*imported.notes, *imported.doubts)) or "nothing unusual")
(mine,) = imported.clips
print(f"{mine.name}: {len(mine)} frames at {mine.fps:g} fps, {mine.duration:.1f} s")

truth = demo_clip("squat").resample(30.0)
both = [forward_kinematics(c.root_pos, c.joint_rot, mean_offsets())[0] for c in (mine, truth)]
count = min(map(len, both))
off = 1000 * (both[0][:count] - both[0][:count, :1] - both[1][:count] + both[1][:count, :1]).norm(dim=-1)
print(f"joints relative to the pelvis: {off.mean():.0f} mm from the motion that the file was made of")
assert mine.fps == 30 and off.mean() < 40
filmstrip(mine, poses=7, title="my_capture")

# %% [markdown]
# ## A body that follows it
#
# By the expert, which knows squats but not this file, and by no policy at all. From a terminal: `python -m physhmr_kit.evaluate --stage expert --clips my_capture.bvh`, which prints both.

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
filmstrip(RUNS["expert"], poses=7, title="my_capture, followed by the expert")

# %% [markdown]
# To learn from many files: `python -m data_prep.pack my_mocap/ --out my_library` packs a folder once, `--clips my_library` opens it at once, and `python -m data_prep.report my_mocap/` says how well each file arrived ([docs/mocap.md](../docs/mocap.md)).
#
# ## What failure looks like
#
# A file that cannot be right is refused, in one line that says what to do. What was merely unusual is mended, and said. Three broken ones: cut off in the middle of a row, a frame rate where the frame time belongs, and a thigh that nobody would call so.

# %%
text = capture.read_text()
broken = {
    "cut off": text[: int(0.8 * len(text))],
    "60 for a frame time": text.replace(next(line for line in text.splitlines() if line.startswith("Frame Time")), "Frame Time: 60"),
    "a thigh called Bone07": text.replace("LeftUpLeg", "Bone07"),
}  # fmt: skip
answers = {}
for name, content in broken.items():
    path = WORK / "broken.bvh"
    path.write_text(content)
    found = import_file(path, cached=False)
    answers[name] = found.refusal or "; ".join(found.notes)
    print(f"{name}: {answers[name]}")
assert all(answers.values()), "each is refused, or said"

# %% [markdown]
# | you see | it is usually |
# |---|---|
# | the body hovers or sinks, rays are fine | the camera's height; `python -m physhmr_kit.doctor --track out/track.npz` |
# | many resets, always at the same moment | the estimate asks for what no body can do there: look at the orange bones |
# | somebody else is followed | several people: `--box X Y W H --at SECONDS` |
# | everything in slow motion | keypoints of another rate than the film (`--fps`) |
# | "doubted: off by ..." of a capture | joint names that mean something else; look at it with `view` before training on it |
# | feet slide in the imported clip | a path in other units than the skeleton, or a treadmill |
#
# ## Exercises
#
# **1 · Without physics.** Reconstruct again with `--method kinematic`, and compare the median distance from the rays. *Expect* it to be that of the estimate exactly: there is no body that could be elsewhere.

# %% jupyter={"source_hidden": true} tags=["solution"]
kinematic = WORK / "kinematic"
words = [*source, "--camera", camera_file, "--method", "kinematic", "--out", kinematic, "--no-overlay"]
assert reconstruct.main([str(word) for word in words]) == 0
with open(kinematic / "errors.csv", newline="") as file:
    rays = [float(row["ray_distance_mm"]) for row in csv.DictReader(file) if row["ray_distance_mm"]]
assert abs(np.median(rays) - np.nanmedian(errors["estimate_ray_distance_mm"])) < 0.5

# %% [markdown]
# **2 · There and back.** Write the imported capture with `write_bvh` and import that file. *Expect* the same motion, within a centimetre: the kit reads what it writes.

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
# One command turns a video into a motion that has weight, and its summary and `errors.csv` say how far to trust it. A capture comes in whatever its maker called the joints, and what was found out about it is said. What comes out opens elsewhere.
#
# **Next:** lesson 10 is about doing all of this thousands of times as fast.
