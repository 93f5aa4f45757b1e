"""Folders in which no run can be made are refused before anything heavy is imported."""

from pathlib import Path

import pytest

from metarl_run.cli.train import _refuse_unwritable
from metarl_run.errors import ConfigError


def test_a_link_to_nothing_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    for folder in ("link", "link/inside"):
        with pytest.raises(ConfigError) as caught:
            _refuse_unwritable(tmp_path / folder)
        assert caught.value.where == "output_root"
        assert caught.value.reason == f"{tmp_path / 'link'} is a link to nowhere, which does not exist"


def test_a_folder_that_takes_no_files_is_told_with_the_systems_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file cannot be written: Not a directory"):
        _refuse_unwritable(tmp_path / "file" / "run")
    _refuse_unwritable(tmp_path / "new" / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
