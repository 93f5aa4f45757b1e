"""Progress of a sweep: one line for each job that ends, from the process that drives them."""

import time
from pathlib import Path

from metarl_run.report.run.terminal import duration


class SweepProgress:
    """Jobs done and failed, and the time that is left.

    Args:
        total: jobs of the sweep.
        at_once: jobs side by side; None where a queue decides.
    """

    def __init__(self, total: int, at_once: int | None) -> None:
        self.total, self.at_once = total, at_once
        self.began = time.monotonic()
        self.done = self.failed = 0
        self.seconds: list[float] = []

    def begin(self) -> float:
        """A job starts; when."""
        return time.monotonic()

    def end(self, folder: Path, begun: float | None, *, failed: bool) -> str:
        """A job has ended; the line about it.

        Args:
            folder: of the job.
            begun: when; None where nobody knows.
            failed: whether it has no result.
        """
        self.done += 1
        self.failed += failed
        now = time.monotonic()
        took = "" if begun is None else f" in {duration(now - begun)}"
        if not failed:
            self.seconds.append(now - (self.began if begun is None else begun))
        parts = [f"{folder.name} {'failed' if failed else 'done'}{took}", f"{self.done} of {self.total}"]
        parts += [f"{self.failed} failed"] if self.failed else []
        if self.left and self.seconds:
            parts.append(f"about {duration(self.seconds_left)} left")
        return " · ".join(parts)

    @property
    def seconds_left(self) -> float:
        """From the jobs that were done: their mean, or the pace of a queue."""
        if self.at_once is None:
            return max(self.seconds) / len(self.seconds) * self.left
        return sum(self.seconds) / len(self.seconds) * self.left / min(self.at_once, self.left)

    @property
    def left(self) -> int:
        """Jobs without an end."""
        return self.total - self.done
