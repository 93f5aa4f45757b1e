"""Decompositions for compiled programs on a CPU: equal to torch's operations up to rounding, but faster."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from metarl_run.network.affine import NARROW
from metarl_run.network.product import COMPILED, in_use, onednn

FEW = 4
"""Inputs up to which a product is unrolled and fused with the operations that follow."""
THIN = 20
"""Inputs up to which a product of one matrix is faster as sums than in oneDNN or MKL."""
ROWS = 10
"""Largest number of rows that a generated product computes at a time."""
SMALL = 2**13
"""Elements of a matrix that fit into a core's L1 cache."""
LARGE = 2**23
"""Multiplications from which oneDNN, where it is in use, is faster than MKL although it is called through Python."""


# --- Products ---


def baddbmm(bias: Tensor, x: Tensor, weight: Tensor, *, beta: float = 1.0, alpha: float = 1.0) -> Any:
    """β b + α x W, with addition and scaling fused into the operations that follow."""
    if x.shape[-1] > FEW:
        return beta * bias + alpha * bmm(x, weight)
    total: Any = beta * bias
    for k in range(x.shape[-1]):
        total = total + alpha * x[..., k : k + 1] * weight[..., k : k + 1, :]
    return total


def bmm(x: Tensor, weight: Tensor) -> Tensor:
    """x W of a stack of matrices."""
    R = together(x.shape[1])
    return sums(x, weight, R) if R and weight[0].numel() <= SMALL else torch.bmm(x, weight)


def addmm(bias: Tensor, x: Tensor, weight: Tensor, *, beta: float = 1.0, alpha: float = 1.0) -> Any:
    """β b + α x W, without torch's copy of b to every row."""
    return beta * bias + alpha * torch.mm(x, weight)


def mm(x: Tensor, weight: Tensor) -> Any:
    """x W of one matrix."""
    R = together(len(x))
    if R and len(weight) <= THIN:
        return sums(x.unsqueeze(0), weight.unsqueeze(0), R).squeeze(0)
    if weight.shape[1] < NARROW:
        return dots(x, weight)
    large = len(x) * weight.numel() >= LARGE and in_use(COMPILED) == "onednn"
    return by_onednn(x, weight) if large and x.dtype == torch.float32 else NotImplemented


def together(rows: int) -> int:
    """The number of rows that a generated product computes at a time; 0: it is not generated."""
    return max((R for R in range(2, ROWS + 1) if rows % R == 0), default=0)


def sums(x: Tensor, weight: Tensor, R: int) -> Tensor:
    """x W of a stack as sums, R rows of x at a time.

    In one loop, each vector of W is loaded once for R rows, whose sums stay in registers.
    """
    x = x.as_strided(x.shape, x.stride())  # materialised, not recomputed for every column
    M, N, K = x.shape
    rows = x.reshape(M, N // R, R, K).unbind(2)
    return torch.stack([(of.unsqueeze(-1) * weight.unsqueeze(1)).sum(-2) for of in rows], 2).flatten(1, 2)


def dots(x: Tensor, weight: Tensor) -> Tensor:
    """x W for few columns, each a sum over contiguous numbers: [512, 256] · [256, 5] takes half of MKL's time."""
    columns = weight.t().contiguous()
    x, columns = (each.as_strided(each.shape, each.stride()) for each in (x, columns))  # see `sums`
    return (x.unsqueeze(1) * columns.unsqueeze(0)).sum(-1)


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x W by oneDNN, as in XLA: 0.94 of MKL's time on an AMD EPYC ([512, 256] · [256, 768])."""
    return onednn(x, weight)


# A custom operation, because torch's compiler uses oneDNN's only for constant weights.
OPERATIONS: Any = torch.library.Library("metarl_run", "DEF")  # type: ignore[no-untyped-call]
OPERATIONS.define("product(Tensor x, Tensor weight) -> Tensor")
OPERATIONS.impl("product", product, "CPU")
OPERATIONS.impl("product", lambda x, weight: x.new_empty(len(x), weight.shape[1]), "Meta")
by_onednn = torch.ops.metarl_run.product.default


def lower_products() -> None:
    """Tell Inductor how to call oneDNN for the custom operation."""
    from torch._inductor.ir import ExternKernel, FixedLayout, TensorBox
    from torch._inductor.lowering import permute, register_lowering
    from torch._inductor.mkldnn_ir import LinearUnary

    @register_lowering(by_onednn, type_promotion_kind=None)
    def lowered(x: Any, weight: Any) -> Any:
        x = ExternKernel.require_contiguous(ExternKernel.realize_input(x))
        w = permute(ExternKernel.require_contiguous(weight), [1, 0])  # see `metarl_run.network.product.onednn`
        layout = FixedLayout(x.get_device(), x.get_dtype(), [x.get_size()[0], w.get_size()[0]])
        inputs = [x, ExternKernel.realize_input(w)]
        return TensorBox.create(LinearUnary(layout=layout, inputs=inputs, constant_args=[None, "none", [-1], ""]))


# --- Functions ---


def tanh(x: Tensor) -> Tensor:
    """tanh x to within 4e-7 as x P(x²) / Q(x²), which needs fewer operations than an exponential.

    Source: coefficients of Eigen's 32-bit `ptanh`, fitted on [−7.9, 7.9].
    """
    x = x.clamp(-FITTED, FITTED)
    square = x * x
    result: Tensor = x * polynomial(P, square) / polynomial(Q, square)
    return result


def sigmoid(x: Tensor) -> Tensor:
    """σ(x) = ½ + ½ tanh ½ x to within 2e-7, with the factors in the coefficients."""
    x = x.clamp(-2 * FITTED, 2 * FITTED)
    square = x * x
    result: Tensor = x * polynomial(P_OF_HALF, square) / polynomial(Q_OF_HALF, square) + 0.5
    return result


def of_a_quarter(coefficients: Sequence[float], factor: float) -> list[float]:
    """The coefficients of factor · p(y / 4) as a polynomial in y, the highest power first."""
    top = len(coefficients) - 1
    return [factor * c / 4 ** (top - k) for k, c in enumerate(coefficients)]


FITTED = 7.90531110763549805
P = (
    *(-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08),
    *(1.48572235717979e-05, 6.37261928875436e-04, 4.89352455891786e-03),
)
Q = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)
P_OF_HALF, Q_OF_HALF = of_a_quarter(P, 0.25), of_a_quarter(Q, 1.0)


def polynomial(coefficients: Sequence[float], x: Tensor) -> Any:
    """Estrin's scheme, the highest power first: pairs c₁ x + c₀ are coefficients in x², in short chains."""
    cs: list[Any] = list(reversed(coefficients))
    while len(cs) > 1:
        cs, x = [b * x + a for a, b in zip(cs[::2], cs[1::2], strict=False)] + cs[len(cs) & ~1 :], x * x
    return cs[0]


def lerp(start: Tensor, end: Tensor, weight: Tensor) -> Tensor:
    """start + w (end − start); torch computes end − (1 − w) (end − start) too, and selects it where w ≥ ½."""
    return start + weight * (end - start)


def searchsorted(bounds: Tensor, x: Tensor, *, right: bool = False, **_: Any) -> Tensor:
    """The number of bounds in a row that lie below x, or with `right` not above it; fast for few bounds."""
    below = bounds.unsqueeze(-2) <= x.unsqueeze(-1) if right else bounds.unsqueeze(-2) < x.unsqueeze(-1)
    return below.sum(-1)


ON_CPU: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.addmm.default: addmm,
    torch.ops.aten.baddbmm.default: baddbmm,
    torch.ops.aten.lerp.Tensor: lerp,
    torch.ops.aten.mm.default: mm,
    torch.ops.aten.searchsorted.Tensor: searchsorted,
    torch.ops.aten.sigmoid.default: sigmoid,
    torch.ops.aten.tanh.default: tanh,
}
