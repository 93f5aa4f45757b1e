"""Registration of every task family with Gymnasium: `gymnasium.make("metarl_run/CartPoleFamily-v0")`.

Importing this module registers them; Gymnasium imports it when asked for `metarl_run.env.registration:<name>`.
Names come from `conf/env/*.yaml`, where the file of a family is named after its module, so a new family needs no code
here. torch is imported only when an environment is made.
"""

import re
from typing import Any

import gymnasium
import yaml

from metarl_run.folders import CONFIG_DIR

NAMESPACE = "metarl_run"
ENTRY_POINT = "metarl_run.env.standalone:FamilyEnv"
OUTSIDE = ("gymnasium", "metaworld")
"""Families of environments that Gymnasium has already."""
VECTOR_ENTRY_POINT = "metarl_run.env.standalone:FamilyVectorEnv"


def register() -> None:
    """Register every family that is not registered yet."""
    for path in sorted((CONFIG_DIR / "env").glob("*.yaml")):
        module, _, name = configuration(path.stem).get("_target_", "").rpartition(".")
        env_id = f"{NAMESPACE}/{name}-v0"
        own = module.endswith(f".{path.stem}") and path.stem not in OUTSIDE
        if own and env_id not in gymnasium.registry:
            gymnasium.register(
                env_id,
                entry_point=ENTRY_POINT,
                vector_entry_point=VECTOR_ENTRY_POINT,
                kwargs={"option": path.stem},
            )


def configuration(option: str, **overrides: Any) -> dict[str, Any]:
    """The content of `conf/env/<option>.yaml`, merged into its defaults, interpolations such as `${.x}` resolved.

    Args:
        option: the file's stem.
        overrides: values that replace the file's; a mapping is merged into the file's.
    """
    values = _laid_over(_written(option), overrides)
    return {key: _resolved(value, (values,)) for key, value in values.items()}


def _written(option: str) -> dict[str, Any]:
    """The file's own values over those of the options that its `defaults` name."""
    own = yaml.safe_load((CONFIG_DIR / "env" / f"{option}.yaml").read_text(encoding="utf-8"))
    own.pop("step_sizes", None)  # the algorithms', see `metarl_run.config.step_sizes`
    values: dict[str, Any] = {}
    for base in own.pop("defaults", []):
        values = _laid_over(values, _written(base)) if base != "_self_" else values
    return _laid_over(values, own)


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {
        key: _laid_over(below[key], value) if isinstance(value, dict) and isinstance(below.get(key), dict) else value
        for key, value in above.items()
    }
    return {**below, **both}


def _resolved(value: Any, around: tuple[dict[str, Any], ...]) -> Any:
    """`value` with relative interpolations resolved; `around` holds the enclosing mappings, the innermost last."""
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
