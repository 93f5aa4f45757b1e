"""Runs and sweeps of several folders, compared after the fact; and the command that does it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from metarl_run.cli import report as command
from metarl_run.errors import ConfigError, RunError, StateError
from metarl_run.report import compare
from metarl_run.report.figure import PictureOptions

MakeRun = Callable[..., Path]
FAST = PictureOptions(endings=())
"""No pictures."""


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_runs_of_several_sweeps_are_one_comparison(make_run: MakeRun, tmp_path: Path) -> None:
    """Folders of the same name are different runs, a folder given twice is one."""
    make_run(tmp_path / "monday/maml_e_0_0", returns=((0.0,), (10.0,)), env="e")
    make_run(tmp_path / "friday/maml_e_0_0", returns=((0.0,), (20.0,)), env="e", seed=1)
    make_run(tmp_path / "run", algo="rl2", env="e")
    folders = [Path(name) for name in ("monday", "friday", "run", "friday/maml_e_0_0")]
    report = compare.write(folders, options=FAST)
    assert [(g.algo, g.finished) for g in report.groups] == [("maml", "2/2"), ("rl2", "1/1")]
    assert report.groups[0].curve is not None and report.groups[0].curve["mean"] == [0.0, 15.0]
    assert [job.name for job in report.groups[0].jobs] == ["monday/maml_e_0_0", "friday/maml_e_0_0"]
    names = ["comparison.csv", "comparison.json", "comparison.md", "report.html"]
    assert [path.name for path in report.files] == names and report.files[0].parent == Path("report")
    assert compare.write(folders, options=FAST).files == report.files  # again, over its own


def test_methods_are_chosen_by_option_or_name_and_families_too(make_run: MakeRun, tmp_path: Path) -> None:
    for i, (algo, env) in enumerate((a, e) for a in ("maml", "rl2", "reptile") for e in ("bandit", "gridworld")):
        make_run(tmp_path / f"s/{i}", algo=algo, env=env)
    report = compare.write([Path("s")], Path("out"), FAST, methods=["RL²", "maml"], envs=["bandit"])
    assert [(g.algo, g.env) for g in report.groups] == [("rl2", "bandit"), ("maml", "bandit")]
    with pytest.raises(ConfigError, match="--methods: no run is of promp") as caught:
        compare.write([Path("s")], Path("other"), FAST, methods=["promp"])
    assert caught.value.hint == "one of maml, reptile, rl2" and not Path("other").exists()
    with pytest.raises(ConfigError, match="--env: no run is of ant"):
        compare.write([Path("s")], Path("other"), FAST, envs=["ant"])


def test_pictures_of_one_run_are_drawn_as_wished(make_run: MakeRun, tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    options = PictureOptions(size=(5.0, 3.0), endings=("png", "pdf"))
    report = compare.write([Path("run")], Path("paper"), options)
    assert [path.name for path in report.files] == ["adaptation_curve.pdf", "adaptation_curve.png", "report.html"]
    with Image.open("paper/adaptation_curve.png") as picture:
        assert picture.size == (1000, 600)
    assert not (tmp_path / "run/report.html").exists()


def test_an_unfinished_run_is_shown_as_such(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_run(tmp_path / "run", config={"meta_iterations": 5})
    (folder / "summary.json").unlink()
    report = compare.write([folder], options=FAST)
    assert [job.problem for job in report.failed] == ["ended without a summary"]
    assert "ended without a summary" in (folder / "report.html").read_text()
    report.show()
    assert "ended without a summary" in capsys.readouterr().out


def test_families_of_different_scales_have_charts_of_their_own(make_run: MakeRun, tmp_path: Path) -> None:
    for env in ("bandit", "gridworld"):
        make_run(tmp_path / f"s/{env}", env=env)
    report = compare.write([Path("s")], options=FAST)
    line = "bandit and gridworld: returns of different families have no common scale; one chart each (--env bandit)."
    assert line in report.notes
    assert line in Path("s/comparison.md").read_text() and line in Path("s/report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "kind", "line"),
    [
        (["nowhere"], StateError, "error: nowhere: there is no such folder"),
        (["empty"], StateError, "error: empty: holds neither a run nor a sweep\nhint: give run or sweep folders"),
        (["run", "--output", "full"], StateError, "error: full: holds something else than a report"),
        (["run", "--output", "full/notes"], StateError, "error: full/notes: holds something else"),
        ([], ConfigError, "error: report: the following arguments are required: FOLDER"),
        (["run", "--size", "big"], ConfigError, "error: report: argument --size: must be WxH in inches, got big"),
        (["run", "--size", "0x9"], ConfigError, "error: report: argument --size: must be between 1 and 50 inches"),
        (["run", "--format", "bmp"], ConfigError, "error: --format: no format is bmp\nhint: some of png,svg,pdf"),
        (["run", "--font-size", "0"], ConfigError, "error: --font-size: must be in [1, 100], got 0"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_line_with_the_next_step(
    arguments: list[str], kind: type[RunError], line: str, make_run: MakeRun, tmp_path: Path
) -> None:
    make_run(tmp_path / "run")
    Path("empty").mkdir()
    Path("full").mkdir()
    Path("full/notes").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(kind) as caught:
        command.main(arguments)
    assert str(caught.value).startswith(line), str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_command_prints_the_table_and_the_files(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (0, 1):
        make_run(tmp_path / f"s/{seed}", seed=seed)
    assert command.main(["s", "--format", "svg", "--title", "Figure <2>", "--font", "DejaVu Serif"]) == 0
    out = capsys.readouterr().out
    assert "2/2" in out and "s/report.html" in out and "s/comparison.svg" in out
    svg = Path("s/comparison.svg").read_text()
    assert "Figure &lt;2&gt;" in svg and "'DejaVu Serif'" in svg
    assert "<title>Figure &lt;2&gt;</title>" in Path("s/report.html").read_text()
    assert {group["algo"] for group in json.loads(Path("s/comparison.json").read_text())["groups"]} == {"maml"}
