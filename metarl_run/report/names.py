"""Names of methods and task families as people write them: MAML, RL², CartPole family.

The first line of an option's file is `# Name: what it is`; an option without such a line has the name of its file.
"""

import functools
import re

from metarl_run.folders import CONFIG_DIR

NAMED = re.compile(r"# (?P<name>[^:(]{1,50}(\([^:)]{1,20}\))?): ")
OPTION = re.compile(r"\w{1,100}")


@functools.cache
def display_name(group: str, option: str) -> str:
    """The name of an option of a group, such as `RL²` of `algo` and `rl2`.

    Args:
        group: `algo` or `env`.
        option: may come from a file.
    """
    path = CONFIG_DIR / group / f"{option}.yaml"
    if not OPTION.fullmatch(option) or not path.is_file():
        return option
    first = next((line for line in path.read_text(encoding="utf-8").splitlines() if "@package" not in line), "")
    found = NAMED.match(first)
    return found["name"] if found else option


def title(algo: str, env: str) -> str:
    """`MAML on CartPole family`."""
    return f"{display_name('algo', algo)} on {display_name('env', env)}" if env else display_name("algo", algo)
