# %% [markdown]
# # Lesson 2 · A pixel is a ray
#
# **Time:** under a minute on two CPU cores. **Needs:** only the kit, and a little linear algebra.
#
# A detector looks at an image and says: the left wrist is at pixel (1012, 433). The simulated body lives in a world of metres. How do we relate the two? PhysHMR's answer (arXiv 2510.02566):
# a pixel does not say *where* a joint is, only on *which line* it lies. So we tell the policy how far each joint of its own body is from its line. This lesson derives that, one step at a time.
#
# Afterwards you will be able to
# - turn a pixel into a ray in the world, by hand and with the kit,
# - write down the residual the policy sees, and say what it is blind to,
# - estimate how many millimetres a pixel of noise costs,
# - recognise six common camera mistakes by the size of their error.

# %%
import math
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch

from physhmr_kit.body import JOINT_NAMES
from physhmr_kit.env import Rollout
from physhmr_kit.motion.demo import demo_clip
from physhmr_kit.motion.kinematics import heading
from physhmr_kit.motion.library import MotionLibrary
from physhmr_kit.viewer import show
from physhmr_kit.viewer.bodies import BONES
from physhmr_kit.viewer.lesson_plots import draw_rays
from physhmr_kit.viewer.palette import CONTACT, DETECTED, REFERENCE, SIMULATED, unit
from physhmr_kit.vision import RAY_COCO, RAY_JOINTS, Camera, KeypointNoise, coco_from_bodies, detect, lift, ray_residual
from physhmr_kit.vision.build_track import synthesize_track
from physhmr_kit.vision.keypoints import COCO_BONES, RAY_NAMES
from physhmr_kit.vision.lens import distort
from physhmr_kit.vision.pretrained import load_encoder
from physhmr_kit.vision.rays import perpendicular, place_on_rays, ray_direction

torch.manual_seed(0)
torch.set_num_threads(2)
MM = 1000.0

# %% [markdown]
# ## A body, a camera, an image
#
# One frame of the demo motion *wave*, and a camera four metres in front of it, 1.5 m above the floor. The world is z-up; a camera follows OpenCV: **x right, y down, z forward**.

# %%
library = MotionLibrary([demo_clip("wave")])
wave = library.clip(0)
body = wave[50:51]
joints = body.body_pos[0]

camera = Camera.look_at(position=(4.0, 1.2, 1.5), target=(0.0, 0.0, 0.9), focal=1500.0, image_size=(1920, 1080))
pixels = camera.project(joints)


def draw_image(axes, points, colour, label=None, bones=BONES, **style) -> None:
    """A skeleton in the image: points (J, 2) pixels."""
    for k, pair in enumerate(np.asarray(bones)):
        axes.plot(
            *np.asarray(points)[pair].T,
            color=unit(colour),
            label=label if k == 0 else None,
            **{"linewidth": 2.5, "alpha": 0.8} | style,
        )


figure = plt.figure(figsize=(9, 3.6))
scene = figure.add_axes((0.0, 0.0, 0.52, 0.92), projection="3d")
for pair in BONES:
    scene.plot(*joints[pair].T.numpy(), color=unit(SIMULATED), linewidth=2.5)
centre = camera.centre
for direction, letter, colour in zip(camera.camera_to_world.T, "xyz", (CONTACT, DETECTED, SIMULATED), strict=True):
    tip = centre + 0.5 * direction
    scene.plot(*torch.stack([centre, tip]).T.numpy(), color=unit(colour), linewidth=2)
    scene.text(*(centre + 0.62 * direction).tolist(), letter, color=unit(colour), ha="center")
scene.set(
    xlabel="x (m)",
    title="the world (z-up)",
    xlim=(-0.5, 4.5),
    ylim=(-1, 2),
    zlim=(0, 2),
    xticks=range(5),
    yticks=(-1, 0, 1, 2),
    zticks=(0, 1, 2),
)
scene.set_box_aspect((5, 3, 2), zoom=1.3)
scene.view_init(elev=18, azim=-65)
image = figure.add_axes((0.64, 0.15, 0.35, 0.75))
draw_image(image, pixels, SIMULATED)
image.set(xlim=(0, 1920), ylim=(1080, 0), aspect="equal", xlabel="u (pixels)", ylabel="v (pixels)", title="its image")
plt.show()

assert camera.is_visible(joints).all()

# %% [markdown]
# ## Step 1 · From the camera to the image: the pinhole model
#
# By similar triangles, an object twice as far away appears half as large. With the focal length $f$ and the image centre $(c_x, c_y)$ in pixels,
#
# $$
# K=\begin{bmatrix} f&0&c_x\\0&f&c_y\\0&0&1\end{bmatrix},\qquad
# z\begin{bmatrix}u\\v\\1\end{bmatrix}=K\,\mathbf{x}_{\text{cam}}
# $$
#
# Dividing by the depth $z$ is what loses the third dimension.

# %%
figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
for size, depth, colour in ((0.4, 1.6, DETECTED), (0.8, 3.2, REFERENCE)):
    axes.plot([depth, depth], [0, size], color=unit(colour), linewidth=6, label=f"{size} m at {depth} m")
axes.plot([0, 3.4], [0, 3.4 * 0.25], color="0.5", linewidth=1)
axes.plot([0, 3.4], [0, 0], color="0.5", linewidth=1, linestyle=":")
axes.plot([0.8, 0.8], [-0.35, 0.55], color="0.2", linewidth=1.5)
axes.plot([0.8, 0.8], [0, 0.2], color=unit(CONTACT), linewidth=6, label="the image of both")
axes.plot(0, 0, "o", color="0.2")
axes.annotate("camera centre c", (0, 0), (0, -0.2), ha="center", fontsize=9)
axes.annotate("image plane", (0.8, 0.57), ha="center", fontsize=9)
axes.set(
    xlabel="depth z (m)",
    ylabel="height (m)",
    aspect="equal",
    xlim=(-0.4, 3.5),
    ylim=(-0.6, 0.95),
    title="Two objects, one image",
)
axes.legend(frameon=False, fontsize=9, loc="lower right")
plt.show()

# %% [markdown]
# The world-to-camera transform comes first: $\mathbf{x}_{\text{cam}} = R\,\mathbf{x} + t$. By hand, and with the kit:

# %%
wrist = joints[JOINT_NAMES.index("right_wrist")]
in_camera = camera.R @ wrist + camera.t
uvw = camera.K @ in_camera
by_hand = uvw[:2] / uvw[2]
print("K =\n", camera.K.numpy())
print(f"right wrist: {in_camera[2]:.2f} m deep, pixel ({by_hand[0]:.1f}, {by_hand[1]:.1f})")
assert torch.allclose(by_hand, camera.project(wrist), atol=1e-2)

# %% [markdown]
# ## Step 2 · Back again: the line of a pixel
#
# We invert one step after the other. $K^{-1}[u, v, 1]^\top$ is a direction in the camera frame; all points along it project to this pixel. The camera centre is the world point that maps to the camera's origin:
# $0=R\,c+t$, so $c=-R^\top t$. And $R^\top$ rotates camera directions into world directions; we call it $R_{wc}$. Together:
#
# $$\boxed{\,p = c + R_{wc}\,K^{-1}\,[u, v, 1]^\top\,}$$
#
# This $p$ is the point of the ray at depth 1 m; any other point would do as well.

# %%
u, v = by_hand
centre = -camera.R.T @ camera.t
p = centre + camera.R.T @ torch.linalg.inv(camera.K) @ torch.stack([u, v, torch.ones(())])

assert torch.allclose(p, lift(by_hand, camera), atol=1e-5), "the kit's `lift` is this line"
assert torch.allclose(centre, camera.centre)
d = (p - centre) / (p - centre).norm()
along = torch.dot(wrist - centre, d)
assert torch.allclose(centre + along * d, wrist, atol=1e-3), "the joint lies on its own ray"
print(f"the wrist is {along:.2f} m along its ray")

# %% [markdown]
# The forward check: every point of the ray projects to the same pixel.

# %%
depths = torch.tensor([0.5, 1.0, 2.0, 4.0, 8.0])
print(camera.project(centre + depths[:, None] * d))
assert torch.allclose(camera.project(centre + depths[:, None] * d), by_hand.expand(5, 2), atol=0.1)

# %% [markdown]
# Twelve joints of the body become rays like this one: shoulders, elbows, wrists, hips, knees, ankles. Below are the camera centre, the image (drawn a metre in front of it) and the body in one world. Each pixel gives a line, and a body that matches the image has
# all its joints on their lines. This is the paper's central idea.

# %%
figure = plt.figure(figsize=(9, 4.4))
space = figure.add_axes((0.0, 0.0, 1.0, 1.0), projection="3d")
draw_rays(space, camera, joints, camera.project(joints[list(RAY_JOINTS)]))
space.set(
    xlim=(-0.6, 4.2), ylim=(-0.9, 1.7), zlim=(0, 2.0), xlabel="x (m)", xticks=range(5), yticks=(0, 1), zticks=(0, 1, 2)
)
space.set_box_aspect((4.8, 2.6, 2.0), zoom=1.35)
space.view_init(elev=18, azim=-42)
plt.show()

# %% [markdown]
# In the viewer you can rotate and play the scene; the rays follow the detections, which are noisy.

# %%
track = synthesize_track(wave, camera, load_encoder(), KeypointNoise(), torch.Generator().manual_seed(0))
still = torch.zeros(len(wave), 24, 3)
show(Rollout("wave", wave, wave, still, torch.zeros(len(wave), 69), {}, len(wave), True, None), track)

assert track.ray_point.shape == (len(wave), 12, 3)

# %% [markdown]
# ## Step 3 · How far is a joint from its ray?
#
# A joint of the simulated body is at $x$; its ray starts at $c$ with the unit direction $d$. Let $r=x-c$. Subtracting the part of $r$ along the ray leaves the offset:
#
# $$\boxed{\,e = r - (r\cdot d)\,d\,}\qquad d=\frac{p-c}{\lVert p-c\rVert}$$
#
# $e$ points *from the ray to the joint*, perpendicular to the ray, in metres. Moving the joint by $-e$ puts it back onto the ray. In two dimensions:

# %%
c2, d2, x2 = np.array([0.0, 0.0]), np.array([math.cos(0.35), math.sin(0.35)]), np.array([2.4, 1.4])
r2 = x2 - c2
foot = c2 + (r2 @ d2) * d2
figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
axes.plot(*np.stack([c2, 3.2 * d2]).T, color=unit(DETECTED), linewidth=2, label="ray of the pixel")
axes.annotate("", x2, c2, arrowprops={"arrowstyle": "->", "color": "0.5"})
axes.annotate("", x2, foot, arrowprops={"arrowstyle": "->", "color": unit(CONTACT), "linewidth": 2.5})
axes.plot(*x2, "o", color=unit(SIMULATED), markersize=11, label="joint of the simulated body")
axes.plot(0, 0, "o", color="0.2")
axes.text(-0.05, -0.12, "c", ha="right")
axes.text(1.0, 0.68, "r = x − c", color="0.4", rotation=30)
axes.text(*(foot + x2) / 2 + [0.06, 0], "e", color=unit(CONTACT), fontsize=14)
axes.text(1.3, 0.34, "(r·d) d", color=unit(DETECTED), rotation=20)
axes.set(aspect="equal", xlim=(-0.3, 3.3), ylim=(-0.3, 1.7), title="The residual is the perpendicular")
axes.legend(frameon=False, loc="upper left")
axes.set_axis_off()
plt.show()

assert abs((x2 - foot) @ d2) < 1e-12

# %% [markdown]
# Three properties follow. We test them on the twelve joints.

# %%
x = joints[list(RAY_JOINTS)]
c = camera.centre
points = lift(camera.project(x), camera)

# 1. zero if the joint projects onto its pixel
assert perpendicular(x, c, points).abs().max() < 1e-3

# 2. moved perpendicular to the ray by 5 cm: a residual of exactly these 5 cm
direction = ray_direction(points, c)
sideways = torch.nn.functional.normalize(
    torch.linalg.cross(direction, torch.tensor([0.0, 0.0, 1.0]).expand(12, 3)), dim=-1
)
assert torch.allclose(perpendicular(x + 0.05 * sideways, c, points), 0.05 * sideways, atol=1e-3)

# 3. moved along the ray by half a metre: no residual at all
assert perpendicular(x + 0.5 * direction, c, points).abs().max() < 1e-3
print("zero on the ray, in metres across it, blind along it")

# %% [markdown]
# ## Step 4 · The heading frame
#
# A policy should not have to learn walking once for each compass direction. So $e$, like its other observations, is rotated by the inverse *heading* of the simulated root: its yaw only, so that up stays up.
#
# $$e' = R_z(-\psi)\,e$$
#
# To see the effect, rotate everything together: body, camera and rays. The world-frame residual rotates with them; the one in the heading frame does not change.

# %%
off = x + 0.08 * torch.randn(12, 3)
yaw = heading(body.root_rot)[0]
figure, panels = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
seen = []
for axes, turn, colour in zip(panels[:2], (0.0, 2.0), (SIMULATED, REFERENCE), strict=True):
    spin = torch.tensor(
        [[math.cos(turn), -math.sin(turn), 0.0], [math.sin(turn), math.cos(turn), 0.0], [0.0, 0.0, 1.0]]
    )
    turned = [t @ spin.T for t in (off, c, points)]
    e_world = perpendicular(*turned)
    e_heading = ray_residual(*turned, yaw + turn)
    seen.append((e_world, e_heading, colour, turn))
    axes.plot(*turned[0][:, :2].T, "o", color=unit(SIMULATED), markersize=4)
    axes.quiver(
        *turned[0][:, :2].T, *e_world[:, :2].T, color=unit(CONTACT), angles="xy", scale_units="xy", scale=1, width=0.01
    )
    front = torch.tensor([math.cos(yaw + turn), math.sin(yaw + turn)])
    axes.annotate("", (0.5 * front).tolist(), (0, 0), arrowprops={"arrowstyle": "->", "color": "0.5"})
    axes.set(
        aspect="equal",
        xlim=(-0.65, 0.65),
        ylim=(-0.65, 0.65),
        title=f"from above, turned by {math.degrees(turn):.0f}°",
        xlabel="x (m)",
    )
for k, (e_world, e_heading, colour, turn) in enumerate(seen):
    values = (MM * torch.stack([e_world[4], e_heading[4]])).flatten()
    panels[2].bar(
        np.arange(6) + 0.38 * k, values, 0.36, color=unit(colour), label=f"turned by {math.degrees(turn):.0f}°"
    )
panels[2].set_xticks(np.arange(6) + 0.19, ["x", "y", "z", "x′", "y′", "z′"])
panels[2].set(title="left wrist: world | heading", ylabel="residual (mm)")
panels[2].axvline(2.69, color="0.7", linewidth=1)
panels[2].legend(frameon=False, fontsize=8)
plt.show()

assert torch.allclose(seen[0][1], seen[1][1], atol=1e-4), "the policy reads the same numbers"
assert not torch.allclose(seen[0][0], seen[1][0], atol=1e-2)

# %% [markdown]
# This is the whole observation: 12 joints × 3 numbers = 36, plus the detector's 12 confidences.
#
# ## The effect of noise
#
# A pixel error of $\sigma$ rotates the ray by about $\sigma/f$ radians, which at distance $Z$ is $\sigma Z/f$ metres. Independent noise of standard deviation $\sigma$ in $u$ and $v$ adds in quadrature:
#
# $$\sqrt{\overline{|e|^2}} \approx \sqrt2\,\frac{Z}{f}\,\sigma$$
#
# Half the focal length or twice the distance doubles the millimetres per pixel. We check this on random pixels.

# %%
generator = torch.Generator().manual_seed(0)
distances, measured, law = (2.0, 4.0, 8.0), [], []
for distance in distances:
    far = Camera.look_at((distance, 0.0, 1.0), (0.0, 0.0, 1.0), focal=1500.0)
    point = torch.tensor([0.0, 0.0, 1.0]).expand(4000, 1, 3)
    noisy = far.project(point) + 3.0 * torch.randn(4000, 1, 2, generator=generator)
    e = perpendicular(point, far.centre.expand(4000, 3), lift(noisy, far))
    measured.append(MM * float(e.square().sum(-1).mean().sqrt()))
    law.append(MM * distance / 1500.0 * 3.0 * math.sqrt(2))  # two directions across the ray, 3 pixels each

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.plot([0, *distances], [0, *law], color=unit(REFERENCE), label="Z/f · σ · √2")
axes.plot(distances, measured, "o", color=unit(SIMULATED), label="measured")
axes.set(
    xlabel="distance Z (m)", ylabel="residual (mm, root mean square)", title="Three pixels of noise, f = 1500 pixels"
)
axes.legend(frameon=False)
plt.show()

assert np.allclose(measured, law, rtol=0.05)

# %% [markdown]
# Real detectors do more than jitter: they drift, swap left and right, lose a wrist behind the back. `KeypointNoise` imitates that. Below is a perfect body seen through the kit's default
# detector: the residual is not zero even though the body is correct. No policy can get below this floor from single frames.

# %%
keypoints = detect(coco_from_bodies(wave.body_pos, wave.body_rot), camera, KeypointNoise(), generator)
rays = lift(keypoints[:, RAY_COCO, :2], camera)
centres = camera.centre.expand(len(wave), 3)
residual = MM * perpendicular(wave.body_pos[:, list(RAY_JOINTS)], centres, rays).norm(dim=-1)

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained", width_ratios=(1, 1.5))
draw_image(left, camera.project(coco_from_bodies(body.body_pos, body.body_rot))[0], SIMULATED, "true", COCO_BONES)
left.scatter(*keypoints[50, :, :2].T, color=unit(DETECTED), s=14, zorder=3, label="detected")
left.set(xlim=(650, 1250), ylim=(1000, 120), aspect="equal", xlabel="u (pixels)", ylabel="v (pixels)")
left.legend(frameon=False, fontsize=8, loc="lower right")
heat = right.imshow(residual.T, aspect="auto", cmap="viridis", vmax=60, extent=(0, len(wave) / 30, 11.5, -0.5))
right.set_yticks(range(12), RAY_NAMES, fontsize=7)
right.set(xlabel="time (s)", title="residual of a perfect body")
figure.colorbar(heat, label="mm")
plt.show()

print(f"median residual of a perfect body: {residual.median():.0f} mm (hips: {residual[:, 6:8].median():.0f} mm)")
assert 3 < residual.median() < 40

# %% [markdown]
# The stripes are the constant bias of each keypoint, light and dark periods its drift. The hips stand out by design: detectors mark a hip on the body surface, SMPL's joint lies inside. A policy has to learn such detector biases.
#
# ## What a single camera cannot know
#
# The residual is blind along the ray. For one joint that means a whole line of equally good positions. A body of known size is better constrained: farther away it would look smaller. Let us shift the whole body along the
# viewing direction and to the side, and plot the mean $|e|$. Dark is good; the cross is the true position.

# %%
second = Camera.look_at((0.8, -3.9, 1.5), (0.0, 0.0, 0.9), focal=1500.0)
shift = torch.linspace(-0.6, 0.6, 49)
right = camera.camera_to_world[:, 0]
view = torch.nn.functional.normalize(x[6:8].mean(0) - c, dim=0)  # from the camera to the middle of the hips
away, aside = (t.flatten().unsqueeze(1) for t in torch.meshgrid(shift, shift, indexing="xy"))
moved = x + (away * view + aside * right).unsqueeze(1)  # (2401, 12, 3)


def mean_residual(camera: Camera, rows: slice) -> torch.Tensor:
    """Mean |e| in mm over some of the twelve joints for every shift: (49, 49)."""
    p = lift(camera.project(x), camera)
    e = perpendicular(moved, camera.centre.expand(len(moved), 3), p.expand(len(moved), 12, 3))
    return MM * e[:, rows].norm(dim=-1).mean(-1).view(49, 49)


everything = slice(None)
maps = {
    "left wrist, one camera": mean_residual(camera, slice(4, 5)),
    "12 joints, one camera": mean_residual(camera, everything),
    "12 joints, two cameras": (mean_residual(camera, everything) + mean_residual(second, everything)) / 2,
}
figure, panels = plt.subplots(1, 3, figsize=(9, 3.2), sharey=True, layout="constrained")
for axes, (title, values) in zip(panels, maps.items(), strict=True):
    drawn = axes.contourf(shift, shift, values, levels=np.arange(0, 601, 30), cmap="viridis", extend="max")
    axes.plot(0, 0, "+", color="white", markersize=12)
    axes.set(aspect="equal", title=title, xlabel="moved away (m)")
panels[0].set_ylabel("moved to the side (m)")
figure.colorbar(drawn, label="mean residual (mm)")
plt.show()

# %% [markdown]
# A trench along the ray, a valley, a bowl. How much flatter is the valley along the view than across it? Minimising $\sum_j w_j|e_j|^2$ over a shift $s$ has
# the Hessian $A=\sum_j (I-d_jd_j^\top)$; its eigenvalues tell.

# %%


def curvature(*cameras: Camera) -> torch.Tensor:
    """Eigenvalues of the sum of I - d dᵀ over all joints and cameras, smallest first: (3,)."""
    d = torch.cat([ray_direction(lift(cam.project(x), cam), cam.centre) for cam in cameras])
    return torch.linalg.eigvalsh((torch.eye(3) - d.unsqueeze(-1) * d.unsqueeze(-2)).sum(0))


one, two = curvature(camera), curvature(camera, second)
print(
    f"one camera : {one.numpy().round(2)}   depth is {math.sqrt(one[2] / one[0]):.0f} times less certain than the lateral position"
)
print(f"two cameras: {two.numpy().round(2)}   depth is {math.sqrt(two[2] / two[0]):.1f} times less certain")
assert math.sqrt(one[2] / one[0]) > 4 > 2 > math.sqrt(two[2] / two[0])

# %% [markdown]
# With one camera a centimetre of noise across the view becomes many centimetres along it, even for a body of known size. If we also scale the body about the camera centre, larger and farther or smaller and nearer, all residuals stay zero.

# %%
for factor in (0.8, 1.0, 1.25):
    scaled = c + factor * (x - c)
    error = MM * perpendicular(scaled, c, points).norm(dim=-1).max()
    print(
        f"{factor:4} × the size, pelvis {MM * (scaled[6:8].mean(0) - x[6:8].mean(0)).norm():5.0f} mm away: largest residual {error:.2f} mm"
    )
    assert error < 1.0

# %% [markdown]
# What determines the depth, then? Three sources that are not pixels: the **body** has a known size (the kit scales the world to fit it), **physics** keeps its feet on the floor and its weight over them, and the encoder's **feature** has learned
# how people move. `place_on_rays` below is a closed-form solution for the shift that uses the first and, optionally, the floor: with both feet on it the depth is better determined.

# %%
origin = x - x[6:8].mean(0)
noisy = lift(camera.project(x).expand(200, 12, 2) + 4.0 * torch.randn(200, 12, 2, generator=generator), camera)
arguments = (origin.expand(200, 12, 3), c.expand(200, 3), noisy, torch.ones(200, 12))
floor = origin[10:12, 2] - x[10:12, 2]  # height of the floor below the hips: both feet stand on it
pixels_only = place_on_rays(*arguments)
with_floor = place_on_rays(*arguments, floor=(floor.expand(200, 2), torch.full((200, 2), 100.0)))
for name, place in (("pixels only", pixels_only), ("with the floor", with_floor)):
    error = MM * (place - x[6:8].mean(0))
    along, across = error @ view, error - (error @ view)[:, None] * view
    print(f"{name:14} along the view {along.std():4.0f} mm, across it {across.norm(dim=-1).mean():3.0f} mm")
assert ((with_floor - x[6:8].mean(0)) @ view).std() < ((pixels_only - x[6:8].mean(0)) @ view).std()

# %% [markdown]
# ## Lens distortion
#
# Real lenses bend straight lines, most at the edges. The kit uses OpenCV's five-parameter model $k_1,k_2,p_1,p_2,k_3$ and undistorts *before* applying $K^{-1}$: a ray is straight only in undistorted coordinates.

# %%
straight = Camera.look_at(
    position=(4.0, 1.2, 1.5), target=(0.0, -1.6, 0.9), focal=1500.0
)  # the body is near the image edge
bent = replace(straight, distortion=torch.tensor([-0.28, 0.08, 0.0, 0.0, 0.0]))
raw = bent.project(x)
line = torch.linspace(-0.64, 0.64, 60)
figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
for at in np.linspace(-0.36, 0.36, 7):
    row = torch.stack([line, torch.full_like(line, at)], -1)
    column = torch.stack([torch.full_like(line, at * 16 / 9), line * 9 / 16], -1)
    for xy in (row, column):
        for lens, colour, label in (
            (torch.zeros(5), (190, 190, 190), "perfect lens"),
            (bent.distortion, DETECTED, "k₁ = −0.28"),
        ):
            uv = distort(xy, lens) * 1500 + torch.tensor([960.0, 540.0])
            axes.plot(*uv.T, color=unit(colour), linewidth=1.3, label=label if at == -0.36 and xy is row else None)
axes.set(
    xlim=(0, 1920), ylim=(1080, 0), aspect="equal", title="A barrel lens", xlabel="u (pixels)", ylabel="v (pixels)"
)
axes.plot(*raw.T, ".", color=unit(SIMULATED), label="the twelve joints")
axes.legend(loc="lower left", framealpha=0.9)
plt.show()

assert perpendicular(x, c, lift(raw, bent)).abs().max() < 1e-3, "`lift` undistorts exactly"
ignored = MM * perpendicular(x, c, lift(raw, straight)).norm(dim=-1)
print(f"ignoring the lens costs {ignored.median():.0f} mm here")
assert ignored.median() > 10

# %% [markdown]
# ## What failure looks like
#
# Rays fail silently: the numbers are finite and the shapes are right. But every common mistake has a typical size. Here they are on our frame, where the correct residual is 0 mm.

# %%
uv = camera.project(x)
half = replace(camera, K=camera.K * torch.tensor([[0.5], [0.5], [1.0]]))
wrong_t = replace(camera, t=camera.centre)  # the centre stored as t
MISTAKES = {
    "none": (uv, camera),
    "left and right swapped": (uv[[1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10]], camera),
    "lens distortion ignored": (raw, straight),
    "K of the half-size image": (uv, half),
    "(v, u) instead of (u, v)": (uv.flip(-1), camera),
    "R transposed": (uv, replace(camera, R=camera.R.T.contiguous())),
    "centre stored as t": (uv, wrong_t),
}
assert len(MISTAKES) == 1 + 6
sizes = {name: MM * perpendicular(x, cam.centre, lift(pix, cam)).norm(dim=-1) for name, (pix, cam) in MISTAKES.items()}
figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
names = list(sizes)
values = [float(sizes[n].median()) for n in names]
bars = axes.barh(names, np.maximum(values, 1), color=[unit(DETECTED)] + [unit(CONTACT)] * (len(names) - 1))
axes.bar_label(bars, [f"{v:.0f} mm" for v in values], padding=4)
axes.set(xscale="log", xlim=(1, 30000), xlabel="median residual of a perfect body (mm)")
axes.invert_yaxis()
axes.spines[["top", "right"]].set_visible(False)
plt.show()

assert values[0] < 1 < values[2] < values[1] < min(values[3:])

# %% [markdown]
# | median residual of a body that should fit | suspect |
# |---|---|
# | 5 to 30 mm | nothing; that is detector noise |
# | tens of mm, worse at the image edges | the lens |
# | about the width of a body, on limbs only | left and right |
# | a metre and more | K of another image size; u and v swapped; R or t transposed, inverted or in another world (y-up?) |
#
# A special case: a file full of zeros has $p=c$, a ray without direction. The kit gives it confidence 0 instead of dividing by zero.
#
# ## Exercises
#
# **1 · Farther, with a longer lens.** Move the camera to 8 m and double the focal length. The image hardly changes. Does the depth become more or less certain? *Expect* less: about twice as uncertain by `curvature`, because the rays are closer to parallel.

# %% jupyter={"source_hidden": true} tags=["solution"]
direction_to = camera.centre - torch.tensor([0.0, 0.0, 0.9])
far_camera = Camera.look_at((torch.tensor([0.0, 0.0, 0.9]) + 2 * direction_to).tolist(), (0.0, 0.0, 0.9), focal=3000.0)
far = curvature(far_camera)
worse = math.sqrt(far[2] / far[0]) / math.sqrt(one[2] / one[0])
print(f"{worse:.1f} times as uncertain")
assert 1.7 < worse < 2.3

# %% [markdown]
# **2 · A stereo camera.** Put `second` right next to `camera`, 20 cm away. *Expect* hardly any change from one camera; the baseline has to be a substantial part of the distance.

# %% jupyter={"source_hidden": true} tags=["solution"]
nearby = Camera.look_at((4.0, 1.4, 1.5), (0.0, 0.0, 0.9), focal=1500.0)
stereo = curvature(camera, nearby)
gain = math.sqrt(one[2] / one[0]) / math.sqrt(stereo[2] / stereo[0])
print(f"{gain:.2f} times better known")
assert 0.95 < gain < 1.3

# %% [markdown]
# **3 · How much noise?** How many pixels of noise give 10 mm at 4 m with f = 1500? *Expect* 2.7 pixels each way (10 = 4000/1500 · σ · √2).

# %% jupyter={"source_hidden": true} tags=["solution"]
assert abs(10 / (4000 / 1500 * math.sqrt(2)) - 2.7) < 0.06

# %% [markdown]
# ## Summary
#
# $p = c + R_{wc}K^{-1}[u,v,1]^\top$ and $e = r-(r\cdot d)\,d$, rotated into the heading frame: 36 numbers, zero when the body matches its image, in metres otherwise, blind along the ray. Noise of $\sigma$ pixels costs $\sqrt2\,Z\sigma/f$, undistortion comes
# first, and depth has to come from the body, the floor and learned priors.
#
# **Next:** lesson 3 does the same with a real video, where the pixels are not exact.
