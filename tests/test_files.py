"""Files that may come from elsewhere: opened as what they are, read within limits."""

import json
import os
import time

import hostile
import pytest

from metarl_run.errors import StateError
from metarl_run.files import DEEPEST, plain_only, read_bytes, read_json, refuse_links, require_shallow


@pytest.mark.parametrize("kind", sorted(hostile.KINDS))
@pytest.mark.parametrize("mode", ["rb", "wb", "ab"])
def test_only_plain_files_are_opened_and_nothing_waits(kind, mode, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("precious")
    hostile.KINDS[kind](tmp_path / "file", outside)
    begun = time.monotonic()
    if kind == "huge":
        with pytest.raises(StateError, match="must have at most"):
            read_bytes(tmp_path / "file")
    else:
        with pytest.raises((StateError, OSError)), open(tmp_path / "file", mode, opener=plain_only):
            pass
    assert time.monotonic() - begun < 1
    assert outside.read_text() == "precious" and not (tmp_path / "nothing").exists()


def test_a_refusal_names_the_file_and_its_kind(tmp_path):
    os.mkfifo(tmp_path / "run.json")
    with pytest.raises(StateError, match=r"run\.json: must be a plain file, got a FIFO"):
        read_json(tmp_path / "run.json")


def test_a_plain_file_is_read_and_appended_to(tmp_path):
    path = tmp_path / "rows.csv"
    for text in ("a\n", "b\n"):
        with open(path, "a", opener=plain_only) as file:
            file.write(text)
    assert read_bytes(path) == b"a\nb\n"
    assert path.stat().st_mode & 0o700 == 0o600


def test_a_way_to_the_folder_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/run.json").write_text("{}")
    (tmp_path / "linked").symlink_to("real")
    refuse_links(tmp_path / "linked")
    assert read_json(tmp_path / "linked/run.json") == {}


@pytest.mark.parametrize("where", ["config.yaml", "checkpoints", "checkpoints/000001", ".hydra/config.yaml", "notes"])
@pytest.mark.parametrize("kind", ["link", "loop", "link to nothing", "FIFO", "socket"])
def test_inside_there_are_none(where, kind, tmp_path):
    run = tmp_path / "run"
    (run / where).parent.mkdir(parents=True)
    hostile.KINDS[kind](run / where, tmp_path)
    with pytest.raises(StateError, match=f"{where}: must be a file or folder, got"):
        refuse_links(run)


def test_links_that_wandb_makes_are_its_own(tmp_path):
    (tmp_path / "wandb/run").mkdir(parents=True)
    (tmp_path / "wandb/latest").symlink_to("run")
    (tmp_path / "wandb/run/debug-core.log").symlink_to("/var/log/elsewhere.log")
    refuse_links(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["NaN", "[1, Infinity]", "1e999", "[" * 100_000, "{" * 9, "9" * 5000, "\udcff", '{"a":' * 80 + "1" + "}" * 80],
)
def test_json_is_strict(text, tmp_path):
    path = tmp_path / "record.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=r"\w"):
        read_json(path)


def test_the_deepest_record(tmp_path):
    path = tmp_path / "record.json"
    path.write_text(json.dumps(hostile.deep(DEEPEST - 2)))
    read_json(path)
    with pytest.raises(ValueError, match="deep"):
        require_shallow(hostile.deep(DEEPEST - 1))
