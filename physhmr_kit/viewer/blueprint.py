"""The layout stored in every recording: scene, camera image, charts, and a page that explains the entities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import rerun.blueprint as rrb

from physhmr_kit.viewer.palette import BACKGROUND, GRID
from physhmr_kit.viewer.plots import Chart
from physhmr_kit.viewer.viewpoint import viewpoint

_PANEL, _LEGEND_ROW, _LEGEND_EDGE = (
    270,
    25,
    12,
)  # heights in pixels: of a chart, of a row of its legend, of the legend's edges
_FIELD_OF_VIEW = np.deg2rad(55)  # Rerun's, vertical


def chart_range(chart: Chart) -> tuple[float, float]:
    """Limits of a chart's y axis that leave room for the legend: below rewards, which are near 1, above other curves."""
    room = min(0.7, (_LEGEND_ROW * chart.curves + _LEGEND_EDGE) / _PANEL)
    if chart.origin == "rewards":
        return -room / (1 - room), 1.03
    return 0.0, max(chart.largest, 1e-3) / (1 - room)


def eye(root: np.ndarray, follow: str, camera_centre: np.ndarray | None = None) -> rrb.EyeControls3D:
    """Eye controls of the scene's `viewpoint`: it follows the body, or is fixed if there is a camera in the scene.

    Args:
        root: (T, 3) m, world, of the pelvis.
        follow: path of the entity to follow.
        camera_centre: (3,) m, world.
    """
    position, target = viewpoint(root, camera_centre)
    tracked = follow if camera_centre is None else None
    return rrb.EyeControls3D(position=position, look_target=target, eye_up=(0.0, 0.0, 1.0), tracking_entity=tracked)


def eye_above(root: np.ndarray) -> rrb.EyeControls3D:
    """Eye controls straight above the whole path, x upwards: root (T, 3) m, world."""
    middle = (root.min(0) + root.max(0)) / 2
    span = max(float(np.ptp(root[:, :2], axis=0).max()), 1.0) + 1.0  # a body is about a metre wide
    position = middle + np.array([0.0, 0.0, span / (2 * np.tan(_FIELD_OF_VIEW / 2)) + 1.0])
    return rrb.EyeControls3D(position=position, look_target=middle, eye_up=(1.0, 0.0, 0.0))


def scene_view(name: str, contents: Sequence[str], eye_controls: rrb.EyeControls3D) -> rrb.Spatial3DView:
    """A 3-D view of the entities that match Rerun's query expressions `contents`, relative to `world`."""
    return rrb.Spatial3DView(
        name=name,
        origin="world",
        contents=list(contents),
        background=[*BACKGROUND, 255],
        line_grid=rrb.LineGrid3D(visible=True, spacing=0.5, stroke_width=1.0, color=[*GRID, 160]),
        eye_controls=eye_controls,
    )


def chart_view(chart: Chart) -> rrb.TimeSeriesView:
    """A chart whose legend does not cover its curves."""
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
    """The layout of a recording: on the left the scene, on the right the camera image or the path from above, and the charts.

    Args:
        root: (T, 3) m, world, of the pelvis; decides the viewpoint.
        follow: path of the entity that the viewpoint follows.
        camera_centre: (3,) m, world; None if the recording has no camera.
        charts: of the logged curves.
        fps: playback rate.
    """
    root = np.asarray(root, np.float64)
    # the frustum shows the image; its keypoints and overlay would only clutter the scene
    uncluttered = ["+ $origin/**", "- $origin/camera/keypoints", "- $origin/camera/simulated"]
    scene = scene_view("Scene", uncluttered, eye(root, follow, camera_centre))
    tabs: list = [scene_view("Path", ["+ $origin/**", "- $origin/camera/**", "- $origin/rays"], eye_above(root))]
    if camera_centre is not None:
        tabs.insert(0, rrb.Spatial2DView(name="Camera", origin="world/camera", contents="$origin/**"))
    about = rrb.TextDocumentView(name="What we see", origin="about")
    side = rrb.Vertical(rrb.Tabs(*tabs), rrb.Tabs(*map(chart_view, charts), about))
    return playing(rrb.Horizontal(scene, side, column_shares=[5, 3]), fps)


def playing(content: rrb.Container, fps: float) -> rrb.Blueprint:
    """A blueprint of some views with Rerun's panels collapsed, playing in a loop."""
    return rrb.Blueprint(
        content,
        rrb.BlueprintPanel(state="collapsed"),
        rrb.SelectionPanel(state="collapsed"),
        rrb.TimePanel(state="collapsed", timeline="time", fps=fps, play_state="playing", loop_mode="all"),
    )
