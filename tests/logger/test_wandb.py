"""Weights & Biases: what arrives there, and that nothing that goes wrong with it reaches the run."""

import json
import logging
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from samples import CURVE, EXACT_CURVE

from metarl_run.logger.base import RunInfo
from metarl_run.logger.wandb import Wandb, at_few_steps

ROWS = [
    {
        "split": "meta_test",
        "iteration": 3,
        "task": task,
        "adaptation_step": step,
        "episode_return": 30.0 + step,
        "expected_return": None,  # as of an agent with memory
        "optimal_return": 40.0,
    }
    for task in range(5)
    for step in (0, 1)
]
SUMMARY = {"status": "complete", "wall_seconds": 43.0, "lifetime_return": {"mean": 4500.0}, "versions": {"a": "1"}}


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("WANDB_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))


PATIENCE = 600.0
"""Seconds for what ends well in a few, however busy the machine."""


def opened(
    folder: Path,
    *,
    mode: Any = "auto",
    timeout: float = PATIENCE,
    position: Any = None,
    sweep: str | None = None,
    **more: Any,
) -> Wandb:
    folder.mkdir(exist_ok=True)
    sink = Wandb(mode=mode, project="tests", timeout=timeout, **more)
    sink.open(
        RunInfo(
            folder=folder,
            config={"algo": {"inner_lr": 0.5}, "seed": 7},
            algo="maml",
            env="bandit",
            learner="reinforce",
            seed=7,
            meta_iterations=3,
            first_iteration=0,
            sweep=sweep,
        ),
        position or {},
    )
    return sink


def live_through(sink: Wandb, folder: Path) -> None:
    """Three meta-iterations, a validation and the meta-test."""
    for iteration in (1, 2, 3):
        sink.metrics(iteration, {"meta_train/return_after": 10.0 * iteration, "env_steps": 100.0 * iteration})
    sink.evaluation([{"split": "meta_validation", "iteration": 2}], CURVE)
    sink.evaluation(ROWS, EXACT_CURVE)
    Image.new("RGB", (8, 8)).save(folder / "adaptation_curve.png")
    sink.finish(SUMMARY, [folder / "adaptation_curve.png"])
    sink.close()


def records(folder: Path) -> Iterator[Any]:
    """The records of the one offline run in `folder`: LevelDB's log format behind a header of 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    (path,) = (folder / "wandb").glob("offline-run-*/*.wandb")
    data, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def history(folder: Path) -> list[dict[str, Any]]:
    rows = []
    for record in records(folder):
        if record.WhichOneof("record_type") == "history":
            items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            rows.append({key: value for key, value in items.items() if not key.startswith("_")})
    return rows


def children(pid: int) -> list[int]:
    """Processes started by `pid`, as far as they live."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def services(pid: int) -> list[int]:
    """The services among them; other children of wandb come and go."""
    return [child for child in children(pid) if b"wandb-core" in commandline(child)]


def commandline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def wait_for(condition: Any) -> None:
    while not condition():
        time.sleep(0.02)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_everything_arrives_offline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    live_through(opened(folder), folder)
    assert warnings(caplog) == []
    rows = history(folder)
    assert [row for row in rows if "meta_train/return_after" in row] == [
        {"iteration": i, "meta_train/return_after": 10.0 * i, "env_steps": 100.0 * i} for i in (1, 2, 3)
    ]
    tested = [row for row in rows if "meta_test/mean" in row]
    assert [(row["meta_test/episodes_seen"], row["meta_test/mean"]) for row in tested] == [(0, 31), (20, 194)]
    assert [(row["meta_test/expected"], row["meta_test/optimum"]) for row in tested] == [(30.5, 200), (193, 200)]
    means = {"meta_validation/return_after_0_steps": 31, "meta_validation/return_after_1_steps": 194}
    assert {"iteration": 2, **means} in rows
    assert [row["adaptation_curve/_type"] for row in rows if "adaptation_curve/_type" in row] == ["image-file"]
    assert [row["adaptation_table/nrows"] for row in rows if "adaptation_table/nrows" in row] == [len(ROWS)]
    (table,) = (folder / "wandb").glob("offline-run-*/files/media/table/*.json")
    assert json.loads(table.read_text())["data"] == [list(row.values()) for row in ROWS]

    axes = {record.metric.glob_name or record.metric.name: record.metric.step_metric for record in records(folder)}
    assert axes["meta_train/*"] == "iteration"
    assert axes["meta_validation/*"] == "iteration"
    assert axes["meta_test/*"] == "meta_test/episodes_seen"

    (run,) = [record.run for record in records(folder) if record.WhichOneof("record_type") == "run"]
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["algo"] == {"inner_lr": 0.5}
    assert (run.project, run.display_name, list(run.tags)) == ("tests", "run", ["maml", "bandit", "reinforce"])
    assert [r.exit.exit_code for r in records(folder) if r.WhichOneof("record_type") == "exit"] == [0]

    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("wandb: wandb sync ") and Path(last.split()[-1]).is_dir()


def test_a_run_that_fails_is_marked_as_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sink = opened(tmp_path / "run")
    sink.metrics(1, {"meta_train/return_after": 10.0})
    sink.close()
    assert [row["iteration"] for row in history(tmp_path / "run")] == [1]
    assert [r.exit.exit_code for r in records(tmp_path / "run") if r.WhichOneof("record_type") == "exit"] == [1]
    assert capsys.readouterr().out == ""


def test_mode_online_without_credentials_goes_offline(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    live_through(opened(tmp_path / "run", mode="online"), tmp_path / "run")
    assert len(history(tmp_path / "run")) > 3
    (warning,) = warnings(caplog)
    assert "no credentials" in warning


def test_without_credentials_no_server_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        live_through(opened(tmp_path / "run"), tmp_path / "run")
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_server_that_never_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
        sink = opened(tmp_path / "run", timeout=8.0)
        sink.metrics(0, {"meta_train/return_after": 0.0})
        assert not sink.answer and not warnings(caplog)  # the run does not wait for the server

        def gave_up_on_the_server() -> bool:
            sink.listen()
            return "folder" in sink.answer

        wait_for(gave_up_on_the_server)
        sink.timeout = PATIENCE
        live_through(sink, tmp_path / "run")
    (warning,) = warnings(caplog)
    assert "going offline" in warning
    assert len(history(tmp_path / "run")) > 3


def test_a_key_that_cannot_be_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "short")
    live_through(opened(tmp_path / "run"), tmp_path / "run")
    (warning,) = warnings(caplog)
    assert "going offline" in warning and "short" not in warning
    assert len(history(tmp_path / "run")) > 3


def test_switched_off_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    live_through(opened(tmp_path / "run"), tmp_path / "run")
    assert not (tmp_path / "run" / "wandb").exists() and capsys.readouterr().out == ""


def test_the_environment_can_keep_it_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    live_through(opened(tmp_path / "run"), tmp_path / "run")
    assert warnings(caplog) == [] and len(history(tmp_path / "run")) > 3


def arguments_sent(monkeypatch: pytest.MonkeyPatch, folder: Path, **more: Any) -> dict[str, Any]:
    """The arguments of `wandb.init` that a sink asks for; no process is started."""
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(Wandb, "begin", lambda self: None)
    monkeypatch.setattr(Wandb, "send", lambda self, **order: sent.append(order))
    sink = opened(folder, **more)
    assert sink.position() == ({"id": sent[0]["arguments"]["id"]} if sent else {})
    return {"mode": sent[0]["mode"], **sent[0]["arguments"]} if sent else {}


def test_the_environment_counts_unless_a_key_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    plain = arguments_sent(monkeypatch, folder)
    assert (plain["name"], plain["group"], plain["tags"]) == ("run", "maml on bandit", ["maml", "bandit", "reinforce"])
    assert plain["dir"] == str(folder) and "resume" not in plain and len(plain["id"]) == 8
    assert arguments_sent(monkeypatch, folder, sweep="my_sweep")["group"] == "my_sweep"
    environment = {"NAME": "n", "RUN_GROUP": "g", "TAGS": "a,b", "DIR": str(tmp_path), "MODE": "offline"}
    for key, value in environment.items():
        monkeypatch.setenv(f"WANDB_{key}", value)
    told = arguments_sent(monkeypatch, folder)
    assert [told[key] for key in ("name", "group", "dir", "mode")] == ["n", "g", str(tmp_path), "offline"]
    assert told["tags"] == ["maml", "bandit", "reinforce", "a", "b"]
    init = {"entity": "team", "notes": "first try"}
    given = arguments_sent(monkeypatch, folder, mode="online", name="N", group="G", tags=["T"], init=init)
    assert [given[key] for key in ("name", "group", "tags", "mode")] == ["N", "G", ["T"], "online"]
    assert given.items() >= init.items()
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_DISABLED", "true")
    assert arguments_sent(monkeypatch, folder) == {}
    assert arguments_sent(monkeypatch, folder, mode="offline")["mode"] == "offline"


def test_a_resumed_run_goes_on_as_the_same_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resumed = arguments_sent(monkeypatch, tmp_path / "run", position={"id": "abcd1234"})
    assert (resumed["id"], resumed["resume"]) == ("abcd1234", "allow")
    monkeypatch.setenv("WANDB_RUN_ID", "mine")
    assert arguments_sent(monkeypatch, tmp_path / "run", position={"id": "abcd1234"})["id"] == "mine"


def test_wandb_disabled_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, caplog: Any) -> None:
    """As `wandb disabled` leaves it behind."""
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "settings").write_text("[default]\nmode = disabled\n")
    monkeypatch.chdir(tmp_path)
    live_through(opened(tmp_path / "run"), tmp_path / "run")
    assert not [*(tmp_path / "run" / "wandb").glob("*run-*")]
    assert warnings(caplog) == [] and "wandb" not in capsys.readouterr().out


@pytest.mark.parametrize("whose", ["its own process", "the service"])
def test_killed_in_the_middle(tmp_path: Path, caplog: pytest.LogCaptureFixture, whose: str) -> None:
    sink = opened(tmp_path / "run", timeout=5.0)
    assert sink.process is not None
    pid = sink.process.pid
    sink.metrics(1, {"meta_train/return_after": 10.0})
    wait_for(lambda: services(pid))
    for victim in [pid] if whose == "its own process" else services(pid):
        os.kill(victim, signal.SIGKILL)
    for iteration in range(2, 50):
        sink.metrics(iteration, {"meta_train/return_after": 10.0})
    live_through(sink, tmp_path / "run")
    (warning,) = warnings(caplog)
    assert "files are complete without it" in warning


SLEEP = "import time\ntime.sleep(10_000)"
"""Longer than a test may take: whoever waits for its end is noticed."""


@pytest.mark.parametrize(
    ("misbehaviour", "timeout", "complaint"),
    [
        (SLEEP, 2.0, "did not finish within 2 s"),
        (f"import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{SLEEP}", 2.0, "did not finish"),
        ("raise ImportError('no module for this platform')", PATIENCE, "no module for this platform"),
        ("import os\nos.abort()", PATIENCE, "ended on its own"),
        ("import sys\nsys.exit(0)", PATIENCE, "ended on its own"),
        (f"print('{{\"folder\": 1}}', flush=True)\nimport os\nos.close(0)\n{SLEEP}", 2.0, "did not finish"),
    ],
)
def test_a_wandb_that_misbehaves(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    misbehaviour: str,
    timeout: float,
    complaint: str,
) -> None:
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "wandb.py").write_text(misbehaviour)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
    sink = opened(tmp_path / "run", timeout=timeout)
    for iteration in range(20_000):  # more than a pipe holds
        sink.metrics(iteration, {"meta_train/return_after": 10.0})
    pid = sink.process.pid if sink.process else None
    live_through(sink, tmp_path / "run")
    (warning,) = warnings(caplog)
    assert complaint in warning
    assert "sync" not in capsys.readouterr().out
    assert pid is None or not Path(f"/proc/{pid}").exists()


def test_it_leaves_when_the_run_is_gone(tmp_path: Path) -> None:
    """As after kill -9: its input ends, without an order to finish."""
    sink = opened(tmp_path / "run")
    assert sink.process is not None
    sink.metrics(1, {"meta_train/return_after": 10.0})
    wait_for(lambda: not sink.unsent)
    sink.mouth.close()
    os.set_blocking(sink.ear, True)
    assert sink.process.wait() == 0
    assert [row["iteration"] for row in history(tmp_path / "run")] == [1]
    sink.process = None
    os.close(sink.ear)


def test_a_program_that_cannot_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "nowhere"))
    live_through(opened(tmp_path / "run"), tmp_path / "run")
    (warning,) = warnings(caplog)
    assert "cannot be started" in warning


@pytest.mark.parametrize("wrong", [{"mode": "sometimes"}, {"timeout": 0.0}, {"project": 3}])
def test_bad_arguments(wrong: dict[str, Any]) -> None:
    right: dict[str, Any] = {"mode": "auto", "project": "tests", "timeout": 1.0}
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Wandb(**(right | wrong))


# --- Long lifetimes ---


def test_validations_of_long_lifetimes_are_few_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(Wandb, "send", lambda self, **order: sent.append(order))
    long = {"adaptation_step": list(range(500)), "mean": [step / 500 for step in range(500)]}
    Wandb(mode="offline", project="tests", timeout=1.0).evaluation([{"split": "meta_validation", "iteration": 2}], long)
    means = {f"meta_validation/return_after_{step}_steps": step / 500 for step in (0, 1, 2, 499)}
    assert sent == [{"do": "log", "row": {"iteration": 2, **means}}]


def test_validations_tell_outcomes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(Wandb, "send", lambda self, **order: sent.append(order["row"]))
    curve = {"adaptation_step": [0, 1], "mean": [3.0, 4.0], "success": [0.1, 0.5], "success_low": [0, 0]}
    Wandb(mode="offline", project="t", timeout=1.0).evaluation([{"split": "meta_validation", "iteration": 2}], curve)
    (row,) = sent
    assert {key: row[key] for key in row if "success" in key} == {
        "meta_validation/success_after_0_steps": 0.1,
        "meta_validation/success_after_1_steps": 0.5,
    }


@pytest.mark.parametrize(("at_most", "steps"), [(40, [0, 1, 2, 3]), (30, [0, 1, 3]), (1, [0, 3]), (0, [0, 3])])
def test_a_table_too_long_for_a_browser_has_fewer_steps_of_all_tasks(at_most: int, steps: list[int]) -> None:
    rows = [{"task": task, "adaptation_step": step} for step in range(4) for task in range(10)]
    assert at_few_steps(rows, at_most) == [row for row in rows if row["adaptation_step"] in steps]


def test_no_rows_make_an_empty_table() -> None:
    assert at_few_steps([], 9) == []
