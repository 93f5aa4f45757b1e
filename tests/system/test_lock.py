"""One process at a time in a folder, whatever the disk says; what is left behind is nothing."""

import errno
import fcntl
import logging
import os

import pytest

from metarl_run.errors import NumericalError, ResourceError, StateError
from metarl_run.system import lock
from metarl_run.system.lock import locked


def refusing(number):
    def refuse(*arguments, **named):
        raise OSError(number, os.strerror(number))

    return refuse


def test_a_second_process_is_refused_with_the_first_ones_name(tmp_path):
    with (
        locked(tmp_path),
        pytest.raises(StateError, match=f"is in use by process {os.getpid()} since"),
        locked(tmp_path),
    ):
        pass
    assert not list(tmp_path.iterdir())
    with locked(tmp_path):
        pass


def test_what_a_killed_process_left_is_no_lock(tmp_path):
    for name in (".lock", ".owner"):
        (tmp_path / name).write_text("process 1 since 1970-01-01 00:00:00")
    with locked(tmp_path):
        assert str(os.getpid()) in (tmp_path / ".owner").read_text()
    assert not list(tmp_path.iterdir())


def test_a_lock_that_was_removed_in_between_is_taken_anew(tmp_path, monkeypatch):
    real, times = fcntl.flock, []

    def flock(descriptor, operation):
        if not times:  # the holder leaves between the opening and the locking of its file
            (tmp_path / ".lock").unlink()
        times.append(real(descriptor, operation))

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    with locked(tmp_path):
        assert (tmp_path / ".lock").exists()
    assert len(times) == 2


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks_is_warned_of(number, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(lock.fcntl, "flock", refusing(number))
    with caplog.at_level(logging.WARNING), locked(tmp_path):
        assert (tmp_path / ".owner").exists()
    assert [record.message for record in caplog.records] == [
        f"{tmp_path}: its file system has no locks, so let one process at a time run here"
    ]


@pytest.mark.parametrize(
    ("module", "name", "said"),
    [
        (lock.fcntl, "flock", ".lock: cannot lock: "),
        (lock.os, "open", ".lock: cannot open: "),
        (lock, "open", ".owner: cannot write: "),
        (lock.Path, "unlink", ".owner: cannot remove: "),
    ],
)
def test_a_disk_that_refuses_is_told(module, name, said, tmp_path, monkeypatch):
    monkeypatch.setattr(module, name, refusing(errno.EIO), raising=False)  # `open` is a builtin
    with pytest.raises(ResourceError, match=said + os.strerror(errno.EIO)), locked(tmp_path):
        pass


def test_an_error_inside_is_told_even_if_the_lock_cannot_be_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(lock.Path, "unlink", refusing(errno.ENOSPC))
    with pytest.raises(NumericalError), locked(tmp_path):
        raise NumericalError("loss", "must be finite, got nan")
