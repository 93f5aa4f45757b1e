"""Functions of records of tensors as compiled programs."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_unflatten

from metarl_run.compiled.cache import cached
from metarl_run.compiled.decompositions import ON_CPU
from metarl_run.errors import ConfigError
from metarl_run.system.cxx import HINT

Flat = Callable[..., Sequence[Tensor]]
"""A function from tensors to tensors."""

OPTIONS = {
    "cpp.enable_floating_point_contract_flag": "fast",  # a · b + c is rounded once
    "cpp.threads": 1,  # programs run side by side instead: threads within one would wait for each other at every step
}
"""Of Inductor."""


class Program:
    """A pure function from records of tensors to a tuple of records, compiled for records of one form.

    It is called with the tensors of all records in a row, contiguous, and returns tensors likewise: what one call
    returns often goes into the next, and rebuilding records in between would take a fifth of the time.

    Args:
        function: to compile.
        records: arguments that it is traced with: tuples, NamedTuples, lists and dicts of tensors.

    Raises:
        ConfigError: if there is no compiler that works.
    """

    def __init__(self, function: Callable[..., tuple[Any, ...]], *records: Any) -> None:
        from torch.fx.experimental.proxy_tensor import make_fx  # takes a second, so only where it is needed

        self.function = function
        self.outputs: list[TreeSpec] = []
        leaves, self.inputs = tree_flatten(records)
        tensors = contiguous(leaves)
        on_gpu = tensors[0].is_cuda
        graph = make_fx(self._flat, decomposition_table={} if on_gpu else ON_CPU)(*tensors)
        try:
            self.run = of_cuda_graphs(graph) if on_gpu else of_kernels(graph, tensors)
            self.run(*tensors)
        except Exception as error:
            raise ConfigError("compile", f"must be false here: {reason_of(error)}", HINT) from error

    def _flat(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        flattened = [tree_flatten(record) for record in self.function(*tree_unflatten(tensors, self.inputs))]
        self.outputs = [spec for _, spec in flattened]
        return tuple(contiguous([x for leaves, _ in flattened for x in leaves]))

    def __call__(self, *tensors: Tensor) -> Sequence[Tensor]:
        return self.run(*tensors)

    def record(self, place: int, tensors: Sequence[Tensor]) -> Any:
        """The record at `place` of what the function returns, made of these tensors."""
        return tree_unflatten(tensors, self.outputs[place])


def contiguous(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The same tensors in one layout: a program is compiled for the layout of its inputs."""
    return [x.contiguous() for x in tensors]


def scanned(step: Callable[[Any, Any, Any], tuple[Any, Any]]) -> Callable[[Any, Any, Any], tuple[Any, Any]]:
    """A function's repeated application, for `Program`.

        carryₜ₊₁, rowₜ = step(inputs, carryₜ, xₜ)

    On a CPU the step is compiled once and looped over in the program; on a GPU it is unrolled, since a loop would wait
    for the device.

    Args:
        step: what it returns as carry has the form of the carry that it is given.

    Returns:
        (inputs, carry₀, x) → (carry_T, rows), x and rows stacked over T steps along a first axis.
    """

    def scan(inputs: Any, carry: Any, xs: Any) -> tuple[Any, Any]:
        from torch._higher_order_ops.scan import scan_op

        (given, given_form), (carried, form), (moving, moving_form) = map(tree_flatten, (inputs, carry, xs))
        row_forms: list[TreeSpec] = []

        def once(*tensors: Tensor) -> list[Tensor]:
            begin, end = len(carried), len(carried) + len(moving)
            state, x, constants = tensors[:begin], tensors[begin:end], tensors[end:]
            after, row = step(
                tree_unflatten(constants, given_form), tree_unflatten(state, form), tree_unflatten(x, moving_form)
            )
            leaves, of_row = tree_flatten(row)
            row_forms.append(of_row)
            return [x.contiguous().clone() for x in (*tree_leaves(after), *leaves)]  # outputs may not share memory

        if moving[0].is_cuda:
            rows = []
            for x in zip(*(each.unbind() for each in moving), strict=True):
                outputs = once(*carried, *x, *given)
                carried, row = outputs[: len(carried)], outputs[len(carried) :]
                rows.append(row)
            stacks = [torch.stack(each) for each in zip(*rows, strict=True)]
        else:
            outputs = scan_op(once, carried, moving, given)
            carried, stacks = outputs[: len(carried)], outputs[len(carried) :]
        return tree_unflatten(carried, form), tree_unflatten(stacks, row_forms[0])

    return scan


def of_kernels(graph: torch.fx.GraphModule, tensors: Sequence[Tensor]) -> Flat:
    """Compile ahead of time, so that a whole program is one call without Python, and may be kept for later runs."""
    return cached(graph, tensors, OPTIONS)


def of_cuda_graphs(graph: torch.fx.GraphModule) -> Flat:
    program = torch.compile(graph, dynamic=False, mode="reduce-overhead")

    def call(*tensors: Tensor) -> Sequence[Tensor]:
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        return [x.clone() for x in program(*tensors)]  # outputs are overwritten by the graph's next run

    return call


def require_compiler(device: torch.device) -> None:
    """Compile a trivial program.

    Raises:
        ConfigError: if there is no compiler that works.
    """
    Program(lambda x: (x + 1,), torch.zeros(8, device=device))


def reason_of(error: Exception) -> str:
    """The first line of the error that names a cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    cause = next((line for line in lines if "rror" in line or "ompiler" in line), lines[0] if lines else repr(error))
    return f"compiling failed: {cause[:200]}"
