"""Numbers of an evaluation under the names that every service for metrics shows them by."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from metarl_run.logger.display import few
from metarl_run.maths.statistics import outcomes_in


def validation_means(split: str, curve: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """`meta_validation/return_after_1_steps` and the like, of a few adaptation steps, and of outcomes too."""
    shown = {"return": curve["mean"], **{name: curve[name] for name in outcomes_in(curve)}}
    steps = few(curve["adaptation_step"])
    return {
        f"{split}/{what}_after_{step}_steps": mean
        for what, values in shown.items()
        for step, mean in zip(steps, few(values), strict=True)
    }


def curve_points(split: str, curve: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """The points of a curve, as `meta_test/mean` and the like."""
    for values in zip(*curve.values(), strict=True):
        yield {f"{split}/{name}": value for name, value in zip(curve, values, strict=True)}
