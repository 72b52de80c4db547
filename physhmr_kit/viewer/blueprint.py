"""The layout stored in every recording: the scene, the camera image, the curves, and a page that explains them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import rerun.blueprint as rrb

from physhmr_kit.viewer.palette import BACKGROUND, GRID

_FARTHEST = 5.0  # largest distance of body and camera, m, that the viewpoint adapts to


def eye(root: np.ndarray, follow: str, camera_centre: np.ndarray | None = None) -> rrb.EyeControls3D:
    """The viewpoint of the scene: three metres in front of the body and to its side, following it.

    With a camera in the scene the viewpoint is fixed instead, far enough away to show the camera and the body.

    Args:
        root: (T, 3) m, pelvis in the world.
        follow: entity that the viewpoint follows.
        camera_centre: (3,) m, world.
    """
    if camera_centre is None:
        position = root[0] + np.array([2.4, -1.8, 0.6])
        return rrb.EyeControls3D(position=position, look_target=root[0], eye_up=(0.0, 0.0, 1.0), tracking_entity=follow)
    middle = (root.min(0) + root.max(0)) / 2
    towards = np.asarray(camera_centre, np.float64) - middle
    towards *= min(
        1.0, _FARTHEST / max(float(np.linalg.norm(towards)), 1e-6)
    )  # of a camera farther away only its rays are shown
    turn = np.deg2rad(50)  # beside the camera's line of sight, so that body, rays and frustum stand apart
    cos, sin = np.cos(turn), np.sin(turn)
    away = np.array([cos * towards[0] - sin * towards[1], sin * towards[0] + cos * towards[1], 0.0])
    away /= max(float(np.linalg.norm(away)), 1e-6)
    target = middle + towards / 2
    position = target + away * (1.8 + 0.9 * float(np.linalg.norm(towards))) + np.array([0.0, 0.0, 0.3])
    return rrb.EyeControls3D(position=position, look_target=target, eye_up=(0.0, 0.0, 1.0))


def make_blueprint(
    root: np.ndarray,
    follow: str,
    *,
    camera_centre: np.ndarray | None = None,
    largest_error: float | None = None,
    rewards: Sequence[str] = (),
    fps: float = 30.0,
) -> rrb.Blueprint:
    """The default layout of a recording.

    Args:
        root: (T, 3) m, the path of the pelvis, which decides the viewpoint.
        follow: entity of the body that the viewpoint follows.
        camera_centre: (3,) m, or None when the recording has no camera.
        largest_error: mm, top of the error curves; None when there are none.
        rewards: which of 'rewards' and 'costs' there are.
        fps: rate of playback.
    """
    scene = rrb.Spatial3DView(
        name="Scene",
        origin="world",
        # the picture hangs in the frustum; its keypoints and overlay would only clutter the scene
        contents=["+ $origin/**", "- $origin/camera/keypoints", "- $origin/camera/simulated"],
        background=[*BACKGROUND, 255],
        line_grid=rrb.LineGrid3D(visible=True, spacing=0.5, stroke_width=1.0, color=[*GRID, 160]),
        eye_controls=eye(np.asarray(root, np.float64), follow, camera_centre),
    )
    side: list = []
    if camera_centre is not None:
        side.append(rrb.Spatial2DView(name="Camera", origin="world/camera", contents="$origin/**"))
    if largest_error is not None:
        from_zero = rrb.ScalarAxis(range=(0.0, 1.1 * max(largest_error, 1.0)))
        side.append(
            rrb.TimeSeriesView(
                name="Errors", origin="errors", plot_legend=rrb.PlotLegend(rrb.Corner2D.LeftTop), axis_y=from_zero
            )
        )
    about = rrb.TextDocumentView(name="What we see", origin="about")
    legend = rrb.PlotLegend(rrb.Corner2D.LeftBottom)
    last = [rrb.TimeSeriesView(name=curves.capitalize(), origin=curves, plot_legend=legend) for curves in rewards]
    side.append(rrb.Tabs(*last, about) if last or side else about)
    shares = [3.0 if isinstance(v, rrb.Spatial2DView) else 2.0 for v in side]
    return rrb.Blueprint(
        rrb.Horizontal(scene, rrb.Vertical(*side, row_shares=shares), column_shares=[5, 3]),
        rrb.BlueprintPanel(state="collapsed"),
        rrb.SelectionPanel(state="collapsed"),
        rrb.TimePanel(state="collapsed", timeline="time", fps=fps, play_state="playing", loop_mode="all"),
    )
