"""TensorBoard: rows, curve and pictures in the folder `tensorboard` of the run."""

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from metarl_run.component import field
from metarl_run.errors import ConfigError
from metarl_run.kinds import Positive
from metarl_run.logger.base import Position, RunInfo, Sink
from metarl_run.logger.named import evaluation_rows

log = logging.getLogger(__name__)

FOLDER = "tensorboard"


class TensorBoard(Sink):
    """Rows, curve and pictures of a run, for `tensorboard --logdir outputs`.

    Steps are meta-iterations; of `meta_test/…`, episodes seen. If it fails, one warning says so, and the run goes on:
    its own files are the record.

    Args:
        flush_seconds: between two writes to disk.

    Raises:
        ConfigError: if TensorBoard is not installed.
    """

    flush_seconds: Positive
    writer: Any = field(init=False, default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if find_spec("tensorboard") is None:
            reason = "needs the package tensorboard, which is not installed"
            raise ConfigError("logger.tensorboard", reason, "pip install tensorboard")

    def open(self, run: RunInfo, position: Position) -> None:
        with self._harmless():
            from torch.utils.tensorboard import SummaryWriter

            resumed = {"purge_step": run.first_iteration + 1} if run.first_iteration else {}
            folder = str(run.folder / FOLDER)
            self.writer = SummaryWriter(folder, flush_secs=int(max(self.flush_seconds, 1)), **resumed)
            # Indented, or it would be formatted
            text = "\n".join(f"    {line}" for line in json.dumps(run.config, indent=1, default=str).splitlines())
            self.writer.add_text("config", text, run.first_iteration)

    def metrics(self, iteration: int, row: Mapping[str, float]) -> None:
        self._add(row, iteration)

    def evaluation(self, rows: Sequence[Mapping[str, Any]], curve: Mapping[str, Sequence[float]]) -> None:
        for step, row in evaluation_rows(rows, curve):
            self._add(row, step)

    def finish(self, summary: Mapping[str, Any], pictures: Sequence[Path]) -> None:
        with self._harmless():
            for path in pictures if self.writer is not None else ():
                if path.suffix == ".png":
                    pixels = np.asarray(Image.open(path).convert("RGB"))
                    self.writer.add_image(path.stem, pixels, 0, dataformats="HWC")
        self.close()

    def close(self) -> None:
        with self._harmless():
            if self.writer is not None:
                self.writer.close()
            self.writer = None

    def _add(self, row: Mapping[str, float | None], step: int) -> None:
        with self._harmless():
            for name, value in row.items() if self.writer is not None else ():
                if value is not None:
                    self.writer.add_scalar(name, value, step)

    @contextlib.contextmanager
    def _harmless(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # a finished run is worth more than a copy of its rows
            self.writer = None
            log.warning("tensorboard: %s. The run's own files are complete without it.", error)
