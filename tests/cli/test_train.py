"""Where runs go: a folder that was chosen badly is the configuration's fault, a disk that fails or is full is not."""

import errno
import os

import pytest

from metarl_run.cli import train


@pytest.mark.parametrize("function", [train._make, train._refuse_unwritable])
@pytest.mark.parametrize(
    ("number", "code"), [(errno.EACCES, 2), (errno.EROFS, 2), (errno.ENOSPC, 5), (errno.EDQUOT, 5), (errno.EIO, 5)]
)
def test_an_output_root_that_is_refused(function, number, code, tmp_path, monkeypatch):
    def refuse(*arguments, **named):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(train.RunError, match=f"cannot be written: {os.strerror(number)}") as caught:
        function(tmp_path / "new")
    assert caught.value.exit_code == code
