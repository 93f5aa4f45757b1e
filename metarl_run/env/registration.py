"""Every task family under a name of Gymnasium's: `gymnasium.make("metarl_run/CartPoleFamily-v0")`.

Importing this module registers them; Gymnasium imports it when asked for `metarl_run.env.registration:<name>`.
The names come from `conf/env/*.yaml`, the file of a family being called like its module, so that a new family needs
nothing here. torch is not imported before an environment is made.
"""

import re
from typing import Any

import gymnasium
import yaml

from metarl_run.folders import CONFIG_DIR

NAMESPACE = "metarl_run"
ENTRY_POINT = "metarl_run.env.standalone:FamilyEnv"
VECTOR_ENTRY_POINT = "metarl_run.env.standalone:FamilyVectorEnv"


def register() -> None:
    """Register every family that is not registered yet."""
    for path in sorted((CONFIG_DIR / "env").glob("*.yaml")):
        module, _, name = configuration(path.stem).get("_target_", "").rpartition(".")
        env_id = f"{NAMESPACE}/{name}-v0"
        if module.endswith(f".{path.stem}") and env_id not in gymnasium.registry:
            gymnasium.register(
                env_id,
                entry_point=ENTRY_POINT,
                vector_entry_point=VECTOR_ENTRY_POINT,
                kwargs={"option": path.stem},
            )


def configuration(option: str, **overrides: Any) -> dict[str, Any]:
    """What `conf/env/<option>.yaml` says, interpolations such as `${.meta_train}` resolved.

    Args:
        option: the file's stem.
        overrides: values that take the place of the file's; a mapping is merged into the file's.
    """
    values = yaml.safe_load((CONFIG_DIR / "env" / f"{option}.yaml").read_text(encoding="utf-8"))
    for key, value in overrides.items():
        merged = isinstance(value, dict) and isinstance(values.get(key), dict)
        values[key] = values[key] | value if merged else value
    return {key: _resolved(value, (values,)) for key, value in values.items()}


def _resolved(value: Any, around: tuple[dict[str, Any], ...]) -> Any:
    """`value` without relative interpolations; `around` holds the mappings it lies in, the innermost last."""
    if isinstance(value, dict):
        return {key: _resolved(entry, (*around, value)) for key, entry in value.items()}
    if isinstance(value, str) and (reference := re.fullmatch(r"\$\{(\.+)([\w.]+)\}", value)):
        dots, path = reference.groups()
        around = around[: len(around) - len(dots) + 1]
        *folders, key = path.split(".")
        for folder in folders:
            around = (*around, around[-1][folder])
        return _resolved(around[-1][key], around)
    return value


register()
