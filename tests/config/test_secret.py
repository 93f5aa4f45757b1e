"""Secrets are refused by their names, and what they are is never repeated."""

import pytest

from metarl_run.config.compose import compose_points
from metarl_run.config.secret import (
    is_secret,
    masked,
    redacted,
    refuse_copied,
    refuse_in_config,
    refuse_on_command_line,
)
from metarl_run.errors import ConfigError


@pytest.mark.parametrize(
    "name", ["api_key", "apiKey", "WANDB_API_KEY", "password", "hf_token", "client-secret", "AccessKey"]
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", ["num_tokens", "key", "keyboard", "tokenizer", "secretary", "monkey", "seed"])
def test_names_of_other_things(name: str) -> None:
    assert not is_secret(name)


@pytest.mark.parametrize(
    "override",
    [
        "+logger.wandb.api_key=hunter2",
        "password=hunter2",
        "~token=hunter2",
        "+logger.wandb={mode: auto, api_key: hunter2}",
        "+logger.wandb={'api_key':hunter2}",
        "output_root=${oc.env:HUNTER2_TOKEN}",
        'output_root=${oc.env:"HUNTER2_TOKEN"}',
        "output_root='${oc.env: \\'HUNTER2_TOKEN\\',none}'",
        "hydra.job.env_copy=[HUNTER2_TOKEN]",
        "+hydra.job.env_set={HUNTER2_TOKEN:1}",
    ],
)
def test_refused_and_not_echoed_on_the_command_line(override: str) -> None:
    with pytest.raises(ConfigError, match="looks like a secret") as caught:
        refuse_on_command_line(["seed=1", override])
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in redacted(override)


def test_refused_in_files_at_any_depth() -> None:
    with pytest.raises(ConfigError, match=r"a\.b\[0\]\.token: looks like a secret") as caught:
        refuse_in_config({"a": {"b": [{"token": "hunter2"}]}})
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError, match="a: reads MY_API_KEY"):
        refuse_in_config({"a": "x ${oc.env:MY_API_KEY,none}"})


def test_ordinary_arguments_are_left_alone() -> None:
    refuse_on_command_line(["algo=maml", "env.meta_train={gravity: 9.8}", "output_root=${oc.env:HOME}"])
    refuse_in_config({"seed": 0, "plugins": ["a"], "output_root": "${oc.env:HOME}/x"})
    assert redacted("algo.inner_lr=0.1") == "algo.inner_lr=0.1"


@pytest.fixture
def hunter2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "hunter2")
    monkeypatch.setenv("NAME_OF_IT", "MY_API_KEY")


@pytest.mark.parametrize(
    "overrides",
    [
        ['output_root="${oc.env:${oc.env:NAME_OF_IT}}"'],
        ['hydra.run.dir="out/${oc.env:${oc.env:NAME_OF_IT}}"'],
        ["logger.wandb.project=a-hunter2-b"],
        ["panel=hunter2"],
    ],
)
@pytest.mark.usefixtures("hunter2")
def test_the_value_of_a_secret_variable_is_refused_wherever_it_comes_from(overrides: list[str]) -> None:
    with pytest.raises(ConfigError, match="MY_API_KEY, which looks like a secret") as caught:
        compose_points(overrides)
    assert "hunter2" not in masked(str(caught.value))


@pytest.mark.usefixtures("hunter2")
def test_it_is_masked_in_what_is_printed_and_written() -> None:
    assert masked("POST https://x?key=hunter2 failed") == "POST https://x?key=<hidden> failed"
    assert redacted("a=hunter2") == "a=<hidden>"


def test_copies_of_secret_variables_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"hydra\.job\.env_copy: names HF_TOKEN"):
        refuse_copied({"job": {"env_copy": ["HOME", "HF_TOKEN"]}})
    refuse_copied({"job": {"env_copy": ["HOME"], "env_set": {"OMP_NUM_THREADS": 1}}})


def test_the_value_of_an_unknown_flag_is_not_repeated() -> None:
    with pytest.raises(ConfigError, match="--api_key: unknown flag") as caught:
        compose_points(["--api_key=hunter2"])
    assert "hunter2" not in str(caught.value)
