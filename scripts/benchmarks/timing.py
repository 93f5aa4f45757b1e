"""Subjects measured in turn, each together with a matrix product."""

import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks import machine
from metarl_run.errors import ConfigError
from metarl_run.network.product import IN_USE, MKL, ONEDNN, Choice, in_use, mm, using

PROJECT = "metarl-run"
COMPILED = "metarl-run compiled"
INSTALL = "pip install '.[bench]'"

Clock = Callable[[], float]
"""Seconds since an arbitrary moment."""

Work = Callable[[], Mapping[str, float] | None]
"""Function that does the work of a case once and returns further entries of its row."""


@dataclass(frozen=True)
class Case:
    """A piece of work and the subjects that do it.

    Attributes:
        workload: its name on the command line.
        case: name of the case within the workload.
        sizes: sizes to show in the rows.
        steps: environment steps of the work; None if it has none.
        subjects: by name, factories of each subject's work, whose imports and set-up are not measured. The project
            comes first.
        operations: floating-point operations of the products in the project's work; None if not counted.
    """

    workload: str
    case: str
    sizes: Mapping[str, int]
    steps: int | None
    subjects: Mapping[str, Callable[[], Work]]
    operations: float | None = None


def processor() -> float:
    """CPU time of this process and its ended children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": processor}


LIBRARIES: Mapping[str, Choice] = {"mkl": MKL, "onednn": ONEDNN}


class Product:
    """A matrix product by each library, to measure the machine's current speed."""

    def __init__(self, clock: Clock, size: int = 1024) -> None:
        self.clock = clock
        self.a, self.b, self.out = (torch.randn(size, size) for _ in range(3))
        self.operations = 2 * size**3

    def __call__(self) -> dict[str, float]:
        """Operations per second of each library."""
        return {name: self.operations / self.seconds(choice) for name, choice in LIBRARIES.items()}

    def seconds(self, choice: Choice) -> float:
        with torch.no_grad(), using(choice):
            mm(self.a, self.b, out=self.out)  # lets the previous work finish and evicts its data from caches
            start = self.clock()
            mm(self.a, self.b, out=self.out)
            return self.clock() - start


@dataclass
class Subject:
    """A subject being measured.

    Attributes:
        work: the work.
        calls: calls per repetition, enough to be measurable.
        seconds: seconds per call, for each repetition.
        rates: rate of the matrix product by each library, for each repetition.
        entries: entries that the work returned, for each repetition.
    """

    work: Work
    calls: int
    seconds: list[float]
    rates: list[dict[str, float]]
    entries: list[Mapping[str, float]]

    def repeat(self, product: Product) -> None:
        self.rates.append(product())
        start = product.clock()
        for _ in range(self.calls):
            entries = self.work()
        self.seconds.append((product.clock() - start) / self.calls)
        self.entries.append(entries or {})


def compared(case: Case, repeats: int, clock: str, *, least_seconds: float) -> Iterator[dict[str, Any]]:
    """A row per subject, with the reason for absent ones.

    Args:
        case: the case to measure.
        repeats: repetitions of every subject, in turn.
        clock: name of the clock in `CLOCKS`.
        least_seconds: minimum duration of a repetition; shorter work is called several times.
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
            "matmul_gflops": gflops(subject, "mkl"),
            "onednn_gflops": gflops(subject, "onednn"),
            "processor": machine.label(machine.described_processor()),
            "products": {**IN_USE.choice},
            **shares(case, name, subject),
            "repeats": repeats,
            **{key: statistics.median(entries[key] for entries in subject.entries) for key in subject.entries[0]},
        }
    for name, reason in absent.items():
        yield {**names, "subject": name, **case.sizes, "absent": reason}


def prepared(work: Work, clock: Clock, least_seconds: float) -> Subject:
    """A warmed-up subject: compilation is done, and the number of calls is set from its duration."""
    work()
    start = clock()
    work()
    return Subject(work, max(1, round(least_seconds / max(clock() - start, 1e-6))), [], [], [])


def shares(case: Case, name: str, subject: Subject) -> dict[str, float]:
    """Share of the matrix product's rate that the project's products reach, all else included."""
    if case.operations is None or name != PROJECT:
        return {}
    library = in_use("plain, large")
    each = [case.operations / s / rate[library] for s, rate in zip(subject.seconds, subject.rates, strict=True)]
    return {"share_of_product": statistics.median(each)}


def gflops(subject: Subject, library: str) -> float:
    """Rate of the matrix product by a library; torch's own where oneDNN is absent."""
    return statistics.median(rates[library] for rates in subject.rates) / 1e9


def ratios(subject: Subject, project: Subject) -> dict[str, float]:
    """The subject's time divided by the project's: median over repetitions, and quartiles."""
    each = [mine / its for mine, its in zip(subject.seconds, project.seconds, strict=True)]
    low, high = quartiles(each)
    return {"ratio": statistics.median(each), "ratio_low": low, "ratio_high": high}


def quartiles(values: list[float]) -> tuple[float, float]:
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def profiled(case: Case, operations: int = 15) -> str:
    """Profile of the project's work."""
    if case.steps is None:
        return f"{case.workload} {case.case}: runs in its own process, which the profiler does not see"
    work = case.subjects[PROJECT]()
    work()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        work()
    table = profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=operations, max_name_column_width=40)
    return f"{case.workload} {case.case}\n{table}"
