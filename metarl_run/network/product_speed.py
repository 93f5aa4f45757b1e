"""Speed of the libraries that multiply, and the choice that follows from it."""

import time
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from metarl_run.network.product import AVAILABLE, COMPILED, KINDS, LEVEL, MKL, ONEDNN, Choice, Library, bmm, mm, using

FASTER = 1.3
"""A library is taken instead of the usual one if it is so many times as fast: where both are level, measurements that
scatter must not decide, since the same command has to give the same bytes."""
NO_FASTER = 1.15
"""Where oneDNN is less than so many times as fast in plain products, it is not measured in others."""

SHAPES: Mapping[str, tuple[int, int, int]] = {"medium": (2048, 64, 64), "large": (256, 256, 256)}
"""Rows, inputs and columns of the products that stand for each size."""
ROUNDS = 5
"""Measurements of each library, of which the fastest counts."""
TASKS = 2
"""Products in a stack that is measured."""

Rates = Mapping[str, Mapping[Library, float]]
"""GFLOP/s of each library, for each class that was measured."""


class Measured(NamedTuple):
    """The result of `measured`.

    Attributes:
        choice: the faster library of each class.
        gflops: the rates that it follows from; empty where there is no second library.
    """

    choice: Choice
    gflops: Rates


def measured() -> Measured:
    """Measure both libraries on one core, in some 50 ms, or 10 ms if oneDNN is no faster in plain products.

    What is not the usual choice is measured twice: a machine that is busy otherwise must not decide.
    Runs of one sweep may have different numbers of threads, and share the result.
    """
    if not AVAILABLE:
        return Measured(MKL, {})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            found = rates()
            choice = choice_by(found)
            if choice != LEVEL:
                again = choice_by(rates())
                choice = {name: library if again[name] == library else LEVEL[name] for name, library in choice.items()}
    finally:
        torch.set_num_threads(threads)
    return Measured(choice, found)


def choice_by(found: Rates) -> Choice:
    """The usual library of each class, or one that is `FASTER` times as fast."""
    large = found["plain, large"]
    chosen: dict[str, Library] = {name: faster(LEVEL[name], found[name]) for name in found}
    return {**LEVEL, **chosen, COMPILED: faster(LEVEL[COMPILED], large)}


def faster(usual: Library, rate: Mapping[Library, float]) -> Library:
    """The usual library, or the other one if that is `FASTER` times as fast."""
    other: Library = "mkl" if usual == "onednn" else "onednn"
    return other if rate[other] >= FASTER * rate[usual] else usual


def slower_classes(choice: Choice, found: Rates) -> list[str]:
    """Classes for which the other library than the chosen one is `FASTER` times as fast."""
    return [name for name, rate in found.items() if faster(choice[name], rate) != choice[name]]


def rates() -> Rates:
    """GFLOP/s of both libraries for the classes that have to be measured, at their best in interleaved rounds."""
    found: dict[str, Mapping[Library, float]] = {}
    for kind in KINDS:
        if kind != "plain" and all(rate["onednn"] < NO_FASTER * rate["mkl"] for rate in found.values()):
            break
        for size in SHAPES:
            rows, k, n = SHAPES[size]
            tasks = TASKS if kind.startswith("per task") else 1
            x, W, y = (torch.ones(tasks, *shape) for shape in ((rows, k), (k, n), (rows, n)))
            factors = (x.mT, y, W) if kind.endswith("transposed") else (x, W, y)
            seconds = best(*(factors if tasks > 1 else [factor[0] for factor in factors]))
            operations = 2e-9 * tasks * rows * k * n
            found[f"{kind}, {size}"] = {library: operations / each for library, each in seconds.items()}
    return found


def best(x: Tensor, W: Tensor, out: Tensor) -> dict[Library, float]:
    """The shortest time of a product by each library, in turn."""
    choices: dict[Library, Choice] = {"mkl": MKL, "onednn": ONEDNN}
    seconds: dict[Library, float] = {}
    for counted in range(-1, ROUNDS):  # the first one loads kernels
        for library, choice in choices.items():
            with using(choice):
                start = time.thread_time()  # whatever else the machine does
                mm(x, W, out=out) if x.dim() == 2 else bmm(x, W, out=out)
                took = time.thread_time() - start
            if counted >= 0:
                seconds[library] = min(took, seconds.get(library, took))
    return seconds
