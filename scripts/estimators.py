"""Bias and variance of every estimator, exactly: all trajectories of small MDPs are listed, so nothing is sampled.

Each row compares what training computes from one episode with the truth, on random MDPs of 3 states, 2 actions and
3 steps, with policies that are softmax tables:

    gradient, hessian        of the expected return J(θ)
    meta_gradient            of J(θ + α∇J(θ)): as if infinitely many episodes were adapted to
    sampled_meta_gradient    of E[J(θ + αĝ(τ))]: MAML as it runs, adapting to one episode τ

Bias is ‖E[estimate] − truth‖; relative error is that over ‖truth‖, and variance is over ‖truth‖². The variance of a
meta-gradient is that of one episode to adapt to and one to learn from.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from exact_lab import INNER_LR, Estimator, Lab, Sampled, random_mdp
from rich import box
from rich.table import Table
from torch import Tensor
from torch.autograd.functional import hessian, jacobian

from metarl_run.report.output import standard_output

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
QUANTITIES = ("gradient", "hessian", "meta_gradient", "sampled_meta_gradient")
ALGORITHMS = {
    "fomaml": "first_order",
    "maml_score": "score",
    "maml_ratio": "ratio",
    "maml_dice": "dice",
    "maml_loaded_dice": "loaded_dice",
    "e_maml": "score_sampling_correction",
}
COLUMNS = ("relative_error_median", "relative_error", "bias_median", "variance_median")
Measured = dict[tuple[str, str], tuple[float, float, float]]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="estimators", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mdps", type=whole(1), default=20, help="how many random MDPs (default: 20)")
    parser.add_argument("--seed", type=whole(0), default=0, help="of the first MDP (default: 0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")
    chosen = parser.parse_args(arguments)
    if chosen.json is not None and chosen.json.is_dir():
        parser.error(f"argument --json: must be a file, got the folder {chosen.json}")
    torch.set_num_threads(1)  # every tensor is small
    rows = summary([measure(seed) for seed in range(chosen.seed, chosen.seed + chosen.mdps)])
    show(rows)
    if chosen.json is not None:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n")
    return 0


def whole(least: int) -> Callable[[str], int]:
    """An argument that is a whole number from `least` on."""

    def number(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) < 2**31:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to 2**31 - 1, got {text}")
        return int(text)

    return number


def measure(seed: int) -> Measured:
    """(relative error, bias, variance) of every (quantity, estimator) in one random MDP at a random θ."""
    lab = Lab(random_mdp(seed))
    θ, J = lab.random_params(seed), lab.expected_return
    estimators = {name: Estimator(lab, **chosen) for name, chosen in VARIANTS.items()}
    lifetimes = {name: estimator.meta_gradients(θ) for name, estimator in estimators.items()}
    truth = {
        "gradient": jacobian(J, θ),
        "hessian": hessian(J, θ),
        "meta_gradient": lab.meta_gradient(θ, J),
        "sampled_meta_gradient": estimators["score"].true_meta_gradient(θ),
    }
    found: Measured = {}

    def compare(quantity: str, name: str, expected: Tensor, sampled: Sampled) -> None:
        bias, size = (expected - truth[quantity]).norm().item(), truth[quantity].norm().item()
        found[quantity, name] = bias / size, bias, sampled.variance.sum().item() / size**2

    for name in SURROGATES:
        for quantity, sampled in zip(("gradient", "hessian"), estimators[name].derivatives(θ), strict=True):
            compare(quantity, name, sampled.mean, sampled)
    for name in (*SURROGATES, "first_order"):
        limit = lab.meta_gradient(θ, estimators[name].expected_gain, first_order=name == "first_order")
        compare("meta_gradient", name, limit, lifetimes[name])
    for name, variant in ALGORITHMS.items():
        compare("sampled_meta_gradient", name, lifetimes[variant].mean, lifetimes[variant])
    return found


def summary(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """One row per quantity and estimator: its largest relative error, and medians, over the MDPs."""
    rows = []
    for quantity, name in measured[0]:
        errors, biases, variances = zip(*(found[quantity, name] for found in measured), strict=True)
        rows.append(
            {
                "estimator": name,
                "quantity": quantity,
                "relative_error": max(errors),
                "relative_error_median": median(errors),
                "bias_median": median(biases),
                "variance_median": median(variances),
                "mdps": len(measured),
            }
        )
    return rows


def show(rows: Sequence[dict[str, Any]]) -> None:
    table = Table(box=box.SIMPLE_HEAD, title=f"{rows[0]['mdps']} random MDPs, exact; α = {INNER_LR}")
    table.add_column("estimator")
    for heading in ("relative error", "at most", "bias", "variance"):
        table.add_column(heading, justify="right")
    for quantity in QUANTITIES:
        table.add_section()
        table.add_row(f"[bold]{quantity}[/]")
        for row in rows:
            if row["quantity"] == quantity:
                table.add_row(f"  {row['estimator']}", *(f"{row[name]:.2g}" for name in COLUMNS))
    console = standard_output()
    console.print(table)
    console.print(
        "Medians over the MDPs, except `at most`; --help says of what. Differentiated twice, only dice and loaded_dice "
        "are unbiased, and score is first order. MAML as it runs, adapting to a single episode, is unbiased only with "
        "score and E-MAML's sampling correction; dice and loaded_dice come near with more episodes."
    )


if __name__ == "__main__":
    sys.exit(main())
