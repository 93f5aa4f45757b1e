"""What is asked of the machine: seen in processes of their own, since it lasts as long as the process."""

import gc
import os
import platform
import subprocess
import sys

import pytest

from metarl_run.system import machine

MEGABYTES = 64
FAULTS = f"""
import ctypes, os, resource
from metarl_run.system import machine
if {{prepare}}:
    machine.prepare()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def use():
    block = libc.malloc({MEGABYTES} * 2**20)
    ctypes.memset(block, 1, {MEGABYTES} * 2**20)
    libc.free(block)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, os.environ.get("GOMP_SPINCOUNT"))
"""
PAGES = MEGABYTES * 2**20 // os.sysconf("SC_PAGE_SIZE")


def lived(*, prepare: bool, **environment: str) -> tuple[int, str]:
    """Page faults of filling ten large blocks one after another, and how long threads spin."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GOMP_", "OMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS.format(prepare=prepare)],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    faults, spin = done.stdout.split()
    return int(faults), spin


def test_large_blocks_of_memory_are_used_again() -> None:
    faults, spin = lived(prepare=True)
    assert spin == "1000"
    if platform.libc_ver()[0] == "glibc":
        assert faults < PAGES / 10
    else:  # nothing to prepare there
        assert faults <= 11 * PAGES


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "MALLOC_TOP_PAD_"])
def test_settings_of_the_environment_win(name: str) -> None:
    kept, spin = lived(prepare=True, **{name: "4"}, OMP_WAIT_POLICY="passive")
    plain, _ = lived(prepare=False, **{name: "4"})
    assert spin == "None"
    assert abs(kept - plain) < PAGES


@pytest.mark.parametrize(("runs", "number"), [(1, 8), (3, 2), (9, 1)])
def test_cpus_are_shared_by_runs_side_by_side(runs: int, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {*range(8)}, raising=False)
    monkeypatch.setattr(machine, "side_by_side", runs)
    assert machine.threads("auto") == number
    assert machine.threads(5) == 5


def test_garbage_is_searched_for_again_after_imports_if_it_was_before() -> None:
    with machine.garbage_kept():
        assert not gc.isenabled()
        with machine.garbage_kept():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
