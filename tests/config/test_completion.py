"""Tab completion: what the last word of a command line may become, and the shells' scripts."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from black_box import environment

from metarl_run.config.completion import answer, completions
from metarl_run.errors import ConfigError


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("algo=promp", []),
        ("algo=prom", ["algo=promp"]),
        ("algo=maml,rl2,rep", ["algo=maml,rl2,reptile"]),
        ("-m algo=maml,fomaml,mam", ["-m algo=maml,fomaml,maml_trpo"]),  # not the one already there
        ("algo.first_order=", ["algo.first_order=false", "algo.first_order=true"]),
        ("learner.baseline=t", ["learner.baseline=time"]),
        ("device=", ["device=auto", "device=cpu", "device=cuda"]),
        ("compile=", ["compile=auto", "compile=false", "compile=true"]),
        ("algo=meta_gradient algo.learned=[step_size,dis", ["algo=meta_gradient algo.learned=[step_size,discount"]),
        ("algo=meta_gradient algo.learned=[dis", ["algo=meta_gradient algo.learned=[discount"]),
        ("algo=varibad algo.lat", ["algo=varibad algo.latent="]),
        ("algo=maml algo.lat", []),
        ("experiment=rl2_gridworld algo.enc", ["experiment=rl2_gridworld algo.encoding="]),  # which brings algo=rl2
        ("experiment=rl2_gridworld budget=", [f"experiment=rl2_gridworld budget={name}" for name in ("cpu", "paper")]),
        ("algo=reptile algo.meta_optimizer.l", ["algo=reptile algo.meta_optimizer.lr="]),
        ("meta_test.num", ["meta_test.num_tasks="]),
        ("meta_b", ["meta_batch_chunk=", "meta_batch_parts=", "meta_batch_size="]),
        ("meta_t", ["meta_test."]),
        ("checkpoint_every=", ["checkpoint_every=10"]),  # nothing to choose from: the default
        ("hydra/launcher=bas", ["hydra/launcher=basic"]),
        ("--mul", ["--multirun"]),
        ("algo=nonsense algo.", []),
        ("nonsense=", []),
        ("wat", ["watch"]),
        ("rep", ["report", "report="]),  # the command and the key
    ],
)
def test_words(line: str, wanted: list[str]) -> None:
    begun = line.rpartition(" ")[0]
    assert [f"{begun} {word}".strip() for word in completions(f"metarl-run {line}")] == wanted


def test_folders_of_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("outputs/2026-11-30/12_maml", "outputs/2026-11-30/13 (v2)", "outputs/other"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("12_maml", "13 (v2)"):
        (tmp_path / "outputs/2026-11-30" / name / "run.json").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "outputs"))
    run = "outputs/2026-11-30/12_maml"
    assert completions("metarl-run resume=") == ["resume=outputs/", f"resume={run}"]
    assert completions("metarl-run watch ") == ["outputs/", run]
    assert completions("metarl-run watch outputs/2026-11-30/") == [run]  # the other needs quotation marks
    assert completions("metarl-run checkpoint=outputs/o") == ["checkpoint=outputs/other/"]
    assert completions("metarl-run -m checkpoint=a,outputs/o") == ["checkpoint=a,outputs/other/"]
    assert completions("metarl-run resume=~/o") == ["resume=~/other/"]
    assert completions("metarl-run resume=nowhere/") == []
    assert completions("metarl-run --config-dir out") == ["outputs/"]


def test_options_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "algo").mkdir()
    (tmp_path / "algo" / "mine.yaml").write_text("# Mine\ninner_speed: 3\n")
    assert completions(f"metarl-run --config-dir {tmp_path} algo=min") == ["algo=mine"]
    assert completions(f"metarl-run --config-dir={tmp_path} algo=mine algo.inner_") == ["algo.inner_speed="]


def test_bash_replaces_what_follows_the_last_break() -> None:
    """In one shell: the function as bash calls it, with `=` among its word breaks, in at most .3 s of CPU."""
    command = f'{sys.executable} -c "from metarl_run.cli.command import main; main()"'
    script = f"""
metarl-run() {{ {command} "$@"; }}
eval "$(metarl-run -sc install=bash)"
for COMP_LINE in "metarl-run algo=maml,rept" "metarl-run watch" "metarl-run meta_test.num"; do
    COMP_POINT=${{#COMP_LINE}} COMP_WORDS=(metarl-run) COMPREPLY=(); _metarl_run; echo "${{COMPREPLY[@]}}"
done
eval "$(metarl-run -sc uninstall=bash)"; complete -p metarl-run 2>/dev/null; times
"""
    done = subprocess.run(["bash", "-c", script], env=environment(), capture_output=True, text=True, check=False)
    *said, _, children = done.stdout.splitlines()
    assert said == ["maml,reptile", "", "meta_test.num_tasks="]
    seconds = sum(60 * float(part.partition("m")[0]) + float(part.partition("m")[2][:-1]) for part in children.split())
    assert seconds < 5 * 0.3


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_its_script(shell: str) -> None:
    assert "metarl-run" in answer(["-sc", f"install={shell}"], "") and f"query={shell}" in answer(
        ["-sc", f"install={shell}"], ""
    )
    assert "metarl" in answer(["-sc", f"uninstall={shell}"], "")
    assert answer(["-sc", f"query={shell}"], "metarl-run algo=prom") == "algo=promp\n"


@pytest.mark.parametrize("asked", [["-sc"], ["-sc", "install=tcsh"], ["-sc", "x"]])
def test_other_shells_are_refused(asked: list[str]) -> None:
    with pytest.raises(ConfigError, match="bash, zsh, fish"):
        answer(asked, "")


def test_no_word_takes_long() -> None:
    begun = time.process_time()
    completions("metarl-run experiment=rl2_gridworld algo=meta_gradient algo.learned=[")
    assert time.process_time() - begun < 0.2
