"""The machine: cores and threads of the subjects, and its description in results."""

import importlib.metadata
import os
import platform
import re
from collections.abc import Mapping
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
        **described_processor(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "threads": threads,
        "pinned_to": cores() if hasattr(os, "sched_setaffinity") else None,
    }


def described_processor() -> dict[str, Any]:
    return {"processor": processor(), **numbers()}


def processor() -> str:
    """Name of the processor, where the system provides it."""
    return entry("model name") or platform.processor() or platform.machine()


def numbers() -> dict[str, int | None]:
    """Family and model of the processor, which tell its generation where its name does not; None if not known."""
    found = {"family": entry("cpu family"), "model": entry("model")}
    return {name: int(value) if value is not None and value.isdecimal() else None for name, value in found.items()}


def entry(key: str) -> str | None:
    """The first entry of that name in Linux' description of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    found = re.search(rf"^{key}\s*: *(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else None


def label(described: Mapping[str, Any]) -> str:
    """Processor of a description, as far as it says: `AMD EPYC (family 25, model 17: Zen 4)`."""
    family, model = described.get("family"), described.get("model")
    name = str(described.get("processor", "unknown processor"))
    if not isinstance(family, int) or not isinstance(model, int):
        return name
    generation = zen(family, model) if "AMD" in name else None
    return f"{name} (family {family}, model {model}{'' if generation is None else f': {generation}'})"


def zen(family: int, model: int) -> str | None:
    """Generation of a processor of AMD.

    Source: Linux 6.12, arch/x86/kernel/cpu/amd.c, `bsp_init_amd`.
    """
    if family == 0x19:
        return "Zen 3" if model < 0x10 or 0x20 <= model < 0x60 else "Zen 4"
    if family == 0x1A:
        return "Zen 5" if model < 0x30 or 0x40 <= model < 0x50 or 0x60 <= model < 0x80 else None
    return None


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
