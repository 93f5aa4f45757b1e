"""Card of a dataset: what its histories are, who made them, and which files hold them.

    dataset.json                 the card, which holds a hash of itself
    shard-000000.safetensors     histories of some tasks, see `metarl_run.dataset.shard`

Reads no shard and imports no torch: a configuration is checked against the card before anything is loaded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from metarl_run.config.collection import check_window, needs_labels
from metarl_run.errors import ConfigError, StateError
from metarl_run.files import SEAL, read_json, seal
from metarl_run.system.atomic import write_atomically
from metarl_run.system.json_text import json_text

FILE = "dataset.json"
FORMAT = 1
OTHER_TASKS = ("meta_test", "outcomes", "step_sizes")
"""Arguments of a task family that do not change what happens in meta-training tasks."""

COLLECT = "metarl-run collect env=FAMILY algo=AGENT collect.folder=FOLDER"
"""The command that makes a dataset."""


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """One file of a dataset.

    Attributes:
        file: its name.
        histories: number of histories that it holds.
        steps: of all of them.
        longest: steps of the longest.
        bytes: size of the file.
        sha256: hash of its content.
        first_return: sum over its histories of the return of their first episode.
        last_return: the same of the last.
    """

    file: str
    histories: int
    steps: int
    longest: int
    bytes: int
    sha256: str
    first_return: float
    last_return: float


@dataclass(frozen=True, kw_only=True)
class Card:
    """The card of a dataset.

    Attributes:
        config: everything that the histories depend on, resolved: the task family, the agent whose histories they are,
            their number and seed; see `metarl_run.config.collection`.
        choices: the option chosen in each group.
        spaces: `observation` and `action` of the family, as its own text.
        num_features: D, features of an observation.
        num_actions: A of a discrete action space; None of another.
        action_size: numbers of an action that is no integer; None of a discrete action space.
        one_hot: observations are one-hot and stored as indices.
        labels: an optimal action is stored for every step.
        family_version: version of the task family's definition.
        tasks: hash of every task, in order.
        histories_per_task: number of histories in each.
        episodes_per_history: number of episodes of each history that are stored.
        shards: the files, in order of their tasks.
    """

    config: Mapping[str, Any]
    choices: Mapping[str, str]
    spaces: Mapping[str, str]
    num_features: int
    num_actions: int | None
    action_size: int | None
    one_hot: bool
    labels: bool
    family_version: str
    tasks: Sequence[str]
    histories_per_task: int
    episodes_per_history: int
    shards: Sequence[ShardRecord]

    @property
    def num_tasks(self) -> int:
        return len(self.tasks)

    @property
    def num_histories(self) -> int:
        return self.num_tasks * self.histories_per_task

    @property
    def steps(self) -> int:
        """Steps of all histories."""
        return sum(shard.steps for shard in self.shards)

    @property
    def longest(self) -> int:
        """Steps of the longest history."""
        return max(shard.longest for shard in self.shards)

    @property
    def bytes(self) -> int:
        """Size of all shards."""
        return sum(shard.bytes for shard in self.shards)

    @property
    def first_return(self) -> float:
        """Mean return of the first episode of a history."""
        return sum(shard.first_return for shard in self.shards) / self.num_histories

    @property
    def last_return(self) -> float:
        """Mean return of the last episode of a history."""
        return sum(shard.last_return for shard in self.shards) / self.num_histories


def write_card(folder: Path, card: Card) -> None:
    """Store the card, which makes a folder of shards a dataset.

    Raises:
        ResourceError: if the disk refuses.
    """
    totals = {name: getattr(card, name) for name in ("steps", "bytes", "first_return", "last_return")}
    write_sealed(folder / FILE, {"format": FORMAT, **asdict(card), "totals": totals})


def write_sealed(path: Path, record: Mapping[str, Any]) -> None:
    """Store a record together with its hash."""
    write_atomically(path, json_text({**record, SEAL: seal(record)}).encode())


def read_sealed(path: Path) -> dict[str, Any]:
    """The record in such a file.

    Raises:
        FileNotFoundError: if there is none.
        StateError: if it is damaged.
    """
    try:
        record = read_json(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StateError(str(path), f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise StateError(str(path), f"is damaged: {error}", "collect it again") from error
    if not isinstance(record, dict) or record.pop(SEAL, None) != seal(record):
        raise StateError(str(path), "is damaged: its hash does not match", "collect it again")
    return record


def read_card(folder: Path) -> Card:
    """The card of the dataset in `folder`.

    Raises:
        StateError: if there is none, or it is not one that this software wrote.
    """
    path = folder / FILE
    try:
        record = read_sealed(path)
    except FileNotFoundError as error:
        reason = f"is no dataset: it holds no {FILE}" if folder.is_dir() else "is no folder"
        raise StateError(str(folder), reason, COLLECT) from error
    if record.pop("format") != FORMAT:
        raise StateError(str(path), f"must have format {FORMAT}", "collect it again with this version")
    record.pop("totals", None)
    try:
        names = {field.name for field in fields(ShardRecord)}
        shards = [ShardRecord(**shard) for shard in record.pop("shards") if {*shard} == names]
        card = Card(**record, shards=shards)
        whole = sum(shard.histories for shard in shards) == card.num_histories > 0
    except (TypeError, KeyError) as error:
        raise StateError(str(path), f"is no card of a dataset: {error}") from error
    if not whole:
        raise StateError(str(path), "is no card of a dataset: its shards do not hold its histories")
    return card


def require_shards(folder: Path, card: Card) -> None:
    """Raise StateError for the first shard that is missing or has another size than its card says."""
    for shard in card.shards:
        path = folder / shard.file
        if Path(shard.file).name != shard.file:
            raise StateError(str(path), "must be a file in the folder of its dataset")
        size = path.lstat().st_size if path.exists() else None
        if size != shard.bytes:
            got = "is missing" if size is None else f"must have {shard.bytes} bytes, got {size}"
            raise StateError(str(path), got, "run the command that collected it again")


def require_suited(card: Card, config: Mapping[str, Any], folder: Path) -> None:
    """Raise ConfigError unless the run `config` can learn from the dataset in `folder`: its tasks, labels and length.

    Args:
        card: of the dataset.
        config: of the run, resolved and validated.
        folder: for the message.
    """
    own, theirs = (dict(of["env"]) for of in (config, card.config))
    for key in dict.fromkeys([*own, *theirs]):
        if key not in OTHER_TASKS and own.get(key) != theirs.get(key):
            reason = f"must be a dataset of the run's task family, got {folder} with env.{key}={theirs.get(key)}"
            raise ConfigError("dataset", f"{reason}, not {own.get(key)}", COLLECT)
    if card.config["normalise"] != config["normalise"]:
        raise ConfigError("dataset", f"must be a dataset with the run's normalise, got {folder}", COLLECT)
    if needs_labels(config) and not card.labels:
        learner = config["algo"]["_target_"].rpartition(".")[2]
        reason = (
            f"must hold the optimal actions that algo={learner} learns from, got {folder} with collect.labels=false"
        )
        raise ConfigError("dataset", reason, f"{COLLECT} collect.labels=true")
    check_window(config["algo"].get("window"), card.longest, f"dataset={folder}")
