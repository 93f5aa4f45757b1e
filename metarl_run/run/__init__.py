"""One run in one folder: its agent, its training, its checkpoints, its film.

Called, as `metarl_run.run(["algo=maml"])`, it is `metarl_run.api.job.run`: the package's function for a run and the
room of that name are one attribute of the package.
"""

import importlib
import sys
import types
from typing import Any


class _Callable(types.ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return importlib.import_module("metarl_run.api.job").run(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
