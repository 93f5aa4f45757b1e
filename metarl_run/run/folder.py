"""The folder of a run: its plan, its outcome and its log."""

import contextlib
import faulthandler
import hashlib
import importlib.metadata
import io
import logging
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from metarl_run import __version__
from metarl_run.config.grammar import argument
from metarl_run.config.plan import Plan, flat, read_record, stored_plan
from metarl_run.config.secret import masked
from metarl_run.config.settings import keys_that_affect, of_older_runs
from metarl_run.errors import Bug, ConfigError, NumericalError, Pruned, ResourceError, RunError, StateError, visible
from metarl_run.files import SEAL, plain_only, refuse_links, seal
from metarl_run.report.folder import read_summary
from metarl_run.run.provenance import provenance
from metarl_run.system import machine
from metarl_run.system.atomic import hash_of, refusals, write_atomically
from metarl_run.system.interruption import Interrupted
from metarl_run.system.json_text import json_text

PACKAGES = ("torch", "numpy", "gymnasium", "hydra-core", "omegaconf", "wandb")
MAY_DIFFER = keys_that_affect("nothing", "indirectly")
"""Keys that may differ when a run is continued; what the indirect ones refer to may not."""

FAILURES: Mapping[int, type[RunError]] = {
    kind.exit_code: kind for kind in (Bug, ConfigError, StateError, NumericalError)
}
"""Failures that would happen again, by their exit codes."""

OVER = ("complete", "pruned")
"""Ends of runs with nothing left to do."""

log = logging.getLogger(__name__)


def versions() -> dict[str, str]:
    """Versions of the software that makes the result."""
    installed = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"metarl-run": __version__, "python": platform.python_version(), **installed}


def status_of(folder: Path) -> str | None:
    """How the run in `folder` ended: complete, pruned, failed, interrupted; None if it has not, or nobody knows."""
    try:
        status = read_summary(folder).get("status")
    except (OSError, ValueError, StateError):
        return None
    return status if isinstance(status, str) else None


def is_over(folder: Path) -> bool:
    """True of a run with nothing left to do."""
    return status_of(folder) in OVER


def require_not_failed(folder: Path) -> None:
    """Raise the error that the run in `folder` failed with, unless disk, memory or device was at fault."""
    try:
        summary = read_summary(folder)
    except (OSError, ValueError, StateError):
        return
    error = summary.get("error")
    if summary.get("status") != "failed" or not isinstance(error, dict):
        return
    code, reason = error.get("exit_code"), f"{error.get('reason')} (tried before)"
    if isinstance(code, int) and code in FAILURES:
        raise FAILURES[code](str(error.get("where")), reason, "retry_failed=true tries again")


def require_own(folder: Path) -> None:
    """Raise StateError unless `folder` is new, empty or a run's: files of others are not touched."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise StateError(str(folder), "is no folder", "give another one")
    refuse_links(folder)
    entries = {path.name for path in folder.iterdir()}
    if "run.json" in entries:
        stored_plan(folder)
        return
    begun = {".hydra", ".lock", ".owner", ".config.yaml.tmp", ".run.json.tmp"}
    if ".owner" in entries:  # killed before its plan was whole
        begun.add("config.yaml")
    if others := sorted(entries - begun):
        raise StateError(str(folder), f"holds {others[0]}, but no run", "give an empty or new folder")


def remember_plan(plan: Plan, folder: Path) -> bool:
    """Write down what is run, or make sure that it is what was begun here, or may go on changed.

    Returns:
        True if the run goes on with changes that it was not begun with, nor went on with before.

    Raises:
        StateError: if there are changes, and `allow_changes` does not allow them.
    """
    if not (folder / "run.json").exists():
        threads = machine.threads(plan.config["threads"])
        begun = {"versions": versions(), "threads": threads, "provenance": provenance(plan.launcher, plan.command)}
        _write_plan(plan, folder, begun)
        return False
    changed = changes(plan, folder)
    if not changed:
        return False
    if not plan.config["allow_changes"]:
        shown = "; ".join(f"{key}: {old!r} → {new!r}" for key, (old, new) in [*changed.items()][:4])
        hint = "allow_changes=true goes on with the new one"
        raise StateError(str(folder), f"was begun with another configuration: {shown}", hint)
    before = read_record(folder)
    history = [*before.get("changes", []), {key: list(values) for key, values in changed.items()}]
    with refusals(folder / "summary.json", "remove"):
        (folder / "summary.json").unlink(missing_ok=True)  # it is complete no longer
    _write_plan(plan, folder, {**before, "changes": history})
    return True


def _write_plan(plan: Plan, folder: Path, record: Mapping[str, Any]) -> None:
    """Write config.yaml and run.json so that a kill between the two leaves a folder that can be used."""
    config = {**plan.config, "allow_changes": False}  # whoever changes more has to allow it again
    text = yaml.safe_dump(config, sort_keys=False).encode()
    hashes = [*record.get("configs", []), hashlib.sha256(text).hexdigest()]
    record = {"format": 1, **record, "choices": dict(plan.choices), "overrides": plan.overrides, "configs": hashes}
    record = {**record, SEAL: seal(record)}
    if (folder / "run.json").exists():  # it knows either config.yaml then
        write_atomically(folder / "run.json", json_bytes(record))
        write_atomically(folder / "config.yaml", text)
        return
    write_atomically(folder / "config.yaml", text)
    try:
        write_atomically(folder / "run.json", json_bytes(record))
    except ResourceError:
        with contextlib.suppress(OSError):
            for name in ("run.json", "config.yaml"):  # neither is a run's without the other
                (folder / name).unlink(missing_ok=True)
        raise


def require_unedited(folder: Path, at_checkpoint: str | None) -> None:
    """Raise StateError if config.yaml is neither as it was at a checkpoint nor as this program wrote it.

    Args:
        folder: of the run.
        at_checkpoint: hash of config.yaml then; None if it was not recorded.
    """
    known = read_record(folder).get("configs", [])
    if at_checkpoint is not None and hash_of(folder / "config.yaml") not in (at_checkpoint, *known):
        hint = "put it back; changes are given on the command line, with allow_changes=true"
        raise StateError(str(folder / "config.yaml"), "was edited since the last checkpoint", hint)


def warn_of_other_versions(folder: Path) -> None:
    """Say so if the run was begun with other software: then it may not end in the same bytes."""
    before = read_record(folder).get("versions", {})
    changed = [f"{name} {before.get(name)} → {now}" for name, now in versions().items() if before.get(name) != now]
    if changed:
        log.warning("%s was begun with other versions: %s", folder, ", ".join(changed))


def warn_of_other_sums(plan: Plan, folder: Path) -> None:
    """Say so if the run was begun when threads still ordered sums: it may end in other last digits."""
    number = plan.config["threads"]
    if number not in ("auto", 1) and "threads" not in read_record(folder):
        log.warning("%s was begun with sums in the order of %d threads, and goes on with those of one", folder, number)


def remember_family(folder: Path, version: str, *, goes_on: bool) -> str:
    """Write the version of the task family to run.json.

    Args:
        folder: of the run.
        version: of the family that it is trained and tested on from now on.
        goes_on: some of its training is done already.

    Returns:
        The version, `1`, or those on which it was trained one after the other, `1, then 2`: about which it is warned.
    """
    before = [str(each) for each in recorded(folder, "family_versions") or []]
    if goes_on and before and before[-1] != version:
        log.warning(
            "%s was trained on version %s of its task family so far, and goes on with version %s: its result "
            "belongs to neither",
            folder,
            before[-1],
            version,
        )
    found = before if goes_on and version in before[-1:] else [*(before if goes_on else []), version]
    if found != before:
        remember(folder, "family_versions", found)
    return ", then ".join(found)


def recorded(folder: Path, name: str) -> Any:
    """An entry of run.json; None if it has none of that name."""
    return read_record(folder).get(name)


def remember(folder: Path, name: str, value: Any) -> None:
    """Write an entry to run.json."""
    record = read_record(folder)
    record[name] = value
    write_atomically(folder / "run.json", json_bytes({**record, SEAL: seal(record)}))


def changes(plan: Plan, folder: Path) -> dict[str, tuple[Any, Any]]:
    """Dotted keys that affect the result, and are not what the run in `folder` has: its value, and the plan's."""
    before, now = (flat({**of_older_runs(), **p.config}) for p in (stored_plan(folder), plan))
    return {
        key: (before.get(key), now.get(key))
        for key in sorted(before.keys() | now.keys())
        if key.split(".")[0] not in MAY_DIFFER and before.get(key) != now.get(key)
    }


class LogFile(logging.FileHandler):
    """A log in a run folder, where it is no link; if it cannot be written, it ends the run, once."""

    failed = False

    def _open(self) -> io.TextIOWrapper:
        return open(self.baseFilename, "a", encoding="utf-8", opener=plain_only)

    def emit(self, record: logging.LogRecord) -> None:
        if not self.failed:
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self.failed = True
        raise ResourceError(self.baseFilename, f"cannot write: {error.strerror}") from error

    def close(self) -> None:
        with contextlib.suppress(OSError):  # of what failed before: every record is flushed
            super().close()


@contextlib.contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Everything that is logged goes to `path`; warnings go to the screen too.

    Raises:
        ResourceError: if the disk refuses.
    """
    with refusals(path, "open"):
        handler = LogFile(path, encoding="utf-8")
    screen = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    screen.setLevel(logging.WARNING)
    screen.setFormatter(logging.Formatter("warning: %(message)s"))
    root = logging.getLogger("metarl_run")
    root.setLevel(logging.INFO)
    root.propagate = False  # Hydra listens at the top with a format of its own
    for each in (handler, screen):
        each.addFilter(_printable)
        root.addHandler(each)
    watching = not faulthandler.is_enabled()
    if watching:  # a segmentation fault leaves the lines that it came from
        faulthandler.enable(handler.stream or sys.stderr)
    try:
        yield
    finally:
        if watching:
            faulthandler.disable()
        for each in (handler, screen):
            root.removeHandler(each)
        handler.close()


def _printable(record: logging.LogRecord) -> bool:
    """Hide secrets in a message, and show control characters, which names from files may hold."""
    record.msg, record.args = visible(masked(record.getMessage())), None
    return True


@contextlib.contextmanager
def outcome_recorded(plan: Plan, folder: Path) -> Iterator[None]:
    """Record in summary.json how a run ended that did not complete; one that was pruned ended as it should."""
    log.info("%s", " ".join(f"{key}={value}" for key, value in _identity(plan).items()))
    outcome: dict[str, Any] = {}
    try:
        yield
    except RunError as error:
        outcome = {"status": "failed", "error": _recorded(error)}
        raise
    except Pruned as end:
        outcome = {"status": "pruned", "meta_iterations": end.iteration}
    except Interrupted as request:
        outcome = _interrupted(request.exit_code)
        if not plan.in_sweep:  # which says how all of it goes on
            print(f"stopped; to go on: metarl-run {argument('resume', os.path.relpath(folder))}", flush=True)
        raise
    finally:
        if outcome:
            failed = outcome["status"] == "failed"  # the first failure is the one to tell
            with contextlib.suppress(ResourceError) if failed else contextlib.nullcontext():
                write_atomically(folder / "summary.json", json_bytes({**_identity(plan), **outcome}))
                log.info("ended: %s", outcome)


def record_interruption(plan: Plan, folder: Path, exit_code: int) -> None:
    """Record in summary.json that the process ends at once, unless the run is complete already."""
    if not is_over(folder):
        write_atomically(folder / "summary.json", json_bytes({**_identity(plan), **_interrupted(exit_code)}))


def _identity(plan: Plan) -> dict[str, Any]:
    chosen = {group: plan.choices[group] for group in ("algo", "env", "learner", "network")}
    return {**chosen, "seed": plan.config["seed"]}


def _interrupted(exit_code: int) -> dict[str, Any]:
    return {"status": "interrupted", "error": {"exit_code": exit_code}}


def record_failure(folder: Path, error: RunError) -> None:
    """Record in summary.json how a run failed whose process could not do so; folders that hold no run stay as is."""
    if (folder / "run.json").exists() and not is_over(folder):
        write_atomically(folder / "summary.json", json_bytes({"status": "failed", "error": _recorded(error)}))


def _recorded(error: RunError) -> dict[str, Any]:
    return {"where": error.where, "reason": masked(error.reason), "exit_code": error.exit_code}


def json_bytes(record: Mapping[str, Any]) -> bytes:
    return json_text(record).encode()
