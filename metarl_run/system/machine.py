"""Memory and threads: some of it is set before torch is loaded."""

import contextlib
import ctypes
import gc
import os
import sys
from collections.abc import Iterator

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX, ARENA_MAX = -1, -2, -4, -8
"""Parameters of glibc's mallopt, by its malloc.h."""
MADV_HUGEPAGE = 14
"""Value in Linux' mman.h."""

HEAP = 2**30
"""Bytes of address space that the heap takes at once; memory itself is taken as it is used."""
HUGE_PAGE = 2**21
"""Bytes, on x86-64 and on arm64 with small pages of 4 KiB."""

side_by_side = 1
"""Runs that share this machine's CPUs: this process's and those of others, as whoever starts them knows."""


def cpus() -> int:
    """Number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads(chosen: int | str) -> int:
    """The number of threads of a run.

    Args:
        chosen: it, or `auto`.
    """
    return max(cpus() // side_by_side, 1) if isinstance(chosen, str) else chosen


def prepare() -> None:
    """Let threads wait and memory be kept as suits small tensors by the million; the environment's own settings win."""
    # Threads that wait for work spin 300 000 times by default, which makes a run on a machine that is busy already
    # five times slower; sleeping at once makes a run on a quiet one 1.5 times slower. 1000 cost 7 % quiet, 26 % busy.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # read once, when torch is loaded
    if sys.platform == "linux" and not any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):  # glibc
            _keep_memory(libc)


@contextlib.contextmanager
def garbage_kept() -> Iterator[None]:
    """Search for no cyclic garbage while modules are imported, which make next to none: .85 of torch's import."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _keep_memory(libc: ctypes.CDLL) -> None:
    """Keep freed memory for the next tensor, in huge pages where the kernel has them.

    By default every large tensor is a mapping of its own, whose pages are cleared and counted anew each time: 31 ms
    where filling 39 MB takes 5, and a fifth of a PPO update on a GRU. Huge pages save another fifth of MAML's update.
    """
    libc.mallopt(MMAP_MAX, 0)
    libc.mallopt(ARENA_MAX, 1)  # threads take their memory here, too
    libc.mallopt(TRIM_THRESHOLD, 2**31 - 1)
    libc.mallopt(TOP_PAD, HEAP)
    libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = (
        ctypes.c_void_p,
        [ctypes.c_size_t],
        [ctypes.c_void_p],
    )
    libc.sbrk.restype, libc.sbrk.argtypes = ctypes.c_ssize_t, [ctypes.c_ssize_t]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    block = libc.malloc(HUGE_PAGE)  # more than the heap has: it grows
    libc.mallopt(TOP_PAD, HUGE_PAGE)
    if block is None:  # so much address space is not allowed
        return
    start = -(-block // HUGE_PAGE) * HUGE_PAGE
    libc.madvise(start, max(libc.sbrk(0) - start, 0), MADV_HUGEPAGE)
    libc.free(block)
