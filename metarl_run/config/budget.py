"""Check of the key `budget`, before an interpolation fails for want of it."""

from collections.abc import Mapping

from metarl_run.config.nearest import nearest
from metarl_run.errors import ConfigError


def check_budget(budget: object, budgets: object) -> None:
    """Raise ConfigError unless `budget` names an entry of `budgets`, or is null where there are none.

    Args:
        budget: the key `budget`.
        budgets: the key `budgets`: by name, the numbers that other keys refer to as `${budgets.${budget}.NAME}`.
    """
    if not isinstance(budgets, Mapping):
        raise ConfigError("budgets", f"must be a mapping of names to numbers, got {budgets!r}")
    for name, numbers in budgets.items():
        if not isinstance(numbers, Mapping):
            raise ConfigError(f"budgets.{name}", f"must be a mapping of names to numbers, got {numbers!r}")
    if not budgets:
        if budget is not None:
            reason = f"must be null, as this configuration has no budgets, got {str(budget)!r}"
            raise ConfigError("budget", reason, "choose an experiment that has some")
    elif budget not in list(budgets):  # whatever it is, it need not be hashable
        got = "null" if budget is None else repr(budget)
        raise ConfigError(
            "budget", f"must be one of {', '.join(map(str, budgets))}, got {got}", _meant(budget, budgets)
        )
    _check_alike(budgets)


def _check_alike(budgets: Mapping[str, Mapping[str, object]]) -> None:
    """Raise ConfigError unless all budgets have the same keys, so that none fails only when it is chosen."""
    given = {key: name for name, numbers in budgets.items() for key in numbers}
    for name, numbers in budgets.items():
        for key, other in given.items():
            if key not in numbers:
                reason = f"lacks {key}, which budgets.{other} has"
                raise ConfigError(f"budgets.{name}", reason, _meant(key, numbers))


def _meant(name: object, names: Mapping[str, object]) -> str | None:
    meant = nearest(str(name), [*names])
    return meant and f"did you mean {meant}?"
