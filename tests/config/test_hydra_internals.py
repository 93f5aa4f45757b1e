"""What is used of Hydra's private modules is as it was when it was written against, and is used in one place alone."""

import inspect
from pathlib import Path

import pytest
from hydra.types import RunMode

from metarl_run.config import hydra_internals
from metarl_run.config.compose import compose_points
from metarl_run.folders import CONFIG_DIR

PACKAGE = Path(hydra_internals.__file__).parents[1]


def names(function):
    return [name for name in inspect.signature(function).parameters if name != "self"]


def test_no_other_module_imports_hydras_internals():
    texts = {path.name: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    assert [name for name, text in texts.items() if "from hydra._internal" in text] == ["hydra_internals.py"]


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (
            hydra_internals.ConfigLoaderImpl.load_configuration,
            ["config_name", "overrides", "run_mode", "from_shell", "validate_sweep_overrides"],
        ),
        (
            hydra_internals.ConfigLoaderImpl.get_group_options,
            ["group_name", "results_filter", "config_name", "overrides"],
        ),
        (hydra_internals.create_config_search_path, ["search_path_dir"]),
        (hydra_internals.get_args_parser, []),
        (hydra_internals.FileConfigSource.load_config, ["config_path"]),
        (hydra_internals.FileConfigSource._normalize_file_name, ["filename"]),
        (hydra_internals.Callbacks, ["config"]),
        (hydra_internals.Callbacks.on_run_start, ["config", "kwargs"]),
        (hydra_internals.Callbacks.on_run_end, ["config", "kwargs"]),
        (hydra_internals.core_utils._save_config, ["cfg", "filename", "output_dir"]),
    ],
)
def test_signatures(function, wanted):
    assert names(function) == wanted


def test_the_reader_of_files_is_found_in_the_registry():
    hydra_internals.create_config_search_path(str(CONFIG_DIR))
    assert hydra_internals.SourcesRegistry.instance().types["file"] is hydra_internals.FileConfigSource


def test_flags_of_the_parser():
    known, unknown = hydra_internals.get_args_parser().parse_known_intermixed_args(["-m", "a=1", "--odd"])
    assert unknown == ["--odd"]
    assert {"overrides", "multirun", "config_dir", "config_path", "config_name", "cfg", "info"} <= set(vars(known))
    assert {"hydra_help", "shell_completion", "experimental_rerun"} <= set(vars(known))


def test_a_single_run_keeps_what_it_was_composed_to():
    (point,) = compose_points(["experiment=smoke", "seed=3"]).points
    assert point.composed.seed == point.config["seed"] == 3
    assert point.composed.hydra.mode in (None, RunMode.RUN)
