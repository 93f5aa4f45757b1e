"""Inject NaN, +Inf and −Inf at every place of a run of every algorithm.

A tiny run of each algorithm goes up to its third meta-iteration, and on to its meta-test. At both, a fork of the
process is made for each place and value; there the number is injected, and the iteration or meta-test run. It must end
with exit code 4 and an error that names the quantity, its origin, the iteration and, where it has one, the task; the
newest checkpoint must be finite.
"""

import argparse
import contextlib
import datetime
import io
import json
import math
import os
import platform
import random
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from suited import completed, options, suited, suits
from torch import Tensor

from metarl_run.algo.base import MetaLearner
from metarl_run.algo.gradient.base import GradientBased
from metarl_run.algo.gradient.objective import MetaObjective
from metarl_run.algo.meta_optimizer.base import GradientRule, MetaOptimizer
from metarl_run.config.plan import Plan
from metarl_run.env.check import check_once
from metarl_run.errors import RunError
from metarl_run.run import checkpoint
from metarl_run.run import run as run_module
from metarl_run.run.folder import versions
from metarl_run.run.training import Training
from metarl_run.system.interruption import StopRequest
from metarl_run.system.json_text import json_text

BAD = (math.nan, math.inf, -math.inf)
AT = 3
"""Meta-iteration of the injection."""
PLAN = ("experiment=smoke", "threads=1", f"meta_iterations={AT + 1}", "validate_every=0")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice of families (default: 0)")
    parser.add_argument("--count", type=int, default=1, help="families per algorithm (default: 1)")
    parser.add_argument("--json", type=Path, help="JSON file for the result")
    chosen = parser.parse_args()
    choice = random.Random(chosen.seed)
    outcomes: list[Outcome] = []
    for algo in options("algo"):
        fitting = families(algo)
        for env in choice.sample(fitting, min(chosen.count, len(fitting))):
            found = examine(algo, env)
            outcomes += found
            print(f"{algo} on {env}: {sum(not one.fault for one in found)} of {len(found)}", flush=True)
            for one in found:
                if one.fault:
                    print(f"  {one.place} {one.value}: {one.fault}", flush=True)
    result = summary(chosen.seed, outcomes)
    print(json_text(result["places"]), end="")
    print(f"{result['passed']} of {result['injections']}")
    if chosen.json is not None:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json_text(result))
    return 0 if result["passed"] == result["injections"] else 1


class Outcome(NamedTuple):
    """What became of one injection; `fault` is empty if all is as it should be."""

    algo: str
    env: str
    place: str
    value: str
    fault: str


def summary(seed: int, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The content of the result."""
    injections, passed = Counter(one.place for one in outcomes), Counter(one.place for one in outcomes if not one.fault)
    return {
        "seed": seed,
        "date": datetime.date.today().isoformat(),
        "machine": platform.platform(),
        "versions": versions(),
        "algorithms": len({one.algo for one in outcomes}),
        "injections": len(outcomes),
        "passed": sum(passed.values()),
        "places": {
            place: f"{passed[place]} of {injections[place]}" for place in [*TRAINING, *EVALUATION] if injections[place]
        },
        "runs": [f"{algo} on {env}" for algo, env in dict.fromkeys((one.algo, one.env) for one in outcomes)],
        "failures": [one._asdict() for one in outcomes if one.fault],
    }


def families(algo: str) -> list[str]:
    """Options of `env` that suit the algorithm, perhaps with another learner or network."""
    found = []
    for env in options("env"):
        with contextlib.suppress(Exception):
            if suits(algo=algo, env=env) or completed(algo=algo, env=env):
                found.append(env)
    return found


# --- A run that forks where something is injected ---


def examine(algo: str, env: str, places: Sequence[str] | None = None, values: Sequence[float] = BAD) -> list[Outcome]:
    """Inject each of the values at each of the places, those that the algorithm has; None for all."""
    point, _ = suited(*PLAN, f"algo={algo}", f"env={env}")
    found: list[Outcome] = []

    def inject(training: Training, kinds: dict[str, "Place"], now: str, go_on: Callable[[], object]) -> None:
        for name, place in kinds.items():
            if places is not None and name not in places:
                continue
            for value in values:
                fault = in_a_fork(partial(trial, training, place, value, now, go_on))
                if fault is not None:
                    found.append(Outcome(algo, env, name, str(value), fault))

    iteration, test = Training._meta_iteration, Training.meta_test

    def meta_iteration(training: Training, learner: MetaLearner) -> None:
        if training.iteration == AT - 1:
            inject(training, TRAINING, f"meta-iteration {AT}", partial(iteration, training, learner))
        iteration(training, learner)

    def meta_test(training: Training) -> Any:
        check_once(training.family, training.family.sample(1, "meta_test", generator()), 1, training.streams.device)
        inject(training, EVALUATION, "meta_test after meta-iteration", partial(test, training))
        raise Examined  # the report does not matter

    here = Path.cwd()
    quiet = contextlib.redirect_stdout(io.StringIO())
    with tempfile.TemporaryDirectory() as place, quiet, contextlib.suppress(Examined):
        Training._meta_iteration, Training.meta_test = meta_iteration, meta_test  # type: ignore[method-assign]
        try:
            os.chdir(place)
            Path("run").mkdir()
            run_module.run(Plan(point.config, point.choices, list(point.overrides)), Path("run"), StopRequest())
        finally:
            os.chdir(here)
            Training._meta_iteration, Training.meta_test = iteration, test  # type: ignore[method-assign]
    return found


class Examined(BaseException):
    """All places have been tried."""


def in_a_fork(function: Callable[[], str | None]) -> str | None:
    """Result of `function`, called in a fork of this process; how the fork ended if it had none."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reader)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            with tempfile.TemporaryDirectory() as own:
                shutil.copytree("run", Path(own, "run"))  # the relative path of the run now leads here
                os.chdir(own)
                text = json.dumps(function())
                os.chdir("/")
            os.write(writer, text.encode())
            code = 0
        except BaseException as error:  # nothing may get back to the caller's code
            os.write(writer, json.dumps(f"{type(error).__name__}: {error}").encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    result: str | None = json.loads(text) if text else f"the process ended with status {status}"
    return result


def trial(training: Training, place: "Place", value: float, now: str, go_on: Callable[[], object]) -> str | None:
    """Inject and go on; the fault, empty if there is none, None if the algorithm has no such place."""
    expected = place(training, value)
    if expected is None:
        return None
    try:
        go_on()
    except RunError as error:
        text = str(error).splitlines()[0]
        if error.exit_code != 4:
            return f"exit code {error.exit_code}: {text}"
        if not re.match(f"error: {expected}", text) or now not in text:
            return f"not named: {text}"
    except BaseException as error:
        return f"exit code 1: {type(error).__name__}: {error}"
    else:
        return "went on"
    saved = checkpoint.load_newest(training.checkpoints)
    if isinstance(training.algo, MetaLearner) and (saved is None or not finite(saved.state["algo"])):
        return "the newest checkpoint is not finite"
    return ""


def finite(state: dict[str, Any]) -> bool:
    """Are the parameters and the optimisers of a checkpoint finite?"""
    tensors = [*state["meta_params"].values()]
    for name, rule in state.items():
        if name.endswith("optimizer"):
            tensors += [x for group in rule.values() for x in group]
    return all(bool(x.isfinite().all()) for x in tensors)


# --- Places: each arms its injection and returns a pattern of the error, None if the algorithm has no such place ---

Place = Callable[[Training, float], str | None]
TASK = r".* in task \d+"
INNER_LOSS, INNER_GRADIENT = r"inner loss of \w+: " + TASK, r"inner gradient of \S+: " + TASK


def spoilt(x: Tensor, value: float) -> Tensor:
    """`x` with `value` added to its last entry along the first axis, or to itself if it has no axis."""
    return x + torch.where(last(x), value, 0.0)


def last(x: Tensor) -> Tensor:
    """True at the last entry along the first axis."""
    chosen = torch.zeros(x.shape, dtype=torch.bool, device=x.device)
    (chosen[-1] if x.dim() else chosen).fill_(True)
    return chosen


def spoilt_gradient(x: Tensor, value: float) -> Tensor:
    """`x`, with a derivative by its last entry along the first axis that is multiplied by `value`."""
    result: Tensor = SpoiltGradient.apply(x, value)
    return result


class SpoiltGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, value: float) -> Tensor:
        ctx.value = value
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient * torch.where(last(gradient), ctx.value, 1.0), None


def family_method(name: str, change: Callable[[Any, float], Any], pattern: str) -> Place:
    def arm(training: Training, value: float) -> str | None:
        family = training.family
        plain = getattr(type(family), name)
        floats = True

        def changed(*arguments: Any) -> Any:
            return change(plain(*arguments), value)

        if name == "reset":
            state = plain(family, family.sample(1, "meta_train", generator()), 1, generator())
            floats = any(x.is_floating_point() for x in state)
        family.__class__ = type(type(family).__name__, (type(family),), {name: changed})
        return pattern.format(family=type(family).__name__) if floats else None

    return arm


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def observation(x: Tensor, value: float) -> Tensor:
    x = x.clone()
    x[-1, 0, 0] = value
    return x


def reward(stepped: Any, value: float) -> Any:
    state, r, terminated = stepped
    r = r.clone()
    r[-1, 0] = value
    return state, r, terminated


def first_state(state: Any, value: float) -> Any:
    fields = []
    for x in state:
        if x.is_floating_point():
            x = x.clone()
            x[-1, 0] = value
        fields.append(x)
    return type(state)(*fields)


def inner(change: Callable[[Tensor, float], Tensor], pattern: str, *, trains: bool = False) -> Place:
    """The loss of gradient steps in a task, of algorithms that take some, or take some in meta-training."""

    def arm(training: Training, value: float) -> str | None:
        algo = training.algo
        if not isinstance(algo, GradientBased) or (trains and not hasattr(algo, "adaptation_steps")):
            return None
        adapt, loss_of, adapting = algo.adapt, algo.loss_of, [False]

        def adapting_now(*arguments: Any) -> Any:
            adapting[0] = True
            try:
                return adapt(*arguments)
            finally:
                adapting[0] = False

        def changed(*arguments: Any) -> Any:
            losses, metrics = loss_of(*arguments)
            return (change(losses, value) if adapting[0] else losses), metrics

        algo.adapt, algo.loss_of = adapting_now, changed  # type: ignore[method-assign, assignment]
        return pattern

    return arm


def outer(change: Callable[[Tensor, float], Tensor], pattern: str) -> Place:
    """The loss that meta-parameters are improved by."""

    def arm(training: Training, value: float) -> str | None:
        algo: Any = training.algo
        if not isinstance(algo, MetaLearner):
            return None
        if isinstance(algo, GradientBased):
            if type(algo).__name__ == "Reptile":  # it has neither
                return None
            share, proximal = MetaObjective.share_of_gradient, MetaObjective.proximal_losses

            def changed_losses(function: Callable[..., Any], *arguments: Any) -> Any:
                losses, metrics = function(*arguments)
                return change(losses, value), metrics

            def changed_share(self: Any, tensors: Any, losses_of: Any, num_tasks: int) -> Any:
                return share(self, tensors, partial(changed_losses, losses_of), num_tasks)

            MetaObjective.share_of_gradient = changed_share  # type: ignore[method-assign]
            MetaObjective.proximal_losses = partial_method(changed_losses, proximal)  # type: ignore[method-assign, assignment]
            return pattern
        owner = next(
            one
            for one in (getattr(algo, "dynamics", None), getattr(algo, "learner", None), algo)
            if hasattr(one, "loss")
        )
        plain = owner.loss

        def changed(*arguments: Any, **named: Any) -> Any:
            result = plain(*arguments, **named)
            return (change(result[0], value), result[1]) if isinstance(result, tuple) else change(result, value)

        object.__setattr__(owner, "loss", changed)
        return pattern

    return arm


def partial_method(wrapper: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *arguments: Any) -> Any:
        return wrapper(function, self, *arguments)

    return method


def parameter(*, when: str) -> Place:
    """A meta-parameter, before or after the update."""

    def arm(training: Training, value: float) -> str | None:
        algo = training.algo
        if not isinstance(algo, MetaLearner) or not algo.meta_params:
            return None
        name, θ = next(iter(algo.meta_params.items()))
        spoil_tensor(algo, θ, value, when)
        return f"meta-parameter {re.escape(name)} of "

    return arm


def spoil_tensor(algo: Any, x: Tensor, value: float, when: str) -> None:
    def spoil() -> None:
        x.data.view(-1)[0] = value

    update = algo.meta_update

    def changed(live: Any) -> Any:
        if when == "before":
            spoil()
        metrics = update(live)
        if when == "after":
            spoil()
        return metrics

    algo.meta_update = changed


def moment(name: str) -> Place:
    """A moment of an optimiser, after the update."""

    def arm(training: Training, value: float) -> str | None:
        for attribute, rule in vars(training.algo).items():
            if isinstance(rule, MetaOptimizer) and rule.memory.get(name):
                spoil_tensor(training.algo, rule.memory[name][0], value, "after")
                return f"{attribute}.{name} of {re.escape(rule.names[0])}"
        return None

    return arm


def hyperparameter(training: Training, value: float) -> str | None:
    """A learned hyperparameter, before the update."""
    algo: Any = training.algo
    learned = {}
    if isinstance(algo, MetaLearner) and isinstance(algo, GradientBased):
        learned = {name: θ for name, θ in algo.meta_params.items() if name not in algo.initial}
    if not learned:
        return None
    name, θ = next(iter(learned.items()))
    spoil_tensor(algo, θ, value, "before")
    return f"meta-parameter {re.escape(name)} of "


def metric(training: Training, value: float) -> str | None:
    algo: Any = training.algo
    if not isinstance(algo, MetaLearner):
        return None
    update = algo.meta_update

    def changed(live: Any) -> Any:
        metrics = update(live)
        return {**metrics, "loss": torch.tensor(value)}

    algo.meta_update = changed
    return "metric meta_train/loss of "


def meta_gradient(training: Training, value: float) -> str | None:
    """Through the meta-loss; of algorithms without one, the gradient itself."""
    if type(training.algo).__name__ != "Reptile":
        return outer(spoilt_gradient, r"meta-gradient of ")(training, value)
    step = GradientRule.step

    def changed(self: Any, gradients: Sequence[Tensor], fault: Any) -> Tensor:
        return step(self, [spoilt(g, value) for g in gradients], fault)

    GradientRule.step = changed  # type: ignore[method-assign]
    return "meta-gradient of "


EVALUATION: dict[str, Place] = {
    "observation in evaluation": family_method("observe", observation, "observation of {family}: " + TASK),
    "first state in evaluation": family_method("reset", first_state, "observation of {family}: " + TASK + ", step 0"),
    "reward in evaluation": family_method("step", reward, "reward of {family}: " + TASK),
    "inner loss in evaluation": inner(spoilt, INNER_LOSS),
    "inner gradient in evaluation": inner(spoilt_gradient, INNER_GRADIENT),
}
TRAINING: dict[str, Place] = {
    **{name.removesuffix(" in evaluation"): place for name, place in EVALUATION.items()},
    "inner loss": inner(spoilt, INNER_LOSS, trains=True),
    "inner gradient": inner(spoilt_gradient, INNER_GRADIENT, trains=True),
    "meta-loss": outer(spoilt, "meta-loss of "),
    "meta-gradient": meta_gradient,
    "parameter": parameter(when="after"),
    "parameter before the update": parameter(when="before"),
    "first moment": moment("first_moment"),
    "second moment": moment("second_moment"),
    "learned hyperparameter": hyperparameter,
    "logged metric": metric,
}
if __name__ == "__main__":
    sys.exit(main())
