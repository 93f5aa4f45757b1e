"""Can a run learn from its meta-batch a few tasks at a time? Only where the meta-gradient is a sum over tasks."""

from collections.abc import Sequence

from metarl_run.config.capability import Chosen
from metarl_run.errors import ConfigError

WORD = "sum_over_tasks"
"""Provided by an algorithm, and by its meta-optimizer, that needs of a meta-batch no more than such a sum."""


def check_chunk(chunk: int | None, components: Sequence[Chosen]) -> None:
    """Raise ConfigError if `meta_batch_chunk` is given and the algorithm or its meta-optimizer cannot heed it.

    Args:
        chunk: the key `meta_batch_chunk`.
        components: all of the configuration.
    """
    parts = {one.path: one for one in components if one.path in ("algo", "algo.meta_optimizer")}
    unable = [path for path, one in parts.items() if WORD not in one.signature.declared.provided(one.arguments)]
    if chunk is None or not unable:
        return
    reason = f"which cannot learn from a few tasks at a time, got {chunk}"
    hint = "leave it out"
    if "minibatches" in parts["algo"].arguments:
        hint = "algo.minibatches=N learns from one N-th of the lifetimes at a time"
    elif unable == ["algo.meta_optimizer"]:
        hint = "choose a meta-optimizer that follows the gradient alone: algo=maml"
    raise ConfigError("meta_batch_chunk", f"must be null with {unable[0]}={parts[unable[0]].name}, {reason}", hint)
