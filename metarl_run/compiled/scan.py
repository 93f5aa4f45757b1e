"""A step in all environments repeated over time as a compiled program, for blocks of tasks side by side."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import gymnasium
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from metarl_run.compiled.compiler import Program, contiguous, scanned
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.maths.distributions import noise_of_
from metarl_run.maths.parallel import in_parallel, num_threads
from metarl_run.types import Params

ENVS = 128
"""Environments of a block, at least: with fewer, the overhead of a step counts."""


class Inputs(NamedTuple):
    """Tensors that stay as they are throughout a rollout.

    Attributes:
        params: of the agents, or their meta-parameters.
        task: the tasks' fields and all that is computed from them once, see `Task.restored`.
        start: the family's state at the start of an episode; with an axis of episodes after the envs' where it differs.
    """

    params: Params
    task: dict[str, Any]
    start: tuple[Tensor, ...]


class Noise(NamedTuple):
    """Random numbers of a step, or of several along a first axis.

    Attributes:
        of_action: `[steps, M, B, …]`; what `random_numbers` draws until a program makes noise of it.
        of_dynamics: one tensor from the family, `[steps, K, M, B]`; none if its dynamics are deterministic.
    """

    of_action: Tensor
    of_dynamics: tuple[Tensor, ...]

    @property
    def next(self) -> Tensor | None:
        """Noise of the dynamics as the family's step takes it."""
        return self.of_dynamics[0] if self.of_dynamics else None

    def tasks(self, block: slice) -> "Noise":
        """Those of some tasks, for several steps."""
        return Noise(
            self.of_action[:, block].contiguous(), tuple(x[:, :, block].contiguous() for x in self.of_dynamics)
        )


class Scan:
    """Repeat a step until no environment is alive.

    Tasks are split into blocks of one size, so that one program serves all, as many as threads can run side by side.

    Args:
        step: pure function of `Inputs`, a record that one step hands to the next, whose first entry tells which
            environments are alive, and `Noise`; returns the next such record, and one of what happened.
    """

    def __init__(self, step: Callable[[Inputs, Any, Noise], tuple[Any, Any]]) -> None:
        self.step = step
        self.programs: dict[tuple[torch.Size, ...], Program] = {}

    def __call__(
        self,
        env: TaskVectorEnv,
        first: Tensor,
        params: Params,
        starts: Sequence[Tensor],
        carry: Any,
        chunks: Iterable[Noise],
        *,
        shared: bool = False,
    ) -> tuple[Any, Any]:
        """The last record of what steps hand on, and what happened in each step, `[M, T, …]`.

        The first entry of what happened is observed after each step; `first` precedes it, so it has T + 1 steps.

        Args:
            env: of the tasks.
            first: observed before the first step.
            params: of an agent for each task, `[M, …]`.
            starts: see `Inputs.start`, for all tasks.
            carry: what the first step is handed.
            chunks: noise of several steps at a time, taken only as long as an environment is alive.
            shared: the parameters are the same for all tasks, without an axis for them.
        """
        blocks = blocks_of(env.num_tasks, env.episodes_per_task, num_threads())
        inputs = [
            Inputs(
                {name: φ.detach() if shared else φ.detach()[block] for name, φ in params.items()},
                env.task.select(block).computed(),
                tuple(x[block] for x in starts),
            )
            for block in blocks
        ]
        unchanged = [contiguous(tree_leaves(each)) for each in inputs]
        carried = [contiguous([x[block] for x in tree_leaves(carry)]) for block in blocks]
        number = len(carried[0])
        rows = [list[Sequence[Tensor]]() for _ in blocks]
        for noise in chunks:
            noises = [noise.tasks(block) for block in blocks]
            arguments = [
                (*given, *state, xs.of_action, *xs.of_dynamics)
                for given, state, xs in zip(unchanged, carried, noises, strict=True)
            ]
            shapes = tuple(x.shape for x in arguments[0])
            if shapes not in self.programs:
                records = inputs[0], tree_unflatten(carried[0], tree_flatten(carry)[1]), noises[0]
                self.programs[shapes] = Program(scanned_with_noise(self.step, env.single_action_space), *records)
            program = self.programs[shapes]
            outputs = in_parallel(program, arguments)
            carried = [list(output[:number]) for output in outputs]
            for of_block, output in zip(rows, outputs, strict=True):
                of_block.append(output[number:])
            if not any(state[ALIVE].any() for state in carried):
                break
        last = [torch.cat(x) for x in zip(*carried, strict=True)]
        leaves = zip(*(zip(*of_block, strict=True) for of_block in rows), strict=True)
        steps = [joined(parts, blocks, first if k == OBSERVED else None) for k, parts in enumerate(leaves)]
        return program.record(0, last), program.record(1, steps)


ALIVE = 0
"""Place of the tensor that tells which environments are alive among those that one step hands to the next."""
OBSERVED = 0
"""Place of what is observed among what happened in a step."""


def joined(parts: Sequence[Sequence[Tensor]], blocks: Sequence[slice], first: Tensor | None) -> Tensor:
    """Some steps at a time of some tasks at a time, as one tensor `[M, T, …]`, or `[M, 1 + T, …]`.

    Args:
        parts: `[steps, tasks, …]`, of each block in a row of its own.
        blocks: the tasks.
        first: what precedes the steps, `[M, …]`, if anything does.
    """
    one, begin = parts[0][0], 0 if first is None else 1
    steps = sum(len(part) for part in parts[0])
    whole = one.new_empty(blocks[-1].stop, begin + steps, *one.shape[2:])
    if first is not None:
        whole[:, 0] = first
    for block, of_block in zip(blocks, parts, strict=True):
        for part, place in zip(of_block, torch.split(whole[block, begin:], len(one), 1), strict=True):
            place.copy_(part.transpose(0, 1))
    return whole


def scanned_with_noise(
    step: Callable[[Inputs, Any, Noise], tuple[Any, Any]], action_space: gymnasium.Space[Any]
) -> Callable[[Inputs, Any, Noise], tuple[Any, Any]]:
    """`scanned`, given random numbers: a program makes noise of them faster than torch."""
    scan = scanned(step)

    def from_numbers(inputs: Inputs, carry: Any, numbers: Noise) -> tuple[Any, Any]:
        noise = noise_of_(action_space, numbers.of_action.clone())
        return scan(inputs, carry, numbers._replace(of_action=noise))

    return from_numbers


def blocks_of(num_tasks: int, num_envs: int, threads: int) -> list[slice]:
    """Slices of the tasks, all of one size.

    Args:
        num_tasks: M.
        num_envs: B, of each task.
        threads: number of slices, at most.
    """
    size = num_tasks // max(
        n for n in range(1, threads + 1) if n == 1 or (num_tasks % n == 0 and num_tasks // n * num_envs >= ENVS)
    )
    return [slice(first, first + size) for first in range(0, num_tasks, size)]


def dynamics_noise(env: TaskVectorEnv, steps: int, padded: int) -> tuple[Tensor, ...]:
    """The noise of so many steps of the dynamics, padded with zeros, as one tensor; none if they are deterministic."""
    drawn = [env.family.noise(env.num_tasks, env.episodes_per_task, env.generator) for _ in range(steps)]
    known = [noise for noise in drawn if noise is not None]
    return (torch.stack([*known, *[torch.zeros_like(known[0])] * (padded - steps)]),) if known else ()
