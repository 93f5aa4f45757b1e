"""Functions of tensors as compiled programs."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from metarl_run.compiled.decompositions import ON_CPU
from metarl_run.errors import ConfigError

Program = Callable[..., Sequence[Tensor]]

OPTIONS = {"cpp.enable_floating_point_contract_flag": "fast"}  # a · b + c is rounded once


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
