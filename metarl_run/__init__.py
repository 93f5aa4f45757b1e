"""metarl-run: a config-driven experiment runner for meta-reinforcement learning.

From Python:

    result = metarl_run.run(["algo=maml", "env=cartpole_family"])      what the command does, in a process of its own
    metarl_run.read(folder)                                            the same of a run or sweep that has ended
    metarl_run.compare([folder, …])                                    adaptation curves of runs, seeds together
    agent = metarl_run.load(folder)                                    its agent, for a loop of one's own

Each is imported when it is used, so that the command can refuse a bad configuration at once.
"""

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = ["Agent", "Comparison", "Result", "Sweep", "compare", "load", "read", "run"]

_HOMES = {
    **dict.fromkeys(("Agent", "load"), "metarl_run.api.agent"),
    **dict.fromkeys(("Comparison", "Result", "Sweep", "compare", "read"), "metarl_run.api.result"),
}
"""Modules of these names, as text: nothing below `api` may come to depend on it through here."""


def __getattr__(name: str) -> Any:
    if name == "run":  # the room, which can be called
        return importlib.import_module("metarl_run.run")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'metarl_run' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
