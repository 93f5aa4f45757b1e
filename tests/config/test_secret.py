"""Secrets are refused by their names, and what they are is never repeated."""

import pytest

from metarl_run.config.secret import is_secret, redacted, refuse_in_config, refuse_on_command_line
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
