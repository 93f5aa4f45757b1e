"""Functions in forked processes: their answers, their deaths, and the death of the process that started them."""

import faulthandler
import os
import signal
import time
from pathlib import Path

import pytest

from metarl_run.errors import ConfigError
from metarl_run.system.child import Child, Died, wait_for_any
from metarl_run.system.interruption import Interrupted

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # OpenBLAS's


def raising(error):
    raise error


def test_an_answer_comes_back():
    assert Child(lambda: {"mean": [1.5]}).result() == {"mean": [1.5]}


@pytest.mark.parametrize(
    "error", [ConfigError("a.b", "is bad", "try c"), ValueError("x"), SystemExit(0), Interrupted(143)], ids=repr
)
def test_what_is_raised_comes_back(error):
    with pytest.raises(type(error)) as caught:
        Child(lambda: raising(error)).result()
    assert str(caught.value) == str(error)


@pytest.mark.parametrize(
    ("die", "reason"),
    [
        (lambda: (faulthandler.disable(), os.kill(os.getpid(), signal.SIGSEGV)), "killed by SIGSEGV"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "killed by SIGKILL, perhaps for lack of memory"),
        (lambda: os._exit(0), "left with exit code 0 too early"),
    ],
)
def test_a_death_is_told_by_its_cause(die, reason):
    with pytest.raises(Died) as caught:
        Child(die).result()
    assert caught.value.reason == reason


def test_children_are_met_as_they_end():
    slow, quick = Child(lambda: time.sleep(60)), Child(lambda: 1)
    while not (ended := wait_for_any([slow, quick], 60)):
        pass
    assert ended == [quick] and quick.result() == 1 and not slow.ended()
    slow.signal(signal.SIGKILL)
    with pytest.raises(Died):
        slow.result()


def runs(pid):
    """True of a process that is no zombie, which waits for init to look at it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks into /proc")
def test_a_child_whose_parent_is_killed_ends(tmp_path):
    def parent():
        child = Child(lambda: time.sleep(600))
        (tmp_path / "pid").write_text(str(child.process.pid))
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(Died):
        Child(parent).result()
    pid = int((tmp_path / "pid").read_text())
    while runs(pid):  # the suite has a limit of time
        time.sleep(0.01)
