"""The package mujoco, whose log fills neither the terminal nor a file in the working directory."""

import functools
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
