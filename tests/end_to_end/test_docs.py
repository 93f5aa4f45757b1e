"""The documentation: its site is made, holds every option and key, and its examples do what they say."""

import json
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import pytest
from black_box import ROOT, call, ended, summary
from suited import suits

from metarl_run.config.compose import compose_points
from metarl_run.config.described import option, options, run_keys, table_keys
from metarl_run.config.help import help_text
from metarl_run.folders import CONFIG_DIR, GROUPS

PAGES = ROOT / ".github" / "docs"
TUTORIALS = ("your_task_family.md", "your_algorithm.md", "from_a_paper.md")
FILE = re.compile(r"^`([\w./]+\.(?:py|yaml))`\n\n```(?:python|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TEXTS = {name: (PAGES / name).read_text(encoding="utf-8") for name in TUTORIALS}
FILES = {path: text for page in TEXTS.values() for path, text in FILE.findall(page)}
COMMANDS = [line.partition(" # ")[0].strip() for page in TEXTS.values() for block in SHELL.findall(page)
            for line in block.splitlines()]  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site") / "docs"
    done = ended([sys.executable, str(ROOT / "scripts" / "docs.py"), "--out", str(out)], ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{out / 'index.html'}\n", "")
    return out


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of the tutorials in it."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "my_package" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def shown(page: Path) -> str:
    """The words of a page."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))


# --- The site ---


def test_every_algorithm_has_a_page_with_equation_source_and_options(site: Path) -> None:
    for name in options("algo"):
        page, of = (site / "algorithms" / f"{name}.html"), option("algo", name)
        text = shown(page)
        assert f"algo={name}" in text
        assert "Source" in text or name in ("oracle", "random", "scratch", "scratch_adam"), name
        for key in of.keys.values():
            assert key.path in text or not key.is_of_interest, key.path
    assert "qₜ = q_φ(m | τ_{:t})" in shown(site / "algorithms" / "varibad.html")
    assert "Differs from the paper" in shown(site / "algorithms" / "varibad.html")
    assert (site / "algorithms" / "maml.svg").exists() and "maml.svg" in (site / "algorithms" / "maml.html").read_text()


def test_every_option_and_key_is_in_the_reference_with_its_range(site: Path) -> None:
    pages = {group: shown(site / "options" / f"{group}.html") for group in GROUPS if group != "algo"}
    for group, text in pages.items():
        for name in options(group):
            of = option(group, name)
            assert of.base or all(key.path in text for key in of.keys.values() if key.is_of_interest)
            assert f'id="{name}"' in (site / "options" / f"{group}.html").read_text(encoding="utf-8")
    run = shown(site / "options" / "run.html")
    assert all(key.path in run for key in (*run_keys().values(), *table_keys().values()))
    assert "env.meta_train.gravity [uniform, 5, 15] distribution m/s²; Gymnasium 9.8" in pages["env"]
    assert "meta_test.num_tasks 200 integer &gt;= 1 M, &gt;= 1" in run
    experiments = shown(site / "options" / "experiment.html")
    assert all(f"metarl-run experiment={name}" in experiments for name in options("experiment"))


def test_pages_load_nothing_from_elsewhere_and_know_the_rest_of_the_project(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe|source)\b[^>]*\bsrc="(http[^"]*|//[^"]*)"', text)
        loaded += re.findall(r'<link\b[^>]*\bhref="(http[^"]*|//[^"]*)"', text)
        assert not loaded, page
    assert "MAML on the CartPole family" in (site / "index.html").read_text(encoding="utf-8")
    for name in (
        "results/index",
        "results/reliability/index",
        "contributing",
        "reference/contracts",
        "reference/python",
    ):
        assert (site / f"{name}.html").is_file()
    assert "episodes in each task" in shown(site / "reference" / "contracts.html")  # of TaskFamily.reset
    assert "published: {lifetime_return: 6.7" in shown(site / "from_a_paper.html")


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    done = ended([sys.executable, str(ROOT / "scripts" / "docs.py"), "--out", str(tmp_path)], ROOT)
    assert done.returncode == 2 and done.stderr.startswith(f"error: --out: {tmp_path} holds something else\nhint: ")
    assert os.listdir(tmp_path) == ["mine.txt"]


# --- Its examples ---


def test_the_tutorials_family_and_algorithm_run(mine: Path) -> None:
    lines = FILES["my_package/boats.py"].splitlines()
    assert len(lines) - lines.index("class Boats(TaskFamily):") <= 30
    own = ("--config-dir", "my_conf", "plugins=[my_package]", "env=boats", "algo=normalised_maml", "threads=1")
    done = call(*own, "experiment=smoke", "hydra.run.dir=run", cwd=mine)
    assert (done.returncode, done.stderr) == (0, "")
    told = summary(mine / "run")
    assert (told["status"], told["env"], told["algo"]) == ("complete", "boats", "normalised_maml")


def test_a_wrong_family_is_told_by_its_method_and_leaves_nothing(mine: Path) -> None:
    wrong = FILES["my_package/boats.py"].replace("-x.abs(),", "-x.abs().sum(1),")
    (mine / "my_package" / "boats.py").write_text(wrong, encoding="utf-8")
    own = ("--config-dir", "my_conf", "plugins=[my_package]", "env=boats", "algo=random", "threads=1")
    done = call(*own, "experiment=smoke", "output_root=new/runs", cwd=mine)
    assert done.returncode == 2
    assert done.stderr.startswith("error: env Boats.step: reward must have shape [4, 2]")
    assert {path.name for path in mine.iterdir()} == {"my_package", "my_conf"}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_tutorials_are_accepted(command: str, mine: Path) -> None:
    assert command.startswith("metarl-run ")
    arguments = shlex.split(command)[1:]
    if "--help" in arguments:
        assert help_text(arguments)
    else:
        assert compose_points(arguments).points
    assert {path.name for path in mine.iterdir()} == {"my_package", "my_conf"}


def test_commands_of_the_algorithms_are_accepted() -> None:
    for command in commands_of_algorithms():
        given = dict(word.split("=") for word in command.removesuffix(" dataset=FOLDER").split()[1:])
        assert suits(**given), command


def commands_of_algorithms() -> Iterator[str]:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        from docs import command_for
    finally:
        sys.path.remove(str(ROOT / "scripts"))
    yield from map(command_for, options("algo"))


@pytest.mark.parametrize("notebook", sorted(PAGES.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_run(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their cells in order, as Jupyter runs them, without Jupyter."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(matplotlib, "use", lambda *_, **__: None)
    content = json.loads(notebook.read_text(encoding="utf-8"))
    assert content["nbformat"] == 4 and not any(cell.get("outputs") for cell in content["cells"])
    names: dict[str, object] = {}
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), notebook.name, "exec"), names)
    result = names["result"]
    assert result.status == "complete"  # type: ignore[attr-defined]
    if "returns" in names:
        assert len(names["returns"]) == 3 * 2 and min(names["returns"]) > 0  # type: ignore[arg-type, type-var]


def test_the_files_of_the_configuration_that_pages_include_exist() -> None:
    for page in TEXTS.values():
        for path in re.findall(r'--8<-- "([^"]+)"', page):
            assert (ROOT / path).is_file() and CONFIG_DIR.name in path
