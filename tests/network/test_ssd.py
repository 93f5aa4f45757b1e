"""State-space memory: a whole sequence against single steps, against the sum over pairs, and by hand."""

import pytest
import torch

from metarl_run.network import ssd
from metarl_run.network.ssd import SSD

T, N, D, H, P, E, LAYERS = 9, 3, 5, 8, 2, 3, 2
HEADS = {"policy": 3, "value": 1}
SIZES = {"hidden": H, "layers": LAYERS, "memories": P, "key": E}


def make(**changes):
    return SSD(num_inputs=D, heads=HEADS, **{**SIZES, **changes})


def normals(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moved(network):
    fresh = network.init(torch.Generator().manual_seed(0))
    return {name: (θ.double() + 0.3 * normals(*θ.shape, seed=1)).requires_grad_() for name, θ in fresh.items()}


@pytest.mark.parametrize("chunk", [1, 4, 64])
def test_a_sequence_is_one_step_after_another_forwards_and_under_autograd(chunk, monkeypatch):
    monkeypatch.setattr(ssd, "CHUNK", chunk)
    network = make()
    params = moved(network)
    x = normals(T, N, D, seed=2).requires_grad_()
    memory, outputs = network.initial_memory(params, N), []
    for now in x:
        output, memory = network(params, now.unsqueeze(1), memory)
        assert all(S.shape == (N, 1, E * H) for S in memory.values()), "it does not grow"
        outputs.append(output)
    wanted = {head: torch.stack([output[head].squeeze(1) for output in outputs]) for head in HEADS}
    got = network.sequence(params, x)
    gradients = [
        torch.autograd.grad(sum(value.square().sum() for value in out.values()), [x, *params.values()])
        for out in (wanted, got)
    ]
    for head in HEADS:
        torch.testing.assert_close(got[head], wanted[head], rtol=0, atol=1e-10)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


def test_what_is_read_is_what_was_written_times_what_is_left_by_hand():
    """One memory of one number. Written 2 · 3 with d = 1, then 5 · 7 with d = 1 / 2, and half is left each time."""
    network = SSD(num_inputs=1, heads=HEADS, hidden=1, layers=1, memories=1, key=1)
    q, k, v, d = (torch.tensor(x, dtype=torch.float64).view(2, 1, 1) for x in ([1, 10], [2, 5], [3, 7], [1, 0.5]))
    decay = torch.full((2, 1, 1), torch.log(torch.tensor(2.0)).item(), dtype=torch.float64)
    z, S = network._recur(q, k, v, d, decay, torch.tensor([[4.0]], dtype=torch.float64))
    first = 4 / 2 + 2 * 3
    assert S.item() == pytest.approx(first / 2 + 5 * 7 / 2)
    assert z.flatten().tolist() == pytest.approx([first, 10 * (first / 2 + 5 * 7 / 2)])


def test_large_decays_neither_overflow_nor_lose_the_present():
    network = SSD(num_inputs=1, heads=HEADS, hidden=1, layers=1, memories=1, key=1)
    ones = torch.ones(50, 1, 1)
    z, S = network._recur(ones, ones, ones, ones, 1000 * ones, torch.ones(1, 1))
    assert z.flatten().tolist() == [1.0] * 50 and S.item() == 1.0


def test_fresh_memories_last_from_one_to_a_hundred_steps():
    params = make(memories=4).init(torch.Generator().manual_seed(0))
    per_step = torch.nn.functional.softplus(params["0.step"]) * params["0.log_decay"].exp()
    assert (1 / per_step[0]).tolist() == pytest.approx([1, 100 ** (1 / 3), 100 ** (2 / 3), 100], rel=1e-3)


def test_a_fresh_network_hardly_prefers_any_action():
    network = make(hidden=64, memories=4, key=16)
    params = network.init(torch.Generator().manual_seed(0))
    assert network.sequence(params, normals(50, 20, D, seed=1).float())["policy"].abs().max() < 0.1
    again, other = (network.init(torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert all(torch.equal(params[name], again[name]) for name in params)
    assert not torch.equal(params["0.weight"], other["0.weight"])


def test_a_width_that_cannot_be_shared_out_is_named_with_one_that_can():
    with pytest.raises(ValueError, match="hidden must be a multiple of memories=2, got 9; try 10"):
        make(hidden=9)


@pytest.mark.parametrize("name", SIZES)
def test_sizes_must_be_counts(name):
    with pytest.raises(ValueError, match=f"{name} must be an integer >= 1, got 0"):
        make(**{name: 0})
