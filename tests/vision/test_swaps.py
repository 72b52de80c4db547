"""Left-right swaps are found by the smoothness of motion and corrected."""

import torch

from physhmr_kit.vision.keypoints import COCO_MIRROR, COCO_NAMES, LIMBS
from physhmr_kit.vision.swaps import find_swaps, unswapped

FRAMES = 60


def walk() -> torch.Tensor:
    """(T, 17, 3): a person walking, seen from the side, whose ankles and wrists pass each other twice a second, 200 px tall."""
    phase = torch.arange(FRAMES) / 30 * 2 * torch.pi
    points = torch.zeros(FRAMES, 17, 3)
    points[..., 2] = 0.9
    height = {"shoulder": 40, "elbow": 70, "wrist": 100, "hip": 100, "knee": 150, "ankle": 200}
    swing = {"elbow": 20.0, "wrist": 40.0, "knee": 25.0, "ankle": 50.0}
    for i, name in enumerate(COCO_NAMES):
        side, part = (1.0 if name.startswith("left") else -1.0), name.split("_")[-1]
        forward = side if part in ("knee", "ankle") else -side
        points[:, i, 0] = 300 + 3.0 * torch.arange(FRAMES) + forward * swing.get(part, 0.0) * phase.sin() + 4 * side
        points[:, i, 1] = 100 + height.get(part, 0)
    points[..., :2] += 0.5 * torch.randn(FRAMES, 17, 2, generator=torch.Generator().manual_seed(0))
    return points


def swapped(points: torch.Tensor, group: str, rows: slice) -> torch.Tensor:
    out = points.clone()
    for i in LIMBS[group]:
        out[rows, i] = points[rows, COCO_MIRROR[i]]
    return out


def test_legs_that_pass_each_other_are_no_swap():
    assert not find_swaps(walk()).any()


def test_swaps_are_found_and_corrected():
    true = walk()
    for group, column, rows in (("legs", 1, slice(9, 13)), ("arms", 0, slice(21, 40)), ("legs", 1, slice(50, 53))):
        wrong = swapped(true, group, rows)
        found = find_swaps(wrong)
        expected = torch.zeros(FRAMES, dtype=torch.bool)
        expected[rows] = True
        # frames in which the limbs coincide do not matter
        assert (found[:, column] == expected).float().mean() > 0.95 and not found[:, 1 - column].any()
        assert (unswapped(wrong) - true).abs().mean() < 0.2
        assert torch.equal(unswapped(wrong, found)[:, :5], true[:, :5])


def test_a_swap_at_the_beginning_is_found():
    found = find_swaps(swapped(walk(), "legs", slice(0, 14)))
    assert found[:14, 1].float().mean() > 0.9 and not found[14:].any()


def test_jumps_of_low_confidence_keypoints_are_no_swap():
    points = walk()
    for i in LIMBS["legs"]:
        points[20:26, i, :2] = walk()[20:26, COCO_MIRROR[i], :2]
        points[20:26, i, 2] = 0.01
    assert not find_swaps(points)[20:26, 1].any()


def test_simultaneous_swaps_of_arms_and_legs_are_found():
    rows = slice(22, 27)
    wrong = swapped(swapped(walk(), "legs", rows), "arms", rows)
    assert find_swaps(wrong)[rows].all()


def test_keypoints_without_confidence_give_no_swap():
    wrong = swapped(walk(), "legs", slice(20, 26))
    wrong[..., 2] = 0.0
    assert not find_swaps(wrong).any()


def test_tracks_of_two_frames_are_unchanged():
    assert torch.equal(unswapped(walk()[:2]), walk()[:2])
