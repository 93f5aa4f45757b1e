"""Where runs go: a folder that was chosen badly is the configuration's fault, a disk that fails or is full is not."""

import errno
import os

import pytest

from metarl_run.cli import impossible, train
from metarl_run.errors import ConfigError


@pytest.mark.parametrize("function", [train._make, impossible.refuse_unwritable])
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


def test_a_link_to_nothing_is_told_as_such(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    for folder in ("link", "link/inside"):
        with pytest.raises(ConfigError) as caught:
            impossible.refuse_unwritable(tmp_path / folder)
        assert caught.value.where == "output_root"
        assert caught.value.reason == f"{tmp_path / 'link'} is a link to nowhere, which does not exist"


def test_a_folder_that_takes_no_files_is_told_with_the_systems_reason(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file cannot be written: Not a directory"):
        impossible.refuse_unwritable(tmp_path / "file" / "run")
    impossible.refuse_unwritable(tmp_path / "new" / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
