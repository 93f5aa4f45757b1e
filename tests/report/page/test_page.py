"""The page in one file: whole without scripts, nothing from elsewhere, and nothing that a run folder could inject."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from metarl_run.report import compare
from metarl_run.report.page import page
from metarl_run.report.page.chart import final_returns, improvements, profile_charts
from metarl_run.report.sweep.groups import grouped
from metarl_run.report.sweep.jobs import read_jobs

MakeRun = Callable[..., Path]

VOID = {"meta", "img", "br"}
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'`&lt;\x1b[31m\u202e\ud800"


class Page(HTMLParser):
    """Elements of a page, well nested, and its text by the id of the section's heading."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert name in VOID or self.open.pop() == name

    def handle_data(self, data: str) -> None:
        (self.scripts if self.open and self.open[-1] == "script" else self.text).append(data)

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.elements if found == name]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    @property
    def record(self) -> Any:
        return json.loads(self.scripts[0])


def page_of(folder: Path) -> tuple[str, Page]:
    text = (folder / "report.html").read_text(encoding="utf-8")
    return text, Page(text)


@pytest.fixture
def sweep_folder(make_run: MakeRun, tmp_path: Path) -> Path:
    """Two seeds of MAML, one of RL² in a shorter lifetime, on one family; a failed run; another family."""
    returns = {0: ((10.0, 30.0), (20.0, 50.0)), 1: ((20.0, 40.0), (40.0, 60.0))}
    for seed, of_seed in returns.items():
        config = {"algo": {"inner_lr": 0.5}, "meta_iterations": 5}
        make_run(tmp_path / f"s/maml_bandit_{seed}_{seed}", env="bandit", seed=seed, returns=of_seed, config=config,
                 task_hashes=[f"{seed}a", f"{seed}b"])  # fmt: skip
    make_run(tmp_path / "s/rl2_bandit_0_2", algo="rl2", env="bandit", returns=((30.0, 50.0),),
             config={"algo": {"inner_lr": 0.1}, "meta_iterations": 5}, task_hashes=["0a", "0b"])  # fmt: skip
    failed = make_run(tmp_path / "s/maml_cartpole_family_0_3", config={"algo": {"inner_lr": 0.5}, "meta_iterations": 5})
    error = {"status": "failed", "algo": "maml", "env": "cartpole_family", "error": {"where": "loss", "reason": "nan"}}
    (failed / "summary.json").write_text(json.dumps(error))
    return tmp_path / "s"


def test_the_page_tells_everything_without_scripts_and_asks_for_nothing(sweep_folder: Path) -> None:
    compare.write([sweep_folder])
    text, found = page_of(sweep_folder)
    for words in (
        "MAML, RL² on Bernoulli bandits, CartPole family",
        "4 runs · 3 pairs of method and family · 1 without a result",
        "loss: nan",
        "Adaptation",
        "Probability of improvement: Bernoulli bandits",
        "algo.inner_lr",
        "1 key with different values",
    ):
        assert words in found.words, words
    assert "25.0 ±" in found.words and "42.5 ±" in found.words  # MAML's means of 10, 30, 20, 40 and of 20, 50, 40, 60
    for elements in (found.named("img"), found.named("link"), found.named("iframe")):
        assert elements == []
    assert not [x for _, attributes in found.elements for x in attributes if x.startswith("on") or x == "src"]
    assert all(value.startswith("#") for (value,) in [[a["href"]] for a in found.named("a")])  # type: ignore[union-attr]
    (policy,) = [a["content"] for a in found.named("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None and policy.startswith("default-src 'none'")
    for script in found.scripts[1:]:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    assert len(text.encode()) < 400_000


def test_nothing_in_a_run_folder_becomes_markup(make_run: MakeRun, tmp_path: Path) -> None:
    for seed in (0, 1):
        folder = make_run(
            tmp_path / f"s/{seed}", seed=seed, config={"algo": {"name<b>": HOSTILE, "other": [HOSTILE, seed]}}
        )
        summary = json.loads((folder / "summary.json").read_text())
        hostile = {"algo": HOSTILE, "env": HOSTILE, "versions": {HOSTILE: HOSTILE}, "family_version": HOSTILE}
        (folder / "summary.json").write_text(json.dumps(summary | hostile | {"tasks_hash": {"meta_test": HOSTILE}}))
        record = {"choices": {}, "overrides": [HOSTILE, "--evil"], "changes": [{HOSTILE: [HOSTILE, 1]}]}
        (folder / "run.json").write_text(json.dumps(record))
        (folder / "behaviour.gif").write_bytes(b"GIF89a" + HOSTILE.encode("utf-8", "replace"))
        (folder / "behaviour.mp4").symlink_to("/etc/passwd")
    failed = make_run(tmp_path / "s/<i>2", seed=2)
    (failed / "summary.json").write_text(
        json.dumps({"status": "failed", "error": {"where": HOSTILE, "reason": HOSTILE}})
    )
    compare.write([tmp_path / "s"])
    text, found = page_of(tmp_path / "s")
    assert len(found.named("script")) == 3 and not found.named("i") and not found.named("b")
    assert {image["src"][:22] for image in found.named("img")} == {"data:image/gif;base64,"}  # type: ignore[index]
    assert not [name for _, attributes in found.elements for name in attributes if name.startswith("on")]
    assert HOSTILE.split("`")[0] in " ".join(found.text)  # as text
    assert not {"\x1b", "\u202e"} & set(text) and "root:" not in text and "--evil" not in text
    assert found.record["charts"]


def test_the_library_in_the_page_is_the_one_that_was_published() -> None:
    """uPlot 1.6.32, MIT, from the npm registry: its files are not edited, and its licence goes with it."""
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in page.STATIC.glob("uPlot*")}
    assert digests == {
        "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
        "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
        "uPlot.LICENSE": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
    }
    assert "Permission is hereby granted, free of charge" in page.page([], "nothing")


def test_the_probability_of_improvement_by_hand(sweep_folder: Path) -> None:
    groups = grouped(read_jobs(sweep_folder))
    bandits = [(i, group) for i, group in enumerate(groups) if group.env == "bandit"]
    (maml, _), (rl2, _) = bandits
    found = improvements(bandits)
    (best, _), *_ = bandits
    assert improvements(bandits, {best}) == {pair: way for pair, way in found.items() if best in pair}
    assert improvements(bandits, ()) == {}
    assert found[maml, rl2].probability == 0.25  # 20 < 30 and 50 = 50, in the tasks of seed 0
    assert found[rl2, maml].probability == 0.75
    assert found[maml, rl2].paired and found[maml, rl2].low == 0.0 and found[maml, rl2].high == 0.5
    assert {seed: x.tolist() for seed, x in final_returns(groups[maml]).items()} == {0: [20.0, 50.0], 1: [40.0, 60.0]}


def test_methods_in_other_tasks_are_compared_in_any(make_run: MakeRun, tmp_path: Path) -> None:
    for algo, returns, tasks in (("maml", (1.0, 3.0), "ab"), ("rl2", (2.0, 3.0), "cd")):
        make_run(tmp_path / f"{algo}_e_0_0", algo=algo, env="e", returns=[returns], task_hashes=[*tasks])
    found = improvements([*enumerate(grouped(read_jobs(tmp_path)))])
    assert (found[0, 1].probability, found[0, 1].paired) == (0.375, False)  # 3 > 2 and 3 = 3, of four pairs


def test_a_performance_profile_falls_from_all_tasks_to_those_of_the_best(sweep_folder: Path) -> None:
    (chart,) = profile_charts(grouped(read_jobs(sweep_folder)))
    maml, rl2 = chart["lines"]
    (fractions, *_), τ = maml["y"]["fraction"], maml["x"]["return"]
    assert (τ[0], τ[-1]) == (20.0, 60.0)
    assert (fractions[0], fractions[-1]) == (1.0, 0.25) and sorted(fractions, reverse=True) == fractions
    assert rl2["y"]["fraction"][0][-1] == 0.0


def test_every_line_can_be_switched_by_seed_and_axis(sweep_folder: Path) -> None:
    compare.write([sweep_folder])
    _, found = page_of(sweep_folder)
    (chart,) = [chart for chart in found.record["charts"] if chart["id"] == "adaptation0"]
    maml, rl2 = chart["lines"]
    assert [one["seed"] for one in maml["seeds"]] == [0, 1] and rl2["seeds"] == []
    assert [one["y"]["mean"] for one in maml["seeds"]] == [[[20.0, 35.0]], [[30.0, 50.0]]]
    assert maml["x"] == {"episodes_seen": [0, 20], "env_steps_seen": [0, 2000], "adaptation_step": [0, 1]}
    assert len(rl2["x"]["episodes_seen"]) == 1  # a shorter lifetime stops there
    assert [button["data-g"] for button in found.named("button")] == ["0 2", "1"]  # MAML is on two families
    assert [cell["data-v"] for cell in found.named("td") if cell.get("data-v", "") == "42.5"] == ["42.5"]


def test_a_page_says_when_where_and_from_which_commit_a_run_was_begun(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "s/maml_bandit_0_0", env="bandit")
    begun = {"began": "2026-11-30T21:00:00+00:00", "host": "<b>node</b>", "git": {"commit": "a" * 40, "clean": False}}
    (folder / "run.json").write_text(json.dumps({"provenance": begun}))
    compare.write([tmp_path / "s"])
    words = page_of(tmp_path / "s")[1].words
    assert "2026-11-30T21:00:00+00:00 <b>node</b> aaaaaaaaa and changes" in words
    (folder / "run.json").write_text(json.dumps({"provenance": {"git": "x", "host": 3}}))
    compare.write([tmp_path / "s"])  # a record of another kind
    assert "and changes" not in page_of(tmp_path / "s")[1].words


def test_what_differs_is_told_before_what_is_the_same(make_run: MakeRun, tmp_path: Path) -> None:
    for i, lr in enumerate((0.1, 0.1, 0.5)):
        algo = ("maml", "reptile", "fomaml")[i]
        make_run(tmp_path / f"s/{algo}_e_0_{i}", algo=algo, env="e", config={"algo": {"inner_lr": lr, "steps": 3}})
        choices = {"overrides": [f"algo={algo}", "env=e", "name=it's"], "choices": {"algo": algo, "env": "e"}}
        (tmp_path / f"s/{algo}_e_0_{i}/run.json").write_text(json.dumps(choices))
    compare.write([tmp_path / "s"])
    text, found = page_of(tmp_path / "s")
    assert re.findall(r"<mark>([^<]*)</mark>", text) == ["0.5"]
    assert "algo.steps" in text.split("<details>")[1]
    assert """metarl-run algo=maml env=e 'name=it'"'"'s'""" in found.words


def test_a_page_of_one_run_says_how_it_goes_on_and_is_small(trained: MakeRun, tmp_path: Path) -> None:
    folder = trained(tmp_path / "run", {2: ((1.0,), (2.0,)), 4: ((1.0,), (3.0,))}, config={"algo": {"inner_lr": 0.5}})
    (folder / "summary.json").write_text(
        json.dumps({"status": "interrupted", "algo": "maml", "env": "bandit", "seed": 0})
    )
    (folder / "config.yaml").write_text(yaml.safe_dump({"seed": 0}))
    compare.write([folder])
    text, found = page_of(folder)
    assert "interrupted" in found.words and "resume=" in found.words
    (chart,) = found.record["charts"]  # how it learned so far
    assert [line["name"] for line in chart["lines"] if "validation" in line["y"]] == [
        "MAML, unfinished, before",
        "MAML, unfinished, after",
    ]
    assert len(text.encode()) < 400_000
