"""Plans from files that may come from elsewhere: validated like a command line, and without code that nobody trusts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metarl_run.config.plan import Plan, stored_plan, trained_plan
from metarl_run.config.syntax import read_yaml
from metarl_run.config.validation import validate
from metarl_run.errors import ConfigError, StateError
from metarl_run.files import refuse_links
from metarl_run.folders import CONFIG_DIR


def stored_run(folder: Path, plugins: Sequence[str]) -> Plan:
    """The plan in `folder`, if nothing in it can do harm: run folders travel, and files may not name code to trust."""
    refuse_links(folder)
    plan = stored_plan(folder)
    flags = [text for text in plan.overrides if text.startswith("-")]
    if flags:
        raise StateError(str(folder / "run.json"), f"holds {flags[0]}, which is no override")
    try:
        validate(plan.config, plan.choices)
    except ConfigError as error:
        raise StateError(str(folder / "config.yaml"), f"{error.where}: {error.reason}") from error
    if unnamed := [name for name in plan.config["plugins"] if name not in plugins]:
        raise StateError(
            str(folder),
            f"runs code of {', '.join(unnamed)}, which a file may not ask for",
            f"add plugins=[{','.join(plan.config['plugins'])}] if you trust it",
        )
    return plan


def stored_agent(path: Path, plugins: Sequence[str]) -> Plan:
    """The plan of the run in a folder, or of the run that made a checkpoint, whose agent alone is known.

    Args:
        path: a run folder or one of its checkpoints, perhaps without its run.
        plugins: packages whose code may run.

    Raises:
        StateError: if it is neither, or cannot be used as it is.
    """
    if not path.is_dir():
        raise StateError(str(path), "there is no such folder", "give a run folder or one of its checkpoints")
    if not (path / "manifest.json").is_file():
        return stored_run(path, plugins)
    refuse_links(path)
    plan = trained_plan(path)
    config = {**_defaults(), **plan.config, "plugins": list(plugins), "checkpoint": None, "resume": None}
    try:
        validate(config, plan.choices)
    except ConfigError as error:
        raise StateError(str(path / "manifest.json"), f"{error.where}: {error.reason}", error.hint) from error
    return Plan(config, plan.choices, plan.overrides)


def _defaults() -> dict[str, Any]:
    """Values of the keys that belong to no group, where a checkpoint does not record them."""
    own = read_yaml(CONFIG_DIR / "train.yaml")
    return {**{key: value for key, value in own.items() if key not in ("defaults", "hydra")}, "logger": {}}
