"""Subjects measured in turn, with a product of matrices beside each."""

import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from metarl_run.errors import ConfigError

PROJECT = "metarl-run"
COMPILED = "metarl-run compiled"
INSTALL = "pip install '.[bench]'"

Clock = Callable[[], float]
"""Seconds since some moment."""

Work = Callable[[], Mapping[str, float] | None]
"""Does the work of a case once; what it returns stands in the row."""


@dataclass(frozen=True)
class Case:
    """One piece of work, and who does it.

    Attributes:
        workload: its name on the command line.
        case: which of the workload's pieces it is.
        sizes: numbers that stand in the rows.
        steps: environment steps of the work, where it has any.
        subjects: makes each subject's work: loads what it needs and sets up, which is not measured. The project's own,
            if there are others, comes first.
        operations: floating-point operations of the products in the project's work, where they are counted.
    """

    workload: str
    case: str
    sizes: Mapping[str, int]
    steps: int | None
    subjects: Mapping[str, Callable[[], Work]]
    operations: float | None = None


def processor() -> float:
    """The processor's time that this process and its ended children have taken."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": processor}


class Product:
    """The product of two matrices: what the machine has to give at the moment."""

    def __init__(self, clock: Clock, size: int = 1024) -> None:
        self.clock = clock
        self.a, self.b, self.out = (torch.randn(size, size) for _ in range(3))
        self.operations = 2 * size**3

    def __call__(self) -> float:
        """Operations per second."""
        self.multiply()  # what the subject before has left to do, and has left in caches, is over then
        start = self.clock()
        self.multiply()
        return self.operations / (self.clock() - start)

    def multiply(self) -> None:
        torch.mm(self.a, self.b, out=self.out)


@dataclass
class Subject:
    """A subject under way.

    Attributes:
        work: what it does.
        calls: how often in one repetition, which is then not too short to measure.
        seconds: of one call, in each repetition.
        rates: of the product beside it.
        told: what the work returned.
    """

    work: Work
    calls: int
    seconds: list[float]
    rates: list[float]
    told: list[Mapping[str, float]]

    def repeat(self, product: Product) -> None:
        self.rates.append(product())
        start = product.clock()
        for _ in range(self.calls):
            told = self.work()
        self.seconds.append((product.clock() - start) / self.calls)
        self.told.append(told or {})


def compared(case: Case, repeats: int, clock: str, *, least_seconds: float) -> Iterator[dict[str, Any]]:
    """A row per subject, or one that says why it is absent.

    Args:
        case: what is measured.
        repeats: of every subject, in turn.
        clock: which of `CLOCKS` counts.
        least_seconds: of one repetition; shorter work is done several times.
    """
    product = Product(CLOCKS[clock])
    names = {"workload": case.workload, "case": case.case}
    subjects: dict[str, Subject] = {}
    absent: dict[str, str] = {}
    for name, make in case.subjects.items():
        try:
            subjects[name] = prepared(make(), product.clock, least_seconds)
        except ImportError as error:
            if (error.name or "").partition(".")[0] in ("metarl_run", "benchmarks"):
                raise
            absent[name] = f"{INSTALL} ({error})"
        except ConfigError as error:
            absent[name] = error.reason
    for _ in range(repeats):
        for subject in subjects.values():
            subject.repeat(product)
    for name, subject in subjects.items():
        median = statistics.median(subject.seconds)
        low, high = quartiles(subject.seconds)
        yield {
            **names,
            "subject": name,
            **case.sizes,
            "median_seconds": median,
            "steps_per_second": case.steps / median if case.steps else None,
            "spread": (high - low) / median,
            **ratios(subject, subjects[PROJECT]),
            "matmul_gflops": statistics.median(subject.rates) / 1e9,
            **shares(case, name, subject),
            "repeats": repeats,
            **{key: statistics.median(told[key] for told in subject.told) for key in subject.told[0]},
        }
    for name, reason in absent.items():
        yield {**names, "subject": name, **case.sizes, "absent": reason}


def prepared(work: Work, clock: Clock, least_seconds: float) -> Subject:
    """A subject that has worked already: what is compiled is compiled, and how long it takes is known."""
    work()
    start = clock()
    work()
    return Subject(work, max(1, round(least_seconds / max(clock() - start, 1e-6))), [], [], [])


def shares(case: Case, name: str, subject: Subject) -> dict[str, float]:
    """Which share of the rate of the product beside it the project's own products reach, all else included."""
    if case.operations is None or name != PROJECT:
        return {}
    each = [case.operations / s / rate for s, rate in zip(subject.seconds, subject.rates, strict=True)]
    return {"share_of_product": statistics.median(each)}


def ratios(subject: Subject, project: Subject) -> dict[str, float]:
    """How many times as long as the project the subject took: the median over repetitions, and its quartiles."""
    each = [mine / its for mine, its in zip(subject.seconds, project.seconds, strict=True)]
    low, high = quartiles(each)
    return {"ratio": statistics.median(each), "ratio_low": low, "ratio_high": high}


def quartiles(values: list[float]) -> tuple[float, float]:
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def profiled(case: Case, operations: int = 15) -> str:
    """Where the time of the project's work goes."""
    if case.steps is None:
        return f"{case.workload} {case.case}: a process of its own, which the profiler does not see"
    work = case.subjects[PROJECT]()
    work()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        work()
    table = profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=operations, max_name_column_width=40)
    return f"{case.workload} {case.case}\n{table}"
