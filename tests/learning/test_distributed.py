"""Statistics over processes, in a run of one process."""

import torch

from physhmr_kit.learning.distributed import gather_objects, mean_over_processes, moments, normalised, world_size


def test_with_one_process_statistics_are_those_of_the_tensor():
    x = 3 * torch.randn(50, 4) + 1
    count, mean, var = moments(x)
    assert count == 50 and world_size() == 1
    torch.testing.assert_close(mean, x.mean(0))
    torch.testing.assert_close(var, x.var(0, unbiased=False))
    assert mean_over_processes(x) is x and gather_objects("a") == ["a"]


def test_normalised_values_have_mean_zero_and_torchs_standard_deviation_one():
    x = 30 * torch.randn(5, 8) + 100
    y = normalised(x)
    torch.testing.assert_close(y, (x - x.mean()) / x.std(), atol=1e-5, rtol=1e-5)
    assert torch.equal(normalised(torch.full((4,), 2.0)), torch.zeros(4)), "constant input"
