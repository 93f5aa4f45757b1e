"""The console: a live display where there is a terminal, plain lines where there is none."""

import contextlib
import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from rich.live import Live
from rich.text import Text

from metarl_run.errors import visible
from metarl_run.kinds import Count, Positive
from metarl_run.logger.base import Position, RunInfo, Sink
from metarl_run.logger.display import Progress, arrowed, steps_named
from metarl_run.report.output import QuietConsole, has_terminal, standard_output
from metarl_run.report.run.terminal import RunReport, headline, in_ascii
from metarl_run.system import machine


class Console(Sink):
    """Progress while meta-training, and the adaptation curve at the end.

    All drawing happens within the training thread's own calls, never in between.

    Args:
        refresh_per_second: upper limit for the live display, > 0.
        plain_every: meta-iterations between two lines where there is no terminal.
    """

    refresh_per_second: Positive
    plain_every: Count

    def __post_init__(self) -> None:
        super().__post_init__()
        self.interval = 1.0 / self.refresh_per_second
        self.progress: Progress | None = None
        self.live: Live | None = None
        self.console: QuietConsole | None = None
        self.alone = True
        self.redirected: list[tuple[logging.StreamHandler[Any], TextIO]] = []
        self.refreshed = 0.0

    def open(self, run: RunInfo, position: Position) -> None:
        self.progress = Progress(run)
        self.console = standard_output()
        self.utf8 = self.console.encoding.startswith("utf")
        self.alone = machine.side_by_side == 1
        if has_terminal(sys.stdout) and self.alone:
            self.live = Live(self.progress, console=self.console, auto_refresh=False, transient=True)
            with self.watched():
                self.live.start(refresh=True)
            self.redirect_logging()
        else:
            begin = f"from iteration {run.first_iteration}, " if run.first_iteration else ""
            self.say(f"{run.algo} on {run.env}, seed {run.seed}: {begin}{run.meta_iterations} meta-iterations")

    def metrics(self, iteration: int, row: Mapping[str, float]) -> None:
        if self.progress is None:
            return
        self.progress.metrics(iteration, row)
        if self.live is not None:
            self.refresh()
        elif iteration % self.plain_every == 0 or iteration == self.progress.run.meta_iterations:
            self.say(self.progress.line(*self.signs))

    def evaluation(self, rows: Sequence[Mapping[str, Any]], curve: Mapping[str, Sequence[float]]) -> None:
        if self.progress is None:
            return
        self.progress.evaluation(rows, curve)
        if self.live is not None:
            self.refresh()
        else:
            split = rows[0]["split"] if rows else "evaluation"
            means = arrowed(curve, self.signs[0])
            self.say(f"{split} at iteration {self.progress.iteration}: {means} after {steps_named(curve)}")

    def finish(self, summary: Mapping[str, Any], pictures: Sequence[Path]) -> None:
        if self.progress is None or self.console is None:
            return
        self.stop()
        run = self.progress.run
        with self.watched():
            if run.in_sweep:
                sentence = Text(headline(summary))
                self.console.print(sentence if self.utf8 else in_ascii(sentence), soft_wrap=True)
            else:
                self.console.print(RunReport(summary, run.folder), crop=False)

    def close(self) -> None:
        if self.live is not None:
            # The run did not finish: the last state stays on the screen.
            self.live.transient = False
            self.stop()
        self.progress = None

    @property
    def signs(self) -> tuple[str, str]:
        """An arrow and a separator."""
        return ("→", " · ") if self.utf8 else ("->", " - ")

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Go silent if the terminal or pipe is closed; the run goes on."""
        try:
            yield
        except OSError:
            if self.console is not None:
                self.console.on_broken_pipe()

    def refresh(self) -> None:
        """Draw, unless the last drawing was less than an interval ago."""
        now = time.monotonic()
        if self.live is not None and now - self.refreshed >= self.interval:
            self.refreshed = now
            with self.watched():
                self.live.refresh()

    def say(self, line: str) -> None:
        """Print one plain line immediately; lines of runs side by side would mix, so they only tell their ends."""
        if self.alone and self.console is not None and not self.console.quiet and sys.stdout is not None:
            with self.watched():
                print(visible(line), flush=True)

    def stop(self) -> None:
        """Remove the live display from the screen and restore the cursor."""
        if self.live is not None:
            for handler, stream in self.redirected:
                handler.setStream(stream)
            self.redirected = []
            with self.watched():
                self.live.stop()
            self.live = None

    def redirect_logging(self) -> None:
        """Send log lines above the display: handlers made before it still write to the terminal directly."""
        now: dict[object, TextIO] = {sys.__stdout__: sys.stdout, sys.__stderr__: sys.stderr}
        for handler in (*logging.getLogger().handlers, *logging.getLogger("metarl_run").handlers):
            if isinstance(handler, logging.StreamHandler) and handler.stream in now:
                self.redirected.append((handler, handler.stream))
                handler.setStream(now[handler.stream])
