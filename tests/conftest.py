"""Fixtures shared by the whole suite."""

import hydra
import pytest
import torch
from omegaconf import DictConfig, open_dict

from metarl_run.env.base import TaskFamily
from metarl_run.folders import CONFIG_DIR

torch.set_num_threads(1)  # tests run side by side: two threads each would fight for two cores


@pytest.fixture(params=sorted(path.stem for path in (CONFIG_DIR / "env").glob("*.yaml")))
def env_option(request: pytest.FixtureRequest) -> str:
    """Each option of the group `env` in turn."""
    return request.param


@pytest.fixture
def family_config(env_option: str) -> DictConfig:
    """The configuration of one task family, composed by Hydra."""
    with hydra.initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        composed = hydra.compose(f"env/{env_option}")
    with open_dict(composed.env):
        del composed.env.step_sizes  # the algorithms'
    return composed.env


@pytest.fixture
def family(family_config: DictConfig) -> TaskFamily:
    """The task family of each option, with its default numbers."""
    return hydra.utils.instantiate(family_config, _convert_="all")
