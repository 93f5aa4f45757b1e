"""Runs that are distributed: torch's elastic agent starts the ranks, or another engine has; what each of them does."""

import contextlib
import dataclasses
import json
import logging
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from metarl_run import errors
from metarl_run.config.grammar import key_of, quoted
from metarl_run.config.point import Composed, Point
from metarl_run.config.syntax import read_yaml
from metarl_run.errors import DONE, ConfigError, ResourceError, RunError
from metarl_run.system import machine
from metarl_run.system.atomic import write_atomically
from metarl_run.system.child import die_with_parent
from metarl_run.system.crash import Contained
from metarl_run.system.interruption import Interrupted
from metarl_run.system.launched import OUTCOME, Launched, launched

RESTARTS = 3
"""Times that all ranks start again, from the last checkpoint, after one was lost."""

PATIENCE = 60
"""Seconds that ranks have to save and end, once they are asked to."""


def ranks_of(composed: Composed) -> int | None:
    """The number of ranks that the command line asks for; None for an undistributed run.

    Raises:
        ConfigError: if it cannot be had.
    """
    wanted = {point.config["distributed"] for point in composed.points}
    if composed.multirun:
        if more := sorted(number for number in wanted if number is not None and number > 1):
            reason = f"divides one run among processes, got {more[0]} in a sweep"
            raise ConfigError("distributed", reason, "jobs of a sweep run side by side: hydra/launcher=joblib")
        return None
    (number,) = wanted
    (point,) = composed.points
    if point.config["resume"] is not None and "distributed" not in map(key_of, point.overrides):
        number = _begun_with(Path(str(point.config["resume"])))
    place = launched()
    if number is not None and place is not None and place.size != number:
        raise ConfigError("distributed", f"must be {place.size}, the ranks that {place.engine} started, got {number}")
    return number if isinstance(number, int) else None


def _begun_with(folder: Path) -> int | None:
    """The number of ranks of the run in `folder`; None if it had none, or is no run."""
    try:
        number = read_yaml(folder / "config.yaml").get("distributed")
    except (OSError, ValueError, RunError, AttributeError):
        return None
    return number if type(number) is int else None


def launch(composed: Composed, argv: Sequence[str], size: int) -> int:
    """Start the ranks of a run on this machine and wait for their end; the exit code.

    If one is lost, the others are stopped and all start again, from the last checkpoint.

    Raises:
        RunError: that ended the run.
        Interrupted: after the ranks have saved, if a signal asked for it.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    (point,) = composed.points
    arguments = [text for text in argv if key_of(text) != "hydra.run.dir"]
    if point.config["resume"] is None:
        arguments.append(f"hydra.run.dir={quoted(os.path.abspath(point.folder))}")
    names = [name for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)]
    with tempfile.TemporaryDirectory(prefix="metarl-run-") as folder, _environment(Path(folder)) as outcome:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=size,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=RESTARTS,
            signals_to_handle=",".join(names),
            shutdown_timeout=PATIENCE,
        )
        logging.disable(logging.CRITICAL)  # what the agent has to say is said below
        try:
            elastic_launch(config, sys.executable)("-P", "-m", "metarl_run", *arguments)
        except SignalException as request:
            raise Interrupted(128 + int(request.sigval)) from None
        except ChildFailedError as error:
            rank, failure = min(error.failures.items(), key=lambda one: one[1].timestamp)
            code = failure.exitcode
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"left with exit code {code}"
            reason = f"rank {rank} {how}, and after {RESTARTS} restarts one rank or another was lost again"
            raise ResourceError("distributed", reason) from None
        finally:
            logging.disable(logging.NOTSET)
        return _outcome(outcome)


@contextlib.contextmanager
def _environment(folder: Path) -> Iterator[Path]:
    """Environment variables of the ranks; the file in which the leader tells how the run ended."""
    outcome, before = folder / "outcome.json", dict(os.environ)
    os.environ[OUTCOME] = str(outcome)
    os.environ["PYTHONPATH"] = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    try:
        yield outcome
    finally:
        os.environ.clear()
        os.environ.update(before)


def _outcome(path: Path) -> int:
    if not path.exists():
        return DONE
    told = json.loads(path.read_text(encoding="utf-8"))
    if "error" in told:
        kind, where, reason, hint = told["error"]
        raise getattr(errors, kind, ResourceError)(where, reason, hint)
    raise Interrupted(told["interrupted"])


# --- Ranks ---


def be_rank(composed: Composed, place: Launched, lead: Any, follow: Any) -> int:
    """Do what this process has to do in its run; the exit code.

    Args:
        composed: the run.
        place: of this process.
        lead: called with the run and the ranks by the first of them.
        follow: called with the ranks by the others.

    Raises:
        RunError: that ended the run, in the process that has to show it.
        Interrupted: likewise.
    """
    ours = OUTCOME in os.environ
    if ours:
        die_with_parent()
    machine.side_by_side = 1 if place.own_cpus else place.local_size
    (point,) = composed.points
    from metarl_run.run.ranks import PeerLost, joined

    leads = place.rank == 0
    try:
        with Contained(None, point.config["plugins"]):
            ranks = joined(place, point.config["device"])
            if leads:
                if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)):
                    print(f"distributed: a rank was lost; all {ranks.size} go on from the last checkpoint", flush=True)
                with ranks.telling():
                    lead(dataclasses.replace(composed, points=(_in_same_folder(point),)), ranks)
            else:
                logging.getLogger("metarl_run").setLevel(logging.ERROR)  # the leader warns
                follow(ranks)
    except PeerLost as error:
        if leads and not ours:
            raise
        return error.exit_code
    except RunError as error:
        if ours:
            return _told(leads, error=[type(error).__name__, error.where, error.reason, error.hint])
        if leads:
            raise
        return error.exit_code
    except Interrupted as request:
        if ours:
            return _told(leads, interrupted=request.exit_code)
        raise
    return DONE


def _told(leads: bool, **record: Any) -> int:
    """Tell our own launcher how the run ended, which will not be tried again."""
    if leads:
        write_atomically(Path(os.environ[OUTCOME]), json.dumps(record).encode())
    return DONE


def _in_same_folder(point: Point) -> Point:
    """The run in the folder that it had before torchrun started all ranks again; torchrun's agent remembers it."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True" or OUTCOME in os.environ:
        return point
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    key = "metarl-run/folder"
    if store.check([key]):
        return dataclasses.replace(point, folder=store.get(key).decode())
    store.set(key, os.path.abspath(point.folder))
    return point
