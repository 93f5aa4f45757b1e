"""Products of matrices in networks, by the library that is fast for their shape on this processor.

torch's own products go to MKL, which runs half-width kernels on some processors of AMD; oneDNN, which torch contains
too, runs the full ones. What is not of 32 bits, not on a CPU, small or narrow is torch's own product, unchanged.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

Library = Literal["mkl", "onednn"]
"""`mkl` stands for torch's own product, whatever library it was built with."""
Choice = Mapping[str, Library]
"""The library of each class of products in `CLASSES`."""

KINDS = ("plain", "transposed", "per task", "per task, transposed")
"""Kinds of products: x W, xᵀ y, and stacks of either with a second factor per task."""
MEDIUM, LARGE = 2**22, 2**24
"""Multiplications, of one task, from which a product is medium, and large: a call of oneDNN costs 11 µs more."""
NARROWEST = 16
"""Rows, columns and inputs below which no product goes to oneDNN."""
COMPILED = "compiled"
"""Class of products in compiled programs, see `metarl_run.compiled.decompositions`."""
CLASSES = (*(f"{kind}, {size}" for kind in KINDS for size in ("medium", "large")), COMPILED)

AVAILABLE: bool = torch.backends.mkldnn.is_available() and torch._C._dispatch_has_kernel(  # type: ignore[no-untyped-call]
    "mkldnn::_linear_pointwise"
)
"""torch contains oneDNN and its linear layer."""
LINEAR: Any = torch.ops.mkldnn._linear_pointwise.default if AVAILABLE else None

MKL: Choice = dict.fromkeys(CLASSES, "mkl")
ONEDNN: Choice = dict.fromkeys(CLASSES, "onednn")
LEVEL: Choice = {**MKL, COMPILED: "onednn" if AVAILABLE else "mkl"}
"""The choice between libraries that are equally fast, and of runs that are older than the choice."""


# --- The choice of this process ---


class InUse:
    """The choice in use: one per process, as the number of torch's threads is.

    Attributes:
        choice: library of each class.
        least: multiplications from which some product does not go to torch; infinite where all do.
    """

    def __init__(self, choice: Choice) -> None:
        self.set(choice)

    def set(self, choice: Choice) -> None:
        self.choice = {**choice}
        other = [name for name in CLASSES if choice[name] != "mkl" and name != COMPILED]
        self.least = min((LARGE if name.endswith("large") else MEDIUM for name in other), default=math.inf)


IN_USE = InUse(LEVEL)


def use(choice: Choice) -> None:
    """Take the products of this process by these libraries from now on; where oneDNN is absent, torch's own serve."""
    IN_USE.set(choice if AVAILABLE else MKL)


@contextlib.contextmanager
def using(choice: Choice) -> Iterator[None]:
    """Take products by these libraries, and afterwards as before."""
    before = IN_USE.choice
    use(choice)
    try:
        yield
    finally:
        IN_USE.set(before)


def in_use(name: str) -> Library:
    """The library in use for a class."""
    return IN_USE.choice[name]


# --- Products with the arguments and results of torch's functions of these names ---


def mm(x: Tensor, weight: Tensor, *, out: Tensor | None = None) -> Tensor:
    return by_onednn(x, weight, out) if of_interest(x, weight) else torch.mm(x, weight, out=out)


def bmm(x: Tensor, weight: Tensor, *, out: Tensor | None = None) -> Tensor:
    return by_onednn(x, weight, out) if of_interest(x, weight) else torch.bmm(x, weight, out=out)


def matmul(x: Tensor, weight: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The weight is one matrix, or a stack as x is."""
    if not of_interest(x, weight):
        return torch.matmul(x, weight, out=out)
    if x.dim() == weight.dim():
        return by_onednn(x, weight, out)
    return by_onednn(x.flatten(0, -2), weight).view(*x.shape[:-1], -1)


def addmm(bias: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    return by_onednn(x, weight) + bias if of_interest(x, weight) else torch.addmm(bias, x, weight)


def addmm_(total: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    return total.add_(by_onednn(x, weight)) if of_interest(x, weight) else total.addmm_(x, weight)


def baddbmm(
    bias: Tensor, x: Tensor, weight: Tensor, *, beta: float = 1, alpha: float = 1, out: Tensor | None = None
) -> Tensor:
    if not of_interest(x, weight):
        return torch.baddbmm(bias, x, weight, beta=beta, alpha=alpha, out=out)
    if beta != 1:
        bias = beta * bias
    if out is None:
        return torch.add(bias, by_onednn(x, weight), alpha=alpha)
    for b, one, W, into in zip(*(t.unbind() for t in (bias.expand(len(x), -1, -1), x, weight, out)), strict=True):
        torch.add(b, onednn(one, W), alpha=alpha, out=into)
    return out


def baddbmm_(total: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    if not of_interest(x, weight):
        return total.baddbmm_(x, weight)
    return baddbmm(total, x, weight, out=total)


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x W + b with one matrix W, `[in, out]`, and b, `[1, out]`."""
    return matmul(x, weight) + bias if of_interest(x, weight) else functional.linear(x, weight.t(), bias[0])


# --- Which products, and how ---


def of_interest(x: Tensor, weight: Tensor) -> bool:
    """True of a product that goes to oneDNN, or whose derivatives may."""
    if IN_USE.least == math.inf:
        return False
    rows, (k, n) = x.shape[-2], weight.shape[-2:]
    if x.dim() > weight.dim():
        rows = x.numel() // max(k, 1)
    return (
        rows * k * n >= IN_USE.least
        and min(rows, k, n) >= NARROWEST
        and x.dtype is weight.dtype is torch.float32
        and x.device.type == "cpu"
        and not torch._C._len_torch_dispatch_stack()  # traced programs choose for themselves
        and (in_use(class_of(x, weight)) == "onednn" or is_recorded(x, weight))
    )


def class_of(x: Tensor, weight: Tensor) -> str:
    """The class of a product of medium size, or large."""
    kinds = ["per task"] if weight.dim() == 3 else []
    if x.stride(-1) != 1 and x.stride(-2) == 1:
        kinds.append("transposed")
    rows = x.shape[-2] if x.dim() == weight.dim() else x.numel() // x.shape[-1]
    large = rows * weight.shape[-2] * weight.shape[-1] >= LARGE
    return f"{', '.join(kinds or ['plain'])}, {'large' if large else 'medium'}"


def is_recorded(x: Tensor, weight: Tensor) -> bool:
    """True if autograd will differentiate the product."""
    return torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)


def by_onednn(x: Tensor, weight: Tensor, out: Tensor | None = None) -> Tensor:
    """x W, matrices or stacks of them."""
    if is_recorded(x, weight):
        y: Tensor = Product.apply(x, weight)  # type: ignore[no-untyped-call]
        return y
    if x.dim() == 2:
        y = onednn(x, weight)
        return y if out is None else out.copy_(y)
    if out is None:
        out = x.new_empty(*x.shape[:-1], weight.shape[-1])
    for one, W, into in zip(x.unbind(), weight.unbind(), out.unbind(), strict=True):
        into.copy_(onednn(one, W))
    return out


def onednn(x: Tensor, weight: Tensor) -> Tensor:
    """x W of two matrices without a graph: with one, it would crash."""
    if not (weight.is_contiguous() or weight.mT.is_contiguous()):
        weight = weight.contiguous()  # or oneDNN takes a thousand times as long, for want of a kernel
    y: Tensor = LINEAR(x, weight.mT, None, "none", [], "")
    return y


class Product(torch.autograd.Function):
    """y = x W,        ∂x = ∂y Wᵀ,    ∂W = xᵀ ∂y, each by the library of its own class."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return multiply(x, weight)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight = ctx.needs_input_grad
        return multiply(dy, weight.mT) if needs_x else None, multiply(x.mT, dy) if needs_weight else None


def multiply(x: Tensor, weight: Tensor) -> Tensor:
    product: Callable[[Tensor, Tensor], Tensor] = mm if x.dim() == 2 else bmm
    return product(x, weight)
