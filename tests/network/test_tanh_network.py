"""Tanh networks and their derivatives, against differences and autograd's own of the plain expression."""

import itertools

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from metarl_run.network import tanh_network as module
from metarl_run.network.tanh import tanh_
from metarl_run.network.tanh_network import tanh_network

M, N = 2, 3
WIDTHS = [2, 3, 4, 2]
LAYERS = len(WIDTHS) - 1


def arguments(*stack, data=False):
    """The input, all biases, all weights."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(N, WIDTHS[0]), *((1, width) for width in WIDTHS[1:]), *itertools.pairwise(WIDTHS)]
    inputs = [torch.randn(*stack, *shape, generator=generator, dtype=torch.float64) for shape in shapes]
    return [x.requires_grad_(k > 0 or not data) for k, x in enumerate(inputs)]


@pytest.fixture(params=[1, 2**17], ids=["a task at a time", "all tasks at once"])
def cached(request, monkeypatch):
    monkeypatch.setattr(module, "CACHED", request.param)


@pytest.fixture(params=[True, False], ids=["linear", "tanh"])
def networks(request):
    """The network and the plain expression, as functions of the input, all biases and all weights."""

    def ours(x, *layers):
        return tanh_network(x, layers[:LAYERS], layers[LAYERS:], linear=request.param)

    def plain(x, *layers):
        for layer, (b, W) in enumerate(zip(layers[:LAYERS], layers[LAYERS:], strict=True)):
            x = x @ W + b
            x = x if request.param and layer == LAYERS - 1 else x.tanh()
        return x

    return ours, plain


@pytest.mark.parametrize("stack", [(), (M,)], ids=["one", "stack"])
def test_it_is_the_network_with_and_without_a_graph(cached, networks, stack):
    ours, plain = networks
    inputs = arguments(*stack)
    torch.testing.assert_close(ours(*inputs), plain(*inputs))
    with torch.no_grad():
        torch.testing.assert_close(ours(*inputs), plain(*inputs))


@pytest.mark.parametrize("stack", [(), (M,)], ids=["one", "stack"])
@pytest.mark.parametrize("constant", [None, 0, 2, 5], ids=["all", "of data", "bias", "weight"])
def test_first_and_second_derivatives_are_those_of_differences(cached, networks, stack, constant):
    ours, _ = networks
    inputs = arguments(*stack)
    if constant is not None:
        inputs[constant].requires_grad_(False)
    assert gradcheck(ours, inputs)
    if constant in (None, 0):
        assert gradgradcheck(ours, inputs, fast_mode=True)  # along random directions: all of them take 3 s


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("data", [True, False], ids=["of data", ""])
def test_higher_derivatives_equal_autograds_of_the_plain_expression(cached, networks, order, data):
    """The second without a graph, as meta-gradients take it; a trust region wants one more."""

    def derivative(function):
        inputs = arguments(M, data=data)
        wanted = inputs[1:] if data else inputs
        value = function(*inputs).pow(3).sum()
        for _ in range(order - 1):
            value = sum(g.pow(2).sum() for g in torch.autograd.grad(value, wanted, create_graph=True))
        return torch.autograd.grad(value, wanted)

    for ours, theirs in zip(*map(derivative, networks), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


def test_tanh_is_tanh_and_saturates():
    x = torch.linspace(-100, 100, 100_001)
    assert (tanh_(x.clone()).double() - x.double().tanh()).abs().max() < 2e-7
    assert tanh_(torch.tensor([-100.0, 100.0])).tolist() == [-1, 1]
