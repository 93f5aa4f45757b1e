"""The machine: which cores and threads the subjects get, and what a result should say of it."""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

from metarl_run.system import machine

PEERS = ("jax", "jaxlib", "gymnax")


def cores() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def prepare(threads: int) -> None:
    """Give every subject `threads` threads on as many cores; before torch or JAX is loaded."""
    machine.prepare()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores()[:threads])
    flags = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'} intra_op_parallelism_threads={threads}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import torch

    torch.set_num_threads(threads)


def described(threads: int) -> dict[str, Any]:
    return {
        "processor": processor(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "threads": threads,
        "pinned_to": cores() if hasattr(os, "sched_setaffinity") else None,
    }


def processor() -> str:
    """Its name, where the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Of the project and what it stands on, and of the peers that are installed."""
    from metarl_run.run.folder import versions

    found = versions()
    for name in PEERS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
