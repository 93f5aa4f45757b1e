"""The console: a live display on a terminal, plain lines elsewhere, and never a reason for a run to end."""

import contextlib
import io
import logging
import os
import pty
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console as RichConsole
from samples import CURVE

from metarl_run.logger.base import RunInfo
from metarl_run.logger.console import Console
from metarl_run.logger.display import History, Progress, sparkline

SUMMARY = {
    "algo": "maml",
    "env": "cartpole_family",
    "meta_test": CURVE,
    "lifetime_return": {"mean": 4500.0, "low": 4400.0, "high": 4600.0},
    "wall_seconds": 43.0,
    "env_steps": 16_000_000,
    "env_steps_per_second": 412_345.0,
}


def info(folder: Path, *, meta_iterations: int = 20, first_iteration: int = 0) -> RunInfo:
    return RunInfo(
        folder=folder,
        config={},
        algo="maml",
        env="cartpole_family",
        learner="reinforce",
        seed=0,
        meta_iterations=meta_iterations,
        first_iteration=first_iteration,
    )


def row(iteration: int) -> dict[str, float]:
    return {
        "env_steps": 1000.0 * iteration,
        "meta_train/return_before": 30.0,
        "meta_train/return_after": 30.0 + 8 * iteration,
        "meta_train/loss": 0.1,
        "time/env_steps_per_second": 412_345.0,
    }


def live_through(console: Console, folder: Path, *, finish: bool = True) -> None:
    """A whole run as the console sees it."""
    console.open(info(folder), {})
    for iteration in range(1, 21):
        console.metrics(iteration, row(iteration))
        if iteration % 10 == 0:
            console.evaluation([{"split": "meta_validation", "iteration": iteration}], CURVE)
    if finish:
        console.finish(SUMMARY, [])
    console.close()
    console.close()


@contextlib.contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """Standard output is a terminal; gives a function that tells what was written to it so far."""
    master, slave = pty.openpty()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "40")
    monkeypatch.delenv("NO_COLOR", raising=False)
    written = bytearray()
    mark = b"\0until here\0"

    def drain() -> None:
        """Read all the time, since a terminal takes only a few kilobytes ahead."""
        with contextlib.suppress(OSError):  # the other side is closed
            while part := os.read(master, 2**16):
                written.extend(part)

    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    with os.fdopen(slave, "w", encoding="utf-8") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        patch.setattr(sys, "__stdout__", stream)

        def read() -> str:
            os.write(slave, mark)
            while mark not in written:
                time.sleep(0.001)
            text = written.replace(mark, b"")
            written[:] = text
            return text.decode()

        yield read
    reader.join(10)
    os.close(master)


@pytest.mark.parametrize("force_color", [False, True])
def test_no_terminal_no_control_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], force_color: bool
) -> None:
    if force_color:
        monkeypatch.setenv("FORCE_COLOR", "1")
    live_through(Console(refresh_per_second=4, plain_every=10), tmp_path)
    text = capsys.readouterr().out
    assert "\x1b" not in text and "\r" not in text
    lines = text.splitlines()
    assert lines[0] == "maml on cartpole_family, seed 0: 20 meta-iterations"
    assert [line.split(" · ")[:3] for line in lines if line.startswith("iteration")] == [
        ["iteration 10/20", "return 30.0 → 110", "412 k steps/s"],
        ["iteration 20/20", "return 30.0 → 190", "412 k steps/s"],
    ]
    assert lines.count("meta_validation at iteration 10: 31.0 → 194 after 0 and 1 steps") == 1
    assert any(line.startswith("maml on cartpole_family: 31.0 → 194 after one step") for line in lines)


def test_every_line_is_out_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", buffering=2**16) as stream, os.fdopen(reader, "rb", buffering=0) as pipe:
        monkeypatch.setattr(sys, "stdout", stream)
        console = Console(refresh_per_second=4, plain_every=1)
        console.open(info(tmp_path), {})
        console.metrics(1, row(1))
        assert b"iteration 1/20" in pipe.read(2**16)
        console.close()


def test_a_dumb_terminal_gets_plain_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as read:
        monkeypatch.setenv("TERM", "dumb")
        live_through(Console(refresh_per_second=4, plain_every=10), tmp_path)
        assert "\x1b" not in read() and "iteration 10/20" in read()


@pytest.mark.parametrize("finish", [True, False])
def test_the_cursor_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finish: bool) -> None:
    with terminal(monkeypatch) as read:
        before = sys.stdout
        live_through(Console(refresh_per_second=1000, plain_every=10), tmp_path, finish=finish)
        assert sys.stdout is before
        text = read()
    assert 0 <= text.rindex("\x1b[?25l") < text.rindex("\x1b[?25h")
    assert ("after one step" in text) == finish


def test_an_interrupted_run_leaves_its_last_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as read:
        live_through(Console(refresh_per_second=1000, plain_every=10), tmp_path, finish=False)
        last = re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", read().rsplit("\x1b[2K", 1)[1])
    assert "20/20" in last and "return after" in last and last.endswith("\n")


def test_the_display_is_drawn_no_more_often_than_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as read:
        live_through(Console(refresh_per_second=0.001, plain_every=10), tmp_path, finish=False)
        assert 2 <= read().count("reinforce") <= 3  # at the start, at most one refresh, at the end


def test_log_lines_go_above_the_display(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as read:
        stream = sys.stdout
        handler = logging.StreamHandler(stream)
        logging.getLogger("metarl_run").addHandler(handler)
        try:
            console = Console(refresh_per_second=1000, plain_every=10)
            console.open(info(tmp_path), {})
            console.metrics(1, row(1))
            logging.getLogger("metarl_run.anything").warning("something to know")
            console.close()
        finally:
            logging.getLogger("metarl_run").removeHandler(handler)
        assert handler.stream is stream
        above, below = read().split("something to know")
    assert "\x1b[2K" in above.rpartition("reinforce")[2]  # the display was taken away first
    assert "reinforce" in below  # and drawn again


def test_ascii_terminals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    live_through(Console(refresh_per_second=4, plain_every=10), tmp_path)
    text = written.getvalue().decode("ascii")
    assert "return 30.0 -> 110" in text and "?" not in text


@pytest.mark.parametrize("plain_every", [1, 10])
def test_a_reader_that_goes_away_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain_every: int
) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "__stdout__", stream)
        os.close(reader)
        live_through(Console(refresh_per_second=4, plain_every=plain_every), tmp_path)
        print("later output goes nowhere", flush=True)


def test_no_standard_output_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    live_through(Console(refresh_per_second=4, plain_every=1), tmp_path)


def test_closing_what_was_never_opened() -> None:
    console = Console(refresh_per_second=4, plain_every=1)
    console.metrics(1, row(1))
    console.finish(SUMMARY, [])
    console.close()


@pytest.mark.parametrize("width", [30, 80, 120])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_display_fits(tmp_path: Path, width: int, encoding: str) -> None:
    progress = Progress(info(tmp_path, meta_iterations=400))
    for iteration in range(1, 301):
        progress.metrics(iteration, row(iteration))
    progress.evaluation([{"iteration": 300}], {"adaptation_step": range(9), "mean": [float(k) for k in range(9)]})
    written = io.BytesIO()
    file = io.TextIOWrapper(written, encoding=encoding)
    RichConsole(file=file, width=width, color_system=None).print(progress)
    file.flush()
    lines = written.getvalue().decode(encoding).split("\n")
    assert max(map(len, lines)) <= width
    if width >= 80:
        assert "300/400" in lines[2] and "left" in lines[2]
        after = next(line for line in lines if line.startswith("return after"))
        assert after.rstrip()[-1] in "█#"  # it rose to its highest
        assert any("held-out, at 300" in line and "0, 1, 2 and 8 steps" in line for line in lines)


def test_lifetimes_are_drawn_on_a_scale_of_their_own(tmp_path: Path) -> None:
    """A bandit's pull returns at most 1, its lifetime of 100 pulls at most 100."""
    progress = Progress(info(tmp_path))
    for iteration in range(1, 9):
        lifetime = {"meta_train/return_after": iteration / 10, "meta_train/lifetime_return": 10.0 * iteration}
        progress.metrics(iteration, {**row(iteration), "meta_train/return_before": 0.1, **lifetime})
    written = io.StringIO()
    RichConsole(file=written, width=80, color_system=None).print(progress)
    lines = {line[:15].rstrip(): line[20:].split() for line in written.getvalue().splitlines()}
    assert lines["return before"] == ["0.10", "▁▁▁▁▁▁▁▁"]
    assert lines["return after"] == ["0.80", "▁▂▃▄▅▆▇█"]
    assert lines["lifetime return"] == ["80.0", "▁▂▃▄▅▆▇█"]
    assert progress.line("→", " · ").startswith("iteration 8/20 · return 0.10 → 0.80 · lifetime return 80.0 · 412 k")


def test_the_curve_of_a_long_lifetime_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = {"adaptation_step": list(range(500)), "mean": [step / 500 for step in range(500)]}
    console = Console(refresh_per_second=4, plain_every=10)
    console.open(info(tmp_path), {})
    console.evaluation([{"split": "meta_validation", "iteration": 4}], long)
    console.close()
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == "meta_validation at iteration 0: 0.00 → 0.00 → 0.00 → 1.00 after 0, 1, 2 and 499 steps"


def test_a_run_without_meta_training_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(info(tmp_path, meta_iterations=0))
    RichConsole(file=sys.stdout, color_system=None).print(progress)
    assert "meta-test on held-out tasks" in capsys.readouterr().out


def test_a_resumed_run_counts_time_from_where_it_goes_on(tmp_path: Path) -> None:
    progress = Progress(info(tmp_path, first_iteration=10))
    assert progress.seconds_left is None
    progress.started -= 10.0
    progress.metrics(15, row(15))
    assert progress.seconds_left == pytest.approx(10.0, abs=0.5)  # 5 done in 10 s, 5 to go


def test_a_long_history_is_kept_as_means_in_bounded_memory() -> None:
    history = History()
    for value in range(History.KEPT - 1):
        history.append(float(value))
    assert [*history.means] == [*range(History.KEPT - 1)]  # a short one in full
    for value in range(History.KEPT - 1, 4 * History.KEPT):
        history.append(float(value))
        assert len(history.means) < History.KEPT
    assert [*history.means] == [8 * i + 3.5 for i in range(History.KEPT // 2)]
    assert history.last == 4 * History.KEPT - 1


def test_sparkline_by_hand() -> None:
    assert sparkline([0.0, 1.0, 2.0, 3.0], 0.0, 3.0, 10, "abcd") == "abcd"
    assert sparkline([0.0, 2.0, 4.0, 6.0], 0.0, 6.0, 2, "abcdefg") == "bf"  # means 1 and 5
    assert sparkline([5.0, 5.0], 5.0, 5.0, 9, "abc") == "aa"
    assert sparkline([], 0.0, 1.0, 9, "abc") == ""
