"""The process in which `metarl_run.run` does what the command does.

It is started by `metarl_run.api.job` with the arguments of the command after the descriptor that it answers on, one
JSON object per line: the folder, and how it ended. The end of its input means that whoever started it has gone.
"""

import json
import os
import signal
import sys
import threading
from typing import Any

from metarl_run.cli import train
from metarl_run.cli.command import leave_at_once_on_signals
from metarl_run.config.secret import masked
from metarl_run.errors import ConfigError, RunError
from metarl_run.system import crash
from metarl_run.system.interruption import Interrupted


def main() -> None:
    answers, *argv = sys.argv[1:]
    sys.argv = ["metarl-run", *argv]
    leave_at_once_on_signals()
    threading.Thread(target=_stop_if_left_alone, daemon=True).start()
    with os.fdopen(int(answers), "w", encoding="utf-8") as out:

        def answer(**record: Any) -> None:
            print(json.dumps(record), file=out, flush=True)

        try:
            composed = train.compose(argv)
            if composed.passthrough or any(point.config["table"] is not None for point in composed.points):
                raise ConfigError("arguments", "must describe a run or a sweep", f"metarl-run {' '.join(argv)}")
            answer(folder=str(train.folder_of(composed).absolute()))
            code = train.carry_out(composed, argv)
        except RunError as error:
            code = error.exit_code
            parts = (error.where, error.reason, error.hint)
            answer(error=[type(error).__name__, *(part and masked(part) for part in parts)])
        except Interrupted as request:
            code = request.exit_code
        except Exception as error:
            found = crash.bug(error, None)
            code = found.exit_code
            answer(error=[type(found).__name__, found.where, found.reason, found.hint])
    sys.exit(code)


def _stop_if_left_alone() -> None:
    """Save and end when the process that started this one has ended."""
    while os.read(0, 1024):
        continue
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
