"""scripts/mutation: mutants, the tests of a module, and the score."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def made(monkeypatch):
    """The last lines of all mutants of a text."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    module = importlib.import_module("mutants")
    return lambda text: [mutant.text.splitlines()[-1] for mutant in module.mutants(text)]


@pytest.fixture
def mutation(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("mutation")


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("y = a < b", ["y = a <= b", "y = a >= b"]),
        ("y = μ + λ * b", ["y = μ - λ * b", "y = μ + λ / b"]),  # columns are counted in bytes
        ("y = (a) - (b)", ["y = (a) + (b)"]),
        ("y = f(λ, b, c)", ["y = f(b, λ, c)"]),
        ("y = a and b", ["y = a or b"]),
        ("y = not a", ["y = a"]),
        ("y = [2, 0.5, 0.0, True]", ["y = [3, 0.5, 0.0, True]", "y = [2, 1.0, 0.0, True]"]),
        ("y += a", ["y -= a", "pass"]),
        ("f(a)", ["pass"]),
        ("y = a if b else c", ["y = a if not (b) else c"]),
    ],
)
def test_every_kind_of_mistake(made, text, changed):
    assert set(changed) <= set(made(text))


@pytest.mark.parametrize(
    "text",
    ['"""1 + 1"""', "y: Interval[0, 1] = a", "assert a < b", "y = 'a + b'", "import a", "y = zip(a, strict=True)"],
)
def test_what_no_test_could_notice_is_left_alone(made, text):
    assert made(text) == []


@pytest.mark.parametrize(
    "name", ["algo/bayes/gittins_index.py", "algo/planning/tabular_dynamics.py", "learner/policy_gradient.py"]
)
def test_every_mutant_is_python(mutation, name):
    for mutant in mutation.mutants((ROOT / "metarl_run" / name).read_text(encoding="utf-8")):
        ast.parse(mutant.text)


def test_a_diff_shows_the_changed_line(mutation):
    (mutant, *_) = mutation.mutants("a = b\nc = d - e\n")
    assert (mutant.line, mutant.diff("a = b\nc = d - e\n")) == (2, "-c = d - e\n+c = d + e")


def test_a_module_is_tested_by_those_who_import_it_or_else_by_those_who_import_its_users(mutation):
    assert "tests/algo/memory/test_outer_update.py" in mutation.tests_of(ROOT, "metarl_run/algo/memory/outer_update.py")
    assert "tests/algo/planning/test_tabular_dynamics.py" in mutation.tests_of(
        ROOT, "metarl_run/algo/planning/tabular_dynamics.py"
    )
    assert not any(
        "end_to_end" in test for test in mutation.tests_of(ROOT, "metarl_run/algo/planning/running_statistics.py")
    )
    assert mutation.tests_of(ROOT, "metarl_run/algo/planning/running_statistics.py")
    assert mutation.tests_of(ROOT, "metarl_run/algo/oracle.py") == ["tests/test_contracts.py", "tests/test_exact.py"]


def test_a_sample_is_the_same_again_and_holds_no_mutant_twice(mutation):
    names = ["metarl_run/algo/memory/outer_update.py", "metarl_run/algo/ucb1.py"]
    one, population = mutation.sample(names, 20, seed=3)
    assert one == mutation.sample(names, 20, seed=3)[0] != mutation.sample(names, 20, seed=4)[0]
    assert len({(name, mutant.text) for name, mutant in one}) == 20 <= population


def test_the_score_and_its_exact_interval(mutation):
    """3 of 4: P(at least 3 | p = .194) = P(at most 3 | p = .994) = .025."""
    outcomes = [mutation.Outcome("a.py", 1, "sign", "", kind, "", 0.0) for kind in ("killed", "survived", "timeout")]
    score = mutation.score([*outcomes, outcomes[0]])
    assert (score["sample"], score["killed"], score["score"]) == (4, 3, 0.75)
    low, high = score["interval"]
    assert 4 * low**3 * (1 - low) + low**4 == pytest.approx(0.025)
    assert 1 - high**4 == pytest.approx(0.025)
    assert mutation.score(outcomes[:1])["interval"][1] == 1.0 and mutation.score(outcomes[1:2])["interval"][0] == 0.0
