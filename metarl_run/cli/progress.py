"""Progress of a sweep: one line for each job that ends, from the process that drives them."""

import time
from pathlib import Path

from metarl_run.report.run.terminal import duration


class SweepProgress:
    """Jobs done, running and failed, and the time that is left.

    Args:
        total: jobs of the sweep.
        at_once: jobs side by side.
    """

    def __init__(self, total: int, at_once: int) -> None:
        self.total, self.at_once = total, at_once
        self.done = self.failed = self.running = 0
        self.seconds: list[float] = []

    def begin(self) -> float:
        """A job starts; when."""
        self.running += 1
        return time.monotonic()

    def end(self, folder: Path, begun: float, *, failed: bool) -> str:
        """A job has ended; the line about it.

        Args:
            folder: of the job.
            begun: when.
            failed: whether it has no result.
        """
        self.running -= 1
        self.done += 1
        self.failed += failed
        took = time.monotonic() - begun
        if not failed:
            self.seconds.append(took)
        parts = [f"{folder.name} {'failed' if failed else 'done'} in {duration(took)}", f"{self.done} of {self.total}"]
        parts += [f"{self.failed} failed"] if self.failed else []
        if self.left and self.seconds:
            mean = sum(self.seconds) / len(self.seconds)
            parts.append(f"about {duration(mean * self.left / min(self.at_once, self.left))} left")
        return " · ".join(parts)

    @property
    def left(self) -> int:
        """Jobs without an end."""
        return self.total - self.done
