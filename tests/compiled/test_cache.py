"""Compiled programs are kept for the next run, and nothing else is taken for them."""

import logging
import multiprocessing
import operator
import os
import shutil
import time
from functools import partial

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from metarl_run.compiled import cache
from metarl_run.compiled.cache import cached, folder, key_of
from metarl_run.compiled.compiler import OPTIONS

pytestmark = pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")  # of the compiler itself

X = torch.arange(6.0)


def graph_of(number=2.0):
    constant = torch.tensor([1.0, number])
    return make_fx(lambda x: (x * number, x[:2] + constant))(X)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The program of `graph_of`, compiled once."""
    made = cache.compiled(graph_of(), [X], OPTIONS)
    return shutil.copy(made, tmp_path_factory.mktemp("library"))


@pytest.fixture
def compiler(monkeypatch, tmp_path, library):
    """A compiler that counts its calls, and an empty cache."""
    calls = []

    def compiled(*_):
        calls.append(time.sleep(0.1))
        return type(tmp_path)(library)

    monkeypatch.setattr(cache, "compiled", compiled)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return calls


def results():
    doubled, first = cached(graph_of(), [X], OPTIONS)(X)
    return doubled.tolist(), first.tolist()


EXPECTED = ([0.0, 2.0, 4.0, 6.0, 8.0, 10.0], [1.0, 3.0])


def test_a_program_is_compiled_once(compiler):
    assert [results() for _ in range(3)] == [EXPECTED] * 3
    assert len(compiler) == 1
    assert len([*folder().iterdir()]) == 1
    assert folder().stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data[:999] + b"!" + data[1000:], lambda _: b""]
)
def test_a_damaged_program_is_compiled_anew_with_one_warning(damage, compiler, caplog):
    results()
    (path,) = folder().iterdir()
    data = path.read_bytes()
    path.unlink()  # the file itself is mapped into this process
    path.write_bytes(damage(data))
    with caplog.at_level(logging.WARNING):
        assert results() == EXPECTED
        assert results() == EXPECTED
    assert len(compiler) == 2
    assert [record.getMessage() for record in caplog.records] == [f"{path} is damaged and is compiled anew"]


def test_processes_that_build_the_same_program_do_not_disturb_each_other(compiler):
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert pool.map(build, range(3), chunksize=1) == [EXPECTED] * 3
    assert len([*folder().iterdir()]) == 1


def build(_):
    torch.set_num_threads(1)
    return results()


def test_whatever_determines_a_program_is_part_of_its_key(monkeypatch):
    keys = {
        key_of(graph_of(), [X], OPTIONS),
        key_of(graph_of(3.0), [X], OPTIONS),
        key_of(graph_of(), [X[:5]], OPTIONS),
        key_of(graph_of(), [X.double()], OPTIONS),
        key_of(graph_of(), [torch.zeros(12)[::2]], OPTIONS),
        key_of(graph_of(), [X], {}),
    }
    monkeypatch.setattr(torch, "__version__", "0.0")
    keys.add(key_of(graph_of(), [X], OPTIONS))
    monkeypatch.undo()
    monkeypatch.setattr(cache, "processor", lambda: "another")
    keys.add(key_of(graph_of(), [X], OPTIONS))
    monkeypatch.undo()
    assert len(keys) == 8
    assert key_of(graph_of(), [X], OPTIONS) in keys


def test_a_constant_is_part_of_the_key():
    first, second = (make_fx(partial(operator.add, constant))(X) for constant in (torch.arange(6.0), torch.ones(6)))
    assert first.code == second.code
    assert key_of(first, [X], OPTIONS) != key_of(second, [X], OPTIONS)


def test_the_longest_unused_programs_go_first(monkeypatch, tmp_path):
    monkeypatch.setattr(cache, "KEPT", 2)
    for age, name in enumerate(["new", "old", "older"]):
        (tmp_path / f"{name}.so").touch()
        os.utime(tmp_path / f"{name}.so", (1000 - age, 1000 - age))
    cache.tidy(tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == {"new", "old"}


def test_without_a_folder_of_its_own_programs_are_not_kept(compiler, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert results() == EXPECTED
    assert (tmp_path / "file").stat().st_size == 0
