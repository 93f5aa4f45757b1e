"""Checkpoints: whole or absent, never silently wrong."""

import json
import logging
import random

import pytest
import torch

from metarl_run.errors import ResourceError, StateError
from metarl_run.folders import checkpoints_in
from metarl_run.run import checkpoint
from metarl_run.run.checkpoint import Checkpoint
from metarl_run.system import atomic
from metarl_run.system.atomic import write_atomically


def state_at(iteration):
    return {"algo": {"w": torch.full((3,), float(iteration))}, "progress": {"iteration": iteration}}


def save(folder, iteration, score=None):
    checkpoint.save(
        folder, Checkpoint(iteration, state_at(iteration), {"files": {"metrics": 10 * iteration}}), score=score
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_saved_is_loaded(tmp_path):
    save(tmp_path, 3)
    found = checkpoint.load_newest(tmp_path)
    assert found.iteration == 3
    assert found.positions == {"files": {"metrics": 30}}
    assert torch.equal(found.state["algo"]["w"], torch.full((3,), 3.0))


def test_the_same_state_is_the_same_bytes(tmp_path):
    for place in ("a", "b"):
        save(tmp_path / place, 3)
    assert (tmp_path / "a/000003/tensors.pt").read_bytes() == (tmp_path / "b/000003/tensors.pt").read_bytes()


def test_the_last_two_and_the_best_are_kept(tmp_path):
    for iteration, score in [(1, None), (2, 5.0), (3, 9.0), (4, 7.0), (5, 8.0), (6, 1.0)]:
        save(tmp_path, iteration, score)
    assert names(tmp_path) == ["000003", "000005", "000006"]


def test_the_newest_is_that_of_the_largest_number_however_many_digits_it_has(tmp_path):
    for iteration in (999_990, 1_000_000, 1_000_010):
        save(tmp_path, iteration)
    assert names(tmp_path) == ["1000000", "1000010"]
    assert checkpoint.load_newest(tmp_path).iteration == 1_000_010
    assert [path.name for path in checkpoints_in(tmp_path)] == ["1000000", "1000010"]


def test_no_checkpoint_is_not_a_damaged_one(tmp_path):
    assert checkpoint.load_newest(tmp_path / "never") is None
    with pytest.raises(StateError, match="holds no checkpoint"):
        checkpoint.load(tmp_path)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize(
    "damage",
    [
        lambda at: flip(at / "tensors.pt"),
        lambda at: truncate(at / "tensors.pt"),
        lambda at: truncate(at / "manifest.json"),
        lambda at: (at / "manifest.json").unlink(),
        lambda at: (at / "tensors.pt").unlink(),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path, damage, caplog):
    save(tmp_path, 1)
    save(tmp_path, 2)
    damage(tmp_path / "000002")
    with caplog.at_level(logging.WARNING):
        assert checkpoint.load_newest(tmp_path).iteration == 1
    assert "000002" in caplog.text
    damage_again = tmp_path / "000001" / "manifest.json"
    damage_again.write_text("{}")
    with pytest.raises(StateError, match="none of 2 checkpoints is usable"):
        checkpoint.load_newest(tmp_path)
    assert names(tmp_path) == ["000001", "000002"]  # nothing was deleted


def test_a_damaged_older_checkpoint_does_not_stop_saving(tmp_path):
    save(tmp_path, 1, 3.0)
    (tmp_path / "000001" / "manifest.json").write_text("not json")
    save(tmp_path, 2, 1.0)
    save(tmp_path, 3, 2.0)
    assert names(tmp_path) == ["000002", "000003"]


def test_a_newer_format_is_refused(tmp_path):
    save(tmp_path, 1)
    manifest = tmp_path / "000001" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 99}))
    with pytest.raises(StateError, match="format 99"):
        checkpoint.load(tmp_path / "000001")


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (pytest.fail, ("code from a checkpoint ran",))

    checkpoint.save(tmp_path, Checkpoint(1, state_at(1), {}), score=None)
    path = tmp_path / "000001"
    torch.save({"algo": Hostile()}, path / "tensors.pt")
    manifest = json.loads((path / "manifest.json").read_text())
    import hashlib

    manifest["files"]["tensors.pt"]["sha256"] = hashlib.sha256((path / "tensors.pt").read_bytes()).hexdigest()
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StateError):
        checkpoint.load(path)


def test_an_interrupted_save_leaves_the_previous_checkpoint_and_no_half_one(tmp_path, monkeypatch):
    save(tmp_path, 1)
    monkeypatch.setattr(
        checkpoint.os, "rename", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(ResourceError, match="No space left") as caught:
        save(tmp_path, 2)
    assert caught.value.exit_code == 5
    assert names(tmp_path) == ["000001"]


def test_what_a_crash_left_behind_is_not_a_checkpoint(tmp_path):
    save(tmp_path, 1)
    for name in (".000002.tmp", ".000005.tmp"):
        (tmp_path / name).mkdir()
    assert checkpoint.load_newest(tmp_path).iteration == 1
    save(tmp_path, 2)
    assert names(tmp_path) == ["000001", "000002"]


def test_atomic_files_hold_the_old_or_the_new(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    write_atomically(path, b"old")
    monkeypatch.setattr(atomic.os, "replace", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(ResourceError, match="Input/output error"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["summary.json"]


@pytest.mark.parametrize("seed", range(60))
def test_any_flipped_bit_of_a_manifest_is_noticed(tmp_path, seed):
    save(tmp_path, 1)
    save(tmp_path, 2)
    manifest = tmp_path / "000002/manifest.json"
    data = bytearray(manifest.read_bytes())
    generator = random.Random(seed)
    data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    manifest.write_bytes(bytes(data))
    assert checkpoint.load_newest(tmp_path).iteration == 1


def test_a_manifest_from_before_they_had_hashes_of_their_own_is_read(tmp_path):
    save(tmp_path, 1)
    manifest = tmp_path / "000001/manifest.json"
    content = json.loads(manifest.read_bytes())
    del content["sha256"], content["config"]
    manifest.write_text(json.dumps(content))
    assert checkpoint.load_newest(tmp_path).iteration == 1


def test_what_a_kill_left_is_cleared_without_another_save(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "tidy", lambda *_: None)  # the process dies before it clears
    for iteration, score in [(1, 9.0), (2, 1.0), (3, 2.0), (4, 3.0)]:
        save(tmp_path, iteration, score)
    monkeypatch.undo()
    (tmp_path / ".000005.tmp").mkdir()
    checkpoint.tidy(tmp_path, 4)
    assert names(tmp_path) == ["000001", "000003", "000004"]


def test_the_last_two_usable_ones_are_kept_beside_later_ones_that_are_damaged(tmp_path):
    for iteration in (1, 2, 3):
        save(tmp_path, iteration)
    (tmp_path / "000003/tensors.pt").write_bytes(b"")
    checkpoint.tidy(tmp_path, 2)
    assert names(tmp_path) == ["000002", "000003"]
    (tmp_path / "000001").mkdir()
    checkpoint.tidy(tmp_path, 2)
    assert names(tmp_path) == ["000001", "000002", "000003"]


def test_checkpoints_that_cannot_be_cleared_are_told(tmp_path, monkeypatch):
    def refuse(*arguments, **named):
        raise OSError(5, "Input/output error")

    for iteration in (1, 2):
        save(tmp_path, iteration)
    monkeypatch.setattr(checkpoint.os, "rmdir", refuse)
    with pytest.raises(ResourceError, match="000001: cannot remove: Input/output error"):
        save(tmp_path, 3)
    assert checkpoint.load_newest(tmp_path).iteration == 3


def test_a_file_of_a_checkpoints_name_does_not_stop_saving(tmp_path):
    save(tmp_path, 1)
    for name in ("000002", ".000005.tmp"):
        (tmp_path / name).touch()
    assert checkpoint.load_newest(tmp_path).iteration == 1
    save(tmp_path, 2)
    assert names(tmp_path) == ["000001", "000002"]
