"""One run in one folder: build the components, meta-train, meta-test, report.

Whatever state the folder is in, the run goes on from there: a new folder begins, a stopped run continues from its
newest checkpoint, a finished run is left alone.
"""

import contextlib
import importlib.metadata
import json
import logging
import os
import platform
import shlex
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from metarl_run import __version__, checkpoint
from metarl_run.algo.base import MetaAlgorithm
from metarl_run.algo.meta_learner import MetaLearner
from metarl_run.atomic import write_atomically
from metarl_run.compiled import CompiledRollouts
from metarl_run.config.build import build
from metarl_run.config.taken import agent_record
from metarl_run.crash import Contained
from metarl_run.env.base import TaskFamily
from metarl_run.errors import ConfigError, RunError, StateError
from metarl_run.evaluation import Evaluation, curve_of, lifetime_statistics, task_counts
from metarl_run.interruption import Interrupted, StopRequest
from metarl_run.json_text import json_text
from metarl_run.learner.base import BaseLearner
from metarl_run.lock import locked
from metarl_run.logger.base import RunInfo, Sink
from metarl_run.network.base import Network
from metarl_run.network.constants import WithConstants
from metarl_run.plan import Plan, flat, stored_plan
from metarl_run.report import curve as curve_report
from metarl_run.report import learned as learned_report
from metarl_run.report.folder import read_summary
from metarl_run.report.tasks import hash_of_tasks
from metarl_run.rollout import collect
from metarl_run.seeding import Streams
from metarl_run.training import Training
from metarl_run.types import Params

PACKAGES = ("torch", "numpy", "gymnasium", "hydra-core", "omegaconf", "wandb")
INFLUENTIAL_EXCEPT = (
    *("logger", "checkpoint_every", "resume", "allow_changes", "output_root", "plugins"),
    *("published", "budget", "budgets", "panel", "sweep"),
)
"""Keys that may differ when a run is continued; every other one matters to its result.

A budget matters by the values that it gives to other keys.
"""

log = logging.getLogger(__name__)


def run(plan: Plan, folder: Path, stop: StopRequest) -> None:
    """Bring the run in `folder` to its end.

    Raises:
        RunError: see `metarl_run.errors`; the folder's summary.json says so too.
        Interrupted: after saving, if a stop was asked for.
    """
    with locked(folder):
        if _is_complete(folder):
            _require_same(plan, folder)
            print(f"{folder} is complete: nothing to do")
            return
        _remember_plan(plan, folder)
        with _logging_to(folder / "train.log"), _outcome_recorded(plan, folder), Contained(folder):
            _warn_of_other_versions(folder)
            _live(plan, folder, stop)


# --- The run itself ---


def _live(plan: Plan, folder: Path, stop: StopRequest) -> None:
    start, cpu_start = time.perf_counter(), time.process_time()
    config = plan.config
    torch.set_num_threads(config["threads"])
    device = torch.device("cuda" if config["device"] != "cpu" and torch.cuda.is_available() else "cpu")
    streams = Streams(config["seed"], device)
    family, algo = build_agent(config, streams)
    if config["checkpoint"]:
        _take_over(algo, Path(config["checkpoint"]), plan.choices)

    sinks: dict[str, Sink] = {
        name: build(sink, {}, plugins=config["plugins"], where=f"logger.{name}")
        for name, sink in config["logger"].items()
    }
    training = Training(
        algo=algo,
        collect=CompiledRollouts(algo) if config["compile"] else collect,
        family=family,
        streams=streams,
        sinks=sinks,
        stop=stop,
        folder=folder,
        agent=agent_record(plan.config, plan.choices),
        **{
            key: config[key]
            for key in (
                "meta_iterations",
                "meta_batch_size",
                "meta_batch_chunk",
                "episodes_per_task",
                "meta_validation",
                "meta_test",
                "validate_every",
                "checkpoint_every",
            )
        },
    )
    with contextlib.ExitStack() as stack:
        saved = checkpoint.load_newest(folder / "checkpoints")
        if saved is not None:
            training.load(saved)
        for name, sink in sinks.items():
            stack.callback(sink.close)
            sink.open(_run_info(plan, folder, training), saved.positions.get(name, {}) if saved else {})
        training.meta_train()
        evaluation = training.meta_test()
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        summary = _summary(plan, training, evaluation, seconds, cpu_seconds)
        write_atomically(folder / "summary.json", _json({**summary, "status": "reporting"}))
        pictures = [*curve_report.write(folder), *learned_report.write(folder)]
        for sink in sinks.values():
            sink.finish(summary, pictures)
        write_atomically(folder / "summary.json", _json(summary))


def build_agent(config: Mapping[str, Any], streams: Streams) -> tuple[TaskFamily, MetaAlgorithm]:
    """The task family and the meta-algorithm with its learner and network, from a resolved configuration."""
    plugins = config["plugins"]
    family: TaskFamily = build(config["env"], {}, plugins=plugins, where="env")
    offered: dict[str, Any] = {
        "streams": streams,
        "meta_batch_size": config["meta_batch_size"],
        "family": family,
        "observation_space": family.observation_space,
        "action_space": family.action_space,
    }
    learner: BaseLearner = build(config["learner"], offered, plugins=plugins, where="learner")
    offered |= {
        "learner": learner,
        "num_inputs": int(np.prod(family.observation_space.shape)),
        "heads": learner.heads(family.action_space),
    }
    constants = learner.constants(family.action_space)

    def make_network(num_inputs: int, heads: Mapping[str, int], constants: Mapping[str, int]) -> tuple[Network, Params]:
        sizes = {"num_inputs": num_inputs, "heads": heads}
        network: Network = build(config["network"], offered | sizes, plugins=plugins, where="network")
        network = WithConstants(network=network, constants=constants) if constants else network
        return network, network.init(streams("init"))

    network, meta_params = make_network(offered["num_inputs"], offered["heads"], constants)
    offered |= {"network": network, "meta_params": meta_params, "make_network": make_network}
    return family, build(config["algo"], offered, plugins=plugins, where="algo")


def _take_over(algo: MetaAlgorithm, path: Path, choices: Mapping[str, str]) -> None:
    """Start from the meta-parameters of another run, whose settings are the configuration's already."""
    if not isinstance(algo, MetaLearner):
        raise ConfigError("checkpoint", f"holds meta-parameters, but {type(algo).__name__} has none")
    found = checkpoint.load(path).state["algo"].get("meta_params", {})
    wanted = {name: tuple(tensor.shape) for name, tensor in algo.meta_params.items()}
    got = {name: tuple(tensor.shape) for name, tensor in found.items()}
    if other := [name for name in sorted(wanted.keys() | got.keys()) if wanted.get(name) != got.get(name)]:
        name = other[0]
        chosen = " ".join(f"{group}={choices[group]}" for group in ("algo", "network", "learner", "env"))
        raise StateError(
            str(path),
            f"its parameters do not fit {chosen}: {name} has shape {got.get(name)}, wanted {wanted.get(name)}",
            "leave out what changes the network, and choose an env with the spaces that it was trained with",
        )
    algo.load_meta_params(found)


def _run_info(plan: Plan, folder: Path, training: Training) -> RunInfo:
    return RunInfo(
        folder=folder,
        config=plan.config,
        algo=plan.choices["algo"],
        env=plan.choices["env"],
        learner=plan.choices["learner"],
        seed=plan.config["seed"],
        meta_iterations=training.meta_iterations,
        first_iteration=training.iteration,
        in_sweep=plan.in_sweep,
    )


def _summary(
    plan: Plan, training: Training, evaluation: Evaluation, seconds: float, cpu_seconds: float
) -> dict[str, Any]:
    env_steps = training.env_steps + evaluation.env_steps
    published = plan.config["published"]
    return {
        "status": "complete",
        **{group: plan.choices[group] for group in ("algo", "env", "learner", "network")},
        "seed": plan.config["seed"],
        "meta_iterations": training.iteration,
        "meta_train_env_steps": training.env_steps,
        "meta_test": curve_of(evaluation.rows),
        "lifetime_return": lifetime_statistics([np.array(evaluation.lifetime_returns)]),
        **({"published": published} if published["lifetime_return"] is not None else {}),
        "wall_seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "env_steps": env_steps,
        "env_steps_per_second": training.session_env_steps / seconds,
        "versions": versions(),
        "threads": torch.get_num_threads(),
        "device": str(training.streams.device),
        "held_out_tasks": {"meta_test": task_counts(evaluation.task_hashes, training.family)},
        "tasks_hash": {"meta_test": hash_of_tasks(evaluation.task_hashes)},
        "lifetime_returns": {"meta_test": evaluation.lifetime_returns},
    }


def versions() -> dict[str, str]:
    """What the result was made with."""
    installed = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"metarl-run": __version__, "python": platform.python_version(), **installed}


# --- The folder ---


def _is_complete(folder: Path) -> bool:
    try:
        return read_summary(folder).get("status") == "complete"
    except (OSError, ValueError):
        return False


def _remember_plan(plan: Plan, folder: Path) -> None:
    """Write down what is run, or make sure that it is what was begun here."""
    if (folder / "run.json").exists():
        _require_same(plan, folder)
        return
    write_atomically(folder / "config.yaml", yaml.safe_dump(plan.config, sort_keys=False).encode())
    record = {"choices": dict(plan.choices), "overrides": plan.overrides, "versions": versions()}
    write_atomically(folder / "run.json", _json(record))


def _warn_of_other_versions(folder: Path) -> None:
    """Say so if the run was begun with other software: then it may not end in the same bytes."""
    before = json.loads((folder / "run.json").read_text()).get("versions", {})
    changed = [f"{name} {before.get(name)} → {now}" for name, now in versions().items() if before.get(name) != now]
    if changed:
        log.warning("%s was begun with other versions: %s", folder, ", ".join(changed))


def _require_same(plan: Plan, folder: Path) -> None:
    before, now = (flat(p.config) for p in (stored_plan(folder), plan))
    changed = [
        key
        for key in sorted(before.keys() | now.keys())
        if key.split(".")[0] not in INFLUENTIAL_EXCEPT and before.get(key) != now.get(key)
    ]
    if not changed or plan.config["allow_changes"]:
        return
    shown = "; ".join(f"{key}: {before.get(key)!r} → {now.get(key)!r}" for key in changed[:4])
    raise StateError(
        str(folder), f"was begun with another configuration: {shown}", "allow_changes=true goes on with the new one"
    )


@contextlib.contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Everything that is logged goes to `path`; warnings go to the screen too."""
    handler, screen = logging.FileHandler(path), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    screen.setLevel(logging.WARNING)
    screen.setFormatter(logging.Formatter("warning: %(message)s"))
    root = logging.getLogger("metarl_run")
    root.setLevel(logging.INFO)
    root.propagate = False  # Hydra listens at the top with a format of its own
    for each in (handler, screen):
        root.addHandler(each)
    try:
        yield
    finally:
        for each in (handler, screen):
            root.removeHandler(each)
        handler.close()


@contextlib.contextmanager
def _outcome_recorded(plan: Plan, folder: Path) -> Iterator[None]:
    """summary.json says how a run ended that did not complete."""
    identity = {group: plan.choices[group] for group in ("algo", "env", "learner", "network")} | {
        "seed": plan.config["seed"]
    }
    log.info("%s", " ".join(f"{key}={value}" for key, value in identity.items()))
    outcome: dict[str, Any] = {}
    try:
        yield
    except RunError as error:
        told = {"where": error.where, "reason": error.reason, "exit_code": error.exit_code}
        outcome = {"status": "failed", "error": told}
        raise
    except Interrupted as request:
        outcome = {"status": "interrupted", "error": {"exit_code": request.exit_code}}
        print(f"stopped; to go on: metarl-run resume={shlex.quote(os.path.relpath(folder))}", flush=True)
        raise
    finally:
        if outcome:
            log.info("ended: %s", outcome)
            write_atomically(folder / "summary.json", _json({**identity, **outcome}))


def _json(record: Mapping[str, Any]) -> bytes:
    return json_text(record).encode()
