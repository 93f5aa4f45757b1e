"""Compiled programs kept on disk, so that a machine compiles each one once.

A library lies under the hash of all that determines it: the program, the versions of its compilers, the processor. It
is written whole or not at all, so that processes that build the same one do not disturb each other.
"""

import contextlib
import hashlib
import inspect
import logging
import os
import platform
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metarl_run.compiled.decompositions import lower_products
from metarl_run.compiled.library import CompiledLibrary

log = logging.getLogger(__name__)

KEPT = 100
"""Libraries in the cache, at most, of some 2 MB each; the ones longest unused go first."""


def cached(graph: torch.fx.GraphModule, tensors: Sequence[Tensor], options: Mapping[str, Any]) -> CompiledLibrary:
    """The compiled program of a graph, from the cache or by the compiler.

    Args:
        graph: to compile.
        tensors: arguments of the form that it will be called with.
        options: of Inductor.
    """
    where, key = folder(), key_of(graph, tensors, options)
    for path in where.glob(f"{key}-*.so"):
        if path.name == f"{key}-{hash_of(path)}.so":
            os.utime(path)
            return CompiledLibrary(path)
        log.warning("%s is damaged and is compiled anew", path)
        path.unlink(missing_ok=True)
    made = compiled(graph, tensors, options)
    path = where / f"{key}-{hash_of(made)}.so"
    with tempfile.NamedTemporaryFile(dir=where, prefix=".", delete=False) as copy:
        copy.write(made.read_bytes())
    os.replace(copy.name, path)
    tidy(where)
    return CompiledLibrary(path)


def folder() -> Path:
    """The cache's folder, made if need be: the user's own, or a temporary one if that cannot be written."""
    root = os.environ.get("XDG_CACHE_HOME")
    path = Path(root if root and os.path.isabs(root) else Path.home() / ".cache") / "metarl-run" / "programs"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(path, os.W_OK) and (os.name == "nt" or path.stat().st_uid == os.getuid()):
            return path  # others' programs are not run
    except OSError as error:
        log.warning("compiled programs are not kept: %s", error)
    return Path(tempfile.mkdtemp(prefix="metarl-run-programs-"))


def key_of(graph: torch.fx.GraphModule, tensors: Sequence[Tensor], options: Mapping[str, Any]) -> str:
    """Hash of all that determines a library."""
    key = hashlib.sha256()
    for part in (torch.__version__, processor(), os.environ.get("CXX", ""), sorted(options.items())):
        key.update(repr(part).encode())
    key.update(inspect.getsource(lower_products).encode())
    for name, module in graph.named_modules():
        if isinstance(module, torch.fx.GraphModule):
            key.update(f"{name}\n{module.code}".encode())
    for name, constant in sorted(constants_of(graph)):
        key.update(f"{name} {constant.dtype} {tuple(constant.shape)}".encode())
        key.update(constant.detach().cpu().contiguous().numpy().tobytes())
    for x in tensors:
        key.update(f"{x.dtype} {tuple(x.shape)} {x.stride()}".encode())
    return key.hexdigest()


def constants_of(graph: torch.fx.GraphModule) -> list[tuple[str, Tensor]]:
    """Tensors that a graph holds by name."""
    return [
        (f"{prefix}.{name}", x)
        for prefix, module in graph.named_modules()
        for name, x in vars(module).items()
        if isinstance(x, Tensor)
    ] + [*graph.named_buffers(), *graph.named_parameters()]


def processor() -> str:
    """The processor with its instructions: a program may use all of them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    kinds = ("vendor_id", "cpu family", "model", "model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.split("\t")[0].rstrip() in kinds}))


def compiled(graph: torch.fx.GraphModule, tensors: Sequence[Tensor], options: Mapping[str, Any]) -> Path:
    """The library of a program, as the compiler writes it."""
    from torch import _inductor  # takes a second
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    lower_products()
    # The graph's nodes know the tensors that they were traced with; the compiler is to see all in one mode of its own.
    for module in graph.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.clear()
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    like = tuple(mode.from_tensor(x, static_shapes=True) for x in tensors)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of the compiler itself
        return Path(str(_inductor.aot_compile(graph, like, options={**options, "aot_inductor.package": False})))


def hash_of(path: Path) -> str:
    """Hash of a file's bytes: a damaged library would end the process."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32]


def tidy(where: Path) -> None:
    """Delete the libraries that were not used for longest, beyond those that are kept."""
    with contextlib.suppress(FileNotFoundError):  # another process is tidying
        libraries = sorted(where.glob("*.so"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in libraries[KEPT:]:
            path.unlink()
