"""Blocks of a computation on several CPU cores at once: the same bytes as one after another, whatever their number.

Torch would split every operation instead, which orders sums by the number of threads, and makes all threads meet twice
per operation. Here a thread takes a block, which fits into its core's cache, through all operations; torch releases
Python's lock in each. Operations of much less than 100 µs are not worth it: threads would wait for that lock.
"""

import os
import threading
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import Any

import torch
from torch import Tensor


class Team:
    """Threads that compute beside the one that calls.

    Args:
        size: threads, with the caller's.
    """

    def __init__(self, size: int) -> None:
        self.size, self.free = size, threading.Lock()
        self.orders: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        for _ in range(size - 1):
            threading.Thread(target=self._obey, daemon=True).start()

    def _obey(self) -> None:
        torch.set_num_threads(1)  # which holds for one thread alone
        while (order := self.orders.get()) is not None:
            order()

    def dismiss(self) -> None:
        """Let the threads end."""
        for _ in range(self.size - 1):
            self.orders.put(None)

    def run(self, function: Callable[..., Any], blocks: list[tuple[Any, ...]]) -> list[Any]:
        """See `in_parallel`."""
        waiting, ended = enumerate(blocks), SimpleQueue[None]()
        results, errors = [None] * len(blocks), dict[int, BaseException]()
        gradient, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()

        def work() -> None:
            for index, block in waiting:  # a step of it is atomic
                try:
                    results[index] = function(*block)
                except BaseException as error:
                    errors[index] = error
                    stop()

        def stop() -> None:
            for _ in waiting:
                pass

        def help_out() -> None:
            try:
                with torch.inference_mode(inference), torch.set_grad_enabled(gradient):  # of one thread, too
                    work()
            finally:
                ended.put(None)

        others = min(self.size, len(blocks)) - 1
        for _ in range(others):
            self.orders.put(help_out)
        try:
            work()
        finally:  # a signal may end it
            stop()
            for _ in range(others):
                ended.get()
        if errors:
            raise errors[min(errors)]  # all blocks before it were taken: without threads, too, it would come first
        return results


_size = 1
_team: Team | None = None


def use_threads(number: int) -> None:
    """Compute on so many threads from now on, each operation of torch on one."""
    global _size, _team
    torch.set_num_threads(1)
    if _team is not None and number != _size:
        _team.dismiss()
        _team = None
    _size = number


def num_threads() -> int:
    """The number of threads, with the caller's."""
    return _size


def in_parallel(function: Callable[..., Any], blocks: Iterable[tuple[Any, ...]]) -> list[Any]:
    """`function(*block)` of every block, in order of the blocks; several are computed at a time.

    No block may read what another writes. Threads start at the first call, and none start within another call.

    Args:
        function: computes one block.
        blocks: arguments of each.

    Raises:
        BaseException: that of the first block that raises.
    """
    global _team
    blocks = [*blocks]
    if _size == 1 or len(blocks) < 2 or traced():
        return [function(*block) for block in blocks]
    team = _team = _team or Team(_size)
    if not team.free.acquire(blocking=False):
        return [function(*block) for block in blocks]
    try:
        return team.run(function, blocks)
    finally:
        team.free.release()


def divisible(x: Tensor) -> bool:
    """True where outputs without a graph may be computed by blocks of the rows of x, and should be, if it is large."""
    return x.device.type == "cpu" and not torch.is_grad_enabled() and not traced()


def traced() -> bool:
    """True while operations are recorded, of the one thread that asks: then there should be one block."""
    return torch._C._len_torch_dispatch_stack() > 0


def _forget() -> None:
    """Threads do not survive a fork."""
    global _team
    _team = None


os.register_at_fork(after_in_child=_forget)
