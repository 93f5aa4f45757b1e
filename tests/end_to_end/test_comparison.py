"""scripts/benchmark --compare: two measurements side by side."""

import importlib
import json

import pytest
from black_box import ROOT


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return [importlib.import_module(f"benchmarks.{name}") for name in ("comparison", "machine")]


def row(workload, case, subject, ratio):
    return {"workload": workload, "case": case, "subject": subject, "ratio": ratio}


HERE = {
    "machine": {
        "processor": "AMD EPYC",
        "family": 26,
        "model": 2,
        "threads": 2,
        "products": {"plain, medium": "onednn", "plain, large": "onednn", "compiled": "mkl"},
        "gflops": {"plain, large": {"mkl": 107.0, "onednn": 231.0}},
    },
    "rows": [
        row("maml", "small", "metarl-run", 1.0),
        row("maml", "small", "jax", 1.5),
        row("rl2", "gru", "jax", 0.84),
        row("maml", "large", "jax", 2.0),
        row("maml", "small", "torch", 3.0),
    ],
}
THERE = {"machine": {"processor": "Xeon|A"}, "rows": [row("rl2", "gru", "jax", 1.2), row("maml", "small", "jax", 1.2)]}


def test_ratios_stand_side_by_side_with_the_ratio_of_both(scripts):
    comparison, _ = scripts
    found = comparison.pairs(HERE, THERE)
    assert [pair.cells for pair in found] == [
        ["maml", "small", "jax", "1.50×", "1.20×", "1.25"],
        ["maml", "small", "torch", "3.00×", "–", "–"],
        ["maml", "large", "jax", "2.00×", "–", "–"],
        ["rl2", "gru", "jax", "0.84×", "1.20×", "0.70"],
    ]


def test_machines_are_named_with_generation_libraries_and_rates(scripts):
    comparison, _ = scripts
    lines = comparison.headings(HERE, THERE)
    assert lines == [
        "here: AMD EPYC (family 26, model 2: Zen 5), 2 threads, products by onednn, mkl 107.0 and onednn 231.0 GFLOP/s",
        "there: Xeon|A",
    ]
    text = comparison.as_markdown(lines, comparison.pairs(HERE, THERE)).splitlines()
    assert text[0] == f"- {lines[0]}" and "| rl2 | gru | jax | 0.84× | 1.20× | 0.70 |" in text


@pytest.mark.parametrize(
    ("family", "model", "generation"),
    [(25, 1, "Zen 3"), (25, 17, "Zen 4"), (25, 0x21, "Zen 3"), (25, 0x61, "Zen 4"), (26, 2, "Zen 5"), (6, 143, None)],
)
def test_generations_of_amd_are_told_by_family_and_model(family, model, generation, scripts):
    """Milan 25/1, Genoa 25/17, Vermeer 25/33, Raphael 25/97, Turin 26/2; Intel's Sapphire Rapids 6/143."""
    assert scripts[1].zen(family, model) == generation


@pytest.mark.parametrize("text", ["[]", "{", '{"rows": []}', '{"machine": {}, "rows": [{"workload": "maml"}]}'])
def test_a_file_that_is_no_measurement_is_refused(text, scripts, tmp_path):
    (tmp_path / "file.json").write_text(text)
    with pytest.raises(ValueError, match=r"file\.json is no measurement"):
        scripts[0].read(tmp_path / "file.json")
    (tmp_path / "file.json").write_text(json.dumps(HERE))
    assert scripts[0].read(tmp_path / "file.json")["rows"] == HERE["rows"]
