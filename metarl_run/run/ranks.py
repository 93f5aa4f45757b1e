"""Processes that meta-train together, each on some parts of the meta-batch: what each computes, all learn.

Nothing is summed on the way: every process receives the terms of all parts and adds them in the same order, so that
all of them make the same update to the last bit, whatever their number.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]
from torch.utils._pytree import tree_flatten, tree_unflatten

from metarl_run.errors import ConfigError, Pruned, ResourceError, RunError
from metarl_run.system.launched import Launched

RENDEZVOUS = 300.0
"""Seconds in which all ranks must have started."""

FAILED = -1
"""In place of a length: the rank has an error to tell instead."""

log = logging.getLogger(__name__)


class PeerLost(ResourceError):
    """Another rank ended, or cannot be reached."""


class Told(Exception):
    """An error that another rank raised, and tells itself."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


class Ranks:
    """The processes of one run; this one is `rank`, and 0 leads: it alone writes, evaluates and shows.

    Args:
        rank: number of this process.
        size: number of processes; 1 communicates with nobody.
        device: of what is sent.

    Attributes:
        seconds_waited: time spent on communication, most of it waiting for others.
    """

    def __init__(self, rank: int = 0, size: int = 1, device: torch.device | None = None) -> None:
        self.rank, self.size, self.device = rank, size, device or torch.device("cpu")
        self.seconds_waited = 0.0
        self.over = False

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def own(self, parts: int) -> range:
        """The parts that this process is in charge of; all ranks together take each part once, in order."""
        return range(parts * self.rank // self.size, parts * (self.rank + 1) // self.size)

    # --- Terms of parts ---

    def gathered(self, functions: Sequence[Callable[[], Any]]) -> list[Any]:
        """What functions of the parts here return, and those of all other parts, in the order of parts.

        Args:
            functions: of each part here, at least one; they return trees of tensors, alike but for lengths of axes.

        Raises:
            Told: if another rank failed in the meantime.
            PeerLost: if one is gone.
        """
        results = [function() for function in functions]
        if self.size == 1:
            return results
        flat = [tree_flatten(result) for result in results]
        example, spec = flat[0]
        sent = torch.cat([_packed(leaves, self.device) for leaves, _ in flat])
        lengths, shared = self._exchanged(len(sent), len(results))
        longest = max(lengths)
        received = [sent.new_empty(longest) for _ in range(self.size)]
        padded = torch.nn.functional.pad(sent, (0, longest - len(sent)))
        with self._waiting():
            dist.all_gather(received, padded)
        everything = []
        for rank, (message, number) in enumerate(zip(received, shared, strict=True)):
            if rank == self.rank:
                everything += results
                continue
            position = 0
            for _ in range(number):
                leaves, position = _unpacked(message, position, example)
                everything.append(tree_unflatten(leaves, spec))
        return everything

    def _exchanged(self, length: int, parts: int, error: BaseException | None = None) -> tuple[list[int], list[int]]:
        """Lengths of the messages that follow, and numbers of parts, of all ranks.

        Raises:
            Told: if some rank has an error instead.
        """
        own = torch.tensor([length, parts], dtype=torch.int64, device=self.device)
        everyone = [torch.empty_like(own) for _ in range(self.size)]
        with self._waiting():
            dist.all_gather(everyone, own)
        rows = [row.tolist() for row in everyone]
        if any(length == FAILED for length, _ in rows):
            self.over = True
            errors: list[Any] = [None] * self.size
            with self._waiting():
                dist.all_gather_object(errors, error)
            raise Told(next(each for each in errors if each is not None))
        return [row[0] for row in rows], [row[1] for row in rows]

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """An error here ends all ranks, each with the error of the first that has one.

        Raises:
            BaseException: the error.
        """
        try:
            yield
        except (Told, PeerLost) as end:
            raise (end.error if isinstance(end, Told) else end) from None
        except BaseException as error:
            if self.size > 1 and not self.over and isinstance(error, Exception):
                try:
                    self._exchanged(FAILED, 0, _portable(error))
                except Told as first:
                    if not isinstance(error, RunError) or not isinstance(first.error, RunError):
                        raise error from None
                    raise first.error from error
                except PeerLost:
                    raise error from None
            raise

    # --- What the leader knows ---

    def tell(self, message: Any) -> None:
        """Give all others an object; they wait for it in `told`."""
        if self.size > 1 and not self.over:
            self._exchanged(0, 0)
            with self._waiting():
                dist.broadcast_object_list([message], 0, device=self.device)

    def told(self) -> Any:
        """The object that the leader gives."""
        self._exchanged(0, 0)
        message = [None]
        with self._waiting():
            dist.broadcast_object_list(message, 0, device=self.device)
        return message[0]

    def leave(self) -> None:
        """End the communication: what follows is this process's own."""
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        except RuntimeError as error:
            reason = (str(error).splitlines() or [""])[0]
            raise PeerLost("distributed", f"rank {self.rank} has lost the others: {reason}") from error
        finally:
            self.seconds_waited += time.perf_counter() - start


def joined(place: Launched | None, device: str) -> Ranks:
    """This process among those of its run, once all have started; None is a process on its own.

    Args:
        place: of this process.
        device: the configured one.

    Raises:
        ConfigError: if the ranks do not find each other in time, or need more GPUs than there are.
    """
    if place is None or place.size == 1:
        return Ranks()
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        if place.local_size > torch.cuda.device_count():
            reason = f"must be at most one rank for each GPU: {torch.cuda.device_count()} here, got {place.local_size}"
            raise ConfigError("distributed", reason, "device=cpu")
        torch.cuda.set_device(place.local_rank)
    os.environ.update(place.environment)
    try:
        dist.init_process_group(
            "nccl" if on_gpu else "gloo",
            store=_store(place),
            rank=place.rank,
            world_size=place.size,
            timeout=timedelta(seconds=RENDEZVOUS),
        )
        # Evaluations, in which all others wait for the leader, may take long
        dist.distributed_c10d._set_pg_timeout(timedelta(days=7), dist.group.WORLD)
    except (RuntimeError, ValueError) as error:
        where = f"{place.environment['MASTER_ADDR']}:{place.environment['MASTER_PORT']}"
        what = (str(error).splitlines() or [""])[0]
        reason = f"rank {place.rank} did not find the other {place.size - 1} at {where}: {what}"
        raise ConfigError("distributed", reason, "start all ranks, and let them reach that address") from error
    return Ranks(place.rank, place.size, torch.device("cuda", place.local_rank) if on_gpu else None)


def _store(place: Launched) -> Any:
    """Where the ranks tell each other their addresses.

    torchrun's agent keeps one for all its restarts, in which the addresses of ranks that are gone still stand.
    """
    of_agent, again = (os.environ.get(f"TORCHELASTIC_{name}", "0") for name in ("USE_AGENT_STORE", "RESTART_COUNT"))
    address, port = place.environment["MASTER_ADDR"], int(place.environment["MASTER_PORT"])
    hosts = place.rank == 0 and of_agent != "True"
    store = TCPStore(address, port, place.size, hosts, timedelta(seconds=RENDEZVOUS), multi_tenant=True)
    return PrefixStore(f"metarl-run/{again}", store)


def _portable(error: BaseException) -> BaseException:
    """The error, if other processes can read it."""
    if isinstance(error, RunError | Pruned):
        return error
    return ResourceError("distributed", f"{type(error).__name__} in another rank: {error}")


def _packed(leaves: Sequence[Tensor], device: torch.device) -> Tensor:
    """Shapes and contents of tensors, as bytes."""
    sizes = torch.tensor([n for x in leaves for n in x.shape], dtype=torch.int64)
    return torch.cat([_bytes_of(x.detach().to(device)) for x in (sizes, *leaves)])


def _bytes_of(x: Tensor) -> Tensor:
    return x.contiguous().view(-1).view(torch.uint8)


def _unpacked(message: Tensor, position: int, example: Sequence[Tensor]) -> tuple[list[Tensor], int]:
    """Tensors from such bytes, and where the next ones begin.

    Args:
        message: bytes.
        position: of the first.
        example: tensors of the same numbers of axes, dtypes and devices.
    """

    def take(number: int, dtype: torch.dtype) -> Tensor:
        nonlocal position
        begin, position = position, position + number * dtype.itemsize
        return message[begin:position].clone().view(dtype)  # aligned, as any tensor

    sizes = iter(take(sum(x.dim() for x in example), torch.int64).tolist())
    shapes = [[next(sizes) for _ in range(x.dim())] for x in example]
    leaves = [
        take(torch.Size(shape).numel(), x.dtype).view(shape).to(x.device)
        for shape, x in zip(shapes, example, strict=True)
    ]
    return leaves, position
