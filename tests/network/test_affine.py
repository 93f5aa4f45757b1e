"""Affine maps and their derivatives, against autograd's own of the plain expression."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from metarl_run.network.affine import affine

M, N, D, E = 3, 5, 4, 2


def arguments(*stack, dtype=torch.float64, requires_grad=True):
    generator = torch.Generator().manual_seed(0)
    shapes = [(*stack, 1, E), (*stack, N, D), (*stack, D, E)]
    return [torch.randn(s, generator=generator, dtype=dtype, requires_grad=requires_grad) for s in shapes]


@pytest.mark.parametrize("stack", [(), (M,)], ids=["one", "stack"])
def test_it_is_the_product_and_the_bias_with_and_without_a_graph(stack):
    bias, x, weight = arguments(*stack)
    expected = torch.einsum("...nd,...de->...ne", x, weight) + bias
    torch.testing.assert_close(affine(bias, x, weight), expected)
    with torch.no_grad():
        torch.testing.assert_close(affine(bias, x, weight), expected)


@pytest.mark.parametrize("stack", [(), (M,)], ids=["one", "stack"])
def test_first_and_second_derivatives_are_those_of_differences(stack):
    assert gradcheck(affine, arguments(*stack))
    assert gradgradcheck(affine, arguments(*stack))


def test_third_derivatives_equal_autograds_of_the_plain_expression():
    """A trust region differentiates the gradient through an inner gradient step once more."""

    def third(f):
        inputs = arguments(M)
        value = f(*inputs).tanh().square().sum()
        for _ in range(3):
            gradients = torch.autograd.grad(value, inputs, create_graph=True)
            value = sum(gradient.square().sum() for gradient in gradients)
        return torch.autograd.grad(value, inputs)

    plain = third(lambda b, x, w: x @ w + b)
    for ours, theirs in zip(third(affine), plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_second_derivatives_lie_in_memory_as_the_inputs_do():
    bias, x, weight = arguments(M)
    first = torch.autograd.grad(affine(bias, x, weight).square().sum(), weight, create_graph=True)[0]
    for second in torch.autograd.grad(first.square().sum(), (x, weight)):
        assert second.is_contiguous()


def test_inputs_that_need_no_gradient_get_none():
    bias, x, weight = arguments(M)
    affine(bias, x.detach(), weight).sum().backward()
    assert x.grad is None and torch.equal(bias.grad, torch.full_like(bias, N))
