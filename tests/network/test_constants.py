"""Outputs that do not depend on the input, beside those of a network that do."""

import pytest
import torch

from metarl_run.network.constants import WithConstants
from metarl_run.network.mlp import MLP
from metarl_run.network.table import Table

CONSTANTS = {"log_deviation": 2, "temperature": 1}
M, T, B, D = 4, 5, 3, 6
WRAPPED = {
    "mlp": MLP(num_inputs=D, heads={"policy": 2, "value": 1}, hidden=[8], activation="tanh"),
    "table": Table(num_inputs=D, heads={"policy": 2}, initial_value=0.5),
}


def normals(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=WRAPPED)
def wrapped(request):
    return WRAPPED[request.param]


@pytest.fixture
def network(wrapped):
    return WithConstants(network=wrapped, constants=CONSTANTS)


def fresh(network, seed=0):
    return network.init(torch.Generator().manual_seed(seed))


def scattered(network, seed):
    """Parameters of which none is where it started."""
    return {name: θ + normals(*θ.shape, seed=seed) for name, θ in fresh(network, seed).items()}


def test_the_constants_start_at_zero_and_the_rest_as_without_them(wrapped, network):
    params, alone = fresh(network), fresh(wrapped)
    assert {name: params.pop(f"{name}.constant").tolist() for name in CONSTANTS} == {
        "log_deviation": [[0.0, 0.0]],
        "temperature": [[0.0]],
    }
    assert params.keys() == alone.keys()
    assert all(torch.equal(params[name], alone[name]) for name in alone)


@pytest.mark.parametrize("lead", [(M, T + 1, B), (M, B), (B,), (T + 1, B)], ids=str)
def test_one_agent_puts_its_constants_out_at_every_input(wrapped, network, lead):
    params, x = scattered(network, 0), normals(*lead, D)
    output, memory = network(params, x, {"h": x})
    alone, _ = wrapped({name: θ for name, θ in params.items() if "constant" not in name}, x, {})
    assert output.keys() == alone.keys() | CONSTANTS.keys()
    assert all(torch.equal(output[head], alone[head]) for head in alone)
    for name, size in CONSTANTS.items():
        assert torch.equal(output[name], params[f"{name}.constant"].view(size).expand(*lead, size))
        assert not any(output[name].stride()[:-1]), "a view, however many inputs"
    assert memory["h"] is x


@pytest.mark.parametrize("lead", [(T + 1, B), (B,)], ids=str)
def test_a_stack_gives_what_each_agent_gives(network, lead):
    singles = [scattered(network, seed) for seed in range(M)]
    stack = {name: torch.stack([single[name] for single in singles]) for name in singles[0]}
    assert stack["log_deviation.constant"].shape == (M, 1, 2)
    x = normals(M, *lead, D)
    together, _ = network(stack, x, {})
    for task, params in enumerate(singles):
        alone, _ = network(params, x[task], {})
        assert together.keys() == alone.keys()
        for head, value in alone.items():
            torch.testing.assert_close(together[head][task], value)


def test_a_constant_of_a_stack_gets_the_gradients_of_its_own_task_alone(network):
    stack = {name: torch.stack([scattered(network, seed)[name] for seed in range(M)]) for name in fresh(network)}
    constant = stack["log_deviation.constant"].requires_grad_()
    output, _ = network(stack, normals(M, T + 1, B, D), {})
    weight = normals(M, T + 1, B, 2, seed=1)
    (gradient,) = torch.autograd.grad((output["log_deviation"] * weight).sum(), constant)
    torch.testing.assert_close(gradient, weight.sum((1, 2)).unsqueeze(1))


def test_the_head_is_the_networks_and_the_constants(wrapped, network):
    assert network.head_names() == wrapped.head_names() | {"log_deviation.constant", "temperature.constant"}
    assert network.head_names() <= fresh(network).keys()


def test_heads_are_kept_apart_in_the_network_itself(network, monkeypatch):
    told = []
    monkeypatch.setattr(network.network, "keep_heads_apart", lambda: told.append(True))
    network.keep_heads_apart()
    assert told


def test_what_the_network_offers_and_needs_stays(wrapped, network):
    assert (network.provides, network.requires) == (wrapped.provides, wrapped.requires)
