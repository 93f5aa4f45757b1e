"""The command `metarl-run`, its quick answers, and what its failures look like.

`--version` and `--help` are answered without Hydra or torch. Everything else is `metarl_run.cli.train`'s; an expected
failure becomes one or two lines on stderr and its own exit code, any other a crash report.
"""

import io
import os
import signal
import sys
from types import FrameType

from metarl_run import __version__
from metarl_run.errors import DONE, INTERRUPTED, TERMINATED, RunError, visible
from metarl_run.system import crash
from metarl_run.system.interruption import Interrupted

PIPE_CLOSED = 5


def main() -> None:
    """Run the command line of this process and end the process with its exit code."""
    crash.install()
    leave_at_once_on_signals()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an ASCII terminal is no reason to fail
    try:
        code = _run(sys.argv[1:])
        if sys.stdout is not None:
            sys.stdout.flush()
    except RunError as error:
        code = error.exit_code
        from metarl_run.config.secret import masked

        print(masked(str(error)), file=sys.stderr)
    except Interrupted as request:
        code = request.exit_code
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader left. What is still buffered goes nowhere, or Python would complain at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = PIPE_CLOSED
    sys.exit(code)


def _run(argv: list[str]) -> int:
    if "--version" in argv:
        print(f"metarl-run {__version__}")
        return DONE
    if argv[:1] == ["watch"]:
        from metarl_run.cli import watch

        return watch.main(argv[1:])
    if argv[:1] == ["list"]:
        from metarl_run.cli import listing

        return listing.main(argv[1:])
    if argv[:1] == ["report"]:
        from metarl_run.cli import report

        return report.main(argv[1:])
    if argv[:1] == ["collect"]:
        from metarl_run.cli import collect

        return collect.main(argv[1:])
    if "--help" in argv or "-h" in argv:
        from metarl_run.config.help import help_text

        print(visible(help_text(argv), lines=True), end="")
        return DONE
    if "-sc" in argv or "--shell-completion" in argv:
        from metarl_run.config.completion import answer

        print(visible(answer(argv, os.environ.get("COMP_LINE", "")), lines=True), end="")
        return DONE
    from metarl_run.cli import train

    return train.main(argv)


def leave_at_once_on_signals() -> None:
    """Until the run itself listens there is nothing to save, and an exception inside an import may get lost."""
    for number, code in ((signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED)):

        def leave(received: int, frame: FrameType | None, code: int = code) -> None:
            os._exit(code)

        if signal.getsignal(number) is not signal.SIG_IGN:  # ignored on purpose, as by nohup
            signal.signal(number, leave)
