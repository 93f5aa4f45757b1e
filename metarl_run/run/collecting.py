"""Collection of learning histories: an agent's lifetimes in meta-training tasks, shard by shard, to a dataset.

Each shard has random streams of its own, named by its index: neither the number of workers nor an interruption changes
a byte.
"""

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metarl_run.config.collection import Collection, collecting, collection_of, identity_of
from metarl_run.dataset.card import Card, read_card
from metarl_run.dataset.shard import packed
from metarl_run.dataset.writing import begin, finish, is_written, write_shard
from metarl_run.env.base import Task, TaskFamily
from metarl_run.env.vector import parallel
from metarl_run.errors import ConfigError, ContractError, ResourceError, RunError, StateError
from metarl_run.evaluation import episode_sums
from metarl_run.learner.base import action_size
from metarl_run.lifetime import live
from metarl_run.run.agent import SetUp, set_up
from metarl_run.seeding import Streams
from metarl_run.system import machine
from metarl_run.system.child import leave_with_parent
from metarl_run.system.crash import Contained
from metarl_run.system.interruption import StopRequest
from metarl_run.system.lock import IN_USE, locked
from metarl_run.types import Lifetime, Rollout

SECONDS_BETWEEN_LOOKS = 0.2
"""Interval of checks for stop requests, and for a folder that another process is in."""

SECONDS_THAT_PAY = 20.0
"""Work that is shared among processes; to start one takes some seconds."""

Told = Callable[[int, int], None]
"""Called with the shards done and all of them."""


def collect_histories(
    config: Mapping[str, Any],
    choices: Mapping[str, str],
    folder: Path,
    stop: StopRequest,
    told: Told = lambda done, total: None,
) -> Card:
    """Bring the dataset in `folder` to its end, from wherever it is; its card.

    Args:
        config: of the run that asks for it, resolved and validated.
        choices: the option chosen in each group, for the card.
        folder: of the dataset. If another process is collecting there, that one is waited for.
        stop: stop requests; shards that are written stay.
        told: progress.

    Raises:
        StateError: if the folder holds anything else.
        ConfigError: if these histories cannot be collected.
        Interrupted: on a stop request.
    """
    wanted, identity = collection_of(config), identity_of(config)
    with _alone_in(folder, stop):
        if begin(folder, identity):
            return read_card(folder)
        parts = _set_up(config)
        shards = shards_of(parts.family, wanted)
        missing = [index for index in range(len(shards)) if not is_written(folder, index)]
        done = len(shards) - len(missing)
        told(done, len(shards))
        for _ in _written(config, folder, missing, parts, stop):
            done += 1
            told(done, len(shards))
        return finish(folder, len(shards), _about(parts.family, wanted, identity, choices))


def _set_up(config: Mapping[str, Any]) -> SetUp:
    """The agent that collects, on the CPU and one thread: workers share the cores."""
    return set_up({**collecting(config), "threads": 1, "device": "cpu"})


@contextlib.contextmanager
def _alone_in(folder: Path, stop: StopRequest) -> Iterator[None]:
    """Wait until no other process is in `folder`, and keep others out."""
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(folder))
                break
            except StateError as error:
                if not error.reason.startswith(IN_USE):
                    raise
            stop.check()
            time.sleep(SECONDS_BETWEEN_LOOKS)
        yield


# --- Workers ---


def _written(
    config: Mapping[str, Any], folder: Path, missing: Sequence[int], parts: SetUp, stop: StopRequest
) -> Iterator[int]:
    """Write the missing shards; each when it is written."""
    num_workers, left = collection_of(config).jobs, list(missing)
    if num_workers is None and left:
        begun = time.monotonic()
        yield _lived(config, folder, left.pop(0), parts, stop)
        pays = (time.monotonic() - begun) * len(left) > SECONDS_THAT_PAY
        num_workers = max(machine.cpus() // machine.side_by_side, 1) if pays else 1
    # A worker of a table may have no processes of its own
    if num_workers is None or min(num_workers, len(left)) <= 1 or multiprocessing.current_process().daemon:
        for index in left:
            yield _lived(config, folder, index, parts, stop)
        return
    context = multiprocessing.get_context("spawn")
    workers = {}
    try:
        for share in (left[first::num_workers] for first in range(min(num_workers, len(left)))):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(theirs, config, folder, share), daemon=True)
            # The terminal sends Ctrl-C to the whole group; workers inherit the blocked signal and never see it
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
            workers[ours] = (process, list(share))
        while workers:
            stop.check()
            for pipe in wait([*workers], timeout=SECONDS_BETWEEN_LOOKS):
                assert isinstance(pipe, Connection)
                process, share = workers[pipe]
                try:
                    answer = pipe.recv()
                except (EOFError, OSError):
                    process.join()
                    del workers[pipe]
                    if share:
                        reason = f"worker process ended with exit code {process.exitcode}"
                        raise ResourceError(str(folder), reason, "the same command goes on") from None
                    continue
                if isinstance(answer, RunError):
                    raise answer
                share.remove(answer)
                yield answer
    finally:
        for process, _ in workers.values():
            process.terminate()
        for process, _ in workers.values():
            process.join()


def _lived(config: Mapping[str, Any], folder: Path, index: int, parts: SetUp, stop: StopRequest) -> int:
    stop.check()
    live_shard(config, folder, index, parts)
    return index


def _work(pipe: Connection, config: Mapping[str, Any], folder: Path, share: Sequence[int]) -> None:
    """A worker: write some shards, and tell of each."""
    machine.prepare()
    leave_with_parent()
    try:
        with Contained(None, config["plugins"]):
            parts = _set_up(config)
            for index in share:
                live_shard(config, folder, index, parts)
                pipe.send(index)
    except RunError as error:
        pipe.send(error)


# --- A shard ---


def shards_of(family: TaskFamily, wanted: Collection) -> list[range]:
    """The places in the dataset of each shard's tasks.

    Raises:
        ConfigError: if all tasks are wanted of a family that cannot list them.
    """
    number = wanted.tasks
    if number == "all":
        known = family.all_tasks("meta_train")
        if known is None:
            reason = f"must be a number with {type(family).__name__}, whose tasks cannot be listed, got all"
            raise ConfigError("collect.tasks", reason)
        number = known.num_tasks
    size = wanted.tasks_per_shard
    return [range(first, min(first + size, number)) for first in range(0, number, size)]


def tasks_at(family: TaskFamily, wanted: Collection, streams: Streams, shard: int, places: range) -> Task:
    """The tasks of a shard. Of tasks that can be listed each occurs equally often, up to one."""
    known = family.all_tasks("meta_train")
    if known is None:
        return family.sample(len(places), "meta_train", streams("collect/tasks", shard))
    if wanted.tasks == "all":
        return known.select(torch.tensor(places))
    generator = streams("collect/tasks")
    rounds = -(-places.stop // known.num_tasks)
    order = torch.cat([torch.randperm(known.num_tasks, generator=generator) for _ in range(rounds)])
    return known.select(order[places.start : places.stop])


def live_shard(config: Mapping[str, Any], folder: Path, shard: int, parts: SetUp) -> None:
    """Live the lifetimes of one shard and write it."""
    wanted = collection_of(config)
    _, streams, family, algo = parts
    places = shards_of(family, wanted)[shard]
    task = tasks_at(family, wanted, streams, shard, places)
    hashes = task.hashes()
    task = task.select(torch.arange(len(places)).repeat_interleave(wanted.histories))
    B = 1 if algo.remembers else min(config["episodes_per_task"], wanted.episodes)
    env = parallel(family, task, episodes_per_task=B, generator=streams("collect/env", shard))
    K = -(-wanted.episodes // B) - 1
    with torch.no_grad():
        lifetime = live(algo, env, streams("collect/actions", shard), adaptation_steps=K)
    rollout = in_a_row(lifetime)
    returns = episode_sums(rollout.reward, rollout)[:, : wanted.episodes, 0].double() * family.reward_unit
    last = wanted.episodes - wanted.episodes % wanted.every
    histories = packed(
        rollout,
        optimal_actions(family, task, rollout, wanted),
        one_hot=is_one_hot(family, rollout),
        num_actions=num_actions(family),
        kept=kept(rollout, wanted),
    )
    write_shard(
        folder,
        shard,
        histories,
        tasks=hashes,
        first_return=float(returns[:, wanted.every - 1].sum()),
        last_return=float(returns[:, last - 1].sum()),
    )


def in_a_row(lifetime: Lifetime) -> Rollout:
    """A lifetime's episodes one after another, `[M, T, 1]`: of an agent that adapts between rollouts, those of each.

    Steps that are no padding follow each other, with padding in between.
    """
    rollouts = [
        [x[:, :, b : b + 1] for x in rollout.of_steps]
        for rollout in lifetime.rollouts
        for b in range(rollout.reward.shape[2])
    ]
    observation = torch.cat([*(of_steps[0][:, :-1] for of_steps in rollouts[:-1]), rollouts[-1][0]], 1)
    others = [torch.cat(x, 1) for x in zip(*(of_steps[1:] for of_steps in rollouts), strict=True)]
    return Rollout._make([observation, *others, {}, {}])


def kept(rollout: Rollout, wanted: Collection) -> Tensor:
    """Steps that are stored: of every so many episodes the last."""
    episode = rollout.ended.long().cumsum(1) - rollout.ended.long()
    return rollout.alive & (episode < wanted.episodes) & (episode % wanted.every == wanted.every - 1)


def optimal_actions(family: TaskFamily, task: Task, rollout: Rollout, wanted: Collection) -> Tensor | None:
    """An optimal action for what each step acted on, `[M, T, 1]`; None if none are wanted, or known."""
    if wanted.labels is False or "tabular" not in family.provides:
        return None
    state = rollout.observation[:, :-1, 0].argmax(-1)
    action = family.optimal_action(task, state)
    return None if action is None else action.unsqueeze(-1)


def num_actions(family: TaskFamily) -> int | None:
    """A of a discrete action space."""
    return int(n) if (n := getattr(family.action_space, "n", None)) is not None else None


def is_one_hot(family: TaskFamily, rollout: Rollout) -> bool:
    """True of a tabular family.

    Raises:
        ContractError: if its observations are not one-hot.
    """
    if "tabular" not in family.provides:
        return False
    x = rollout.observation
    if not bool(((x == 0) | (x == 1)).all()) or not bool((x.sum(-1) == 1).all()):
        raise ContractError(f"{type(family).__name__}.observe", "must return one-hot states, as a tabular family's")
    return True


def _about(
    family: TaskFamily, wanted: Collection, identity: Mapping[str, Any], choices: Mapping[str, str]
) -> dict[str, Any]:
    """The card's fields that are known beforehand."""
    tabular, A = "tabular" in family.provides, num_actions(family)
    return {
        "config": identity,
        "choices": {"env": choices.get("env", ""), "algo": choices.get("algo@collect.algo", choices.get("algo", ""))},
        "spaces": {"observation": str(family.observation_space), "action": str(family.action_space)},
        "num_features": int(family.observation_space.shape[0]),
        "num_actions": A,
        "action_size": action_size(family.action_space) if A is None else None,
        "one_hot": tabular,
        "labels": tabular and wanted.labels is not False,
        "family_version": family.full_version,
        "histories_per_task": wanted.histories,
        "episodes_per_history": wanted.episodes // wanted.every,
    }
