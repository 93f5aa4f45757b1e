"""The outer loop: fresh tasks → meta-update → validation → log → checkpoint, and the final meta-test.

Every random number of meta-iteration i comes from a stream keyed by i, so nothing about randomness needs saving: a run
that is resumed at i goes on exactly as the run that was never stopped.
"""

import functools
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from metarl_run.algo.base import Divides, MetaAlgorithm, MetaLearner
from metarl_run.algo.meta_optimizer.base import MetaOptimizer
from metarl_run.env.base import TaskFamily
from metarl_run.env.vector import parallel
from metarl_run.errors import ContractError, NumericalError, ResourceError, StateError, located
from metarl_run.evaluation import Evaluation, episode_outcomes, episode_sums, evaluate, joined, lifetime_returns
from metarl_run.lifetime import LOWER_INNER_LR, live
from metarl_run.logger.base import Sink
from metarl_run.maths.finite import all_finite, first_not_finite
from metarl_run.maths.statistics import curve_of
from metarl_run.rollout import Collect
from metarl_run.run import checkpoint
from metarl_run.run.form import mismatch, outline
from metarl_run.run.ranks import Ranks
from metarl_run.seeding import Streams
from metarl_run.system.atomic import hash_of
from metarl_run.system.interruption import StopRequest
from metarl_run.types import AgentState, Divided, Lifetime, parts_of


class Training:
    """One run's meta-training and meta-test.

    Args:
        algo: what is meta-trained.
        collect: how rollouts of meta-training are made.
        family: where tasks come from.
        streams: the run's randomness.
        sinks: where rows go, by name; opened already.
        stop: asked at every safe point.
        folder: the run folder.
        meta_iterations: meta-updates in all.
        meta_batch_size: tasks per meta-update, M.
        meta_batch_chunk: tasks that are learned from at a time; None for all.
        episodes_per_task: B.
        meta_validation, meta_test: keyword arguments of `evaluate`.
        validate_every: meta-iterations between validations; 0 for none.
        checkpoint_every: meta-iterations between checkpoints.
        agent: record of the agent for each checkpoint, see `metarl_run.config.inherited`.
        parts: number of parts of a meta-batch that live by themselves; None for one lifetime of all tasks.
        ranks: processes that these are divided among.
    """

    SAVED = ("iteration", "env_steps", "score")
    """Attributes in a checkpoint besides the algorithm's state. All others are given at the start or derived."""

    def __init__(
        self,
        *,
        algo: MetaAlgorithm,
        collect: Collect,
        family: TaskFamily,
        streams: Streams,
        sinks: Mapping[str, Sink],
        stop: StopRequest,
        folder: Path,
        meta_iterations: int,
        meta_batch_size: int,
        meta_batch_chunk: int | None,
        episodes_per_task: int,
        meta_validation: Mapping[str, Any],
        meta_test: Mapping[str, Any],
        validate_every: int,
        checkpoint_every: int,
        agent: Mapping[str, Any] | None = None,
        parts: int | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self.algo, self.family, self.streams, self.sinks, self.stop = algo, family, streams, sinks, stop
        self.collect = collect
        self.folder, self.checkpoints = folder, folder / "checkpoints"
        self.meta_iterations = meta_iterations if isinstance(algo, MetaLearner) else 0
        self.meta_batch_size, self.meta_batch_chunk = meta_batch_size, meta_batch_chunk
        self.episodes_per_task = episodes_per_task
        self.meta_validation, self.meta_test_plan = meta_validation, meta_test
        self.validate_every, self.checkpoint_every = validate_every, checkpoint_every
        self.agent = agent
        self.parts, self.ranks = parts, ranks or Ranks()
        self.stop_of_all: int | None = None
        self.iteration = 0
        self.env_steps = 0
        self.session_env_steps = 0
        self.score: float | None = None

    # --- Saving and resuming ---

    @functools.cached_property
    def form(self) -> dict[str, Any]:
        """Form of a saved state, taken from the agent before anything was learned; see `metarl_run.run.form`."""
        algo = outline(self.algo.form()) if isinstance(self.algo, MetaLearner) else {}
        return {"algo": algo, "progress": {"iteration": 0, "env_steps": 0}, **outline(self._statistics())}

    def load(self, saved: checkpoint.Checkpoint) -> None:
        """Go on from `saved`.

        Raises:
            StateError: if no agent like this one wrote its state; then another can be loaded.
        """
        state, progress = saved.state, saved.state.get("progress")
        progress = {**progress} if isinstance(progress, dict) else {}
        score = progress.pop("score", None)
        wrong = mismatch({**state, "progress": progress}, self.form)
        if wrong is None and progress["iteration"] != saved.iteration:
            wrong = f"progress.iteration: must be {saved.iteration}, got {progress['iteration']}"
        if wrong is None and (progress["env_steps"] < 0 or (mismatch(score, None) and mismatch(score, 0.0))):
            wrong = "progress: must hold a number of steps and a score"
        try:
            if wrong is None and isinstance(self.algo, MetaLearner):
                self.algo.load_state(state["algo"])
            if wrong is None and self.family.normalisation is not None:
                self.family.normalisation.load_state(state["normalisation"])
        except (LookupError, RuntimeError, TypeError, ValueError) as error:
            wrong = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        if wrong is not None:
            path = self.checkpoints / f"{saved.iteration:06d}"
            raise StateError(str(path), f"tensors.pt is not one that this run wrote: {wrong}")
        self.iteration, self.env_steps, self.score = progress["iteration"], progress["env_steps"], score

    def state(self) -> dict[str, Any]:
        """What `load` goes on from."""
        algo = self.algo.state() if isinstance(self.algo, MetaLearner) else {}
        progress = {name: getattr(self, name) for name in self.SAVED}
        return {"algo": algo, "progress": progress, **self._statistics()}

    def save(self) -> None:
        """Make a checkpoint of this moment, once every row up to it is on disk."""
        state = self.state()
        if wrong := mismatch(state["algo"], self.form["algo"]):
            reason = f"state() must have the form that form() tells, but {wrong}"
            raise ContractError(type(self.algo).__name__, reason, "override form() where a state's form changes")
        positions = {name: sink.position() for name, sink in self.sinks.items()}
        saved = checkpoint.Checkpoint(self.iteration, state, positions, hash_of(self.folder / "config.yaml"))
        checkpoint.save(self.checkpoints, saved, score=self.score, agent=self.agent)

    def _statistics(self) -> dict[str, Any]:
        """Statistics of observations and rewards, if the agent sees them normalised."""
        normalisation = self.family.normalisation
        return {} if normalisation is None else {"normalisation": normalisation.state()}

    # --- Meta-training ---

    def meta_train(self) -> None:
        """Live through the meta-iterations that are left.

        Raises:
            Interrupted: at the end of a meta-iteration, after saving, if a stop was asked for; in the first one, at
                once.
            NumericalError: if a number is not finite, in the meta-iteration that made it; the last checkpoint is
                finite.
        """
        if not isinstance(self.algo, MetaLearner):
            return
        _ = self.form  # before anything is learned
        with located(f"checkpoint {self.iteration}" if self.iteration else "the state to start from"):
            require_finite_state(self.algo)
        while self.iteration < self.meta_iterations:
            self._meta_iteration(self.algo)
            self.stop.nothing_to_save = False
            if self.validate_every and self.iteration % self.validate_every == 0:
                self._validate()
            if self.ranks.size > 1:  # all have to leave in the same iteration
                self.stop.exit_code = self.stop.exit_code if self.stop_of_all is None else self.stop_of_all
                stopping = self.stop_of_all is not None
            else:
                stopping = self.stop.exit_code is not None  # read once: a later signal waits for the next iteration
            due = self.iteration % self.checkpoint_every == 0 or self.iteration == self.meta_iterations
            if self.ranks.leads and (stopping or due):
                self.save()
            if stopping:
                self.stop.check()

    def _meta_iteration(self, algo: MetaLearner) -> None:
        start = time.perf_counter()
        lifetimes: list[Lifetime] = []
        batches = 0

        def live_parts(adaptation_steps: int) -> Divided:
            nonlocal batches
            batches += 1
            lived = self._lived_parts(algo, (self.iteration, batches - 1), adaptation_steps)
            lifetimes.extend(lived.here)
            divided.append(lived)
            return lived

        divided: list[Divided] = []

        def live_here(adaptation_steps: int, agents: AgentState | None = None, *, again: bool = False) -> Lifetime:
            nonlocal batches
            batches += not again
            index = (self.iteration, batches - 1)
            fresh = agents is None
            tasks = self.streams("meta_train/tasks", *index) if fresh else self.streams("meta_train/standing_tasks")
            task = self.family.sample(self.meta_batch_size, "meta_train", tasks)
            env = parallel(
                self.family,
                task,
                episodes_per_task=self.episodes_per_task,
                generator=self.streams("meta_train/env", *index),
            )
            actions = self.streams("meta_train/actions", *index)
            lifetime = live(
                algo,
                env,
                actions,
                adaptation_steps=adaptation_steps,
                agents=agents,
                tasks_at_once=self.meta_batch_chunk,
                collect=self.collect,
            )
            lifetimes.append(lifetime)
            return lifetime

        origin, place = type(algo).__name__, f"meta-iteration {self.iteration + 1}"
        try:
            if self.parts is not None and isinstance(algo, Divides):
                metrics = algo.divided_update(live_parts)
            else:
                metrics = algo.meta_update(live_here)
            require_finite_state(algo)
        except NumericalError:
            with located(place, origin=origin, hint=divergence_hint(algo, lifetimes)):
                require_finite_state(algo)  # the cause, if it is there
                raise
        if divided:
            env_steps, lived = self._lived_in_parts(algo, divided)
        else:
            rollouts = [rollout for lifetime in lifetimes for rollout in lifetime.rollouts]
            env_steps, lived = sum(rollout.env_steps for rollout in rollouts), self._lived(lifetimes)
        self.iteration += 1
        self.env_steps += env_steps
        self.session_env_steps += env_steps
        seconds = time.perf_counter() - start
        row = {
            "env_steps": self.env_steps,
            **lived,
            **{f"meta_train/{name}": float(value) for name, value in metrics.items()},
            "time/seconds": seconds,
            "time/env_steps_per_second": env_steps / seconds,
        }
        with located(place):
            require_finite_metrics(row, origin)
        if self.family.normalisation is not None and not divided:
            self.family.normalisation.update(rollouts)
        for sink in self.sinks.values():
            sink.metrics(self.iteration, row)

    def _lived(self, lifetimes: Sequence[Lifetime]) -> dict[str, float]:
        """Metrics of what was lived; none of an algorithm that learns from recorded histories."""
        if not lifetimes:
            return {}
        rollouts = [lifetimes[0].rollouts[0], lifetimes[-1].rollouts[-1]]
        first, last = (episode_sums(rollout.reward, rollout) * self.family.reward_unit for rollout in rollouts)
        outcomes = episode_outcomes(rollouts[-1], self.family.outcomes)
        return {
            "meta_train/return_before": float(first[:, 0].mean()),  # one rollout may hold several episodes
            "meta_train/return_after": float(last[:, -1].mean()),
            **self._lifetime_return(lifetimes),
            **{f"meta_train/{name}": float(x[:, -1].mean()) for name, x in outcomes.items()},  # after adaptation
        }

    # --- Lifetimes in parts, perhaps in several processes ---

    def _lived_parts(self, algo: MetaLearner, index: tuple[int, int], adaptation_steps: int) -> Divided:
        """Lifetimes in the parts of a fresh meta-batch that are this process's.

        Tasks are those of a meta-batch in one part. All other randomness of a part comes from streams of its own, so
        that it does not depend on where the part lives, nor on what happens in the others.
        """
        assert self.parts is not None
        tasks = self.family.sample(self.meta_batch_size, "meta_train", self.streams("meta_train/tasks", *index))
        parts = parts_of(self.meta_batch_size, self.parts)
        own, here = self.ranks.own(len(parts)), list[Lifetime]()
        for number in own:
            env = parallel(
                self.family,
                tasks.select(parts[number]),
                episodes_per_task=self.episodes_per_task,
                generator=self.streams("meta_train/env", *index, number),
            )
            actions = self.streams("meta_train/actions", *index, number)
            with located(first_task=parts[number].start):
                here.append(live(algo, env, actions, adaptation_steps=adaptation_steps, collect=self.collect))
        first_tasks = [parts[number].start for number in own]
        return Divided(here, first_tasks, self.meta_batch_size, self.ranks.gathered)

    def _lived_in_parts(self, algo: MetaLearner, divided: Sequence[Divided]) -> tuple[int, dict[str, float]]:
        """Environment steps and metrics of what was lived in all parts; takes it into the statistics, too.

        Raises:
            ResourceError: if the ranks have come to have different meta-parameters.
        """
        normalisation = self.family.normalisation
        stop = -1 if self.stop.exit_code is None else self.stop.exit_code
        sums = sum_of_bits(algo.meta_params.values())

        def told(i: int) -> tuple[Tensor, ...]:
            lifetimes = [one.here[i] for one in divided]
            rollouts = [rollout for lifetime in lifetimes for rollout in lifetime.rollouts]
            numbers = [stop, sums, len(rollouts[0].reward), sum(rollout.env_steps for rollout in rollouts)]
            values = torch.tensor([*self._lived(lifetimes).values()], dtype=torch.float64)
            terms = [] if normalisation is None else [normalisation.sums_of(rollout) for rollout in rollouts]
            return torch.tensor(numbers), values, *(x for term in terms for x in term)

        names = self._lived([one.here[0] for one in divided]).keys()
        parts = divided[0].of_parts(told)
        stops, bits, tasks, steps = torch.stack([part[0] for part in parts]).unbind(-1)
        if (bits != bits[0]).any():
            reason = "ranks have come to different meta-parameters: their processors or libraries round differently"
            raise ResourceError("distributed", reason, "let all ranks run on machines of one kind")
        self.stop_of_all = None if int(stops.max()) < 0 else int(stops.max())
        if normalisation is not None:
            normalisation.add(pair for part in parts for pair in zip(part[2::2], part[3::2], strict=True))
        weights = tasks.double() / tasks.sum()
        means = (torch.stack([part[1] for part in parts]) * weights.unsqueeze(-1)).sum(0)
        return int(steps.sum()), dict(zip(names, means.tolist(), strict=True))

    def _lifetime_return(self, lifetimes: Sequence[Lifetime]) -> dict[str, float]:
        """Mean lifetime return over tasks and envs; empty for agents that adapt between rollouts."""
        if not self.algo.remembers:
            return {}
        unit = self.family.reward_unit
        totals = [
            total for lifetime in lifetimes for total in lifetime_returns(lifetime, remembers=True, reward_unit=unit)
        ]
        return {"meta_train/lifetime_return": fmean(totals)}

    # --- Held-out tasks ---

    def _validate(self) -> None:
        plan = self.meta_validation
        parts = evaluate(
            self.algo,
            self.family,
            self.streams,
            split="meta_validation",
            iteration=self.iteration,
            diagnosed=False,
            **plan,
        )
        evaluation = joined(list(parts))
        curve = self._show(evaluation)
        # To an agent that remembers, one episode may be one pull of a bandit: too noisy to choose a checkpoint by.
        self.score = fmean(evaluation.lifetime_returns) if self.algo.remembers else curve["mean"][-1]

    def meta_test(self) -> Evaluation:
        """Lifetimes on the held-out tasks of the final evaluation.

        Raises:
            Interrupted: at once if a stop is asked for: it can be done again.
        """
        with self.stop.obeyed_at_once():
            parts = evaluate(
                self.algo,
                self.family,
                self.streams,
                split="meta_test",
                iteration=self.iteration,
                diagnosed=True,
                **self.meta_test_plan,
            )
            evaluation = joined(list(parts))
        self._show(evaluation)
        return evaluation

    def _show(self, evaluation: Evaluation) -> dict[str, Any]:
        self.session_env_steps += evaluation.env_steps
        curve = curve_of(evaluation.rows)
        for sink in self.sinks.values():
            sink.evaluation(evaluation.rows, curve)
        return curve


def sum_of_bits(tensors: Iterable[Tensor]) -> int:
    """A number that almost surely differs if any bit of some tensors does: their words as integers, added."""
    words = [x.detach().contiguous().view(-1).view(torch.int32) for x in tensors]
    places = [torch.arange(1, 2 * len(x), 2, device=x.device) for x in words]
    return sum(int((x * place).sum()) for x, place in zip(words, places, strict=True)) % 2**62


# --- Numbers that are not finite ---

LARGE = 1e4
"""Absolute value that no parameter of an agent that learns comes near."""


def rules_of(algo: MetaLearner) -> dict[str, MetaOptimizer]:
    """The algorithm's update rules, by attribute."""
    return {name: rule for name, rule in vars(algo).items() if isinstance(rule, MetaOptimizer)}


def require_finite_state(algo: MetaLearner) -> None:
    """Raise NumericalError if a meta-parameter or a number of an optimiser's is not finite: it would be saved.

    One sum over all of them, if they are.
    """
    θs = getattr(algo, "meta_params", {})
    states = {name: rule.state() for name, rule in rules_of(algo).items()}
    remembered = [x for state in states.values() for tensors in state.values() for x in tensors]
    if all_finite(*θs.values(), *remembered):
        return
    named: dict[str, Tensor] = {}
    for rule, state in states.items():
        names = rules_of(algo)[rule].names
        for kind, tensors in state.items():
            places = names if len(names) == len(tensors) else range(len(tensors))
            named |= {f"{rule}.{kind} of {place}": x for place, x in zip(places, tensors, strict=True)}
    # Last, since an update by any of these spoils them.
    named |= {f"meta-parameter {name}": θ for name, θ in θs.items()}
    for name, x in named.items():
        found = first_not_finite(x)
        if found is not None:
            raise NumericalError(name, f"must be finite, got {found[1]}")


def require_finite_metrics(row: Mapping[str, float | None], origin: str) -> None:
    """Raise NumericalError if a metric is neither undefined, None, nor finite."""
    for name, value in row.items():
        if value is not None and not math.isfinite(value):
            raise NumericalError(f"metric {name} of {origin}", f"must be finite, got {value}")


def divergence_hint(algo: MetaLearner, lifetimes: Sequence[Lifetime]) -> str | None:
    """The step size to lower if parameters have grown without bounds, within tasks or over meta-iterations."""
    for name, rule in rules_of(algo).items():
        if hasattr(rule, "lr") and any(bool((θ.abs() > LARGE).any()) for θ in rule.tensors):
            return f"lower algo.{name}.lr"
    agents = [agent for lifetime in lifetimes for agent in lifetime.agents]
    if any(bool((φ.abs() > LARGE).any()) for agent in agents for φ in agent.params.values()):
        return LOWER_INNER_LR
    return None
