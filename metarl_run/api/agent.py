"""A trained agent in a user's own Gymnasium loop.

    agent = metarl_run.load("outputs/2026-11-30/…")
    agent.start(env)                                                  # a new task
    for _ in range(4):                                                # adaptation steps
        for _ in range(agent.episodes_per_task):
            observation, _ = env.reset()
            ended = False
            while not ended:
                observation, reward, terminated, truncated, _ = env.step(agent.act(observation))
                agent.observe(reward, terminated, truncated, observation)
                ended = terminated or truncated
        agent.adapt()

The loop is the same for every kind of agent: one that adapts by gradients does so in `adapt`, one that remembers does
so while it acts. Vectors of environments work alike, each environment with a task of its own unless `num_tasks` says
otherwise.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from metarl_run.algo.base import MetaAlgorithm, MetaLearner, joined
from metarl_run.api.experience import Experience, Step
from metarl_run.api.interface import Interface, of_envs
from metarl_run.config.plan import Plan
from metarl_run.config.stored import stored_agent
from metarl_run.env.base import TaskFamily
from metarl_run.errors import ConfigError, NumericalError, StateError
from metarl_run.lifetime import require_finite_agents
from metarl_run.maths.distributions import empty_actions, sampling_noise
from metarl_run.maths.finite import all_finite
from metarl_run.run.agent import build_agent, load_trained
from metarl_run.seeding import Streams
from metarl_run.types import AgentState, Memory, Percept


@contextlib.contextmanager
def _own_dtype() -> Iterator[None]:
    """Compute in single precision, whatever the default of the user's program."""
    own = torch.get_default_dtype()
    if own is torch.float32:
        yield
        return
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(own)


@_own_dtype()
def load(run_or_checkpoint: str | Path, *, seed: int = 0, device: str = "cpu", plugins: Sequence[str] = ()) -> "Agent":
    """The agent of a run.

    Args:
        run_or_checkpoint: a run folder, of which the newest checkpoint counts, or one of its checkpoints.
        seed: of the agent's own randomness.
        device: where it computes, as torch names it.
        plugins: packages outside metarl_run whose code the run uses, if they are trusted.

    Raises:
        StateError: if it is neither, or cannot be used.
    """
    path = Path(run_or_checkpoint).expanduser()
    plan = stored_agent(path, plugins)
    streams = Streams(seed, torch.device(device))
    family, algo = build_agent(plan.config, Streams(int(plan.config.get("seed", 0)), streams.device))
    if isinstance(algo, MetaLearner):
        load_trained(algo, family, path, f"algo={plan.choices.get('algo')}")
    return Agent(algo, family, streams, plan)


class Agent:
    """A trained agent: `start`, then `act` and `observe` in turn, and `adapt` after some episodes.

    Args:
        algo: how it starts, acts and adapts.
        family: that it was trained on.
        streams: its own randomness.
        plan: of its run.

    Attributes:
        observation_space, action_space: of one environment that it was trained on.
        remembers: it adapts while it acts; `adapt` does nothing.
        episodes_per_task: B, episodes of a task that one adaptation used when it was tested.
        adaptation_steps: adaptations since `start`; None for one that remembers.
    """

    def __init__(self, algo: MetaAlgorithm, family: TaskFamily, streams: Streams, plan: Plan) -> None:
        self.algo, self.family, self.streams, self.plan = algo, family, streams, plan
        self.observation_space, self.action_space = family.observation_space, family.action_space
        self.remembers = algo.remembers
        self.episodes_per_task: int = 1 if algo.remembers else plan.config["meta_test"]["episodes_per_task"]
        self.starts = 0
        self.last: tuple[Tensor, ...] = ()
        self.state: AgentState | None = None

    def __repr__(self) -> str:
        chosen = " ".join(f"{group}={self.plan.choices.get(group)}" for group in ("algo", "env"))
        return f"<Agent {chosen}{'' if self.state is None else f', {self.num_envs} envs'}>"

    @_own_dtype()
    def start(
        self,
        envs: int | gymnasium.Env[Any, Any] | gymnasium.vector.VectorEnv[Any, Any, Any] | None = None,
        *,
        num_tasks: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        """Begin in new tasks: everything learned in others is forgotten.

        Args:
            envs: the environments, whose spaces are checked; or their number, for vectors with Gymnasium's own
                autoreset (`AutoresetMode.NEXT_STEP`) and the spaces of the training; or None for a single one.
            num_tasks: M, different tasks among the N environments, which N / M environments in a row share; None if
                each has its own.
            generator: the agent's randomness from now on; None for a stream that follows from the agent's seed.

        Raises:
            ConfigError: if the spaces are not those that the agent was trained with.
        """
        N, *of_one = (1 if envs is None else envs,) if envs is None or isinstance(envs, int) else of_envs(envs)
        M = N if num_tasks is None else num_tasks
        if N < 1 or M < 1 or N % M:
            raise ConfigError("num_tasks", f"must divide the number of environments, {N}, got {M}")
        own = (self.observation_space, self.action_space)
        self.interface = Interface(type(self.family).__name__, own, *of_one)
        self.single = envs is None or isinstance(envs, gymnasium.Env)
        self.num_envs, self.num_tasks = N, M
        self.autoreset: AutoresetMode | None = None
        if not self.single:
            mode = AutoresetMode.NEXT_STEP
            self.autoreset = getattr(envs, "metadata", {}).get("autoreset_mode", mode)
        self.starts += 1
        self.generator = generator or self.streams("agent", self.starts)
        learner = getattr(self.algo, "learner", None)
        needs_ends = learner is not None and "actor_only" not in learner.provides
        try:
            with torch.no_grad():
                self.state = self.stage = self.algo.start(M)
        except ValueError as error:  # one that is given its task, as an oracle
            raise ConfigError("agent", str(error)) from error
        self.experience = Experience(M, N, self.generator.device, needs_ends=needs_ends)
        self.adaptation_steps = None if self.remembers else 0
        self.waiting: Tensor | None = None
        self.step: Step | None = None
        self._begin()

    @_own_dtype()
    def act(self, observation: Any, *, greedy: bool = False) -> Any:
        """The next action of every environment, in the form that its `step` wants.

        Args:
            observation: as `reset` or `step` returned it; for N environments, of all of them.
            greedy: the most probable action instead of a random one.
        """
        state = self._started("act")
        if self.step is not None and self.remembers:
            raise StateError("act", "was called twice without observe: the agent would not know what came of it")
        x = self.interface.observations(observation, self.num_envs, single=self.single)
        x = self._normalised(x.to(self.generator.device))
        if self.waiting is not None and self.autoreset is AutoresetMode.NEXT_STEP:
            self.experience.know_after(x)
        with torch.inference_mode():
            percept = Percept(x.view(self.num_tasks, -1, x.shape[-1]), *self.last)
            noise = self._noise(greedy=greedy)
            drawn = self.algo.draw(state, percept, self.generator)
            policy, memory = self.algo.act(drawn, percept)
            action = policy.sample(noise)
            memory = self._kept(state.memory, memory)
        self.state = drawn._replace(memory=memory)
        chosen = action.clone().flatten(0, 1)
        nothing = torch.zeros(self.num_envs, dtype=torch.bool, device=x.device)
        real = ~nothing if self.waiting is None else ~self.waiting
        self.step = Step(x, chosen, nothing.float(), nothing, nothing, real, None)
        return self.interface.actions(chosen, single=self.single)

    @_own_dtype()
    def observe(self, reward: Any, terminated: Any, truncated: Any, observation: Any = None) -> None:
        """What came of the action: the arguments are what the environment's `step` returned, for N environments of all.

        It is kept until the next adaptation, unless the agent remembers.

        Args:
            reward: rₜ.
            terminated: the MDP ended.
            truncated: something else ended the episode. An episode that is given up counts as truncated.
            observation: what `step` returned. It is read where an episode ends, by agents whose adaptation values what
                would have followed a truncation; others do without.
        """
        self._started("observe")
        if self.step is None:
            raise StateError("observe", "was called without act before it")
        shape, device = (self.num_tasks, -1), self.generator.device
        r = self._of_all("reward", reward, torch.float32).to(device)
        ends = self._of_all("terminated", terminated, torch.bool).to(device)
        cut = self._of_all("truncated", truncated, torch.bool).to(device) & ~ends
        ended, real = ends | cut, self.step.real
        if self.family.normalisation is not None:
            self.family.normalisation.reward_(r)
        if not all_finite(r):
            raise NumericalError("reward", f"must be finite, got {r[~r.isfinite()][0].item()}")
        now: tuple[Tensor, ...] = (self.step.action.view(*self.last[0].shape), r.view(*shape), ended.view(*shape))
        if self.waiting is None:
            self.last = now
        else:  # of one that was only reset the last step still counts
            self.last = tuple(_where(real.view(*shape), new, old) for new, old in zip(now, self.last, strict=True))
        if not self.remembers:
            after = None
            if observation is not None and self.autoreset is not AutoresetMode.SAME_STEP and bool(ended.any()):
                after = self.interface.observations(observation, self.num_envs, single=self.single)
                after = self._normalised(after.to(device))
            step = self.step._replace(reward=r, terminated=ends & real, truncated=cut & real, after=after)
            self.experience.steps.append(step)
        if self.autoreset is AutoresetMode.NEXT_STEP:
            ended = ended & real
            self.waiting = ended if bool(ended.any()) else None
        self.step = None

    @_own_dtype()
    def adapt(self) -> None:
        """Learn from all episodes that ended since the last adaptation; one that remembers has done so already.

        Episodes under way are left out.

        Raises:
            StateError: if some task has no finished episode.
            NumericalError: if an adapted parameter is not finite.
        """
        state = self._started("adapt")
        if self.remembers:
            return
        with torch.no_grad():
            places, parts = [], []
            for tasks, rollout in self.experience.rollouts(state.memory):
                places.append(tasks)
                parts.append(self.algo.adapt(_of_tasks(self.stage, tasks), rollout))
            adapted = _of_tasks(joined(parts), torch.cat(places).argsort()) if len(parts) > 1 else parts[0]
            require_finite_agents(adapted)
        self.state = self.stage = adapted
        assert self.adaptation_steps is not None
        self.adaptation_steps += 1
        self.experience.forget()
        self._begin()

    @_own_dtype()
    def export(self, path: str | Path, *, env: int = 0) -> Path:
        """Write the policy as it is now as a program of torch.export, with a reader that needs torch alone beside it.

        Args:
            path: of the program, whose suffix is .pt2.
            env: index of the environment whose policy it is.

        Raises:
            ConfigError: if the agent is no such program, as those that draw hypotheses or plan.
        """
        from metarl_run.api.export import export

        state = self._started("export")
        B = self.num_envs // self.num_tasks
        task, place = slice(env // B, env // B + 1), env % B
        memory = state.memory
        if self.remembers:  # others have the same in all environments
            memory = {
                name: x[:, place : place + 1] if x.dim() > 1 and x.shape[1] == B else x for name, x in memory.items()
            }
        mine = AgentState(state.params, memory).tasks(task)
        action, reward, ended = (x[task, place : place + 1].clone() for x in self.last)
        last = (action, reward * self.family.reward_unit, ended)
        return export(self.algo, self.family, mine, last, Path(path).expanduser())[0]

    # --- Inside ---

    def _started(self, verb: str) -> AgentState:
        if self.state is None:
            raise StateError(verb, "the agent has not begun", "call agent.start() first")
        return self.state

    def _begin(self) -> None:
        """What an agent perceives before its first step, and noise of its own for the first episode."""
        B, device = self.num_envs // self.num_tasks, self.generator.device
        shape = (self.num_tasks, B)
        action = empty_actions(self.action_space, shape, device)
        self.last = (
            action,
            torch.zeros(shape, device=device),
            torch.ones(shape, dtype=torch.bool, device=device),
        )
        self.noise: Iterator[Tensor] = iter(())

    def _noise(self, *, greedy: bool) -> Tensor:
        """Of the next actions: drawn for an episode at a time, as in `metarl_run.rollout`."""
        noise = next(self.noise, None)
        if noise is None:
            B = self.num_envs // self.num_tasks
            shape = (self.family.horizon, self.num_tasks, B)
            self.noise = iter(sampling_noise(self.action_space, shape, self.generator).unbind(0))
            noise = next(self.noise)
        return torch.zeros_like(noise) if greedy else noise

    def _normalised(self, x: Tensor) -> Tensor:
        if self.family.normalisation is not None:
            x = x.clone()
            self.family.normalisation.observation_(x)
        if not all_finite(x):
            raise NumericalError("observation", f"must be finite, got {x[~x.isfinite()][0].item()}")
        return x

    def _kept(self, before: Memory, after: Memory) -> Memory:
        """The memory after a step; environments that are only reset in it keep theirs."""
        if self.waiting is None:
            return after
        waiting = self.waiting.view(self.num_tasks, -1)
        return {name: x if x is before.get(name) else _where(waiting, before[name], x) for name, x in after.items()}

    def _of_all(self, name: str, values: Any, dtype: torch.dtype) -> Tensor:
        x = torch.tensor(np.asarray(values), dtype=dtype).reshape(-1)  # a copy, as of observations
        if len(x) != self.num_envs:
            raise ConfigError(name, f"must hold one value per environment, {self.num_envs}, got {len(x)}")
        return x


def _where(envs: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """x where `envs`, `[M, B]`, else y: `[M, B, …]`."""
    return torch.where(envs.view(*envs.shape, *[1] * (y.dim() - 2)), x, y)


def _of_tasks(agent: AgentState, tasks: Tensor) -> AgentState:
    return AgentState(*({name: x[tasks] for name, x in record.items()} for record in agent))
