"""Comparison of a sweep: known numbers, and failures that are reported and never averaged."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure
from rich.console import Console

from metarl_run.errors import UNSEEN
from metarl_run.report.sweep import sweep
from metarl_run.report.tasks import hash_of_tasks

MakeRun = Callable[..., Path]
Drawn = Callable[..., Figure]


def record_overrides(folder: Path, *overrides: str) -> None:
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(list(overrides)))


def change_summary(folder: Path, **changes: Any) -> None:
    path = folder / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def printed(report: sweep.SweepReport, width: int = 100, encoding: str = "utf-8") -> str:
    bytes_written = io.BytesIO()
    with io.TextIOWrapper(bytes_written, encoding=encoding) as file:
        Console(file=file, width=width, force_terminal=False, color_system=None).print(report, crop=False)
        file.flush()
        return bytes_written.getvalue().decode(encoding)


def test_jobs_are_found_however_deep_their_folders_are(make_run: MakeRun, tmp_path: Path) -> None:
    for seed in (0, 1):
        make_run(tmp_path / "maml" / "fast" / f"{seed}", seed=seed)
    (group,) = sweep.write(tmp_path).groups
    assert group.finished == "2/2"


def test_jobs_that_a_search_ended_are_neither_results_nor_failures(make_run: MakeRun, tmp_path: Path) -> None:
    for seed in (0, 1):
        make_run(tmp_path / f"maml_bandit_{seed}_{seed}", env="bandit", seed=seed)
    change_summary(tmp_path / "maml_bandit_1_1", status="pruned")
    report = sweep.write(tmp_path)
    assert [group.finished for group in report.groups] == ["1/1"] and report.failed == []


def test_seeds_are_pooled_by_hand(make_run: MakeRun, tmp_path: Path) -> None:
    make_run(tmp_path / "maml_bandit_0_0", env="bandit", seed=0, returns=((10.0, 20.0), (30.0, 40.0)))
    make_run(tmp_path / "maml_bandit_1_1", env="bandit", seed=1, returns=((20.0, 30.0), (50.0, 60.0)))
    report = sweep.write(tmp_path)
    (group,) = report.groups
    assert (group.algo, group.env, group.variant, group.finished) == ("maml", "bandit", "", "2/2")
    assert group.curve is not None
    assert group.curve["mean"] == [20.0, 45.0]
    assert group.curve["iqm"] == [20.0, 45.0]  # middle half of 10 20 20 30, and of 30 40 50 60
    assert group.curve["episodes_seen"] == [0.0, 20.0]
    assert group.curve["low"][1] >= 30.0 and group.curve["high"][1] <= 60.0
    assert group.curve["low"][1] < 45.0 < group.curve["high"][1]
    assert group.wall_seconds == 60.5
    assert report.failed == []
    with (tmp_path / "comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["algo"], row["adaptation_step"], float(row["mean"]), row["seeds"]) for row in rows] == [
        ("maml", "0", 20.0, "2"),
        ("maml", "1", 45.0, "2"),
    ]
    assert "45.0 ±" in printed(report) and "2/2" in printed(report)


def test_the_interval_is_over_seeds_not_over_all_tasks(make_run: MakeRun, tmp_path: Path) -> None:
    for seed in (0, 1):
        make_run(tmp_path / f"maml_e_{seed}_{seed}", seed=seed, returns=[[10.0 * seed] * 40])
    curve = sweep.write(tmp_path).groups[0].curve
    assert curve is not None and (curve["low"], curve["high"]) == ([0.0], [10.0])


def test_one_group_per_algo_and_env(make_run: MakeRun, tmp_path: Path) -> None:
    pairs = [(algo, env) for env in ("bandit", "maze") for algo in ("maml", "reptile")]
    for number, (algo, env) in enumerate(reversed(pairs)):
        make_run(tmp_path / f"{algo}_{env}_0_{number}", algo=algo, env=env)
    report = sweep.write(tmp_path)
    assert [(group.algo, group.env) for group in report.groups] == pairs
    assert {path.name for path in report.files} == {f"comparison.{end}" for end in ("csv", "json", "md", "png", "svg")}
    assert all(path.stat().st_size > 0 for path in report.files)


def test_different_settings_are_never_pooled(make_run: MakeRun, tmp_path: Path) -> None:
    for number, (lr, seed) in enumerate([(0.1, 0), (0.1, 1), (0.5, 0), (0.5, 1)]):
        config = {"algo": {"inner_lr": lr, "first_order": False}, "output_root": f"somewhere/{number}"}
        make_run(tmp_path / f"maml_e_{seed}_{number}", seed=seed, config=config)
    groups = sweep.write(tmp_path).groups
    assert [(group.variant, group.finished) for group in groups] == [
        ("algo.inner_lr=0.1", "2/2"),
        ("algo.inner_lr=0.5", "2/2"),
    ]


def test_learners_that_differ_are_named(make_run: MakeRun, tmp_path: Path) -> None:
    for number, learner in enumerate(("reinforce", "actor_critic")):
        config = {"learner": {"_target_": learner, "discount": 0.9 + number / 20}}
        make_run(tmp_path / f"maml_e_0_{number}", learner=learner, config=config)
    assert [group.variant for group in sweep.write(tmp_path).groups] == ["learner=actor_critic", "learner=reinforce"]


def record_choices(folder: Path, **choices: str) -> None:
    (folder / "run.json").write_text(json.dumps({"choices": choices, "overrides": []}))


def test_names_stand_for_what_follows_from_them(make_run: MakeRun, tmp_path: Path) -> None:
    """An experiment's or budget's numbers are not listed; what was swept besides is."""
    jobs = [(arms, budget, lr) for arms in (5, 10) for budget in ("cpu", "paper") for lr in (0.1, 0.5)]
    for number, (arms, budget, lr) in enumerate(jobs):
        iterations = arms * (10 if budget == "cpu" else 100)
        config = {
            "budget": budget,
            "budgets": {"cpu": {"n": 10 * arms}, "paper": {"n": 100 * arms}},
            "published": {"lifetime_return": 1.0 * arms, "deviation": None, "source": None},
            "meta_iterations": iterations,
            "env": {"num_arms": arms},
            "algo": {"inner_lr": lr},
        }
        record_choices(
            make_run(tmp_path / f"rl2_b_0_{number}", algo="rl2", env="b", config=config), experiment=f"b{arms}"
        )
    groups = sweep.write(tmp_path).groups
    assert [group.variant for group in groups] == sorted(
        f"experiment=b{arms} budget={budget} algo.inner_lr={lr}" for arms, budget, lr in jobs
    )


def test_settings_of_one_learner_are_not_pooled_because_there_is_another(make_run: MakeRun, tmp_path: Path) -> None:
    for number, (learner, discount) in enumerate([("ppo", 0.9), ("ppo", 0.99), ("reinforce", 0.9)]):
        config = {"learner": {"_target_": learner, "discount": discount}}
        make_run(tmp_path / f"maml_e_0_{number}", learner=learner, config=config)
    assert [group.variant for group in sweep.write(tmp_path).groups] == [
        "learner=ppo learner.discount=0.9",
        "learner=ppo learner.discount=0.99",
        "learner=reinforce learner.discount=0.9",
    ]


def test_long_lifetimes_are_drawn_in_few_points(make_run: MakeRun, tmp_path: Path, drawn: Drawn) -> None:
    make_run(tmp_path / "maml_e_0_0", returns=[[float(step), step + 2.0] for step in range(500)])
    (axes,) = drawn(sweep, tmp_path).axes
    (line,) = axes.lines
    assert np.asarray(line.get_ydata(), float) == pytest.approx([10 * k + 5.5 for k in range(50)])
    assert np.asarray(line.get_xdata(), float) == pytest.approx([20 * (10 * k + 4.5) for k in range(50)])


def test_a_failed_seed_is_counted_and_named(make_run: MakeRun, tmp_path: Path) -> None:
    for seed in range(9):
        make_run(tmp_path / f"maml_cartpole_family_{seed}_{seed}", seed=seed)
    folder = make_run(tmp_path / "maml_cartpole_family_9_9", seed=9)
    record_overrides(folder, "algo=maml", "seed=9")
    error = {"where": "meta_train/loss", "reason": "is nan at iteration 3", "exit_code": 4}
    change_summary(folder, status="failed", meta_test=None, error=error)
    report = sweep.write(tmp_path)
    (group,) = report.groups
    assert group.finished == "9/10" and group.failed_seeds == [9]
    (job,) = report.failed
    assert (job.exit_code, job.overrides) == (4, "algo=maml seed=9")
    assert job.problem == "meta_train/loss: is nan at iteration 3"
    text = printed(report, width=200)
    assert "9/10" in text and "algo=maml seed=9 · exit code 4" in text and str(job.log.name) in text
    markdown = (tmp_path / "comparison.md").read_text()
    assert "9/10 (without 9)" in markdown and "maml_cartpole_family_9_9/train.log" in markdown


def test_never_a_mean_over_nan(make_run: MakeRun, tmp_path: Path) -> None:
    make_run(tmp_path / "maml_e_0_0", seed=0, env="e", returns=((1.0, 1.0), (2.0, 2.0)))
    folder = make_run(tmp_path / "maml_e_1_1", seed=1, env="e", returns=((1.0, 1.0), (2.0, 2.0)))
    rows = (folder / "adaptation.csv").read_text().splitlines()
    rows[-1] = rows[-1].replace("2.0", "nan")
    (folder / "adaptation.csv").write_text("\n".join(rows) + "\n")
    report = sweep.write(tmp_path)
    (group,) = report.groups
    assert group.finished == "1/2" and group.curve is not None and group.curve["mean"] == [1.0, 2.0]
    assert report.failed[0].problem == "return of task 1 after 1 steps is nan"
    assert "nan" not in (tmp_path / "comparison.csv").read_text()
    strict = json.loads((tmp_path / "comparison.json").read_text(), parse_constant=pytest.fail)
    assert strict["groups"][0]["failed_seeds"] == [1]


@pytest.mark.parametrize("recorded", [True, False])
def test_a_job_that_vanished_is_found_by_what_it_left(make_run: MakeRun, tmp_path: Path, recorded: bool) -> None:
    make_run(tmp_path / "maml_cartpole_family_0_0")
    gone = tmp_path / "maml_cartpole_family_1_1"
    gone.mkdir()
    (gone / "train.log").write_text("")
    if recorded:
        record_overrides(gone, "algo=maml", "env=cartpole_family", "seed=1")
    report = sweep.write(tmp_path)
    (group,) = report.groups
    assert group.finished == "1/2" and group.failed_seeds == [1]
    assert (report.failed[0].exit_code, report.failed[0].problem) == (None, "ended without a summary")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"status": "interrupted"}'])
def test_unfinished_files_are_failures(make_run: MakeRun, tmp_path: Path, content: str) -> None:
    (make_run(tmp_path / "maml_e_0_0") / "summary.json").write_text(content)
    assert len(sweep.write(tmp_path).failed) == 1


def test_a_torn_table_is_a_failure(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "maml_e_0_0")
    whole = (folder / "adaptation.csv").read_text()
    (folder / "adaptation.csv").write_text(whole[:-12])
    assert "cannot be read" in str(sweep.write(tmp_path).failed[0].problem)


def test_a_sweep_of_failures_has_a_report_and_no_picture(tmp_path: Path) -> None:
    (tmp_path / "maml_e_0_0").mkdir()
    (tmp_path / "maml_e_0_0" / "config.yaml").write_text("seed: 0\n")
    (tmp_path / "not_a_job").mkdir()
    report = sweep.write(tmp_path)
    assert len(report.failed) == 1 and len(report.files) == 3
    assert "0/1" in printed(report) and printed(report, width=60, encoding="ascii").isascii()


def test_the_same_sweep_gives_the_same_bytes(make_run: MakeRun, tmp_path: Path) -> None:
    for name, order in (("one", (0, 1)), ("two", (1, 0))):
        for seed in order:  # whatever the order in which the jobs end
            make_run(tmp_path / name / f"maml_e_{seed}_{seed}", seed=seed, returns=((1.0, 2.0 + seed), (5.0, 6.0)))
        sweep.write(tmp_path / name)
        sweep.write(tmp_path / name)  # a second time changes nothing
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name).glob("comparison.*")} for name in ("one", "two")
    )
    assert first == second and len(first) == 5


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_fits(make_run: MakeRun, tmp_path: Path, width: int) -> None:
    returns = [[100.0 + step, 150.0] for step in range(30)]
    make_run(tmp_path / "maml_cartpole_family_0_0", returns=returns)
    table = [line for line in printed(sweep.write(tmp_path), width=width).splitlines() if "comparison." not in line]
    assert max(map(len, table)) <= width
    assert any("k=0" in line and "k=29" in line for line in table)


def test_what_the_run_recorded_names_a_job_that_vanished(make_run: MakeRun, tmp_path: Path) -> None:
    make_run(tmp_path / "0", algo="maml", env="bandit", seed=0)
    gone = tmp_path / "1"
    gone.mkdir()
    choices = {"algo": "maml", "env": "bandit", "learner": "reinforce", "network": "mlp"}
    (gone / "run.json").write_text(json.dumps({"choices": choices, "overrides": ["seed=1", "env=bandit"]}))
    report = sweep.write(tmp_path)
    assert [group.finished for group in report.groups] == ["1/2"]
    assert report.failed[0].overrides == "seed=1 env=bandit"


def test_show_prints_to_standard_output(make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "maml_e_0_0")
    sweep.write(tmp_path).show()
    printed_text = capsys.readouterr().out
    assert "k=1" in printed_text and "\x1b" not in printed_text


# --- Exact returns ---


def horizontals(axes: Any) -> list[tuple[float, str]]:
    """Height and colour of the lines that go through a whole panel."""
    across = [line for line in axes.lines if list(line.get_xdata()) == [0, 1]]
    return sorted((float(np.asarray(line.get_ydata())[0]), line.get_color()) for line in across)


def test_the_optimum_is_a_line_in_the_panels_of_tabular_families_alone(
    make_run: MakeRun, tmp_path: Path, drawn: Drawn
) -> None:
    exact = ((11.0, 28.0), (21.0, 48.0))
    make_run(tmp_path / "maml_mdp_0_0", env="mdp", expected=exact, optimum=60.0)
    make_run(tmp_path / "oracle_mdp_0_1", env="mdp", algo="oracle", optimum=60.0)
    make_run(tmp_path / "maml_cartpole_0_2", env="cartpole")
    cartpole, mdp = drawn(sweep, tmp_path).axes
    assert horizontals(cartpole) == [] and [text.get_text() for text in cartpole.texts] == ["MAML"]
    ((height, _),) = horizontals(mdp)
    assert height == 60.0 and [text.get_text() for text in mdp.texts] == ["MAML", "Oracle", "optimum 60.0"]

    report = sweep.write(tmp_path)
    assert [group.optimum for group in report.groups] == [None, 60.0, 60.0]
    assert [line for line in printed(report).splitlines() if line.startswith("optimum")] == ["optimum on mdp: 60.0"]
    assert "best policy of each task: 60.0 on mdp." in (tmp_path / "comparison.md").read_text()
    with (tmp_path / "comparison.csv").open(newline="") as file:
        cells = [(row["algo"], row["env"], row["expected"], row["optimum"]) for row in csv.DictReader(file)]
    assert cells == [
        *[("maml", "cartpole", "", "")] * 2,
        ("maml", "mdp", "19.5", "60.0"),
        ("maml", "mdp", "34.5", "60.0"),
        *[("oracle", "mdp", "", "60.0")] * 2,
    ]
    curves = [group["meta_test"] for group in json.loads((tmp_path / "comparison.json").read_text())["groups"]]
    assert [curve.get("expected") for curve in curves] == [None, [19.5, 34.5], None]


def test_groups_in_different_tasks_have_an_optimum_each(make_run: MakeRun, tmp_path: Path, drawn: Drawn) -> None:
    for number, (states, optimum) in enumerate([(3, 40.0), (10, 60.0)]):
        config = {"env": {"_target_": "mdp", "num_states": states}}
        make_run(tmp_path / f"maml_mdp_0_{number}", env="mdp", optimum=optimum, config=config)
    (axes,) = drawn(sweep, tmp_path).axes
    (low, one), (high, other) = horizontals(axes)
    assert (low, high) == (40.0, 60.0)
    curves = {line.get_label(): line.get_color() for line in axes.lines if line.get_label().startswith("MAML")}
    assert curves == {"MAML env.num_states=3": one, "MAML env.num_states=10": other}
    assert [text.get_text() for text in axes.texts][-1] == "optima"
    assert "optimum on mdp: 40.0 to 60.0" in printed(sweep.write(tmp_path))


def test_older_runs_without_exact_returns_can_be_compared(make_run: MakeRun, tmp_path: Path) -> None:
    make_run(tmp_path / "maml_mdp_0_0", env="mdp", seed=0, optimum=60.0)
    older = make_run(tmp_path / "maml_mdp_1_1", env="mdp", seed=1, optimum=60.0)
    with (older / "adaptation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (older / "adaptation.csv").open("w", newline="") as file:
        writer = csv.DictWriter(
            file, [name for name in rows[0] if name not in ("expected_return", "optimal_return")], extrasaction="ignore"
        )
        writer.writeheader()
        writer.writerows(rows)
    (group,) = sweep.write(tmp_path).groups
    assert group.finished == "2/2" and group.optimum is None
    assert group.curve is not None and group.curve["mean"] == [20.0, 35.0]


NAME = "[red]\x1b[31m<script>x</script>|a](javascript:1)`$x^{\\frac $\n\u202e\ud800"


def test_names_from_files_are_shown_and_not_obeyed(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "0", seed=0)
    change_summary(tmp_path / "0", algo=NAME, env=NAME)
    make_run(tmp_path / "1", seed=1)
    change_summary(tmp_path / "1", status="failed", error={"where": NAME, "reason": NAME, "exit_code": 3})
    report = sweep.write(tmp_path)
    report.show()
    files = {path.suffix: path.read_text() for path in report.files if path.suffix != ".png"}
    for text in (*files.values(), capsys.readouterr().out):
        assert {*UNSEEN.findall(text)} == {"\n"}
    assert r"[red]\x1b[31m&lt;script>" in files[".md"]
    assert "](javascript" not in files[".md"]


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("seed", "zero"),
        ("algo", ["maml"]),
        ("error", []),
        ("error", {"exit_code": "3"}),
        ("lifetime_returns", {"meta_test": ["1"]}),
        ("held_out_tasks", {"meta_test": 3}),
        ("published", {"lifetime_return": "1"}),
        ("wall_seconds", {}),
        ("tasks_hash", "x"),
        ("family_version", 1),
    ],
)
def test_a_summary_that_no_run_wrote_is_a_failed_job(
    entry: str, value: object, make_run: MakeRun, tmp_path: Path
) -> None:
    make_run(tmp_path / "0", seed=0)
    make_run(tmp_path / "1", seed=1)
    change_summary(tmp_path / "1", **{entry: value})
    report = sweep.write(tmp_path)
    (failed,) = report.failed
    assert failed.name == "1" and f"{entry}" in str(failed.problem)


def test_outcomes_stand_beside_returns(make_run: MakeRun, tmp_path: Path, drawn: Drawn) -> None:
    """In an env whose runs have them; the other's cells and files are as they would be without."""
    for seed, last in ((0, (0.5, 1.0)), (1, (0.0, 0.5))):
        make_run(tmp_path / f"maml_arm_{seed}_{seed}", env="arm", seed=seed, success=((0.0, 0.0), last))
    make_run(tmp_path / "maml_bandit_0_2", env="bandit")
    report = sweep.write(tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "comparison.csv").read_text())))
    assert [*rows[0]][-3:] == ["success", "success_low", "success_high"]
    assert [(row["env"], row["success"]) for row in rows] == [
        ("arm", "0.0"),
        ("arm", "0.5"),
        ("bandit", ""),
        ("bandit", ""),
    ]
    markdown = (tmp_path / "comparison.md").read_text()
    assert "| k=0 | k=1 | success k=1 | seeds |" in markdown
    assert "0.50 ±" in markdown and "| – | 1/1 |" in markdown
    assert "success" in printed(report, 120)
    titles = [(axes.get_title(loc="left"), axes.get_ylabel()) for axes in drawn(sweep, tmp_path).axes]
    assert titles == [
        ("MAML on arm", "episode return"),
        ("MAML on arm", "success"),
        ("MAML on Bernoulli bandits", "episode return"),
    ]


def test_results_of_different_versions_or_tasks_are_said_not_to_compare(make_run: MakeRun, tmp_path: Path) -> None:
    """Of three algorithms on two families; seeds have tasks of their own, which is as it should be."""

    def write(name: str, versions: Sequence[str | None], last_tasks: Sequence[str]) -> list[str]:
        for number, (algo, seed) in enumerate((algo, seed) for algo in ("maml", "rl2") for seed in (0, 1)):
            tasks = last_tasks if (algo, seed) == ("rl2", 1) else [f"{seed}a", f"{seed}b"]
            folder = make_run(tmp_path / name / f"{algo}_bandit_{seed}_{number}", algo=algo, env="bandit", seed=seed,
                              task_hashes=tasks)  # fmt: skip
            if versions[number] is not None:
                change_summary(folder, family_version=versions[number])
        report = sweep.write(tmp_path / name)
        notes = [line for line in sweep.notes_of(report.groups) if line.startswith("bandit:")]
        page = (tmp_path / name / "comparison.md").read_text()
        assert all(note in page.replace("\\", "") and note in " ".join(printed(report, 300).split()) for note in notes)
        return notes

    both = hash_of_tasks([hash_of_tasks(["0a", "0b"]), hash_of_tasks(["1a", "1b"])])
    assert write("same", ["1"] * 4, ["1a", "1b"]) == [f"bandit: version 1, held-out tasks {both}."]
    assert write("older", [None] * 4, ["1a", "1b"]) == []
    assert write("versions", ["1", "1", "2", "2"], ["1a", "1b"]) == [
        "bandit: results on different versions of the task family, 1 and 2; do not compare them."
    ]
    assert write("tasks", ["1"] * 4, ["1b", "1a"]) == [
        "bandit: results in different held-out tasks at seed 1.",
        "bandit: version 1.",
    ]
    groups = json.loads((tmp_path / "tasks/comparison.json").read_text())["groups"]
    assert [group["family_versions"] for group in groups] == [["1"], ["1"]]
    assert groups[1]["tasks_hashes"]["1"] == hash_of_tasks(["1b", "1a"])
