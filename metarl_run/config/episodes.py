"""Checks of the episodes per task: nothing is learned where an episode's return is its own baseline."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from metarl_run.config.capability import Chosen
from metarl_run.errors import ConfigError

ADAPTS = "metarl_run.algo.gradient.base.GradientBased"
"""Learns from the learner's loss in meta-training and in every evaluation."""

TRAINS = "metarl_run.algo.metric_based.MetricBased"
"""Learns from the learner's loss in meta-training alone."""


def check_episodes(config: Mapping[str, Any], components: Sequence[Chosen]) -> None:
    """Raise ConfigError if the loss of one episode would be 0: with baseline=time its own return is subtracted from it.

    Args:
        config: plain containers; its settings are of the right kind.
        components: all of the configuration.
    """
    parts = {one.path: one for one in components}
    if parts["learner"].arguments.get("baseline") != "time":
        return
    for key, episodes in learned_from(config, parts["algo"].signature.bases):
        if episodes == 1:
            reason = "must be at least 2 with learner.baseline=time, which takes a single episode's return from itself"
            raise ConfigError(key, f"{reason}: nothing could be learned", "learner.baseline=none learns from one")


def check_minibatches(config: Mapping[str, Any]) -> None:
    """Raise ConfigError for more minibatches than there are lifetimes to make them of: they would be that many.

    Args:
        config: plain containers, validated.
    """
    minibatches, lifetimes = (
        config["algo"].get("minibatches", 1),
        config["meta_batch_size"] * config["episodes_per_task"],
    )
    if minibatches > lifetimes:
        reason = f"must be <= meta_batch_size · episodes_per_task = {lifetimes} lifetimes, got {minibatches}"
        raise ConfigError("algo.minibatches", reason)


def learned_from(config: Mapping[str, Any], bases: Sequence[str]) -> Iterator[tuple[str, int]]:
    """The keys that say how many episodes per task a loss is computed from, and their values."""
    if config["meta_iterations"] and {ADAPTS, TRAINS} & set(bases):
        yield "episodes_per_task", config["episodes_per_task"]
    if ADAPTS not in bases:
        return
    evaluations = {"meta_validation": config["meta_iterations"] and config["validate_every"], "meta_test": True}
    for key, takes_place in evaluations.items():
        if takes_place and config[key]["adaptation_steps"]:
            yield f"{key}.episodes_per_task", config[key]["episodes_per_task"]
