"""The agent of a run: task family, base learner, network and meta-algorithm, built from a resolved configuration."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from torch import Tensor

from metarl_run.algo.base import MetaAlgorithm, MetaLearner
from metarl_run.config.build import build
from metarl_run.config.collection import dataset_folder
from metarl_run.config.offered import Offered
from metarl_run.dataset.dataset import Dataset
from metarl_run.env.base import TaskFamily
from metarl_run.env.check import require_supported_spaces
from metarl_run.env.normalisation import Normalisation
from metarl_run.errors import ConfigError, StateError
from metarl_run.learner.base import BaseLearner
from metarl_run.maths.parallel import use_threads
from metarl_run.network.base import Network
from metarl_run.network.constants import WithConstants
from metarl_run.network.product import LEVEL, Choice, use
from metarl_run.run import checkpoint
from metarl_run.run.form import kind_of, mismatch
from metarl_run.seeding import Streams
from metarl_run.system import machine
from metarl_run.types import Params


class SetUp(NamedTuple):
    """Parts that every run, cell of a table and study starts from."""

    device: torch.device
    streams: Streams
    family: TaskFamily
    algo: MetaAlgorithm


def set_up(config: Mapping[str, Any], *, seed: int | None = None, products: Choice = LEVEL) -> SetUp:
    """Threads, libraries, device, random streams, task family and agent, from a resolved configuration.

    Args:
        config: of a run, or of the family and the agent of one.
        seed: of the streams; None for the configuration's own.
        products: libraries that multiply, see `metarl_run.run.products`.
    """
    use(products)
    use_threads(machine.threads(config["threads"]))
    device = torch.device("cuda" if config["device"] != "cpu" and torch.cuda.is_available() else "cpu")
    streams = Streams(config["seed"] if seed is None else seed, device)
    return SetUp(device, streams, *build_agent(config, streams))


def require_buildable(config: Mapping[str, Any]) -> None:
    """Build the components once and drop them: what only constructors can tell is told before anything is made.

    Raises:
        ConfigError: naming the argument that a constructor refuses.
    """
    build_agent(config, Streams(config["seed"], torch.device("cpu")))
    for name, sink in config["logger"].items():
        build(sink, {}, plugins=config["plugins"], where=f"logger.{name}")


def build_agent(config: Mapping[str, Any], streams: Streams) -> tuple[TaskFamily, MetaAlgorithm]:
    """The task family and the meta-algorithm with its learner and network."""
    plugins = config["plugins"]
    family: TaskFamily = build(config["env"], {"plugins": plugins}, plugins=plugins, where="env")
    require_supported_spaces(family)
    offered: Offered = {
        "streams": streams,
        "meta_batch_size": config["meta_batch_size"],
        "meta_iterations": config["meta_iterations"],
        "family": family,
        "observation_space": family.observation_space,
        "action_space": family.action_space,
        "dataset": None if (folder := dataset_folder(config)) is None else Dataset(folder),
    }
    learner: BaseLearner = build(config["learner"], offered, plugins=plugins, where="learner")
    _require_suitable_actions(learner, family, "learner")
    family.normalisation = _normalisation(config, family, learner, streams.device)
    num_inputs = int(np.prod(family.observation_space.shape))
    heads, constants = learner.heads(family.action_space), learner.constants(family.action_space)

    def make_network(num_inputs: int, heads: Mapping[str, int], constants: Mapping[str, int]) -> tuple[Network, Params]:
        sizes: Offered = {"num_inputs": num_inputs, "heads": heads}
        network: Network = build(config["network"], {**offered, **sizes}, plugins=plugins, where="network")
        network = WithConstants(network=network, constants=constants) if constants else network
        return network, network.init(streams("init"))

    offered |= {"learner": learner, "num_inputs": num_inputs, "heads": heads}
    network, meta_params = make_network(num_inputs, heads, constants)
    offered |= {"network": network, "meta_params": meta_params, "make_network": make_network}
    algo: MetaAlgorithm = build(config["algo"], offered, plugins=plugins, where="algo")
    _require_suitable_actions(algo, family, "algo")
    return family, algo


def _normalisation(
    config: Mapping[str, Any], family: TaskFamily, learner: BaseLearner, device: torch.device
) -> Normalisation | None:
    """The statistics that the configuration asks for; None if agents see observations and rewards as they are."""
    chosen = config.get("normalise")  # older configurations have none
    if chosen in (None, {"observations": False, "rewards": False, "reward_unit": 1.0}):
        return None
    for kind in ("tabular", "bandit"):
        if kind in family.provides:
            reason = f"{type(family).__name__} is {kind}: agents know the unit of its observations and rewards"
            raise ConfigError("normalise", reason, "leave normalise out")
    size = int(np.prod(family.observation_space.shape))
    return Normalisation(size, device, **chosen, discount=getattr(learner, "discount", 1.0))


def _require_suitable_actions(component: Any, family: TaskFamily, where: str) -> None:
    """Raise ConfigError if a component needs discrete actions that an environment, once made, turns out not to have."""
    if "discrete_actions" in component.requires and not isinstance(family.action_space, gymnasium.spaces.Discrete):
        raise ConfigError(where, f"{type(component).__name__} needs discrete actions, got {family.action_space}")


def take_over(algo: MetaAlgorithm, family: TaskFamily, path: Path, choices: Mapping[str, str]) -> None:
    """Start from the meta-parameters of another run, whose settings are the configuration's already."""
    if not isinstance(algo, MetaLearner):
        raise ConfigError("checkpoint", f"holds meta-parameters, but {type(algo).__name__} has none")
    name = " ".join(f"{group}={choices[group]}" for group in ("algo", "network", "learner", "env"))
    load_trained(algo, family, path, name)


def load_trained(algo: MetaLearner, family: TaskFamily, path: Path, name: str) -> None:
    """Load what was learned, from the newest usable checkpoint at `path`, see `metarl_run.run.checkpoint.load`.

    Args:
        algo: where the meta-parameters go.
        family: where the statistics of observations and rewards go, if it has any.
        path: a checkpoint's folder, or a run folder.
        name: of the agent, for messages.

    Raises:
        StateError: if there are none, or they are another agent's.
    """

    def require_params(found: checkpoint.Checkpoint) -> None:
        algo = found.state.get("algo")
        params = algo.get("meta_params") if isinstance(algo, dict) else None
        if not isinstance(params, dict) or not all(isinstance(value, Tensor) for value in params.values()):
            raise StateError(str(path), "holds no meta-parameters")

    state = checkpoint.load(path, require_params).state
    found: Params = state["algo"]["meta_params"]
    wanted, got = ({each: kind_of(tensor) for each, tensor in params.items()} for params in (algo.meta_params, found))
    if other := [each for each in sorted(wanted.keys() | got.keys(), key=str) if wanted.get(each) != got.get(each)]:
        raise StateError(
            str(path),
            f"its parameters do not fit {name}: {other[0]} is {got.get(other[0])}, wanted {wanted.get(other[0])}",
            "leave out what changes the network, and choose an env with the spaces that it was trained with",
        )
    algo.load_meta_params(found)
    if family.normalisation is not None:
        if wrong := mismatch(state.get("normalisation"), family.normalisation.state(), "normalisation"):
            raise StateError(str(path), f"its statistics do not fit: {wrong}")
        family.normalisation.load_state(state["normalisation"])
