"""Atomic writes: on file systems that cannot sync folders, too, with one warning."""

import errno
import logging
import os
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
