"""One network call serves one agent and a stack of agents."""

import numpy as np
import pytest
import torch

from metarl_run.network import tanh_network
from metarl_run.network.mlp import MLP


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def stack_of(network, num_tasks):
    singles = [network.init(generator(seed)) for seed in range(num_tasks)]
    return singles, {name: torch.stack([single[name] for single in singles]) for name in singles[0]}


@pytest.mark.parametrize("hidden", [[], [4], [8, 8]])
@pytest.mark.parametrize("lead", [(5,), (3, 5)])
def test_a_stack_gives_what_each_agent_gives(hidden, lead):
    network = MLP(num_inputs=2, heads={"policy": 3, "value": 1}, hidden=hidden, activation="relu")
    singles, stack = stack_of(network, 4)
    x = torch.randn(4, *lead, 2, generator=generator(9))
    together = network(stack, x, {})[0]
    for task, params in enumerate(singles):
        alone = network(params, x[task], {})[0]
        for head, size in {"policy": 3, "value": 1}.items():
            assert alone[head].shape == (*lead, size)
            torch.testing.assert_close(together[head][task], alone[head])


def test_against_numpy():
    network = MLP(num_inputs=2, heads={"policy": 3}, hidden=[4], activation="tanh")
    params = network.init(generator())
    x = torch.randn(6, 2, generator=generator(1))
    w = {name: p.numpy() for name, p in params.items()}
    hidden = np.tanh(x.numpy() @ w["policy.0.weight"] + w["policy.0.bias"])
    expected = hidden @ w["policy.1.weight"] + w["policy.1.bias"]
    np.testing.assert_allclose(network(params, x, {})[0]["policy"].numpy(), expected, rtol=1e-5, atol=1e-7)


def test_fresh_parameters_are_reproducible_bounded_and_nearly_uniform_in_the_last_layer():
    network = MLP(num_inputs=2, heads={"policy": 3}, hidden=[64], activation="tanh")
    first, again, other = network.init(generator(0)), network.init(generator(0)), network.init(generator(1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["policy.0.weight"], other["policy.0.weight"])
    assert first["policy.0.weight"].abs().max() <= (6 / 66) ** 0.5
    assert first["policy.1.weight"].abs().max() <= 0.01 * (6 / 67) ** 0.5


def test_orthogonal_weights_keep_lengths():
    network = MLP(num_inputs=8, heads={"policy": 3}, hidden=[64], activation="tanh", initial_weights="orthogonal")
    params = network.init(generator())
    first, last = params["policy.0.weight"], params["policy.1.weight"]
    torch.testing.assert_close(first @ first.mT, 2 * torch.eye(8))
    torch.testing.assert_close(last.mT @ last, 2e-4 * torch.eye(3))
    assert torch.equal(first, network.init(generator())["policy.0.weight"])


@pytest.mark.parametrize("bad", [{"hidden": [0]}, {"hidden": 64}, {"activation": "tan"}])
def test_bad_arguments_are_named(bad):
    good = {"num_inputs": 2, "heads": {"policy": 2}, "hidden": [4], "activation": "tanh"}
    with pytest.raises(ValueError, match=next(iter(bad))):
        MLP(**{**good, **bad})


@pytest.mark.parametrize(("hidden", "last"), [([], 0), ([4], 1), ([8, 8], 2)])
def test_the_head_is_the_last_layer_of_every_trunk_and_what_feeds_it_are_features(hidden, last):
    network = MLP(num_inputs=2, heads={"policy": 3, "value": 1}, hidden=hidden, activation="tanh")
    assert network.head_names() == {f"{h}.{last}.{p}" for h in ("policy", "value") for p in ("weight", "bias")}
    params, x = network.init(generator()), torch.randn(5, 2, generator=generator(1))
    emptied = {name: torch.zeros_like(p) if name in network.head_names() else p for name, p in params.items()}
    assert params.keys() == emptied.keys()
    assert not any(output.any() for output in network(emptied, x, {})[0].values())


@pytest.mark.parametrize("hidden", [[], [4], [8, 8]])
def test_heads_kept_apart_are_differentiated_without_the_layers_that_feed_them(hidden, monkeypatch):
    together, apart = (MLP(num_inputs=2, heads={"policy": 3}, hidden=hidden, activation="tanh") for _ in range(2))
    apart.keep_heads_apart()
    params = {name: p.requires_grad_() for name, p in together.init(torch.Generator().manual_seed(0)).items()}
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(1))

    def gradients(network, names):
        output = network(params, x, {})[0]["policy"]
        return torch.autograd.grad(output.square().sum(), [params[name] for name in sorted(names)])

    for ours, theirs in zip(gradients(apart, params), gradients(together, params), strict=True):
        torch.testing.assert_close(ours, theirs)
    heads = together.head_names()
    expected = gradients(together, heads)
    monkeypatch.setattr(tanh_network.Back, "forward", None)  # a walk through the hidden layers would fail
    for ours, theirs in zip(gradients(apart, heads), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
