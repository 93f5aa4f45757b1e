"""Rows on disk: appended whole, cut back to a checkpoint, and known again by their hash."""

import os
import random
import resource
from pathlib import Path

import pytest

from metarl_run.errors import ResourceError, StateError
from metarl_run.logger.base import Position, RunInfo
from metarl_run.logger.files import Files
from metarl_run.maths.statistics import COLUMNS


def opened(folder: Path, position: Position | None = None) -> Files:
    names = {"algo": "maml", "env": "bandit", "learner": "reinforce"}
    run = RunInfo(folder=folder, config={}, seed=0, meta_iterations=9, first_iteration=0, **names)
    sink = Files()
    sink.open(run, position or {})
    return sink


def written(folder: Path, iterations: range, position: Position | None = None) -> Position:
    sink = opened(folder, position)
    for i in iterations:
        sink.metrics(i, {"loss": i / 7, "time/seconds": 0.1})
    reached = sink.position()
    sink.close()
    return reached


def test_rows_beyond_a_checkpoint_are_written_again(tmp_path):
    whole = tmp_path / "whole"
    whole.mkdir()
    written(whole, range(6))
    reached = written(tmp_path, range(3))
    written(tmp_path, range(3, 5), reached)  # lost by a kill
    assert written(tmp_path, range(3, 6), reached)["metrics"] == (whole / "metrics.csv").stat().st_size
    assert (tmp_path / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()


@pytest.mark.parametrize("seed", range(20))
def test_any_flipped_bit_of_a_row_is_noticed(tmp_path, seed):
    reached = written(tmp_path, range(5))
    file = tmp_path / "metrics.csv"
    data, generator = bytearray(file.read_bytes()), random.Random(seed)
    data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    file.write_bytes(bytes(data))
    with pytest.raises(StateError, match="is damaged"):
        opened(tmp_path, reached)


def test_a_file_that_lost_rows_is_told_as_that(tmp_path):
    reached = written(tmp_path, range(5))
    (tmp_path / "metrics.csv").write_bytes((tmp_path / "metrics.csv").read_bytes()[:-3])
    with pytest.raises(StateError, match="lacks rows"):
        opened(tmp_path, reached)


def test_positions_from_before_rows_were_hashed_are_accepted(tmp_path):
    reached = written(tmp_path, range(5))
    lengths = {name: value for name, value in reached.items() if not name.endswith(".sha256")}
    opened(tmp_path, lengths).close()


def test_rows_that_cannot_reach_the_disk_are_told(tmp_path, monkeypatch):
    def refuse(descriptor):
        raise OSError(5, "Input/output error")

    sink = opened(tmp_path)
    sink.metrics(0, {"loss": 1.0})
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(ResourceError, match=r"metrics.csv: cannot sync: Input/output error"):
        sink.position()
    sink.close()


def test_rows_that_cannot_be_written_are_told_once(tmp_path):
    sink = opened(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(ResourceError, match=r"metrics.csv: cannot write 21 bytes: File too large"):
            sink.metrics(0, {"loss": 1.0})
        sink.close()  # what is left in its buffer is not written either
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_outcomes_are_columns_after_all_others(tmp_path):
    row = dict.fromkeys(COLUMNS, 1)
    for folder, more in (("with", {"success": 0.5}), ("without", {})):
        (tmp_path / folder).mkdir()
        sink = opened(tmp_path / folder)
        sink.evaluation([{**row, **more}], {})
        sink.close()
    header, line = (tmp_path / "without/adaptation.csv").read_text().splitlines()
    assert header == ",".join(COLUMNS)
    assert (tmp_path / "with/adaptation.csv").read_text() == f"{header},success\n{line},0.5\n"
