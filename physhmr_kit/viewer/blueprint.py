"""The layout stored in every recording: the scene, the camera image, the curves, and a page that explains them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import rerun.blueprint as rrb

from physhmr_kit.viewer.palette import BACKGROUND, GRID
from physhmr_kit.viewer.plots import Chart
from physhmr_kit.viewer.viewpoint import viewpoint

_PANEL, _LEGEND_ROW, _LEGEND_EDGE = 270, 25, 12  # heights in pixels: a chart of the layout, a legend's row and its edge
_FIELD_OF_VIEW = np.deg2rad(55)  # Rerun's, vertical


def chart_range(chart: Chart) -> tuple[float, float]:
    """Lower and upper end of a chart's axis, with room for the legend: below rewards, which are near 1, and above the others."""
    room = min(0.7, (_LEGEND_ROW * chart.curves + _LEGEND_EDGE) / _PANEL)
    if chart.origin == "rewards":
        return -room / (1 - room), 1.03
    return 0.0, max(chart.largest, 1e-3) / (1 - room)


def eye(root: np.ndarray, follow: str, camera_centre: np.ndarray | None = None) -> rrb.EyeControls3D:
    """The scene's `viewpoint`; it follows the body, or is fixed where a camera is in the scene.

    Args:
        root: (T, 3) m, pelvis in the world.
        follow: entity that the viewpoint follows.
        camera_centre: (3,) m, world.
    """
    position, target = viewpoint(root, camera_centre)
    tracked = follow if camera_centre is None else None
    return rrb.EyeControls3D(position=position, look_target=target, eye_up=(0.0, 0.0, 1.0), tracking_entity=tracked)


def eye_above(root: np.ndarray) -> rrb.EyeControls3D:
    """A viewpoint straight above the whole path, x upwards: root (T, 3) m."""
    middle = (root.min(0) + root.max(0)) / 2
    span = max(float(np.ptp(root[:, :2], axis=0).max()), 1.0) + 1.0  # a body is about a metre wide
    position = middle + np.array([0.0, 0.0, span / (2 * np.tan(_FIELD_OF_VIEW / 2)) + 1.0])
    return rrb.EyeControls3D(position=position, look_target=middle, eye_up=(1.0, 0.0, 0.0))


def scene_view(name: str, contents: Sequence[str], eye_controls: rrb.EyeControls3D) -> rrb.Spatial3DView:
    """A view of (a part of) the world.

    Args:
        contents: Rerun's expressions for entities, relative to `world`.
    """
    return rrb.Spatial3DView(
        name=name,
        origin="world",
        contents=list(contents),
        background=[*BACKGROUND, 255],
        line_grid=rrb.LineGrid3D(visible=True, spacing=0.5, stroke_width=1.0, color=[*GRID, 160]),
        eye_controls=eye_controls,
    )


def chart_view(chart: Chart) -> rrb.TimeSeriesView:
    """A chart whose legend lies beside the curves."""
    corner = rrb.Corner2D.LeftBottom if chart.origin == "rewards" else rrb.Corner2D.LeftTop
    return rrb.TimeSeriesView(
        name=chart.origin.capitalize(),
        origin=chart.origin,
        plot_legend=rrb.PlotLegend(corner),
        axis_y=rrb.ScalarAxis(range=chart_range(chart)),
    )


def make_blueprint(
    root: np.ndarray,
    follow: str,
    *,
    camera_centre: np.ndarray | None = None,
    charts: Sequence[Chart] = (),
    fps: float = 30.0,
) -> rrb.Blueprint:
    """The default layout of a recording: the scene; beside it the camera's image or the path from above, and the charts.

    Args:
        root: (T, 3) m, the path of the pelvis, which decides the viewpoint.
        follow: entity of the body that the viewpoint follows.
        camera_centre: (3,) m, or None when the recording has no camera.
        charts: of the curves that there are.
        fps: rate of playback.
    """
    root = np.asarray(root, np.float64)
    # the picture hangs in the frustum; its keypoints and overlay would only clutter the scene
    uncluttered = ["+ $origin/**", "- $origin/camera/keypoints", "- $origin/camera/simulated"]
    scene = scene_view("Scene", uncluttered, eye(root, follow, camera_centre))
    seen: list = [scene_view("Path", ["+ $origin/**", "- $origin/camera/**", "- $origin/rays"], eye_above(root))]
    if camera_centre is not None:
        seen.insert(0, rrb.Spatial2DView(name="Camera", origin="world/camera", contents="$origin/**"))
    about = rrb.TextDocumentView(name="What we see", origin="about")
    side = rrb.Vertical(rrb.Tabs(*seen), rrb.Tabs(*map(chart_view, charts), about))
    return whole(rrb.Horizontal(scene, side, column_shares=[5, 3]), fps)


def whole(content: rrb.Container, fps: float) -> rrb.Blueprint:
    """A layout around some views: panels closed, playing in a loop."""
    return rrb.Blueprint(
        content,
        rrb.BlueprintPanel(state="collapsed"),
        rrb.SelectionPanel(state="collapsed"),
        rrb.TimePanel(state="collapsed", timeline="time", fps=fps, play_state="playing", loop_mode="all"),
    )
