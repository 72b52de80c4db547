"""The page inside every recording that explains its entities."""

from __future__ import annotations

_ROWS = {
    "world/simulated": "the **simulated** body, blue: the shapes that touch the floor in the simulator",
    "world/reference": "the **reference**, translucent orange: the motion to follow; for a video, the refined estimate of it",
    "world/path": "the ways of both over the floor, seen from above in the view *Path*",
    "world/contacts": "forces of the floor on the body, vermilion; a metre is 2000 newtons",
    "world/camera": "the camera with its picture and **keypoints**; green: high confidence, grey: low. The blue lines are the "
    "simulated body as the camera would see it",
    "world/rays": "rays from the camera through the detected joints: what the policy observes instead of positions",
    "errors/body": "mean distance of the 24 bodies from the reference, millimetres",
    "errors/rays": "mean distance of the joints from the rays of the detected keypoints, millimetres",
    "rewards": "reward terms, unweighted; 1 at zero error",
    "costs": "terms without that scale, unweighted",
}


def about(title: str, entities: list[str], note: str = "") -> str:
    """Markdown for a recording.

    Args:
        title: what was recorded.
        entities: which of the known entities it holds, in reading order.
        note: one or two sentences on the outcome.
    """
    lines = [f"# {title}", ""]
    if note:
        lines += [note, ""]
    lines += [f"- `{path}` {_ROWS[path]}" for path in entities]
    return "\n".join(
        [*lines, "", "World: z-up, metres. Timelines: `frame` and `time`, both from the start of the clip."]
    )
