"""Numbers of an evaluation under the names that every service for metrics shows them by."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from metarl_run.logger.display import few
from metarl_run.maths.statistics import outcomes_in


def evaluation_rows(
    rows: Sequence[Mapping[str, Any]], curve: Mapping[str, Sequence[Any]]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Steps and numbers of an evaluation: of `meta_test` points by episodes seen, else means by iteration."""
    split = rows[0]["split"] if rows else None
    if split == "meta_test":
        for point in curve_points(split, curve):
            yield round(point[f"{split}/episodes_seen"]), point
    elif split is not None:
        yield rows[0]["iteration"], validation_means(split, curve)


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
