"""What a process asks of the machine before torch is loaded."""

import ctypes
import os
import sys

TRIM_THRESHOLD, MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt, by its malloc.h."""


def prepare() -> None:
    """Let threads wait and memory be kept as suits small tensors by the million; the environment's own settings win."""
    # Threads that wait for work spin 300 000 times by default, which makes a run on a machine that is busy already
    # five times slower; sleeping at once makes a run on a quiet one 1.5 times slower. 1000 cost 7 % quiet, 26 % busy.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # read once, when torch is loaded
    # By default every large tensor is a mapping of its own, whose pages are cleared and counted anew each time: 31 ms
    # where filling 39 MB takes 5, and a fifth of a PPO update on a GRU. Kept in the heap, most memory is used again.
    if sys.platform == "linux" and not any(name.startswith("MALLOC_") for name in os.environ):
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc alone has it
        if mallopt is not None:
            mallopt(MMAP_MAX, 0)
            mallopt(TRIM_THRESHOLD, 2**31 - 1)
