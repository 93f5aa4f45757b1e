"""Fixtures shared by the whole suite."""

from pathlib import Path

import hydra
import pytest
from omegaconf import DictConfig

from metarl_run.env.base import TaskFamily

CONF = Path(__file__).parents[1] / "conf"


@pytest.fixture(params=sorted(path.stem for path in (CONF / "env").glob("*.yaml")))
def env_option(request: pytest.FixtureRequest) -> str:
    """Each option of the group `env` in turn."""
    return request.param


@pytest.fixture
def family_config(env_option: str) -> DictConfig:
    """The configuration of one task family, composed by Hydra."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose(f"env/{env_option}").env


@pytest.fixture
def family(family_config: DictConfig) -> TaskFamily:
    """The task family of each option, with its default numbers."""
    return hydra.utils.instantiate(family_config, _convert_="all")
