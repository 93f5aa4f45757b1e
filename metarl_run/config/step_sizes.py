"""Step sizes that suit a task family: stated beside its numbers, read by the algorithms, unknown to its constructor.

`env.step_sizes.sgd` is α of plain gradient steps, `env.step_sizes.adam` that of Adam's; an algorithm's `inner_lr` is
one of them, unless another number is given for it. A family without them gets CartPole's. They are dropped as soon as
all references are resolved: of a run, `inner_lr` is the number that counts.
"""

from collections.abc import Mapping
from typing import Any

from metarl_run.errors import ConfigError
from metarl_run.kinds import Positive, problem

KEY = "step_sizes"
RULES = ("sgd", "adam")


def without_step_sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with what the family's constructor takes; whatever referred to its step sizes has its number.

    Raises:
        ConfigError: unless they are, if there are any, positive numbers of known rules.
    """
    env = config.get("env")
    if not isinstance(env, Mapping) or KEY not in env:
        return dict(config)
    sizes = env[KEY]
    if not isinstance(sizes, Mapping):
        raise ConfigError(f"env.{KEY}", f"must be a mapping of {' and '.join(RULES)} to numbers, got {sizes!r}")
    for rule, size in sizes.items():
        if rule not in RULES:
            raise ConfigError(f"env.{KEY}.{rule}", "unknown key", f"it may have {' and '.join(RULES)}")
        if reason := problem(Positive, size):
            raise ConfigError(f"env.{KEY}.{rule}", reason)
    return {**config, "env": {key: value for key, value in env.items() if key != KEY}}
