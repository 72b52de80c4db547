"""Logs curves to a recording: reward terms and errors of the simulated body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import rerun as rr

from physhmr_kit.viewer.bodies import Times
from physhmr_kit.viewer.palette import DETECTED, SERIES, SIMULATED


@dataclass(frozen=True)
class Chart:
    """Curves that share a chart.

    Attributes:
        origin: their parent entity, 'errors', 'rewards' or 'costs'.
        curves: number of curves. largest: the largest value.
    """

    origin: str
    curves: int
    largest: float


def body_error(simulated, reference) -> np.ndarray:
    """Mean distance of the 24 bodies from the reference: two (T, 24, 3) m, world -> (T,) millimetres."""
    gap = np.asarray(simulated, np.float64) - np.asarray(reference, np.float64)
    return 1000 * np.linalg.norm(gap, axis=-1).mean(-1)


def log_curve(rec: rr.RecordingStream, path: str, times: Times, values, name: str, colour) -> None:
    """Log a curve: values (T,); values that are not finite leave a gap."""
    values = np.asarray(values, np.float64)
    rec.log(path, rr.SeriesLines(colors=[colour], names=[name], widths=[1.5]), static=True)
    columns = rr.Scalars.columns(scalars=values[np.isfinite(values)]).partition(np.isfinite(values).astype(int))
    rec.send_columns(path, times.columns(), columns)


def log_errors(rec: rr.RecordingStream, times: Times, errors: Mapping[str, np.ndarray], colours=None) -> list[Chart]:
    """Log one curve for each error, name -> (T,) millimetres, at errors/<name>.

    Args:
        colours: name -> colour; default: blue, green for 'rays'.

    Returns:
        their chart; empty without errors.
    """
    for name, values in errors.items():
        colour = (colours or {"rays": DETECTED}).get(name, SIMULATED)
        log_curve(rec, f"errors/{name}", times, values, f"{name} (mm)", colour)
    return [Chart("errors", len(errors), _largest(errors))] if errors else []


def log_rewards(rec: rr.RecordingStream, times: Times, rewards: Mapping[str, object]) -> list[Chart]:
    """Log one curve for each reward term, name -> (T,).

    Terms within 0..1 are logged at rewards/<name>, the others (power in watts, say) at costs/<name>, so that they have a scale
    of their own. The first frame has no reward, because no step leads to it.

    Returns:
        the charts, rewards first.
    """
    kinds: dict[str, dict[str, np.ndarray]] = {"rewards": {}, "costs": {}}
    for number, (name, values) in enumerate(rewards.items()):
        earned = np.array(values, np.float64)
        earned[:1] = np.nan
        within = np.nanmin(earned, initial=0.0) >= -1e-6 and np.nanmax(earned, initial=0.0) <= 1 + 1e-6
        kind = "rewards" if within else "costs"
        kinds[kind][name] = earned
        log_curve(rec, f"{kind}/{name}", times, earned, name, SERIES[number % len(SERIES)])
    return [Chart(kind, len(terms), _largest(terms)) for kind, terms in kinds.items() if terms]


def _largest(curves: Mapping[str, np.ndarray]) -> float:
    return max(float(np.nanmax(values, initial=0.0)) for values in curves.values())
