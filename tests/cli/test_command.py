"""Black box: what the command answers, how it fails, and that it leaves nothing behind when it does."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from black_box import COMMAND, ROOT, call, environment

import metarl_run as package
from metarl_run.config.compose import compose_points
from metarl_run.errors import UNSEEN, ConfigError
from metarl_run.folders import CONFIG_DIR
from metarl_run.system import crash

HEAVY = {"torch", "hydra", "omegaconf", "gymnasium", "wandb", "numpy", "yaml", "rich"}


def imported_by(code: str) -> set[str]:
    """Top-level modules in memory after `code`."""
    code += "\nimport sys; sys.stderr.write(' '.join({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, encoding="utf-8", check=True
    )
    return set(done.stderr.split())


def test_version(tmp_path: Path) -> None:
    done = call("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"metarl-run {package.__version__}\n", "")


@pytest.mark.parametrize("flag", ["--version", "--help"])
def test_quick_answers_load_nothing_heavy(flag: str) -> None:
    code = f"""
import sys
sys.argv = ["metarl-run", "{flag}"]
from metarl_run.cli.command import main
try: main()
except SystemExit: pass
"""
    assert not imported_by(code) & HEAVY


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["algo=maml", "--help"]])
def test_help_teaches(tmp_path: Path, argv: list[str]) -> None:
    done = call(*argv, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for path in CONFIG_DIR.glob("*/*.yaml"):
        assert f"\n  {path.stem} " in done.stdout
    for wanted in (
        "resume=FOLDER",
        "checkpoint=RUN_FOLDER",
        "-m algo=maml",
        "-sc install=bash",
        "seed=0",
        "exit codes",
    ):
        assert wanted in done.stdout
    assert "@package" not in done.stdout
    assert not os.listdir(tmp_path)


def test_help_shows_options_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "algo").mkdir()
    (tmp_path / "algo" / "mine.yaml").write_text("# The best of all\n_target_: toy.Mine\n")
    for argv in (["--config-dir", str(tmp_path)], [f"--config-dir={tmp_path}"]):
        assert re.search(r"^  mine +The best of all$", call(*argv, "--help", cwd=tmp_path).stdout, re.MULTILINE)


def test_an_ascii_terminal_can_read_the_help(tmp_path: Path) -> None:
    done = call("--help", cwd=tmp_path, PYTHONIOENCODING="ascii", LC_ALL="C")
    assert done.returncode == 0 and "MAML" in done.stdout


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["algo.lrr=3"], "error: algo.lrr: unknown key\nhint: did you mean inner_lr?\n"),
        (["env=cartpol"], "error: env: there is no option 'cartpol'\nhint: did you mean cartpole_family?\n"),
        (["-m", "seed=0,-1"], "error: seed: in seed=-1, one of 2 combinations: must be an integer >= 0, got -1\n"),
        (["--frobnicate"], "error: --frobnicate: unknown flag\n"),
    ],
)
def test_a_bad_command_line_is_two_lines_and_creates_nothing(tmp_path: Path, argv: list[str], said: str) -> None:
    done = call(*argv, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
    assert not os.listdir(tmp_path)


def test_a_bad_configuration_is_refused_before_torch() -> None:
    code = """
import sys
sys.argv = ["metarl-run", "algo.inner_lr=-1"]
from metarl_run.cli.command import main
try: main()
except SystemExit as end: assert end.code == 2
"""
    assert not imported_by(code) & {"torch", "gymnasium", "wandb", "matplotlib"}


# --- Tab completion ---


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_can_be_installed(tmp_path: Path, shell: str) -> None:
    done = call("-sc", f"install={shell}", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "complete" in done.stdout or "compdef" in done.stdout
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("metarl-run algo=ma", {"algo=maml"}),
        ("metarl-run algo=maml algo.inn", {"algo.inner_lr="}),
        ("metarl-run env=", {"env=cartpole_family", "env=random_mdp"}),
    ],
)
def test_completion_knows_options_and_keys(tmp_path: Path, line: str, wanted: set[str]) -> None:
    done = call("-sc", "query=bash", cwd=tmp_path, COMP_LINE=line, COMP_POINT=str(len(line)))
    assert done.returncode == 0
    assert wanted <= {word.rstrip("=") + "=" * word.endswith("=") for word in done.stdout.split()}, done


# --- Failing well ---


def driven(body: str, tmp_path: Path) -> "subprocess.CompletedProcess[str]":
    """The command with `metarl_run.cli.train.main` replaced by `body`."""
    code = f"""
import sys, types
from metarl_run.errors import *
def main(argv):
{body}
sys.modules["metarl_run.cli.train"] = train = types.ModuleType("metarl_run.cli.train")
train.main = main
import metarl_run.cli
metarl_run.cli.train = train
from metarl_run.cli.command import main
main()
"""
    return subprocess.run(
        [sys.executable, "-c", code, "seed=1", "+x.api_key=hunter2"],
        cwd=tmp_path,
        env=environment(TMPDIR=str(tmp_path)),
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("    return 6", 6, ""),
        ("    raise ConfigError('a.b', 'is bad', 'try c')", 2, "error: a.b: is bad\nhint: try c\n"),
        ("    raise StateError('run', 'is busy')", 3, "error: run: is busy\n"),
        ("    raise NumericalError('loss', 'is nan')", 4, "error: loss: is nan\n"),
        ("    raise ResourceError('disk', 'is full')", 5, "error: disk: is full\n"),
        ("    raise KeyboardInterrupt", 130, ""),
        ("    from metarl_run.system.interruption import Interrupted\n    raise Interrupted(143)", 143, ""),
        ("    raise BrokenPipeError", 5, ""),
    ],
)
def test_every_way_to_fail_has_its_exit_code(tmp_path: Path, body: str, code: int, said: str) -> None:
    done = driven(body, tmp_path)
    assert (done.returncode, done.stderr) == (code, said)


def test_a_bug_leaves_one_line_and_a_report(tmp_path: Path) -> None:
    done = driven("    raise ZeroDivisionError('first\\nsecond')", tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: bug: ZeroDivisionError: first (crash report: ")
    (report,) = tmp_path.glob("crash-*.txt")
    assert str(report) in line
    text = report.read_text()
    assert "Traceback (most recent call last)" in text and "first\nsecond" in text
    assert f"metarl-run {package.__version__}" in text and "seed=1" in text
    assert "hunter2" not in text.partition("Traceback")[0]


def test_a_crash_report_goes_to_the_run_folder_if_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert crash.report(ValueError("x"), tmp_path).parent == tmp_path
    monkeypatch.setattr(crash.tempfile, "tempdir", str(tmp_path))
    assert crash.report(ValueError("x"), tmp_path / "gone").parent == tmp_path


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_during_imports_ends_the_process_quietly(tmp_path: Path, number: int, code: int) -> None:
    """`os` stands for any module whose import takes long: the handler must answer where exceptions get lost."""
    body = f"""
    import os
    try:
        os.kill(os.getpid(), {int(number)})
        for _ in range(10**6): pass
    except BaseException:  # as an import hook might
        pass
    return 77
"""
    done = driven(body, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


@pytest.mark.parametrize("closed", ["| true", ">&-", "2>&-", ">&- 2>&-"])
def test_a_reader_that_left_causes_no_traceback(tmp_path: Path, closed: str) -> None:
    words = " ".join(f"'{word}'" for word in [*COMMAND, "--help"])
    done = subprocess.run(
        ["bash", "-c", f"{words} {closed}"], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.stderr == ""


# --- The scripts ---


SCRIPTS = sorted(path for path in (ROOT / "scripts").rglob("*") if path.suffix in ("", ".sh") and path.is_file())


@pytest.mark.parametrize("script", [*SCRIPTS, ROOT / ".ci" / "run"], ids=lambda path: path.name)
def test_scripts_are_sound_bash(script: Path) -> None:
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0
    assert os.access(script, os.X_OK) or script.suffix == ".sh"


def test_the_package_itself_can_be_run() -> None:
    done = subprocess.run([sys.executable, "-m", "metarl_run", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"metarl-run {package.__version__}\n")


HOSTILE = "x\x1b[31m\x9b1m\u202e\x7f\nerror: y"


@pytest.mark.parametrize(
    "form",
    [
        *(
            "{}",
            "{}=1",
            "+{}=1",
            "~{}",
            "algo={}",
            "seed={}",
            "env.{}=1",
            "--{}",
            "--config-dir={}",
            "--config-name={}",
        ),
        *("resume={}", "checkpoint={}", "plugins=[{}]", "hydra.run.dir={}", "hydra/launcher={}", "output_root={}"),
        *("env._target_={}", "-m algo=maml,{}", "--cfg job --package {}", "--hydra-help {}", "-sc {}", "budget={}"),
    ],
)
def test_arguments_are_shown_with_their_control_characters_visible(form: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose_points([part.format(HOSTILE) for part in form.split(" ")])
    assert UNSEEN.findall(str(caught.value)) in ([], ["\n"])  # one line, and perhaps a hint
    assert len(str(caught.value).split("\n")) < 3


def test_help_shows_hostile_files_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "algo").mkdir()
    (tmp_path / f"algo/{HOSTILE.replace('/', '')}.yaml").write_text(f"# mine \x1b]0;title\x07 {HOSTILE}\n")
    os.mkfifo(tmp_path / "algo/pipe.yaml")
    done = call("--help", "--config-dir", str(tmp_path), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert r"mine \x1b]0;title\x07" in done.stdout
    assert {*UNSEEN.findall(done.stdout)} == {"\n"}
