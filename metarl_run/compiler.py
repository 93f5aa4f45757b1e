"""Functions of tensors as compiled programs."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from metarl_run.errors import ConfigError

Program = Callable[..., Sequence[Tensor]]


def compiled(function: Callable[..., Any], tensors: Sequence[Tensor]) -> Program:
    """`function` as a program for tensors of these shapes.

    Raises:
        ConfigError: if there is no compiler that works.
    """
    from torch.fx.experimental.proxy_tensor import make_fx  # a second, which only who compiles should wait for

    on_gpu = tensors[0].is_cuda
    graph = make_fx(function, decomposition_table={} if on_gpu else ON_CPU)(*tensors)
    try:
        program = of_cuda_graphs(graph) if on_gpu else of_kernels(graph, tensors)
        program(*tensors)
    except Exception as error:
        raise ConfigError("compile", f"must be false here: {reason_of(error)}", HINT) from error
    return program


def of_kernels(graph: torch.fx.GraphModule, tensors: Sequence[Tensor]) -> Program:
    """By torch's compiler for graphs alone: `torch.compile` looks at all tensors at every call, a ninth of the time."""
    from torch import _inductor  # a second too

    program: Program = _inductor.compile(graph, list(tensors), options=OPTIONS)
    return program


def of_cuda_graphs(graph: torch.fx.GraphModule) -> Program:
    program = torch.compile(graph, dynamic=False, mode="reduce-overhead")

    def call(*tensors: Tensor) -> Sequence[Tensor]:
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        return [x.clone() for x in program(*tensors)]  # outputs are overwritten by the graph's next run

    return call


HINT = "install a C++ compiler (CXX names it) with the headers of Python; on a GPU, Triton too"


def require_compiler(device: torch.device) -> None:
    """Compile next to nothing.

    Raises:
        ConfigError: if there is no compiler that works.
    """
    compiled(lambda x: (x + 1,), [torch.zeros(8, device=device)])


def reason_of(error: Exception) -> str:
    """The last line that says what went wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in lines if "rror" in line or "ompiler" in line), lines[0] if lines else repr(error))
    return f"compiling failed: {told[:200]}"


# --- What a processor computes otherwise than as torch would ---

OPTIONS = {"cpp.enable_floating_point_contract_flag": "fast"}  # a · b + c is rounded once
FEW = 4
"""Inputs of a product that is generated as sums, together with what follows it."""


ROWS = 5
"""Of a generated product at a time, at most."""
SMALL = 2**13
"""Numbers of a matrix that a core's first cache holds."""


def sigmoid(x: Tensor) -> Tensor:
    """σ(x) = ½ + ½ tanh ½ x to within 2e-7 as ½ + x P(x²) / Q(x²), which takes fewer operations than an exponential.

    Source: the coefficients of Eigen's `ptanh` for 32 bits, which were fitted on [−7.9, 7.9].
    """
    x = x.clamp(-2 * 7.90531110763549805, 2 * 7.90531110763549805)
    square = x * x
    result: Tensor = x * polynomial(P, square) / polynomial(Q, square) + 0.5
    return result


def of_a_quarter(coefficients: Sequence[float], factor: float) -> list[float]:
    """Those of factor · p(y / 4), as a polynomial in y; the highest power first."""
    top = len(coefficients) - 1
    return [factor * c / 4 ** (top - k) for k, c in enumerate(coefficients)]


P = of_a_quarter(
    (
        *(-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08),
        *(1.48572235717979e-05, 6.37261928875436e-04, 4.89352455891786e-03),
    ),
    0.25,
)
Q = of_a_quarter((1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03), 1.0)


def polynomial(coefficients: Sequence[float], x: Tensor) -> Any:
    """Horner's scheme, the highest power first."""
    total: Any = coefficients[0]
    for c in coefficients[1:]:
        total = total * x + c
    return total


def baddbmm(bias: Tensor, x: Tensor, weight: Tensor, *, beta: float = 1.0, alpha: float = 1.0) -> Any:
    """β b + α x W, which is added to and scaled where what follows is computed."""
    if x.shape[-1] > FEW:
        return beta * bias + alpha * product(x, weight)
    total: Any = beta * bias
    for k in range(x.shape[-1]):
        total = total + alpha * x[..., k : k + 1] * weight[..., k : k + 1, :]
    return total


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x W of a stack of small matrices as sums, R rows of x at a time, where a W is small and R divides the rows.

    The R sums of a column stand in one loop, in which a vector of W is loaded once for all of them.
    """
    together = [R for R in range(2, ROWS + 1) if x.shape[1] % R == 0]
    if not together or weight[0].numel() > SMALL:
        return torch.bmm(x, weight)
    x = x.as_strided(x.shape, x.stride())  # is computed before, not anew for every column
    M, N, K = x.shape
    rows = x.reshape(M, N // together[-1], together[-1], K).unbind(2)
    return torch.stack([(of.unsqueeze(-1) * weight.unsqueeze(1)).sum(-2) for of in rows], 2).flatten(1, 2)


ON_CPU: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.sigmoid.default: sigmoid,
    torch.ops.aten.baddbmm.default: baddbmm,
}
