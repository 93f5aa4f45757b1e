"""The package mujoco, whose log fills neither the terminal nor a file in the working directory."""

import contextlib
import functools
import importlib
import os
from typing import Any


@functools.cache
def mujoco_quietly() -> Any:
    """The module `mujoco`.

    Raises:
        ImportError: if it is not installed.
    """
    import mujoco

    if hasattr(mujoco, "MjLogConfig"):  # new in MuJoCo 4
        config = mujoco.MjLogConfig.get()
        config.logto_console = config.logto_file = False
        mujoco.MjLogConfig.set(config)
    return mujoco


def draw_without_screen() -> None:
    """Let MuJoCo draw by EGL, else by OSMesa, where there is no screen and `MUJOCO_GL` says nothing."""
    if os.environ.get("MUJOCO_GL") or os.environ.get("DISPLAY"):
        return
    contexts: Any = importlib.import_module("mujoco.rendering.classic.gl_context")
    for backend in ("egl", "osmesa"):
        with contextlib.suppress(Exception):  # each fails in its own way if its library is missing
            contexts.GLContext = importlib.import_module(f"mujoco.{backend}").GLContext
            return
