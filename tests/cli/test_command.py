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
from metarl_run.config.described import run_keys
from metarl_run.config.help import help_text
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


def test_help_teaches_on_a_screen_and_a_half(tmp_path: Path) -> None:
    done = call("--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) <= 75 and max(map(len, lines)) <= 120
    for path in CONFIG_DIR.glob("*/*.yaml"):
        assert re.search(rf"[ ,]{path.stem}(,|$)", done.stdout, re.MULTILINE), path.stem
    for key in run_keys().values():
        assert not key.value or f" {key.path}=" in done.stdout
    for wanted in ("resume=FOLDER", "checkpoint=RUN_FOLDER", "-m algo=maml", "-sc install=bash", "exit codes"):
        assert wanted in done.stdout
    assert "@package" not in done.stdout
    assert help_text(["-h"]) == done.stdout
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["algo=varibad"], r"algo\.latent=5 +integer >= 1 +L >= 1, size of a task's latent description; the paper's"),
        (["algo=varibad"], r"brings learner=ppo network=gru"),
        (["algo=varibad"], r"algo\.belief_optimizer\.lr=1\.0e-3 +number > 0"),
        (["algo=fomaml,reptile", "seed=1"], r"algo=fomaml\n(.*\n)+algo=reptile\n(.*\n)+.* seed=0 "),
        (["env=cartpole_family"], r"env\.meta_train\.gravity=\[uniform, 5, 15\] +distribution +m/s²; Gymnasium 9\.8"),
        (["network"], r"  gru +Gated recurrent units"),
        (["experiment="], r"  smoke +The whole path of a run"),
        (["keys"], r"device=cpu +auto \| cpu \| cuda"),
        (["meta_test"], r"meta_test\.num_tasks=200 +integer >= 1 +M, >= 1"),
        (["table"], r"experiment=dpt_bandits,rl2_bandits,.*\n(.*\n)*  table\.tasks=10000 "),
        (
            ["algo=rl2", "algo.encoding"],
            r"keys of algo=rl2\n +algo\.encoding=step +step \| transition",
        ),
        (["-m", "--config-name", "train", "learner=ppo"], r"learner\.clip="),
    ],
)
def test_help_beside_a_word_is_about_that_word(argv: list[str], said: str) -> None:
    text = help_text([*argv, "--help"])
    assert re.search(said, text) and "usage:" not in text and "_target_=" not in text


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["algo=mamll"], "error: algo: there is no option 'mamll'\nhint: did you mean maml?"),
        (["algo.inner_lrr"], "error: algo.inner_lrr: unknown key\nhint: did you mean algo.inner_lr?"),
        (["algo.x", "algo=mamll"], "error: algo: there is no option 'mamll'\nhint: did you mean maml?"),
        (["experiment.x"], "error: experiment.x: unknown key\nhint: did you mean experiment?"),
        (["sede=3"], "error: sede: unknown key\nhint: did you mean seed?"),
    ],
)
def test_help_about_what_is_not_there_is_refused(argv: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        help_text(argv)
    assert str(caught.value) == said


def test_help_shows_options_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "algo").mkdir()
    (tmp_path / "algo" / "mine.yaml").write_text("# The best of all\n_target_: toy.Mine\nspeed: 3\n")
    for argv in (["--config-dir", str(tmp_path)], [f"--config-dir={tmp_path}"]):
        assert re.search(r"^  mine +The best of all$", help_text([*argv, "algo", "--help"]), re.MULTILINE)
        assert "algo.speed=3" in help_text([*argv, "algo=mine", "--help"])
        assert " mine," in help_text([*argv, "--help"])


def test_help_of_a_command_is_its_own(tmp_path: Path) -> None:
    done = call("watch", "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "") and "--task" in done.stdout


def test_an_ascii_terminal_can_read_the_help(tmp_path: Path) -> None:
    done = call("algo", "--help", cwd=tmp_path, PYTHONIOENCODING="ascii", LC_ALL="C")
    assert done.returncode == 0 and r"  rl2 " in done.stdout and r"RL\xb2" in done.stdout


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["algo.lrr=3"], "error: algo.lrr: unknown key\nhint: did you mean algo.inner_lr?\n"),
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
    done = call("algo", "--help", "--config-dir", str(tmp_path), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert r"mine \x1b]0;title\x07" in done.stdout
    assert {*UNSEEN.findall(done.stdout)} == {"\n"}
