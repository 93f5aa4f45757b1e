"""Declaration of learning histories that are collected, and the checks of what learns from them, before torch.

A collection is the key `collect` of a configuration: conf/collect/histories.yaml holds its keys. `metarl-run collect`
carries it out; a run whose algorithm learns from a dataset carries it out first, unless `dataset` names one.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from metarl_run.config.capability import Chosen
from metarl_run.config.static.signature import Signature, signature
from metarl_run.errors import ConfigError
from metarl_run.kinds import Count, Whole, problem

LEARNS = "metarl_run.algo.base.MetaLearner"
REMEMBERS = "remembers"
OWN_ALGO = "algo@collect.algo=OPTION, an agent that learns within each task, such as q_learner"
PARTS = {
    "learner": {"learner", "heads", "network", "meta_params", "make_network"},
    "network": {"network", "meta_params", "make_network"},
}
"""Arguments that are made from a part of the configuration."""


@dataclass(frozen=True)
class OrAll:
    """The word `all`, or a number ≥ 1."""

    def problem(self, value: object) -> str | None:
        wrong = None if value == "all" else problem(Count, value)
        return wrong and wrong.replace("must be ", "must be all or ", 1)


@dataclass(frozen=True, kw_only=True)
class Collection:
    """Keys of learning histories that are to be collected; see conf/collect/histories.yaml.

    Attributes:
        folder: of the dataset; None for one that is named after its identity.
        algo, learner, network: the agent and its parts; None for the run's own.
        tasks: number of meta-training tasks, or `all` that the family can list.
        histories: in each task.
        episodes: of each history.
        every: one of so many episodes is kept.
        tasks_per_shard: tasks that live at a time and share a file.
        labels: store the optimal action of every step; `auto` where the family knows it.
        seed: the one source of the data's randomness.
        jobs: worker processes; None for one on each core.
    """

    folder: str | None
    algo: Mapping[str, Any] | None
    learner: Mapping[str, Any] | None
    network: Mapping[str, Any] | None
    tasks: Annotated[int | Literal["all"], OrAll()]
    histories: Count
    episodes: Count
    every: Count
    tasks_per_shard: Count
    labels: Literal["auto", True, False]
    seed: Whole
    jobs: Count | None


def collection_of(config: Mapping[str, Any]) -> Collection:
    """The validated key `collect`."""
    return Collection(**config["collect"])


def collecting(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of the agent that collects, as that of a run which learns from no data."""
    wanted = config["collect"]
    parts = {key: wanted[key] for key in ("algo", "learner", "network") if wanted[key] is not None}
    return {**config, **parts, "seed": wanted["seed"], "dataset": None, "collect": None, "table": None}


def parts_of(asked: Iterable[str]) -> list[str]:
    """Parts of the configuration that an agent is made of besides its own, by the arguments that it asks for."""
    return [part for part, arguments in PARTS.items() if arguments & {*asked}]


def identity_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that collected histories depend on, as plain containers."""
    agent, wanted = collecting(config), collection_of(config)
    parts = parts_of(_signature(agent).parameters)
    return {
        "env": agent["env"],
        "algo": agent["algo"],
        **{part: agent[part] for part in parts},
        **({"episodes_per_task": agent["episodes_per_task"]} if "learner" in parts else {}),
        "normalise": agent["normalise"],
        **{key: getattr(wanted, key) for key in ("tasks", "histories", "episodes", "every", "tasks_per_shard")},
        "labels": wanted.labels,
        "seed": wanted.seed,
    }


def dataset_folder(config: Mapping[str, Any]) -> Path | None:
    """The folder of the dataset that a run learns from, or is to collect; None if there is none."""
    if config.get("dataset") is not None:
        return Path(config["dataset"])
    if config.get("collect") is None:
        return None
    wanted = collection_of(config)
    if wanted.folder is not None:
        return Path(wanted.folder)
    mark = hashlib.blake2b(json.dumps(identity_of(config), sort_keys=True).encode(), digest_size=4).hexdigest()
    agent = collecting(config)
    names = [str(agent[group]["_target_"]).rpartition(".")[0].rpartition(".")[2] for group in ("algo", "env")]
    return Path(config["output_root"], "datasets", "_".join([*names, mark]))


def learns_from_data(config: Mapping[str, Any]) -> bool:
    """True of a run that meta-trains on a dataset."""
    return config["meta_iterations"] > 0 and can_learn_from_data(config)


def can_learn_from_data(config: Mapping[str, Any]) -> bool:
    """True of an algorithm that meta-trains on a dataset."""
    found = signature(str(config["algo"]["_target_"]), ("metarl_run", *config["plugins"]))
    return found is not None and "dataset" in found.parameters


def needs_labels(config: Mapping[str, Any]) -> bool:
    """True of an algorithm that learns from optimal actions."""
    return _signature(config).declared.needs_labels


def _signature(config: Mapping[str, Any]) -> Signature:
    """What is known of the class of the algorithm."""
    found = signature(str(config["algo"]["_target_"]), ("metarl_run", *config["plugins"]))
    assert found is not None  # it is validated
    return found


def check_data(config: Mapping[str, Any], choices: Mapping[str, str], components: Sequence[Chosen]) -> None:
    """Raise ConfigError unless a run's data are given or collected where its algorithm learns from any.

    Args:
        config: plain containers; its settings are of the right kind.
        choices: the option chosen in each group.
        components: all of the configuration.
    """
    algo, given = _algo(components), config.get("dataset")
    if "dataset" not in algo.signature.parameters:
        if given is not None:
            raise ConfigError("dataset", f"must be null with algo={algo.name}, which learns from no dataset")
        return
    if not learns_from_data(config):
        return
    if given is None and config.get("collect") is None:
        reason = f"must be a folder of learning histories with algo={algo.name}, got null"
        raise ConfigError("dataset", reason, f"{command(choices)} makes one; or collect=histories")
    if given is None and config["collect"]["algo"] is None:
        reason = f"must be given with algo={algo.name}, which learns from others' histories"
        raise ConfigError("collect.algo", reason, OWN_ALGO)
    if given is None and config["collect"]["labels"] is False and needs_labels(config):
        reason = f"must be true with algo={algo.name}, which learns from optimal actions, got false"
        raise ConfigError("collect.labels", reason)
    if given is None:
        wanted = collection_of(config)
        _check_every(wanted)
        if isinstance(horizon := config["env"].get("horizon"), int):
            longest = horizon * (wanted.episodes // wanted.every)
            check_window(algo.arguments.get("window"), longest, "collect.episodes")


def check_collection(config: Mapping[str, Any], agent: Sequence[Chosen]) -> None:
    """Raise ConfigError unless histories can be collected as `config` asks.

    Args:
        config: plain containers; its settings are of the right kind.
        agent: components of the agent that collects.
    """
    wanted, algo = collection_of(config), _algo(agent)
    if LEARNS in algo.signature.bases:
        reason = f"must be an agent that learns within each task, got {algo.name}, which is meta-trained"
        raise ConfigError("algo", reason, OWN_ALGO if wanted.algo is not None else "algo=q_learner is one")
    _check_every(wanted)
    (env,) = (one for one in agent if one.path == "env")
    if wanted.labels is True and "tabular" not in env.signature.declared.provided(env.arguments):
        reason = f"must be false with env={env.name}, whose optimal actions are not known, got true"
        raise ConfigError("collect.labels", reason)


def _check_every(wanted: Collection) -> None:
    if wanted.every > wanted.episodes:
        raise ConfigError("collect.every", f"must be <= collect.episodes = {wanted.episodes}, got {wanted.every}")


def check_window(window: Any, longest: int, key: str) -> None:
    """Raise ConfigError if windows are longer than every history.

    Args:
        window: `algo.window`; anything but a number is not checked.
        longest: steps of the longest history.
        key: of the data.
    """
    if isinstance(window, int) and window > longest:
        reason = f"must be at most {longest}, the steps of a history by {key}, got {window}"
        raise ConfigError("algo.window", reason, "collect with more collect.episodes")


def command(choices: Mapping[str, str]) -> str:
    """The command that collects data for a run with these choices."""
    return f"metarl-run collect env={choices.get('env', 'FAMILY')} algo=AGENT collect.folder=FOLDER"


def _algo(components: Sequence[Chosen]) -> Chosen:
    (algo,) = (one for one in components if one.path == "algo")
    return algo
