"""Plots the validation curves of a training run."""

from __future__ import annotations

import os
from collections.abc import Sequence

from matplotlib.figure import Figure

from physhmr_kit.viewer.palette import GRID, SERIES, unit
from physhmr_kit.viewer.picture import save_figure

_SHARES = (("success", "clips tracked", 0), ("covered", "frames followed", 2))
_ERRORS = (("followed_mm", "all frames followed", 2), ("success_mm", "successful clips", 0))
"""Field of `Totals`, label, index of the colour in `SERIES`."""


def training_curves(milestones: Sequence, path: str | os.PathLike | None = None, title: str = "") -> Figure:
    """Success, share of frames followed and error, against samples and against time.

    Args:
        milestones: in order, each with `samples`, `minutes` and `totals` (success, covered: shares; followed_mm,
            success_mm: mm, NaN leaves a gap), see `stages.history.Milestone`.
        path: file to write (.png, .svg or .pdf), atomically; None to return the figure only.
        title: above the plots.
    """
    figure = Figure(figsize=(8.5, 5), layout="constrained")
    panels = figure.subplots(2, 2, sharex="col", sharey="row")
    x_values = [m.samples / 1e6 for m in milestones], [m.minutes for m in milestones]
    for row, curves in enumerate((_SHARES, _ERRORS)):
        for column, x in enumerate(x_values):
            axes = panels[row][column]
            for key, label, colour in curves:
                values = [getattr(m.totals, key) * (1 if row else 100) for m in milestones]
                axes.plot(x, values, ".-", color=unit(SERIES[colour]), label=label, linewidth=1.8, markersize=5)
            axes.grid(color=unit(GRID), linewidth=0.5)
            axes.spines[["top", "right"]].set_visible(False)
        panels[row][0].legend(frameon=False, fontsize=9)
    panels[0][0].set(ylabel="share (%)", ylim=(0, 102))
    panels[1][0].set(ylabel="E_g-mpjpe (mm)", xlabel="samples (millions)")
    panels[1][0].set_ylim(bottom=0)
    panels[1][1].set(xlabel="wall clock (minutes)")
    if title:
        figure.suptitle(title, x=0.02, ha="left", fontsize=11, color="0.25")
    if path is not None:
        save_figure(figure, path)
    return figure
