"""The machine: cores and threads of the subjects, and its description in results."""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

from metarl_run.system import machine

PEERS = ("jax", "jaxlib", "gymnax")


def cores() -> list[int]:
    """Cores available to this process."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def prepare(threads: int) -> None:
    """Give every subject `threads` threads on as many cores; must precede the import of torch or JAX."""
    machine.prepare()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores()[:threads])
    flags = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'} intra_op_parallelism_threads={threads}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    from metarl_run.maths.parallel import use_threads

    use_threads(threads)


def described(threads: int) -> dict[str, Any]:
    return {
        "processor": processor(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "threads": threads,
        "pinned_to": cores() if hasattr(os, "sched_setaffinity") else None,
    }


def processor() -> str:
    """Name of the processor, where the system provides it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Versions of the project, its dependencies and installed peers."""
    from metarl_run.run.folder import versions

    found = versions()
    for name in PEERS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
