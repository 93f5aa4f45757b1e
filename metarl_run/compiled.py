"""Rollouts as compiled programs, each of several steps of policy, environment and bookkeeping.

An operation on a few hundred slots takes less time than asking for it, and a program is asked for once. It is dense, so
that it does the same whatever happens: a slot whose episode is over goes on from where it began, and does not count.

What cannot be told as such a program runs as ever: agents that remember, draw for themselves or act on more than their
arguments, families whose steps draw, and slots that live several episodes.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.env.base import Task
from metarl_run.env.vector import TaskVectorEnv, put_back
from metarl_run.errors import ConfigError
from metarl_run.policy import Distribution, sampling_noise
from metarl_run.rollout import Act, Draw, collect
from metarl_run.types import AgentState, Params, Percept, Rollout

STEPS = 10
"""Of one program: 8 take 1.05 times as long, and more take longer to compile."""

Program = Callable[..., Sequence[Tensor]]


class CompiledRollouts:
    """`collect`, compiled where it can be: the same rollout up to rounding, of the same random numbers.

    Args:
        algo: whose agents act.
    """

    def __init__(self, algo: MetaAlgorithm) -> None:
        self.suited = algo.compilable and not algo.remembers
        self.programs: dict[tuple[int, int], Program] = {}

    def __call__(
        self,
        env: TaskVectorEnv,
        act: Act,
        agent: AgentState,
        generator: torch.Generator,
        *,
        draw: Draw | None = None,
        episodes: int = 1,
        chosen: list[Distribution] | None = None,
    ) -> Rollout:
        """See `metarl_run.rollout.collect`."""
        if not self.suited or not env.family.compilable or episodes > 1 or chosen is not None:
            return collect(env, act, agent, generator, draw=draw, episodes=episodes, chosen=chosen)
        with torch.no_grad():
            return self._collect(env, act, agent.params, generator)

    def _collect(self, env: TaskVectorEnv, act: Act, params: Params, generator: torch.Generator) -> Rollout:
        M, B, T = env.num_tasks, env.episodes_per_task, env.horizon
        now = Moment(env.start(), torch.ones(M, B, dtype=torch.bool, device=generator.device), env.state)
        first, given = now.observation, Given(params, env.task, type(now.state)(*(x.clone() for x in now.state)))
        noise = sampling_noise(env.single_action_space, (T, M, B), generator)
        noise = torch.cat([noise, noise.new_zeros(-T % STEPS, *noise.shape[1:])])  # the last program ends too late
        steps = Steps(env, act, given)
        parts: list[Sequence[Tensor]] = []
        for of_steps in torch.split(noise, STEPS):
            if parts and not now.alive.any():
                break
            # All laid out alike, lest another layout be compiled for.
            tensors = [x.contiguous() for x in (*given.tensors(), *now.tensors(), of_steps)]
            if (M, B) not in self.programs:
                self.programs[M, B] = compiled(steps, tensors)
            observation, action, reward, terminated, alive, last, goes_on, *state = self.programs[M, B](*tensors)
            now = Moment(last, goes_on, state)
            parts.append((observation, action, reward, terminated, alive))
        observation, action, reward, terminated, alive = (torch.cat(x, 1)[:, :T] for x in zip(*parts, strict=True))
        truncated = torch.zeros_like(terminated)
        if alive.shape[1] == T:
            truncated[:, -1] = alive[:, -1] & ~terminated[:, -1]
        lived = int(alive.any(-1).any(0).sum())
        recorded = (x[:, :lived] for x in (action, reward, terminated, truncated, alive))
        return Rollout._make([torch.cat([first.unsqueeze(1), observation[:, :lived]], 1), *recorded, {}])


class Given(NamedTuple):
    """What stays as it is in a rollout."""

    params: Params
    task: Task
    begun: Any

    def tensors(self) -> list[Tensor]:
        return [*(φ.detach() for φ in self.params.values()), *self.task.tensors().values(), *self.begun]


class Moment(NamedTuple):
    """What one step hands on to the next."""

    observation: Tensor
    alive: Tensor
    state: Any

    def tensors(self) -> list[Tensor]:
        return [self.observation, self.alive, *self.state]


class Steps:
    """Some steps in every slot, as a function of tensors alone that overwrites none of them.

    Args:
        env: whose tasks are stepped.
        act: the agent's behaviour.
        given: an example.
    """

    def __init__(self, env: TaskVectorEnv, act: Act, given: Given) -> None:
        self.family, self.generator, self.act, self.given = env.family, env.generator, act, given

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """From those of a `Given` and a `Moment`, and the noise, to what was recorded `[M, steps, B, …]`, and on."""
        unread = iter(tensors[:-1])
        params = {name: next(unread) for name in self.given.params}
        task = type(self.given.task)(**{name: next(unread) for name in self.given.task.tensors()})
        kind = type(self.given.begun)
        begun = kind(*(next(unread) for _ in self.given.begun))
        observation, alive = next(unread), next(unread)
        state = kind(*(x.clone() for x in unread))
        # An agent without memory looks at the observation alone.
        nothing = torch.zeros_like(alive, dtype=observation.dtype)
        recorded = []
        for noise in tensors[-1].unbind():
            percept = Percept(observation, nothing.long(), nothing, ~alive)
            action = self.act(AgentState(params, {}), percept)[0].sample(noise)
            state, reward, terminated = self.family.step(task, state, action, self.generator)
            observation = self.family.observe(task, state)
            recorded.append((observation, action, reward * alive, terminated & alive, alive))
            put_back(state, terminated, begun)
            alive = alive & ~terminated
        rows = (torch.stack(x, 1) for x in zip(*recorded, strict=True))
        return tuple(x.contiguous() for x in (*rows, observation, alive, *state))


# --- The compiler ---


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
