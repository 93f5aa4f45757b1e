"""Components that have moved: old run folders and users' YAML keep working under the names of their time."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

RENAMED = {
    "metarl_run.algo.continuous_world.ContinuousWorld": (
        "metarl_run.algo.planning.continuous_dynamics.ContinuousDynamics"
    ),
    "metarl_run.algo.cross_entropy.CrossEntropy": "metarl_run.algo.planning.cross_entropy.CrossEntropy",
    "metarl_run.algo.meta_optimizer.Adam": "metarl_run.algo.meta_optimizer.adam.Adam",
    "metarl_run.algo.meta_optimizer.SGD": "metarl_run.algo.meta_optimizer.sgd.SGD",
    "metarl_run.algo.tabular_posterior.Prior": "metarl_run.algo.bayes.tabular_posterior.Prior",
    "metarl_run.algo.tabular_world.TabularWorld": "metarl_run.algo.planning.tabular_dynamics.TabularDynamics",
    "metarl_run.algo.trust_region.TrustRegion": "metarl_run.algo.meta_optimizer.trust_region.TrustRegion",
}
"""Every `_target_` that was ever released under another name: old → new."""

FORMER = {new: old for old, new in RENAMED.items()}

_warned: set[str] = set()


def with_current_targets(config: Mapping[str, Any], *, warn: bool = True) -> dict[str, Any]:
    """The configuration with each renamed `_target_` under its name of today; a warning once per name and process."""
    found: set[str] = set()

    def today(target: str) -> str:
        if target in RENAMED:
            found.add(target)
        return RENAMED.get(target, target)

    result: dict[str, Any] = _with_targets(config, today)
    for old in sorted(found - _warned) if warn else ():
        _warned.add(old)
        print(f"warning: {old} is now {RENAMED[old]}; the old name still works", file=sys.stderr, flush=True)
    return result


def with_former_targets(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as it read before any component moved: what is named by a hash of it is found again."""
    result: dict[str, Any] = _with_targets(config, lambda target: FORMER.get(target, target))
    return result


def _with_targets(value: Any, name: Callable[[str], str]) -> Any:
    if isinstance(value, Mapping):
        return {
            key: name(entry) if key == "_target_" and isinstance(entry, str) else _with_targets(entry, name)
            for key, entry in value.items()
        }
    if isinstance(value, list):
        return [_with_targets(entry, name) for entry in value]
    return value
