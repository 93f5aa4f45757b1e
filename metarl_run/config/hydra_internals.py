"""Parts of Hydra that have no public name; nothing else of `hydra._internal` is imported.

Each is here because the public interface (`hydra.main`, `hydra.compose`, `hydra.initialize_config_dir`) lacks it;
tests/config/test_hydra_internals.py fails where a release of Hydra changes one.

    ConfigLoaderImpl            compose a whole sweep, ask for options of a group, and read an option's own file:
                                `hydra.compose` knows single runs alone, and no `--config-dir`
    IConfigRepository           an option's file as it was written, to tell what an experiment says from defaults
    create_config_search_path   its search path, with `hydra.searchpath` and plugins
    get_args_parser             Hydra's own flags, so that unknown ones are refused in one line
    FileConfigSource,
    SourcesRegistry             reading of YAML files: each is checked before it is expanded
    Callbacks                   users' `hydra.callbacks` about a run that is composed already
    core_utils                  how Hydra writes its own files, which `cli.hydra_files` replaces
"""

import hydra.core.utils as core_utils
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import IConfigRepository
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.plugins import Plugins

Plugins.instance()  # discovery loads the modules of plugins anew, so their classes are imported afterwards

from hydra._internal.core_plugins.file_config_source import FileConfigSource  # noqa: E402

__all__ = [
    "Callbacks",
    "ConfigLoaderImpl",
    "FileConfigSource",
    "IConfigRepository",
    "SourcesRegistry",
    "core_utils",
    "create_config_search_path",
    "get_args_parser",
]
