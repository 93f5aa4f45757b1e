"""Running statistics of what meta-training sees."""

import pytest
import torch

from metarl_run.algo.planning import running_statistics as running


def seen(*batches):
    params = running.fresh("x", 1, torch.device("cpu"))
    for batch in batches:
        running.follow(params, "x", batch.unsqueeze(-1), torch.ones(len(batch), dtype=torch.bool))
    return params


def test_successive_batches_have_the_mean_and_standard_deviation_of_all():
    batches = [torch.tensor([1.0, 2.0, 6.0]), torch.tensor([3.0]), torch.tensor([-2.0, 5.0])]
    params, together = seen(*batches), torch.cat(batches)
    assert params["x.mean"].item() == pytest.approx(together.mean().item())
    assert running.std(params, "x").item() == pytest.approx(together.std(correction=0).item())


@pytest.mark.parametrize("x", [0.0, 9.8, 200.0, 1e6])
def test_rounding_noise_of_what_never_varies_is_not_amplified(x):
    g = torch.Generator().manual_seed(0)
    params = seen(*(x * (1 + 3e-7 * torch.randn(50, generator=g)) for _ in range(3)))
    assert running.std(params, "x").item() == 1


def test_normalised_values_have_mean_0_and_standard_deviation_1():
    x = torch.tensor([1.0, 2.0, 6.0])
    z = running.normalised(seen(x), "x", x)
    assert z.mean().item() == pytest.approx(0, abs=1e-6) and z.std(correction=0).item() == pytest.approx(1)
