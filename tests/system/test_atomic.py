"""Atomic writes: on file systems that cannot sync folders, too, with one warning."""

import errno
import logging
import os
import resource
import stat

import pytest

from metarl_run.errors import ResourceError
from metarl_run.system import atomic


def refusing(monkeypatch, number):
    """fsync of folders fails with an error number, as on CIFS."""
    real = os.fsync

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(atomic, "_warned", set())


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_folder_that_cannot_be_synced_is_warned_of_once(monkeypatch, caplog, tmp_path, number):
    refusing(monkeypatch, number)
    with caplog.at_level(logging.WARNING):
        for name in ("a", "b"):
            atomic.write_atomically(tmp_path / name, b"data")
    assert (tmp_path / "b").read_bytes() == b"data"
    assert [record.message for record in caplog.records] == [
        f"{tmp_path}: its file system cannot sync folders, so a power cut may lose the newest files"
    ]


def test_a_disk_that_fails_to_sync_a_folder_is_an_error(monkeypatch, tmp_path):
    refusing(monkeypatch, errno.EIO)
    with pytest.raises(ResourceError, match="cannot write"):
        atomic.write_atomically(tmp_path / "a", b"data")


def test_what_the_system_refuses_names_path_and_operation(tmp_path):
    with pytest.raises(ResourceError) as caught, atomic.refusals(tmp_path / "a", "read the minutes of"):
        (tmp_path / "b").read_bytes()
    assert str(caught.value) == f"error: {tmp_path / 'a'}: cannot read the minutes of: No such file or directory"


def test_a_limit_of_file_sizes_is_told_and_leaves_nothing_behind(tmp_path):
    atomic.write_atomically(tmp_path / "a", b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(ResourceError, match="cannot write 2000 bytes: File too large"):
            atomic.write_atomically(tmp_path / "a", bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_of_a_disk_that_stays_full_the_first_refusal_is_told(monkeypatch, tmp_path):
    def refuse(*arguments, **named):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name in ("replace", "unlink"):
        monkeypatch.setattr(os, name, refuse)
    with pytest.raises(ResourceError, match="cannot write 4 bytes: No space left"):
        atomic.write_atomically(tmp_path / "a", b"data")
