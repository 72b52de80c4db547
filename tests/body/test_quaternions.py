"""The fast quaternion operations agree with roma, in both precisions and any batch shape."""

import pytest
import roma
import torch

from physhmr_kit.body import quaternions as fast

SHAPES = [(7,), (3, 5), (2, 3, 4)]


@pytest.fixture(params=[torch.float32, torch.float64])
def draw(request):
    generator = torch.Generator().manual_seed(0)

    def quats(shape):
        return torch.nn.functional.normalize(torch.randn(*shape, 4, generator=generator, dtype=request.param), dim=-1)

    def vectors(shape):
        return torch.randn(*shape, 3, generator=generator, dtype=request.param)

    return quats, vectors


def close(a, b):
    torch.testing.assert_close(a, b, atol=2e-6 if a.dtype == torch.float32 else 1e-13, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_products_and_actions_agree_with_roma(draw, shape):
    quats, vectors = draw
    p, q, v = quats(shape), quats(shape), vectors(shape)
    first = fast.product(fast.reversed_axes(p), fast.reversed_axes(q))
    close(fast.reversed_axes(first), roma.quat_product(p, q))
    close(fast.quat_between(p, q), roma.quat_product(roma.quat_conjugation(p), q))
    close(fast.quat_rotate(p, v), roma.quat_action(p, v))
    close(fast.quat_rotate_inverse(p, v), roma.quat_action(roma.quat_conjugation(p), v))


@pytest.mark.parametrize("shape", SHAPES)
def test_matrices_and_their_columns_agree_with_roma(draw, shape):
    quats, vectors = draw
    q, v = quats(shape), vectors(shape)
    matrix = roma.unitquat_to_rotmat(q)
    close(fast.quat_columns(q), matrix[..., :2].transpose(-1, -2).flatten(-2))
    turned = fast.action(fast.matrix(fast.reversed_axes(q)), fast.reversed_axes(v))
    close(fast.reversed_axes(turned), roma.quat_action(q, v))
    other = vectors(shape)
    across = fast.cross(fast.reversed_axes(v), fast.reversed_axes(other))
    close(fast.reversed_axes(across), torch.linalg.cross(v, other))


def test_the_memory_layout_does_not_change_the_result(draw):
    quats, vectors = draw
    p, q, v = quats((6, 5)), quats((6, 5)), vectors((6, 5))
    back = lambda x: fast.reversed_axes(x).permute(2, 1, 0)  # noqa: E731
    assert not back(p).is_contiguous()
    assert torch.equal(fast.quat_between(back(p), q), fast.quat_between(p, q))
    assert torch.equal(fast.quat_rotate(p, back(v)), fast.quat_rotate(p, v))


def test_angles_agree_with_roma_and_are_accurate_when_small(draw):
    quats, _ = draw
    p, q = quats((50,)), quats((50,))
    torch.testing.assert_close(fast.quat_angle(p, q), roma.unitquat_geodesic_distance(p, q), atol=1e-5, rtol=0)
    small = torch.tensor([[1e-5, 0.0, 0.0]], dtype=p.dtype)
    near = roma.quat_product(roma.rotvec_to_unitquat(small), p[:1])
    torch.testing.assert_close(fast.quat_angle(p[:1], near), small[:, 0], atol=3e-7, rtol=0)
    assert fast.quat_angle(p, p).max() == 0 and fast.quat_angle(p, -p).max() == 0
