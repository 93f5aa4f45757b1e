"""Exact bias and variance of every estimator, by enumeration of all trajectories of small MDPs.

Each row compares an estimate as in training with the truth, on random MDPs of 3 states, 2 actions and 3 steps:

    gradient, hessian          of the expected return J(θ), from one episode
    meta_gradient              of J(θ + α∇J(θ)): adaptation to infinitely many episodes
    sampled_meta_gradient      of E[J(θ + αĝ(τ))]: MAML in practice, adapting to B = 1 episode τ
    sampled_meta_gradient_2    the same for B = 2 episodes

for three kinds of policy:

    table          a table of logits, θ ~ N(0, 1)
    mlp            a network of 8 tanh units on one-hot states, θ ~ N(0, 1)
    mlp_initial    the same network as initialised for meta-training

Bias is ‖E[estimate] − truth‖; relative error is bias / ‖truth‖, and variance is relative to ‖truth‖². The variance of a
meta-gradient is that of one episode to adapt to and one to learn from; it is not enumerated for two. `from FOMAML` is
‖E[estimate] − E[FOMAML's]‖ / ‖truth‖: 0 where second derivatives change nothing in expectation.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from exact_lab import INNER_LR, Estimator, Lab, Sampled, random_mdp, tanh_mlp
from rich import box
from rich.table import Table
from torch import Tensor
from torch.autograd.functional import hessian, jacobian

from metarl_run.report.output import standard_output
from metarl_run.system.json_text import json_text

SURROGATES: dict[str, dict[str, Any]] = {
    "score": {"surrogate": "score", "baseline": "value"},
    "ratio": {"surrogate": "ratio", "baseline": "value"},
    "dice": {"surrogate": "dice", "baseline": "value"},
    "loaded_dice": {"surrogate": "loaded_dice", "baseline": "value"},
    "score_no_baseline": {"surrogate": "score", "baseline": "none"},
    "dice_no_baseline": {"surrogate": "dice", "baseline": "none"},
}
VARIANTS = SURROGATES | {
    "first_order": SURROGATES["score"] | {"first_order": True},
    "score_sampling_correction": SURROGATES["score"] | {"sampling_correction": True},
}
QUANTITIES = ("gradient", "hessian", "meta_gradient", "sampled_meta_gradient", "sampled_meta_gradient_2")
ALGORITHMS = {
    "fomaml": "first_order",
    "maml_score": "score",
    "maml_ratio": "ratio",
    "maml_dice": "dice",
    "maml_loaded_dice": "loaded_dice",
    "e_maml": "score_sampling_correction",
}
POLICIES = ("table", "mlp", "mlp_initial")
HIDDEN = [8]
COLUMNS = {
    "relative error": "relative_error_median",
    "at most": "relative_error",
    "from FOMAML": "from_fomaml_median",
    "variance": "variance_median",
}


class Comparison(NamedTuple):
    """One estimator against the truth; None where a value has no meaning or is not enumerated."""

    relative_error: float
    bias: float
    from_fomaml: float | None
    variance: float | None


Measured = dict[tuple[str, str, str], Comparison]
"""Comparisons by policy, quantity and estimator."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="estimators", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mdps", type=whole(1), default=20, help="number of random MDPs (default: 20)")
    parser.add_argument("--seed", type=whole(0), default=0, help="seed of the first MDP (default: 0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to FILE")
    chosen = parser.parse_args(arguments)
    if chosen.json is not None and chosen.json.is_dir():
        parser.error(f"argument --json: must be a file, got the folder {chosen.json}")
    torch.set_num_threads(1)  # every tensor is small
    rows = summary([measure(seed) for seed in range(chosen.seed, chosen.seed + chosen.mdps)])
    show(rows)
    if chosen.json is not None:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json_text(rows))
    return 0


def whole(least: int) -> Callable[[str], int]:
    """Argument type: an integer ≥ `least`."""

    def number(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) < 2**31:
            raise argparse.ArgumentTypeError(f"must be an integer from {least} to 2**31 - 1, got {text}")
        return int(text)

    return number


def measure(seed: int) -> Measured:
    """Compare every policy, quantity and estimator in one random MDP."""
    table, network = Lab(random_mdp(seed)), Lab(random_mdp(seed), tanh_mlp(HIDDEN))
    places = {
        "table": (table, table.random_params(seed)),
        "mlp": (network, network.random_params(seed)),
        "mlp_initial": (network, network.initial_params(seed)),
    }
    return {(policy, *key): found for policy in POLICIES for key, found in measure_at(*places[policy]).items()}


def measure_at(lab: Lab, θ: Tensor) -> dict[tuple[str, str], Comparison]:
    """Compare every quantity and estimator at one θ."""
    J = lab.expected_return
    found: dict[tuple[str, str], Comparison] = {}

    def compare(
        quantity: str, truth: Tensor, expected: Mapping[str, Tensor], sampled: Mapping[str, Sampled], fomaml: str = ""
    ) -> None:
        size = truth.norm().item()
        for name, mean in expected.items():
            bias = (mean - truth).norm().item()
            found[quantity, name] = Comparison(
                relative_error=bias / size,
                bias=bias,
                from_fomaml=(mean - expected[fomaml]).norm().item() / size if fomaml else None,
                variance=sampled[name].variance.sum().item() / size**2 if sampled else None,
            )

    estimators = {name: Estimator(lab, **chosen) for name, chosen in VARIANTS.items()}
    derivatives = {name: estimators[name].derivatives(θ) for name in SURROGATES}
    for order, (quantity, truth) in enumerate({"gradient": jacobian(J, θ), "hessian": hessian(J, θ)}.items()):
        sampled = {name: both[order] for name, both in derivatives.items()}
        compare(quantity, truth, {name: one.mean for name, one in sampled.items()}, sampled)

    lifetimes = {name: estimator.meta_gradients(θ) for name, estimator in estimators.items()}
    limits = {
        name: lab.meta_gradient(θ, estimators[name].expected_gain, first_order=name == "first_order")
        for name in (*SURROGATES, "first_order")
    }
    compare("meta_gradient", lab.meta_gradient(θ, J), limits, lifetimes, "first_order")

    sampled = {name: lifetimes[variant] for name, variant in ALGORITHMS.items()}
    means = {name: one.mean for name, one in sampled.items()}
    compare("sampled_meta_gradient", estimators["score"].true_meta_gradient(θ), means, sampled, "fomaml")

    of_two = {
        name: Estimator(lab, **VARIANTS[variant], episodes=2)
        for name, variant in ALGORITHMS.items()
        if name != "e_maml"  # its correction requires enumerating the queries, too
    }
    means = {name: estimator.expected_meta_gradient(θ) for name, estimator in of_two.items()}
    compare("sampled_meta_gradient_2", of_two["maml_score"].true_meta_gradient(θ), means, {}, "fomaml")
    return found


def summary(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """One row per policy, quantity and estimator: the largest relative error and medians over the MDPs."""
    rows = []
    for policy, quantity, name in measured[0]:
        found = [one[policy, quantity, name] for one in measured]
        errors = [one.relative_error for one in found]
        rows.append(
            {
                "policy": policy,
                "estimator": name,
                "quantity": quantity,
                "relative_error": max(errors),
                "relative_error_median": median(errors),
                "from_fomaml_median": middle([one.from_fomaml for one in found]),
                "bias_median": median(one.bias for one in found),
                "variance_median": middle([one.variance for one in found]),
                "mdps": len(found),
            }
        )
    return rows


def middle(values: Sequence[float | None]) -> float | None:
    """The median of the known values; None if there are none."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def show(rows: Sequence[dict[str, Any]]) -> None:
    console = standard_output()
    for policy in POLICIES:
        console.print(table_of(policy, [row for row in rows if row["policy"] == policy]))
    console.print(
        "Medians over the MDPs, except `at most`; --help defines the columns. Differentiated twice, only dice and "
        "loaded_dice are unbiased. With a table of logits score is equivalent to first order; with a network it is "
        "biased and differs from it. MAML in practice, adapting to few episodes, is unbiased only with score and "
        "E-MAML's sampling correction; the bias of dice and loaded_dice shrinks with more episodes."
    )


def table_of(policy: str, rows: Sequence[dict[str, Any]]) -> Table:
    """The rows of one kind of policy."""
    table = Table(box=box.SIMPLE_HEAD, title=f"{policy}: {rows[0]['mdps']} random MDPs, exact; α = {INNER_LR}")
    table.add_column("estimator", no_wrap=True)
    for heading in COLUMNS:
        table.add_column(heading, justify="right")
    for quantity in QUANTITIES:
        table.add_section()
        table.add_row(f"[bold]{quantity}[/]")
        for row in rows:
            if row["quantity"] == quantity:
                numbers = ("" if row[name] is None else f"{row[name]:.2g}" for name in COLUMNS.values())
                table.add_row(f"  {row['estimator']}", *numbers)
    return table


if __name__ == "__main__":
    sys.exit(main())
