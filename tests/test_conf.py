"""Every file under conf/ composes, validates, names a class that exists, and explains its numbers."""

import re
from pathlib import Path

import pytest
import yaml
from suited import COMPONENTS, arguments_of, composed

from metarl_run.cli import search_sweeper, sweeper
from metarl_run.config.compose import compose_points
from metarl_run.config.settings import Settings
from metarl_run.config.static.signature import signature
from metarl_run.errors import ConfigError
from metarl_run.folders import CONFIG_DIR, GROUPS

FILES = sorted(CONFIG_DIR.rglob("*.yaml"))
OPTIONS = sorted(path for path in CONFIG_DIR.glob("*/*.yaml") if path.parent.name != "hydra")
ARGUMENTS = {f"{path.parent.name}={path.stem}": path for path in OPTIONS}
NUMBER = re.compile(r"(?<![\w.])-?\d+(\.\d+)?(e[+-]?\d+)?(?![\w.])", re.IGNORECASE)


def name(path: Path) -> str:
    return str(path.relative_to(CONFIG_DIR))


PART = {
    "collect=histories": ["algo=random"],
    "experiment=families": ["seed=0"],
    "experiment=families_tuning": ["env=cartpole_family"],
    "experiment=locomotion": ["seed=0"],
}
"""Of experiments of many runs: the others differ from these in the seed or the family alone. Who collects histories is
no meta-learner."""


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_every_option_composes_and_validates(argument: str) -> None:
    """In a run where what the option requires is provided."""
    more = ["logger=files"] * (not argument.startswith("logger="))
    point = composed(*whole(argument), *more, *PART.get(argument, []))
    assert set(GROUPS) < set(point.config)


def whole(argument: str) -> tuple[str, ...]:
    """The option and what it requires."""
    group, _, option = argument.partition("=")
    return arguments_of(group, option) if group in COMPONENTS else (argument,)


def declared(argument: str) -> tuple[set[str], set[str]]:
    """What the option provides and requires."""
    group = argument.partition("=")[0]
    config = composed(*whole(argument), *(["logger=files"] * (group != "logger"))).config[group]
    assert isinstance(config, dict)
    known = signature(config["_target_"], ("metarl_run",))
    assert known is not None
    return known.declared.provided(config), {word for _, word in known.declared.required(config)}


def options(group: str) -> list[str]:
    return [argument for argument in ARGUMENTS if argument.startswith(f"{group}=")]


@pytest.mark.parametrize("network", options("network"))
def test_a_memory_and_an_agent_that_lives_by_it_are_refused_without_each_other(network: str) -> None:
    provided, required = declared(network)
    assert ("memory" in provided) == ("remembers" in required)
    if "memory" in provided:
        with pytest.raises(ConfigError, match="requires an agent that adapts by memory, which algo=maml does not"):
            compose_points(["logger=files", "algo=maml", network])
    else:
        with pytest.raises(ConfigError, match=f"rl2 requires a network with memory, which {network} does not"):
            compose_points(["logger=files", "algo=rl2", "env=random_mdp", network])


@pytest.mark.parametrize("algo", options("algo"))
def test_an_agent_whose_network_has_a_memory_remembers(algo: str) -> None:
    """Else the memory would be blank at every episode."""
    provided, required = declared(algo)
    assert "memory" not in required or "remembers" in provided


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


def test_promp_learns_with_the_papers_surrogate_unless_another_learner_is_chosen() -> None:
    surrogates = [
        compose_points(["logger=files", "algo=promp", *chosen]).points[0].config["learner"]["surrogate"]
        for chosen in ([], ["learner=reinforce"], ["learner.surrogate=dice"])
    ]
    assert surrogates == ["ratio", "loaded_dice", "dice"]


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_target_exists(path: Path) -> None:
    for target in re.findall(r"_target_:\s*(\S+)", path.read_text(encoding="utf-8")):
        if target.startswith("hydra_plugins."):  # where Hydra looks for its own
            assert any(hasattr(module, target.rpartition(".")[2]) for module in (search_sweeper, sweeper))
        else:
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
