"""MLflow: rows, curve and pictures of a run, sent by a thread that the run does not wait for."""

import functools
import json
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from metarl_run.component import field
from metarl_run.config.plan import flat
from metarl_run.errors import ConfigError
from metarl_run.kinds import Positive
from metarl_run.logger.base import Position, RunInfo, Sink
from metarl_run.logger.named import evaluation_rows

log = logging.getLogger(__name__)

LONGEST_PARAMETER = 500
"""Characters of a parameter's value, which servers limit."""

Order = Callable[[Any, str], object] | None
"""What to do with a client and the id of a run; None to end."""


class MLflow(Sink):
    """Rows, curve and pictures of a run in MLflow. Steps are meta-iterations; of `meta_test/…`, episodes seen.

    If it fails or hangs, one warning says so, and the run goes on: its own files are the record.

    Args:
        tracking_uri: of a server, or `sqlite:///FILE`; null is MLFLOW_TRACKING_URI, else MLflow's own default.
        experiment: null is MLFLOW_EXPERIMENT_NAME, else `metarl-run`.
        name: of MLflow's run; null is MLFLOW_RUN_NAME, else the run folder's.
        timeout: seconds to wait for it at the end.

    Raises:
        ConfigError: if MLflow is not installed.
    """

    tracking_uri: str | None
    experiment: str | None
    name: str | None
    timeout: Positive
    orders: Any = field(init=False, default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if find_spec("mlflow") is None:
            reason = "needs the package mlflow, which is not installed"
            raise ConfigError("logger.mlflow", reason, "pip install mlflow-skinny, or mlflow with its server")
        self.run_id: str | None = None
        self.thread: threading.Thread | None = None

    def position(self) -> Position:
        return {} if self.run_id is None else {"run_id": self.run_id}

    def open(self, run: RunInfo, position: Position) -> None:
        self.orders = queue.SimpleQueue[Order]()
        name = self.name or os.environ.get("MLFLOW_RUN_NAME", run.folder.name)
        experiment = self.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME", "metarl-run")
        known = str(position["run_id"]) if "run_id" in position else None
        tags = {"algo": run.algo, "env": run.env, "learner": run.learner, "folder": str(run.folder.absolute())}
        parameters = {key: _text(value)[:LONGEST_PARAMETER] for key, value in flat(run.config).items()}

        def work() -> None:
            try:
                client, self.run_id = _begun(self.tracking_uri, experiment, known, name, tags, parameters)
                while (order := self.orders.get()) is not None:
                    order(client, self.run_id)
            except Exception as error:  # a finished run is worth more than a copy of its rows
                line = (str(error).splitlines() or [type(error).__name__])[0]
                log.warning("mlflow: %s. The run's own files are complete without it.", line)

        self.thread = threading.Thread(target=work, daemon=True, name="mlflow")
        self.thread.start()

    def metrics(self, iteration: int, row: Mapping[str, float]) -> None:
        self._log(row, iteration)

    def evaluation(self, rows: Sequence[Mapping[str, Any]], curve: Mapping[str, Sequence[float]]) -> None:
        for step, row in evaluation_rows(rows, curve):
            self._log(row, step)

    def finish(self, summary: Mapping[str, Any], pictures: Sequence[Path]) -> None:
        for path in pictures:
            self._do(functools.partial(_send, path))
        self._end("FINISHED")

    def close(self) -> None:
        self._end("FAILED")

    def _log(self, row: Mapping[str, float | None], step: int) -> None:
        now = int(time.time() * 1000)

        def order(client: Any, run_id: str) -> None:
            from mlflow.entities import Metric

            numbers = {name: value for name, value in row.items() if value is not None}
            client.log_batch(run_id, [Metric(name, float(value), now, step) for name, value in numbers.items()])

        self._do(order)

    def _do(self, order: Callable[[Any, str], object]) -> None:
        if self.thread is not None and self.thread.is_alive():
            self.orders.put(order)

    def _end(self, status: str) -> None:
        """Wait for the thread to have sent everything, at most `timeout` seconds."""
        if self.thread is None:
            return
        self._do(lambda client, run_id: client.set_terminated(run_id, status))
        self.orders.put(None)
        self.thread.join(self.timeout)
        if self.thread.is_alive():
            reason = f"did not finish within {self.timeout:g} s"
            log.warning("mlflow %s. The run's own files are complete without it.", reason)
        self.thread = None


def _begun(
    uri: str | None,
    experiment: str,
    known: str | None,
    name: str,
    tags: Mapping[str, str],
    parameters: Mapping[str, str],
) -> tuple[Any, str]:
    """A client, and the id of the run: a new one, or the `known` one again."""
    from mlflow.entities import Param
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    if known is not None:
        client.set_terminated(known, "RUNNING")
        return client, known
    found = client.get_experiment_by_name(experiment)
    number = client.create_experiment(experiment) if found is None else found.experiment_id
    run_id = client.create_run(number, run_name=name, tags=dict(tags)).info.run_id
    pairs = [Param(key, value) for key, value in parameters.items()]
    for first in range(0, len(pairs), 100):  # at a time, which servers limit
        client.log_batch(run_id, params=pairs[first : first + 100])
    return client, run_id


def _send(path: Path, client: Any, run_id: str) -> None:
    client.log_artifact(run_id, str(path))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
