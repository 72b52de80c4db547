"""The page inside every recording that explains its entities."""

from __future__ import annotations

_ROWS = {
    "world/simulated": "the **simulated** body, blue, drawn as its collision shapes",
    "world/reference": "the **reference** motion, translucent orange; for a video, the refined estimate",
    "world/path": "the root paths of both on the floor; the view *Path* shows them from above",
    "world/contacts": "contact forces of the floor on the body, vermilion; 1 m is 2000 N",
    "world/camera": "the camera with its image and **keypoints**; green: high confidence, grey: low. The blue lines are the "
    "simulated body projected into the image",
    "world/rays": "rays from the camera through the detected joints, which the policy observes in place of positions",
    "errors/body": "mean distance of the 24 bodies from the reference, millimetres",
    "errors/rays": "mean distance of the joints from the rays of the detected keypoints, millimetres",
    "rewards": "reward terms, unweighted; 1 at zero error",
    "costs": "reward terms outside 0..1, unweighted",
}


def about(title: str, entities: list[str], note: str) -> str:
    """Markdown that describes a recording.

    Args:
        title: what was recorded.
        entities: keys of `_ROWS` that the recording holds, in reading order.
        note: one or two sentences on the outcome.
    """
    rows = "\n".join(f"- `{path}` {_ROWS[path]}" for path in entities)
    world = "World: z-up, metres. Timelines: `frame` and `time`, both from the start of the clip."
    return f"# {title}\n\n{note}\n\n{rows}\n\n{world}"
