"""Heads whose parameters depend on the memory: by hand, and against a loop over rows."""

import pytest
import torch

from metarl_run.network import hypernetwork
from metarl_run.network.hypernetwork import MEMORY, Hypernetwork

S, D, H, U, T, N = 3, 5, 4, 6, 7, 4
HEADS = {"policy": 3, "value": 1}
SIZES = {  # of θ, in the order of Φ's columns
    "read.weight": (S, U),
    "read.bias": (1, U),
    "policy.weight": (U, 3),
    "policy.bias": (1, 3),
    "value.weight": (U, 1),
    "value.bias": (1, 1),
}


def normals(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make():
    return Hypernetwork(num_observed=S, hidden=H, heads=HEADS, units=U)


def fresh(seed=0):
    return make().init(torch.Generator().manual_seed(seed))


def test_parameters_from_the_memory_by_hand():
    """h = 2 adds 2 Φ = (2, 4, −2, 6, 8) to (A, a, W, b) = ((1, 0), 1, 1, 0): u = relu(3·2 + 4·1 − 1), y = 7 u + 8."""
    head = Hypernetwork(num_observed=2, hidden=1, heads={"policy": 1}, units=1)
    params = {
        "read.weight": torch.tensor([[1.0], [0.0]]),
        "read.bias": torch.tensor([[1.0]]),
        "policy.weight": torch.tensor([[1.0]]),
        "policy.bias": torch.tensor([[0.0]]),
        MEMORY: torch.tensor([[1.0, 2.0, -1.0, 3.0, 4.0]]),
    }
    x = torch.tensor([[2.0, 1.0, 99.0], [-2.0, 1.0, 99.0]])  # two features of the observation, and one that is none
    assert head(params, torch.tensor([[2.0], [2.0]]), x)["policy"].tolist() == [[71.0], [8.0]]
    assert head(params, torch.tensor([[0.0], [2.0]]), x)["policy"].tolist() == [[3.0], [8.0]]


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_every_row_goes_through_a_network_of_its_own(rows, monkeypatch):
    monkeypatch.setattr(hypernetwork, "CACHED", rows * sum(a * b for a, b in SIZES.values()))
    params = {name: (θ.double() + 0.3 * normals(*θ.shape, seed=1)).requires_grad_() for name, θ in fresh().items()}
    h, x = normals(T, N, H, seed=2).requires_grad_(), normals(T, N, D, seed=3)
    output = make()(params, h, x)
    wanted = {head: [] for head in HEADS}
    for t in range(T):
        for i in range(N):
            moved = h[t, i] @ params[MEMORY]
            parts = torch.split(moved, [a * b for a, b in SIZES.values()])
            θ = {name: params[name] + part.view(SIZES[name]) for name, part in zip(SIZES, parts, strict=True)}
            u = (x[t, i, :S] @ θ["read.weight"] + θ["read.bias"][0]).relu()
            for head in HEADS:
                wanted[head].append(u @ θ[f"{head}.weight"] + θ[f"{head}.bias"][0])
    wanted = {head: torch.stack(values).view(T, N, -1) for head, values in wanted.items()}
    weight = {head: normals(T, N, outputs, seed=6) for head, outputs in HEADS.items()}
    gradients = [
        torch.autograd.grad(sum((out[head] * weight[head]).sum() for head in HEADS), [h, *params.values()])
        for out in (wanted, output)
    ]
    for head in HEADS:
        torch.testing.assert_close(output[head], wanted[head], rtol=0, atol=1e-12)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    with torch.no_grad():  # the way of acting
        for head, value in make()(params, h, x).items():
            torch.testing.assert_close(value, wanted[head], rtol=0, atol=1e-12)


def test_fresh_parameters_are_a_base_networks_and_nothing_of_the_memory():
    first, again, other = fresh(), fresh(), fresh(seed=1)
    assert list(first) == make().names() == [*SIZES, MEMORY]
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["read.weight"], other["read.weight"])
    assert first[MEMORY].shape == (H, sum(a * b for a, b in SIZES.values())) and not first[MEMORY].any()
    assert 0.8 * (6 / (S + U)) ** 0.5 < first["read.weight"].abs().max() <= (6 / (S + U)) ** 0.5
    assert 0.8 * 0.01 * (6 / (U + 3)) ** 0.5 < first["policy.weight"].abs().max() <= 0.01 * (6 / (U + 3)) ** 0.5
    assert not any(first[name].any() for name in first if name.endswith("bias"))


def test_the_first_step_teaches_the_hypernetwork_and_the_second_the_memory():
    """At Φ = 0 no output depends on h, but Φ has a derivative; a step along it opens the way to h."""
    params = {name: θ.double().requires_grad_() for name, θ in fresh().items()}
    h, x = normals(N, H, seed=2).requires_grad_(), normals(N, D, seed=3)

    def slopes():
        loss = (make()(params, h, x)["policy"] - 1).square().sum()
        return torch.autograd.grad(loss, [h, params[MEMORY]])

    to_h, to_Φ = slopes()
    assert not to_h.any() and to_Φ.abs().max() > 1e-3
    with torch.no_grad():
        params[MEMORY] -= 0.1 * to_Φ
    assert slopes()[0].abs().max() > 1e-4
