"""Gates of the input alone: the scan of a whole sequence against single steps, forwards and under autograd."""

import pytest
import torch

from metarl_run.network import min_gru
from metarl_run.network.min_gru import MinGRU, Scan, doubling_, recur_, recur_back_

T, N, D, H = 7, 4, 5, 6
HEADS = {"policy": 3, "value": 1}


def normals(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make():
    network = MinGRU(num_inputs=D, heads=HEADS, hidden=H)
    fresh = network.init(torch.Generator().manual_seed(0))
    return network, {name: (θ.double() + 0.3 * normals(*θ.shape, seed=1)).requires_grad_() for name, θ in fresh.items()}


def step_by_step(network, params, x):
    memory, outputs = network.initial_memory(params, N), []
    for now in x:
        output, memory = network(params, now.unsqueeze(1), memory)
        outputs.append(output)
    return {head: torch.stack([output[head].squeeze(1) for output in outputs]) for head in HEADS}


def test_one_unit_by_hand():
    """z = 1/2 whatever the input, n = x: h = x₁ / 2, then (h + x₂) / 2."""
    network = MinGRU(num_inputs=1, heads={"value": 1}, hidden=1)
    params = {
        "input.weight": torch.tensor([[1.0, 0.0]]),
        "input.bias": torch.zeros(1, 2),
        "value.weight": torch.ones(1, 1),
        "value.shortcut": torch.zeros(1, 1),
        "value.bias": torch.zeros(1, 1),
    }
    assert network.sequence(params, torch.tensor([8.0, 2.0, -1.0]).view(3, 1, 1))["value"].flatten().tolist() == [
        4,
        3,
        1,
    ]


@pytest.mark.parametrize("length", [1, T])
@pytest.mark.parametrize("at_once", [1, 3, 2**18])
def test_a_sequence_is_one_step_after_another_forwards_and_under_autograd(length, at_once, monkeypatch):
    monkeypatch.setattr(min_gru, "CACHED", at_once * length * H)
    network, params = make()
    x = normals(length, N, D, seed=2).requires_grad_()
    weight = {head: normals(length, N, outputs, seed=3) for head, outputs in HEADS.items()}
    wanted, got = step_by_step(network, params, x), network.sequence(params, x)
    variables = [x, *params.values()]
    gradients = [
        torch.autograd.grad(sum((out[head] * weight[head]).sum() for head in HEADS), variables) for out in (wanted, got)
    ]
    for head in HEADS:
        torch.testing.assert_close(got[head], wanted[head], rtol=0, atol=1e-10)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("data", [False, True], ids=["", "of data"])
def test_the_derivative_that_is_written_out_is_that_of_finite_differences(data):
    inputs = [normals(5, 3, D, seed=3), 0.5 * normals(D, 2 * H, seed=4), normals(1, 2 * H, seed=5)]
    assert torch.autograd.gradcheck(Scan.apply, [x.requires_grad_(k > 0 or not data) for k, x in enumerate(inputs)])


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9])
def test_doubling_is_the_recurrence(length):
    h, z = normals(length, 2, 3, seed=1), normals(length, 2, 3, seed=2).sigmoid()
    wanted, backwards = h.clone(), h.clone()
    recur_(wanted, z)
    torch.testing.assert_close(doubling_(h.clone(), z), wanted, rtol=0, atol=1e-14)
    recur_back_(backwards, z)
    mirrored = doubling_(h.flip(0), z.roll(-1, 0).flip(0)).flip(0)
    torch.testing.assert_close(mirrored, backwards, rtol=0, atol=1e-14)


def test_a_fresh_unit_keeps_its_content_for_one_to_a_hundred_steps():
    """z = c / (1 + c) with c uniform in [1, 99]: what is left of a number after one step."""
    network = MinGRU(num_inputs=D, heads=HEADS, hidden=4000)
    params = network.init(torch.Generator().manual_seed(0))
    z = params["input.bias"][0, 4000:].sigmoid()
    lasts = z / (1 - z)
    assert 1 <= lasts.min() < 2 and 98 < lasts.max() <= 99.1
    assert abs(lasts.mean() - 50) < 4 * 98 / 12**0.5 / 4000**0.5
    assert not params["input.bias"][0, :4000].any()
    again = network.init(torch.Generator().manual_seed(0))
    assert all(torch.equal(params[name], again[name]) for name in params)
