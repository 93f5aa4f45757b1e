"""Hidden layers and their derivatives, against differences and autograd's own of the plain expression."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from metarl_run.network import tanh_layer as module
from metarl_run.network.tanh_layer import tanh_, tanh_layer

M, N, D, E = 3, 5, 4, 2


def arguments(*stack, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    shapes = [(*stack, 1, E), (*stack, N, D), (*stack, D, E)]
    return [torch.randn(s, generator=generator, dtype=dtype, requires_grad=True) for s in shapes]


def plain(bias, x, weight):
    return (x @ weight + bias).tanh()


@pytest.fixture(params=[1, 2**17], ids=["a task at a time", "all tasks at once"])
def cached(request, monkeypatch):
    monkeypatch.setattr(module, "CACHED", request.param)


@pytest.mark.parametrize("stack", [(), (M,)], ids=["one", "stack"])
def test_it_is_the_layer_with_and_without_a_graph(cached, stack):
    inputs = arguments(*stack)
    torch.testing.assert_close(tanh_layer(*inputs), plain(*inputs))
    with torch.no_grad():
        torch.testing.assert_close(tanh_layer(*inputs), plain(*inputs))


@pytest.mark.parametrize("stack", [(), (M,)], ids=["one", "stack"])
@pytest.mark.parametrize("constant", [None, 0, 1, 2], ids=["all", "bias", "input", "weight"])
def test_first_and_second_derivatives_are_those_of_differences(cached, stack, constant):
    inputs = arguments(*stack)
    if constant is not None:
        inputs[constant].requires_grad_(False)
    assert gradcheck(tanh_layer, inputs)
    assert gradgradcheck(tanh_layer, inputs)


def test_second_derivatives_in_blocks_equal_autograds_of_the_plain_expression(cached):
    """As the meta-gradient takes them: without a graph of their own; the input is data, or a layer's output."""

    def second(f, data):
        bias, x, weight = arguments(M)
        x = x.detach() if data else x
        inputs = [bias, weight] if data else [bias, x, weight]
        first = torch.autograd.grad(f(bias, x, weight).pow(3).sum(), inputs, create_graph=True)
        return torch.autograd.grad(sum(g.pow(2).sum() for g in first), inputs)

    for data in (True, False):
        for ours, theirs in zip(second(tanh_layer, data), second(plain, data), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_third_derivatives_equal_autograds_of_the_plain_expression():
    """A trust region differentiates the gradient through an inner gradient step once more."""

    def third(f):
        inputs = arguments(M)
        value = f(*inputs).square().sum()
        for _ in range(3):
            gradients = torch.autograd.grad(value, inputs, create_graph=True)
            value = sum(gradient.square().sum() for gradient in gradients)
        return torch.autograd.grad(value, inputs)

    for ours, theirs in zip(third(tanh_layer), third(plain), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_tanh_is_tanh_and_saturates():
    x = torch.linspace(-100, 100, 100_001)
    assert (tanh_(x.clone()).double() - x.double().tanh()).abs().max() < 2e-7
    assert tanh_(torch.tensor([-100.0, 100.0])).tolist() == [-1, 1]
