"""Table records read from files: tuning, failures, seeds, pairs, and the same report again."""

import copy
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from rich.console import Console

from metarl_run.errors import ConfigError
from metarl_run.report.table import picture, report
from metarl_run.report.table.latex import latex
from metarl_run.report.table.markdown import markdown
from metarl_run.report.table.screen import Screen
from metarl_run.report.table.text import (
    BENCHMARK,
    benchmarks,
    failures,
    judged,
    row_name,
    setting,
    tolerances,
    verdicts,
)
from metarl_run.table import store
from metarl_run.table.cells import Cell
from metarl_run.table.job import EvaluationJob
from metarl_run.table.record import record_of
from metarl_run.table.reproduce import Work

Config = dict[str, Any]
WorkOf = Callable[[Config], Work]
FIRST = "as published"


def stored(work: Work, job: EvaluationJob, totals: Sequence[Sequence[float]]) -> None:
    """Store given returns as those of `job`, `[task][n]`."""
    folder = work.root / job.folder
    store.prepare(folder, job)
    for part in job.parts:
        mine = np.array([totals[task % len(totals)] for task in part], dtype=float)
        store.write_part(folder, part, {"totals": mine, "optimum": np.empty(0), "seconds": 0.5})


def failed(work: Work, job: EvaluationJob) -> None:
    store.prepare(work.root / job.folder, job)
    error = {"where": "return of task 3", "reason": "must be finite, got nan", "exit_code": 4}
    store.write_outcome(work.root / job.folder, {"status": "failed", "error": error})


def record(work: Work, learned: Mapping[Cell, Sequence[EvaluationJob]] | None = None) -> dict[str, Any]:
    choices = work.choices()
    jobs = {cell: [job] for cell, job in work.reporting(choices).items()} | dict(learned or {})
    return record_of(work.table, work.root, [*work.cells, *(learned or {})], choices, jobs)


def cell_of(record: Mapping[str, Any], column: str, row: str = "10", block: str = FIRST) -> dict[str, Any]:
    (found,) = [
        cell for cell in record["cells"] if (cell["column"], cell["row"], cell["block"]) == (column, row, block)
    ]
    return dict(found)


def tuned(work: Work, column: str, means: Mapping[float, tuple[float, float]]) -> None:
    """Tuning returns of each setting at the two rows, in all blocks."""
    jobs = {job.folder: job for tried in work.tuning.values() for job in tried if job.column == column}
    for job in jobs.values():
        stored(work, job, [means[job.setting["epsilon"]]])


def test_each_cell_takes_the_setting_that_did_best_in_the_tuning_tasks(config: Config, work_of: WorkOf) -> None:
    work = work_of(config)
    tuned(work, "eps-Greedy", {1.0: (5.0, 6.0), 0.1: (4.0, 7.0)})
    choices = work.choices()
    assert {cell.row: choices[cell].setting for cell in choices if cell.column == "eps-Greedy"} == {
        "10": {"epsilon": 1.0},
        "25": {"epsilon": 0.1},
    }
    jobs = work.reporting(choices)
    of_row = {cell.row: job for cell, job in jobs.items() if (cell.column, cell.block) == ("eps-Greedy", FIRST)}
    assert (of_row["10"].episodes, of_row["25"].episodes) == ((2,), (3,))  # no lifetime is longer than needed
    stored(work, of_row["10"], [[100.0], [102.0]])
    cell = cell_of(record(work), "eps-Greedy")
    assert cell["setting"] == {"epsilon": 1.0} and cell["tuning_means"] == [5.0, 4.0]
    assert cell["ours"] == 101.0 and cell["tasks"] == 12 and cell["status"] == "complete"
    assert cell["seconds"] == 1.0 and cell["tuning_seconds"] == 1.0  # two parts each, half a second a part
    assert cell_of(record(work), "eps-Greedy", "25")["status"] == "missing"


def test_a_cell_says_ours_interval_paper_difference_and_verdict(config: Config, work_of: WorkOf) -> None:
    work = work_of(config)
    (job,) = {job.folder: job for job in work.reporting(work.choices()).values()}.values()
    stored(work, job, [[101.0, 240.0], [103.0, 242.0]])
    cell = cell_of(record(work), "Random")
    std = np.sqrt(12 / 11)
    assert (cell["ours"], cell["paper"], cell["tolerance"], cell["matched"]) == (102.0, 100.1, 2.5, True)
    assert cell["difference"] == pytest.approx(1.9)
    assert cell["high"] - cell["low"] == pytest.approx(2 * 1.96 * std / np.sqrt(12))
    assert cell_of(record(work), "Random", "25")["matched"] is False  # 241 is more than 5.8 from 250.2
    assert (cell["seeds"], cell["budget"], cell["one_sided"]) == ([0], None, False)


def test_another_agent_than_the_papers_gets_no_verdict(made: dict[str, Any]) -> None:
    (other,) = [cell for cell in made["cells"] if (cell["block"], cell["row"]) == ("true prior", "10")]
    assert (other["paper"], other["compared"], other["matched"]) == (132.8, False, None)
    assert other["difference"] == pytest.approx(102.0 - 132.8)
    assert judged(other) == "not compared"
    assert verdicts(made)[1] == "true prior: 2 cells, 2 not compared"
    glance, _ = markdown(made, "table.png").split("## Cell by cell")
    _, block = glance.split("## True prior")
    assert "| n=10 | 102.0 ±0.6 (132.8) |" in block and not set("✓✗") & set(block.partition("![")[0])


def test_a_column_may_hold_another_agent_than_the_papers(config: Config, work_of: WorkOf) -> None:
    config["table"]["not_compared"] = ["Random"]
    work = work_of(config)
    (job,) = {job.folder: job for job in work.reporting(work.choices()).values()}.values()
    stored(work, job, [[101.0, 240.0], [103.0, 242.0]])
    assert [cell_of(record(work), "Random", row)["matched"] for row in ("10", "25")] == [None, None]


def test_what_is_not_compared_must_be_in_the_table(config: Config, work_of: WorkOf) -> None:
    config["table"]["not_compared"] = ["true priors"]
    with pytest.raises(ConfigError, match=r"not_compared.*'true priors'"):
        work_of(config)


def test_a_failure_is_shown_with_its_seed_and_hides_nothing(config: Config, work_of: WorkOf) -> None:
    work = work_of(config)
    tuned(work, "eps-Greedy", {1.0: (5.0, 5.0), 0.1: (4.0, 4.0)})
    for job in {job.folder: job for job in work.reporting(work.choices()).values()}.values():
        if job.column == "Random":
            failed(work, job)
        else:
            stored(work, job, [[100.0, 300.0]])
    made = record(work)
    cell = cell_of(made, "Random")
    assert (cell["status"], cell["failed_seeds"], cell["ours"], cell["matched"]) == ("failed", [0], None, None)
    assert cell_of(made, "eps-Greedy")["ours"] == 100.0
    assert judged(cell) == "failed: seed 0"
    assert any(
        "Random" in line and "seed 0: return of task 3: must be finite, got nan" in line for line in failures(made)
    )
    for text in (markdown(made, "table.png"), latex(made), screen(made)):
        assert "failed" in text
    assert "2 cells" not in verdicts(made)[0] and "2 failed" in verdicts(made)[0]


def test_a_failed_setting_of_a_grid_fails_its_cells(config: Config, work_of: WorkOf) -> None:
    """Else the best of those that are left would be reported as if all had been tried."""
    work = work_of(config)
    tuned(work, "eps-Greedy", {1.0: (5.0, 5.0), 0.1: (4.0, 4.0)})
    broken = next(job for tried in work.tuning.values() for job in tried if job.setting["epsilon"] == 0.1)
    for path in (work.root / broken.folder).glob("*.npz"):
        path.unlink()
    failed(work, broken)
    cell = cell_of(record(work), "eps-Greedy")
    assert cell["status"] == "failed" and cell["setting"] is None
    assert cell["failures"][0]["setting"] == {"epsilon": 0.1}


@pytest.fixture
def learned(config: Config, work_of: WorkOf) -> tuple[Work, list[EvaluationJob]]:
    """A learned cell of three seeds."""
    config["table"]["columns"] = ["Random"]
    work = work_of(config)
    template = next(iter(work.reporting(work.choices()).values()))
    jobs = [replace(template, folder=f"cells/RL2/10/{seed}", agent_seed=seed) for seed in (0, 1, 2)]
    return work, [replace(job, column="RL2", budget="cpu", episodes=(2,)) for job in jobs]


def test_a_learned_cell_is_over_seeds_and_may_be_better_than_the_paper(
    learned: tuple[Work, list[EvaluationJob]],
) -> None:
    work, jobs = learned
    for job, value in zip(jobs, (160.0, 161.0, 162.0), strict=True):
        stored(work, job, [[value]])
    cell = cell_of(record(work, {Cell(FIRST, "10", "RL2"): jobs}), "RL2")
    assert cell["ours"] == pytest.approx(161.0) and cell["matched"] is True and cell["one_sided"] is True
    assert cell["low"] < 160.5 < 161.5 < cell["high"]
    assert (cell["seeds"], cell["budget"]) == ([0, 1, 2], "cpu")
    assert setting(cell) == "budget=cpu, seeds=3"


def test_seeds_tested_in_the_same_tasks_share_the_resampled_ones(learned: tuple[Work, list[EvaluationJob]]) -> None:
    work, jobs = learned
    of_tasks = [[150.0 + 4 * task] for task in range(12)]
    for job in jobs:
        stored(work, job, of_tasks)
    cell = cell_of(record(work, {Cell(FIRST, "10", "RL2"): jobs}), "RL2")
    (alone,) = [cell for cell in record(work, {Cell(FIRST, "10", "RL2"): jobs[:1]})["cells"] if cell["column"] == "RL2"]
    assert cell["high"] - cell["low"] == pytest.approx(alone["high"] - alone["low"], rel=0.1)
    others = [jobs[0], *(replace(job, identity={**job.identity, "device": "cuda"}) for job in jobs[1:])]
    for job in others[1:]:
        stored(work, job, of_tasks)
    apart = cell_of(record(work, {Cell(FIRST, "10", "RL2"): others}), "RL2")
    assert apart["high"] - apart["low"] < 0.8 * (cell["high"] - cell["low"])  # as if there were more tasks


def test_a_seed_that_was_trained_twice_counts_once(learned: tuple[Work, list[EvaluationJob]]) -> None:
    work, jobs = learned
    again = replace(jobs[0], folder="cells/RL2/10/again", identity={**jobs[0].identity, "agent": "other checkpoint"})
    for job, value in zip([*jobs, again], (160.0, 161.0, 162.0, 160.0), strict=True):
        stored(work, job, [[value]])
    made = record(work, {Cell(FIRST, "10", "RL2"): [*jobs, again]})
    cell = cell_of(made, "RL2")
    assert cell["seeds"] == [0, 1, 2] and cell["ours"] == pytest.approx(161.0)
    line = "left out: cells/RL2/10/again repeats cells/RL2/10/0"
    assert line in markdown(made, "table.png") and line in screen(made)


def test_a_cell_of_which_too_little_is_known_is_undecided(config: Config, work_of: WorkOf) -> None:
    work = work_of(config)
    (job,) = {job.folder: job for job in work.reporting(work.choices()).values()}.values()
    stored(work, job, [[90.0, 250.0], [110.0, 250.2]])
    made = record(work)
    cell = cell_of(made, "Random")
    assert cell["matched"] is None and cell["standard_error"] == pytest.approx(np.sqrt(100 * 12 / 11 / 12))
    assert judged(cell).startswith("undecided: our standard error 3 is above a third of the tolerance 2.5")
    assert "100.0 ±5.9 (100.1) ?" in markdown(made, "table.png")
    assert r"100.0 $\pm$5.9$^?$" in latex(made)
    assert "−0.1 ?" in screen(made)
    assert "as published: 4 cells, 1 matched, 1 undecided, 2 not run" in verdicts(made)


def test_a_diverged_seed_is_never_averaged_away(learned: tuple[Work, list[EvaluationJob]]) -> None:
    work, jobs = learned
    stored(work, jobs[0], [[158.0]])
    failed(work, jobs[1])
    stored(work, jobs[2], [[160.0]])
    cell = cell_of(record(work, {Cell(FIRST, "10", "RL2"): jobs}), "RL2")
    assert (cell["status"], cell["failed_seeds"], cell["matched"]) == ("failed", [1], None)
    assert cell["ours"] == 159.0  # of those that finished, and it says so
    assert judged(cell) == "failed: seed 1 (2/3 seeds)"


def test_columns_are_compared_with_the_best_of_their_row_in_the_same_tasks(config: Config, work_of: WorkOf) -> None:
    work = work_of(config)
    tuned(work, "eps-Greedy", {1.0: (5.0, 5.0), 0.1: (4.0, 4.0)})
    for job in {job.folder: job for job in work.reporting(work.choices()).values()}.values():
        shift = 0.0 if job.column == "Random" else 3.0
        stored(work, job, [[10.0 + shift, 20.0 - shift], [50.0 + shift, 60.0 - shift]])
    pairs = record(work)["pairs"]
    assert [(pair["row"], pair["column"], pair["best"], pair["difference"]) for pair in pairs] == [
        ("10", "Random", "eps-Greedy", -3.0),
        ("25", "eps-Greedy", "Random", -3.0),
    ]
    assert pairs[0]["low"] == pairs[0]["high"] == -3.0  # the tasks' own differences are gone


# --- The report ---


def screen(made: Mapping[str, Any], width: int = 100, encoding: str = "utf-8") -> str:
    written = io.BytesIO()
    with io.TextIOWrapper(written, encoding=encoding) as file:
        Console(file=file, width=width, force_terminal=False, color_system=None).print(Screen(made, []), crop=False)
        file.flush()
        return written.getvalue().decode(encoding)


@pytest.fixture
def made(config: Config, work_of: WorkOf) -> dict[str, Any]:
    work = work_of(config)
    tuned(work, "eps-Greedy", {1.0: (5.0, 5.0), 0.1: (4.0, 4.0)})
    for job in {job.folder: job for job in work.reporting(work.choices()).values()}.values():
        stored(work, job, [[101.0, 240.0], [103.0, 242.0]])
    return record(work)


def test_the_same_record_makes_the_same_bytes(made: dict[str, Any], tmp_path: Path) -> None:
    files = report.write(made, tmp_path).files
    assert [path.name for path in files] == ["table.json", "table.md", "table.tex", "table.png", "table.svg"]
    before = [path.read_bytes() for path in files]
    again = report.write(json.loads((tmp_path / "table.json").read_text()), tmp_path).files
    assert [path.read_bytes() for path in again] == before


def test_in_the_picture_a_column_looks_alike_in_all_blocks_and_unlike_every_other(
    made: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = Figure()
    monkeypatch.setattr(picture, "save", lambda name, width, height, draw: draw(figure) or [])
    picture.draw(tmp_path / "table", made)
    marks = {"filled": 0, "hollow": 0}
    looks: dict[str, set[str]] = {}
    for axes in figure.axes:
        for bars in axes.containers:
            line = bars.lines[0]
            marks["hollow" if line.get_markerfacecolor() == "white" else "filled"] += 1
            if not bars.get_label().startswith("_"):
                looks.setdefault(bars.get_label(), set()).add(line.get_color())
    assert looks.keys() == {cell["column"] for cell in made["cells"]}
    assert all(len(colours) == 1 for colours in looks.values())
    assert len(set.union(*looks.values())) == len(looks)
    matched = [cell["matched"] for cell in made["cells"]]
    filled = matched.count(True) + matched.count(None)  # what is not compared is faint, not hollow
    assert marks == {"filled": 2 * filled, "hollow": 2 * matched.count(False)}  # in two panels each


@pytest.mark.parametrize("width", [60, 80, 160])
def test_the_screen_shows_every_cell_in_the_width_there_is(made: dict[str, Any], width: int) -> None:
    text = screen(made, width)
    table = [line for line in text.splitlines() if re.match(r" (n=\d+)? +(ours|paper|difference) ", line)]
    assert table and max(map(len, table)) <= width
    assert text.count("102.0 ±0.6") == 3 and "1.9 ✓" in text and "−9.2 ✗" in text
    assert "as published: 4 cells, 1 matched, 3 not matched" in text


def test_the_screen_speaks_ascii_where_it_must(made: dict[str, Any]) -> None:
    text = screen(made, encoding="ascii")
    assert "102.0 ~0.6" in text or "102.0 +-0.6" in text
    assert "1.9 ok" in text and "NO" in text


def test_markdown_and_latex_hold_ours_and_the_papers(made: dict[str, Any]) -> None:
    text = markdown(made, "table.png")
    assert "| n=10 | 102.0 ±0.6 (100.1) ✓ | 102.0 ±0.6 (132.8) ✗ |" in text
    assert "| n=10 | Random | 102.0 ±0.6 | 101.4 to 102.6 | 102.0 | 100.1 | 1.9 | ±2.5 | matched |  |" in text
    assert "epsilon=1" in text and "## True prior" in text
    lines = latex(made).splitlines()
    assert r"n=10 & 102.0 $\pm$0.6 & 102.0 $\pm$0.6$^\dagger$ \\" in lines
    assert r" & (100.1) & (132.8) \\" in lines
    assert sum(line == r"\begin{table}" for line in lines) == 2


def test_learned_columns_say_the_coverage_of_their_seeds(learned: tuple[Work, list[EvaluationJob]]) -> None:
    work, jobs = learned
    for job in jobs:
        stored(work, job, [[158.0]])
    made = record(work, {Cell(FIRST, "10", "RL2"): jobs})
    for text in (screen(made, 400), markdown(made, "table.png")):
        assert "a 95 % interval holds the mean in fewer cases: 75 % with 3 seeds." in text
    assert r"75 \% with 3 seeds" in latex(made)


def papers(**numbers: float) -> dict[str, Any]:
    cells = [
        {"row": "10,5", "column": name, "block": FIRST, "paper": number, "tolerance": 0.25}
        for name, number in numbers.items()
    ]
    return {"key": ["n", "k"], "cells": cells}


def test_what_a_tick_can_tell_apart_is_said_row_by_row() -> None:
    lines = tolerances(papers(Random=5.0, TS=5.7, OTS=6.5, Gittins=6.6, UCB1=6.7, RL2=6.8))
    assert lines == [
        "n=10, k=5: tolerance 0.25, the paper's columns span 1.8; "
        "✓ cannot tell apart OTS, Gittins, UCB1; nor Gittins, UCB1, RL2"
    ]
    assert tolerances(papers(OTS=6.5, UCB1=6.7))[0].endswith("span 0.2; ✓ cannot tell the columns apart")
    assert tolerances(papers(TS=5.7, UCB1=6.7))[0].endswith("span 1; ✓ tells all of them apart")
    assert tolerances(papers(UCB1=6.7)) == []
    wider = papers(TS=5.0, Greedy=5.3, UCB1=6.7)
    for cell in wider["cells"][:2]:
        cell["tolerance"] = 0.4
    (line,) = tolerances(wider)
    assert "tolerance 0.25 to 0.4," in line and line.endswith("✓ cannot tell apart TS, Greedy")


def test_reports_say_what_a_tick_can_tell_apart(made: dict[str, Any]) -> None:
    line = "n=10: tolerance 2.5, the paper's columns span 32.7; ✓ tells all of them apart"
    assert f"- {line}" in markdown(made, "table.png").splitlines()
    assert line in screen(made) and line.replace("✓", "ok") in screen(made, encoding="ascii")


def test_rows_are_named_by_the_parts_of_their_keys(made: dict[str, Any]) -> None:
    both = copy.deepcopy(made) | {"key": ["n", "k"]}
    assert row_name(both, "100,5") == "n=100, k=5"
    assert row_name(both, "mdp_100") == "mdp_100"


def with_benchmark(made: dict[str, Any], column: str, **changes: list[str]) -> dict[str, Any]:
    """The record of a table on one version of the family and in the same tasks, but for one column."""
    same: dict[str, list[str]] = {"family_versions": ["1"], "tasks_hashes": ["61d0"]}
    cells = [{**cell, **same, **(changes if cell["column"] == column else {})} for cell in made["cells"]]
    return {**made, "cells": cells}


def test_a_table_names_the_version_of_its_family_and_what_must_not_be_compared(made: dict[str, Any]) -> None:
    older = {**made, "cells": [{k: v for k, v in cell.items() if k not in BENCHMARK} for cell in made["cells"]]}
    assert benchmarks(older) == []
    rows = ", ".join(dict.fromkeys(row_name(made, cell["row"]) for cell in made["cells"]))
    (line,) = benchmarks(with_benchmark(made, ""))
    assert line == f"task family: version 1, held-out tasks 61d0 at {rows}"
    lines = benchmarks(with_benchmark(made, "Random", family_versions=["2"]))
    assert lines[0].endswith("results on different versions of the task family, 1 and 2; do not compare them") or (
        lines[0].endswith("results on different versions of the task family, 2 and 1; do not compare them")
    )
    other = with_benchmark(made, "Random", tasks_hashes=["77aa"])
    assert any("results in different held-out tasks" in line for line in benchmarks(other))
    assert all(line in markdown(other, "table.png") for line in benchmarks(other))
    screen = io.StringIO()
    Console(file=screen, width=300).print(Screen(other, []))
    assert all(line in screen.getvalue() for line in benchmarks(other))
