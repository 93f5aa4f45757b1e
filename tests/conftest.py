"""Fixtures shared by the whole suite, and the one limit of time."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

import pytest

from metarl_run.folders import CONFIG_DIR

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from metarl_run.env.base import TaskFamily

os.environ["OMP_NUM_THREADS"] = "1"  # read by torch: two threads in each of two tests would fight for two cores

OUTSIDE = {"gymnasium", "metaworld"}
"""Families whose states live outside, in environments of others; tests/env has tests for each of them."""

VARIANTS = {
    "ant_dir_promp",
    "ant_dir_varibad",
    "ant_forward_backward",
    "bandit_dpt",
    "darkroom_ad",
    "darkroom_dr9",
    "darkroom_hard",
    "darkroom_permuted",
    "half_cheetah_dir_promp",
    "half_cheetah_vel_maml",
    "half_cheetah_vel_pearl",
    "half_cheetah_vel_promp",
}
"""Options that differ from others in numbers alone, and whose runs would take long in all: they are composed, built and
stepped, but go through neither the contracts of families nor the real command."""

LIMIT = 15 * 60
"""Seconds after which a test counts as hanging, however busy the machine; nothing else that waits has a limit."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """Collect without the garbage collector, which would look at the growing heap again and again for 4 CPU seconds.

    What there is afterwards stays to the end; it is not looked at any more either.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests first: what one of several workers still has to do when another is done should be short."""
    items.sort(key=lambda item: "end_to_end" not in item.path.parts)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[object]:
    """Fail a test that hangs; one that cannot be interrupted ends the process a minute later, see pyproject.toml."""

    def fail(number: int, frame: FrameType | None) -> None:
        pytest.fail(f"hangs: not done after {LIMIT} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(LIMIT)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(params=sorted({path.stem for path in (CONFIG_DIR / "env").glob("*.yaml")} - OUTSIDE - VARIANTS))
def env_option(request: pytest.FixtureRequest) -> str:
    """Each option of the group `env` in turn whose dynamics are functions of tensors."""
    return request.param


@pytest.fixture
def family_config(env_option: str) -> DictConfig:
    """The configuration of one task family, composed by Hydra."""
    import hydra
    from omegaconf import open_dict

    with hydra.initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        composed = hydra.compose(f"env/{env_option}")
    with open_dict(composed.env):
        del composed.env.step_sizes  # the algorithms'
    return composed.env


@pytest.fixture
def family(family_config: DictConfig) -> TaskFamily:
    """The task family of each option, with its default numbers; those that are slow to simulate with short episodes."""
    from hydra.utils import get_class, instantiate

    if get_class(family_config._target_).simulated:
        family_config.horizon = 10
    return instantiate(family_config, _convert_="all")
