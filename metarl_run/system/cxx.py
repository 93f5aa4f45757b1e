"""Check of the C++ compiler, as torch will look for it, without torch."""

import os
import subprocess
import sys
import sysconfig

from metarl_run.errors import ConfigError

HINT = "install a C++ compiler (CXX names it) with the headers of Python; on a GPU, Triton too"
PROGRAM = "#include <Python.h>\n#include <vector>\n"


def require_cxx() -> None:
    """Let the compiler that torch would call read a program with Python's headers.

    Raises:
        ConfigError: if there is none, or it cannot.
    """
    if os.name == "nt" or "TORCHINDUCTOR_INSTALL_GXX" in os.environ:  # torch looks elsewhere
        return
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    headers = [f"-I{sysconfig.get_path(kind)}" for kind in ("include", "platinclude")]
    command = [compiler, "-std=c++17", "-x", "c++", "-fsyntax-only", *headers, "-"]
    try:
        done = subprocess.run(command, input=PROGRAM, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        reason = f"the C++ compiler {compiler!r} cannot be run: {error.strerror}"
        raise ConfigError("compile", f"must be false here: {reason}", HINT) from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or [f"exit code {done.returncode}"]
        reason = f"the C++ compiler {compiler!r} fails: {lines[0][:200]}"
        raise ConfigError("compile", f"must be false here: {reason}", HINT)
