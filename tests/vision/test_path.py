import pytest
import torch

from physhmr_kit.vision.path import PathProblem, PathSpread, _solve, guessed_path, robust_weight, solve_path
from physhmr_kit.vision.rays import ray_direction

FRAMES = 12
SPREAD = PathSpread()


def walk(frames: int = FRAMES) -> torch.Tensor:
    """Pelvis positions (T, 3) m of a body that glides sideways, 1 m above the floor."""
    t = torch.arange(frames) / 30
    return torch.stack([0.5 * t, 0.1 * t, torch.ones(frames)], dim=-1)


def problem(root: torch.Tensor, contact: float = 0.0) -> PathProblem:
    """Four joints on exact rays of a camera 4 m away; two soles that stay on the floor while the pelvis moves."""
    frames = len(root)
    joints = torch.tensor([[0.2, 0, 0.3], [-0.2, 0, 0.3], [0.1, 0, -0.8], [-0.1, 0, -0.8]]).expand(frames, 4, 3)
    centre = torch.tensor([0.0, -4.0, 1.5]).expand(frames, 3)
    toward = joints + root.unsqueeze(1) - centre.unsqueeze(1)
    feet = torch.tensor([[0.1, 0.0, 0.0], [-0.1, 0.0, 0.0]])
    return PathProblem(
        joints=joints,
        centre=centre,
        ray_point=centre.unsqueeze(1) + 0.3 * toward,
        confidence=torch.ones(frames, 4),
        soles=feet - root.unsqueeze(1),
        contact=torch.full((frames, 2), contact),
        linked=torch.ones(frames - 1, dtype=torch.bool),
    )


def changed(p: PathProblem, **values) -> PathProblem:
    return PathProblem(**(vars(p) | values))


def test_robust_weight_decreases_with_the_error():
    weight = robust_weight(torch.tensor([0.0, 0.1, 1.0]), 0.1)
    torch.testing.assert_close(weight, torch.tensor([1.0, 0.25, 1 / 101**2]))


@pytest.mark.parametrize("contact", [0.0, 1.0])
def test_exact_rays_and_feet_recover_the_path(contact):
    root = walk()
    p = problem(root, contact)
    torch.testing.assert_close(guessed_path(p), root, atol=1e-3, rtol=0)
    torch.testing.assert_close(solve_path(p, guessed_path(p)), root, atol=1e-3, rtol=0)


def test_one_iteration_minimises_the_weighted_squares():
    """Check the banded solver against the gradient of the cost, written out independently."""
    generator = torch.Generator().manual_seed(0)
    p = problem(walk(), contact=0.8)
    noisy = p.ray_point + 0.02 * torch.randn(p.ray_point.shape, generator=generator)
    contact = torch.rand(FRAMES, 2, generator=generator)
    linked = p.linked.clone()
    linked[5] = False
    p = changed(p, ray_point=noisy, contact=contact, linked=linked)
    start = walk() + 0.05 * torch.randn(FRAMES, 3, generator=generator)
    d = ray_direction(p.ray_point, p.centre)
    found = _solve(p, d, start, SPREAD, 2.0)

    def equations(root):
        r = p.joints + root.unsqueeze(1) - p.centre.unsqueeze(1)
        off = r - (r * d).sum(-1, keepdim=True) * d
        slip = (p.soles + root.unsqueeze(1)).diff(dim=0)
        return off, p.soles[..., 2] + root[:, 2:], slip, root[2:] - 2 * root[1:-1] + root[:-2]

    off, height, slip, _ = equations(start)
    weights = (
        p.confidence * robust_weight(off.norm(dim=-1), 2 * SPREAD.ray_outlier) / SPREAD.ray**2,
        p.contact * robust_weight(height, 2 * SPREAD.floor_outlier) / SPREAD.floor**2,
        p.contact[1:] * p.contact[:-1] * robust_weight(slip.norm(dim=-1), 2 * SPREAD.foot_outlier) / SPREAD.foot**2,
    )
    root = found.double().requires_grad_()
    off, height, slip, bend = equations(root)
    cost = (weights[0] * off.square().sum(-1)).sum() + (weights[1] * height.square()).sum()
    cost = cost + (weights[2] * linked[:, None] * slip.square().sum(-1)).sum()
    cost = cost + ((linked[1:] & linked[:-1])[:, None] * bend.square()).sum() / SPREAD.acceleration**2
    (gradient,) = torch.autograd.grad(cost, root)
    curvature = weights[0].sum(1).mean()
    assert gradient.abs().max() < 1e-4 * curvature  # less than a tenth of a millimetre away


def test_outlier_rays_in_one_frame_do_not_move_the_path():
    root = walk()
    p = problem(root, contact=1.0)
    wild = p.ray_point.clone()
    wild[6] += torch.tensor([0.6, 0.0, 0.4])
    p = changed(p, ray_point=wild)
    start = guessed_path(p)
    assert (start[6] - root[6]).norm() > 0.3
    assert (solve_path(p, start) - root).norm(dim=-1).max() < 0.05


def test_a_wrong_contact_does_not_pull_the_body_down():
    root = walk()
    p = problem(root, contact=1.0)
    soles = p.soles.clone()
    soles[4:7, 0, 2] += 0.5  # a raised foot with a contact label
    p = changed(p, soles=soles)
    assert (solve_path(p, root) - root).norm(dim=-1).max() < 0.03
