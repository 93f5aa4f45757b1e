"""Every file under conf/ composes, validates, names a class that exists, and explains its numbers."""

import re
from pathlib import Path

import pytest
import yaml

from metarl_run.config.compose import compose_points
from metarl_run.config.settings import Settings
from metarl_run.config.signature import signature
from metarl_run.errors import ConfigError
from metarl_run.folders import CONFIG_DIR, GROUPS

FILES = sorted(CONFIG_DIR.rglob("*.yaml"))
OPTIONS = sorted(path for path in CONFIG_DIR.glob("*/*.yaml") if path.parent.name != "hydra")
ARGUMENTS = {f"{path.parent.name}={path.stem}": path for path in OPTIONS}
NUMBER = re.compile(r"(?<![\w.])-?\d+(\.\d+)?(e[+-]?\d+)?(?![\w.])", re.IGNORECASE)


def name(path: Path) -> str:
    return str(path.relative_to(CONFIG_DIR))


def composed(argument: str) -> dict[str, object]:
    """The option in a run where what it requires is provided."""
    arguments = [argument, *(["logger=files"] * (not argument.startswith("logger")))]
    for _ in GROUPS:
        try:
            return compose_points(arguments).points[0].config
        except ConfigError as error:
            provider = re.match(r"(\w+=\w+)", error.hint or "")
            assert provider, error
            arguments.append(provider[1])
    raise AssertionError(f"{argument} is refused whatever its hints say: {arguments}")


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_every_option_composes_and_validates(argument: str) -> None:
    config = composed(argument)
    assert set(GROUPS) < set(config)


def test_the_default_is_the_main_job() -> None:
    (point,) = compose_points([]).points
    chosen = {group: point.choices[group] for group in GROUPS}
    assert chosen == {
        "env": "cartpole_family",
        "learner": "reinforce",
        "network": "mlp",
        "algo": "maml",
        "logger": "wandb",
    }
    assert {*Settings.__dataclass_fields__, *GROUPS} == set(point.config)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_target_exists(path: Path) -> None:
    for target in re.findall(r"_target_:\s*(\S+)", path.read_text(encoding="utf-8")):
        assert signature(target, ("metarl_run",)) is not None, target


@pytest.mark.parametrize("path", OPTIONS, ids=name)
def test_an_option_is_called_like_its_module_and_says_what_it_is(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    (about, *_) = [line for line in lines if line.startswith("#") and "@package" not in line]
    assert len(about) > 20
    target = (yaml.safe_load("\n".join(lines)) or {}).get("_target_")
    if target is not None:
        assert target.rpartition(".")[0] == f"metarl_run.{path.parent.name}.{path.stem}"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_number_has_its_unit_range_or_source(path: Path) -> None:
    """A repeated key may be explained where it stands first; an experiment only chooses among explained numbers."""
    if path.parent.name == "experiment":
        return
    explained: set[str] = set()
    for line in path.read_text(encoding="utf-8").splitlines():
        text, _, comment = line.partition("#")
        key = text.partition(":")[0].strip()
        if NUMBER.search(text.partition(":")[2]) and "${" not in text:
            assert comment.strip() or key in explained, line
        if comment.strip():
            explained.add(key)
