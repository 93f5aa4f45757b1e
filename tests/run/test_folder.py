"""Run folders: whose they are, and what is written down in them."""

import json
import logging
from pathlib import Path

import pytest
from black_box import SMALL
from forks import call

from metarl_run.config.plan import Plan, stored_plan
from metarl_run.errors import Bug, ConfigError, NumericalError, ResourceError, RunError, StateError
from metarl_run.run import folder
from metarl_run.run.folder import require_not_failed, require_own
from metarl_run.system.atomic import hash_of
from metarl_run.system.interruption import Interrupted


@pytest.mark.parametrize("entries", [[], [".hydra"], [".hydra", ".lock", ".owner"], [".owner", "config.yaml"]])
def test_an_empty_folder_and_one_that_was_just_begun_may_be_used(entries, tmp_path):
    for name in entries:
        (tmp_path / name).touch()
    require_own(tmp_path)
    require_own(tmp_path / "new")


@pytest.mark.parametrize("name", ["config.yaml", "metrics.csv", "notes.txt", ".git", "checkpoints"])
def test_a_folder_with_other_things_in_it_is_refused(name, tmp_path):
    (tmp_path / ".hydra").mkdir()
    (tmp_path / name).touch()
    with pytest.raises(StateError, match=f"holds {name}, but no run"):
        require_own(tmp_path)


def test_a_record_of_something_else_is_no_runs(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"pace": "5:00 min/km"}))
    (tmp_path / "config.yaml").write_text("shoes: 2\n")
    with pytest.raises(StateError, match="is not a run folder"):
        require_own(tmp_path)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="is no folder"):
        require_own(tmp_path / "file")


@pytest.mark.parametrize("how", ["a run", "a job of a sweep"])
def test_nothing_of_others_is_touched(how, tmp_path):
    """By a command that is told to write where other things are."""
    place = tmp_path / ("here" if how == "a run" else "here/0")
    place.mkdir(parents=True)
    texts = {"config.yaml": "mine: 1\n", "metrics.csv": "a,b\n1,2\n", "summary.json": "{}\n"}
    for name, text in texts.items():
        (place / name).write_text(text)
    where = ["hydra.run.dir=."] if how == "a run" else ["-m", "seed=0", "hydra.sweep.dir=.", "hydra.sweep.subdir=0"]
    done = call(*SMALL, *where, cwd=tmp_path / "here")
    assert done.returncode == (3 if how == "a run" else 6)
    assert "but no run" in done.stderr
    assert {path.name: path.read_text() for path in files(place)} == texts


def files(place: Path) -> list[Path]:
    return [path for path in place.iterdir() if path.is_file()]


def test_killed_while_a_change_is_written_down_a_folder_can_still_be_used(tmp_path, monkeypatch):
    """Between its two files: config.yaml is then as it was, and the change can be asked for again."""
    assert call(*SMALL, "hydra.run.dir=run", cwd=tmp_path).returncode == 0
    run = tmp_path / "run"
    plan = stored_plan(run)
    at_checkpoint = hash_of(run / "config.yaml")
    changed = Plan({**plan.config, "meta_batch_size": 5, "allow_changes": True}, plan.choices, plan.overrides)
    real, written = folder.write_atomically, []

    def killed(path, data):
        if written:  # before the second file, whichever that is
            raise KeyboardInterrupt
        written.append(real(path, data))

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(folder, "write_atomically", killed)
        folder.remember_plan(changed, run)
    folder.require_unedited(run, at_checkpoint)
    assert stored_plan(run).config["meta_batch_size"] == 3
    assert folder.remember_plan(changed, run)
    folder.require_unedited(run, at_checkpoint)
    assert stored_plan(run).config["meta_batch_size"] == 5


def test_a_plan_that_is_half_written_when_the_disk_refuses_leaves_nothing(tmp_path, monkeypatch):
    real, written = folder.write_atomically, []

    def refuse_second(path, data):
        real(path, data)
        written.append(path.name)
        if len(written) == 2:
            raise ResourceError(str(path), "cannot write: No space left on device")

    monkeypatch.setattr(folder, "write_atomically", refuse_second)
    with pytest.raises(ResourceError):
        folder.remember_plan(Plan({"threads": 1}, {}, []), tmp_path)
    assert written == ["config.yaml", "run.json"]
    assert not list(tmp_path.iterdir())


def test_a_log_that_cannot_be_written_ends_the_run_once(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(28, "No space left on device")

    log = logging.getLogger("metarl_run.test")
    with folder.logging_to(tmp_path / "train.log"):
        log.info("first")
        monkeypatch.setattr(folder.LogFile, "flush", refuse)
        with pytest.raises(ResourceError, match=r"train.log: cannot write: No space left"):
            log.info("second")
        log.info("third")  # the end of the run can still be recorded


def test_a_log_that_cannot_be_opened_is_told(tmp_path):
    with (
        pytest.raises(ResourceError, match=r"train.log: cannot open: No such file"),
        folder.logging_to(tmp_path / "gone" / "train.log"),
    ):
        pass


@pytest.mark.parametrize(
    ("first", "told"), [(NumericalError("loss", "nan"), "loss"), (Interrupted(130), "summary.json")]
)
def test_a_failure_is_told_rather_than_that_it_cannot_be_recorded(first, told, tmp_path, monkeypatch):
    def refuse(path, data):
        raise ResourceError(path.name, "cannot write: No space left on device")

    monkeypatch.setattr(folder, "write_atomically", refuse)
    groups = dict.fromkeys(("algo", "env", "learner", "network"), "any")
    with (
        pytest.raises(RunError) as caught,
        folder.outcome_recorded(Plan({"seed": 0, "threads": 1}, groups, []), tmp_path),
    ):
        raise first
    assert caught.value.where == told


def test_the_log_is_a_plain_file_and_shows_control_characters(tmp_path, capsys):
    with folder.logging_to(tmp_path / "train.log"):
        folder.log.warning("%s", "a\x1b[31m\nerror: b\u202e")
    for text in ((tmp_path / "train.log").read_text(), capsys.readouterr().err):
        assert r"a\x1b[31m\nerror: b\u202e" in text and text.count("\n") == 1
    (tmp_path / "linked.log").symlink_to("train.log")
    with (
        pytest.raises(StateError, match="must be a plain file, got a link"),
        folder.logging_to(tmp_path / "linked.log"),
    ):
        pass


def test_a_run_that_goes_on_with_another_version_of_its_family_is_told_so(tmp_path, caplog):
    groups = dict.fromkeys(("algo", "env", "learner", "network"), "any")
    folder.remember_plan(Plan({"seed": 0, "threads": 1}, groups, []), tmp_path)
    assert folder.remember_family(tmp_path, "1", goes_on=False) == "1"
    before = (tmp_path / "run.json").read_bytes()
    assert folder.remember_family(tmp_path, "1", goes_on=True) == "1"
    assert (tmp_path / "run.json").read_bytes() == before and not caplog.records
    assert folder.remember_family(tmp_path, "2", goes_on=True) == "1, then 2"
    assert folder.remember_family(tmp_path, "2", goes_on=True) == "1, then 2"
    (record,) = caplog.records
    assert "was trained on version 1 of its task family so far, and goes on with version 2" in record.message
    assert folder.read_record(tmp_path)["family_versions"] == ["1", "2"]
    assert folder.remember_family(tmp_path, "3", goes_on=False) == "3"  # nothing of it was kept
    assert folder.read_record(tmp_path)["family_versions"] == ["3"]
    assert len(caplog.records) == 1


def test_an_older_run_goes_on_without_a_word(tmp_path, caplog):
    groups = dict.fromkeys(("algo", "env", "learner", "network"), "any")
    folder.remember_plan(Plan({"seed": 0, "threads": 1}, groups, []), tmp_path)
    assert folder.remember_family(tmp_path, "1", goes_on=True) == "1" and not caplog.records


@pytest.mark.parametrize(
    ("threads", "before", "told"), [(2, {}, 1), (2, {"threads": 2}, 0), (1, {}, 0), ("auto", {}, 0)]
)
def test_a_run_is_told_that_threads_no_longer_order_its_sums(threads, before, told, tmp_path, caplog):
    plan = Plan({"seed": 0, "threads": threads}, dict.fromkeys(("algo", "env", "learner", "network"), "any"), [])
    folder._write_plan(plan, tmp_path, before)
    folder.warn_of_other_sums(plan, tmp_path)
    assert len(caplog.records) == told
    assert not told or "the order of 2 threads" in caplog.text


def test_a_run_may_go_on_with_other_threads_which_it_records(tmp_path):
    groups = dict.fromkeys(("algo", "env", "learner", "network"), "any")
    folder.remember_plan(Plan({"seed": 0, "threads": 3}, groups, []), tmp_path)
    assert folder.read_record(tmp_path)["threads"] == 3
    assert not folder.changes(Plan({"seed": 0, "threads": "auto"}, groups, []), tmp_path)


@pytest.mark.parametrize(("code", "kind"), [(1, Bug), (2, ConfigError), (3, StateError), (4, NumericalError)])
def test_a_failure_of_its_own_would_happen_again(tmp_path, code, kind):
    error = {"where": "algo.inner_lr", "reason": "too large", "exit_code": code}
    (tmp_path / "summary.json").write_text(json.dumps({"status": "failed", "error": error}))
    with pytest.raises(kind, match="tried before"):
        require_not_failed(tmp_path)


@pytest.mark.parametrize(
    "summary",
    [
        {"status": "failed", "error": {"where": "process", "reason": "killed by SIGKILL", "exit_code": 5}},
        {"status": "interrupted", "error": {"exit_code": 130}},
        {"status": "failed", "error": {"exit_code": "1"}},
        {"status": "failed", "error": "2"},
        {"status": "complete"},
        [],
    ],
)
def test_what_the_machine_was_at_fault_for_is_tried_again(tmp_path, summary):
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    require_not_failed(tmp_path)
