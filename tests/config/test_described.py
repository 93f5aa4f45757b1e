"""What the files of the configuration folder say about options and keys, beside what is composed from them."""

from pathlib import Path

import pytest

from metarl_run.config.compose import compose_points
from metarl_run.config.described import GROUPS, chosen, in_words, option, options, run_keys, table_keys, words
from metarl_run.config.plan import flat
from metarl_run.folders import CONFIG_DIR


@pytest.mark.parametrize(
    "overrides",
    [
        ["algo=varibad", "env=half_cheetah_vel_pearl", "logger=wandb"],  # values over many lines, several sinks
        ["algo=maml_trpo"],  # a variant that swaps a part
        ["algo=distilled_rl2", "env=random_mdp", "network=transformer"],  # a variant with a part from another folder
        ["algo=model_based"],  # a part that is the whole run's
    ],
)
def test_keys_are_those_that_are_composed(overrides: list[str]) -> None:
    (point,) = compose_points(overrides).points
    for group, name in (override.split("=") for override in overrides):
        of = option(group, name)
        distributions = (f"{group}.meta_train", f"{group}.meta_test")
        composed = {
            path for path in flat(point.config[group], f"{group}.") if path.rpartition(".")[0] not in distributions
        }
        described = {
            path for path, key in of.keys.items() if key.value and path.rpartition(".")[0] not in distributions
        }
        assert described - {"env.step_sizes"} == composed, group
        assert {**of.brings, **point.choices} == {**point.choices}


def test_every_key_of_every_option_has_a_comment_or_speaks_for_itself() -> None:
    """And a kind, unless any value will do or it is a mapping of a component's own."""
    for group in GROUPS:
        for name in options(group):
            if group == "experiment":
                assert option(group, name).summary
                continue
            for key in option(group, name).keys.values():
                last = key.path.rpartition(".")[2]
                explained = key.comment or last == "_target_" or not key.value or ".meta_test." in key.path
                assert explained or "WANDB_PROJECT" in key.value, f"{group}={name}: {key.path} has no comment"
    silent = [key.path for key in (*run_keys().values(), *table_keys().values()) if not key.comment]
    assert silent == []


def test_kinds_in_words() -> None:
    algo, env, run = option("algo", "meta_gradient").keys, option("env", "cartpole_family").keys, run_keys()
    said = {
        "algo.adaptation_steps": "integer >= 1",
        "algo.inner_lr": "number > 0",
        "algo.by_layer": "true | false",
        "algo.outer_discount": "number in [0, 1]",
        "algo.reward_hidden": "list of integers >= 1",
        "algo.outer_steps": "all | last",
        "algo.meta_optimizer.decay": "number >= 0",
    }
    assert {path: in_words(algo[path].kind) for path in said} == said
    assert in_words(env["env.meta_train.gravity"].kind) == "distribution"
    assert in_words(env["env.meta_train"].kind) == ""
    assert in_words(run["threads"].kind) == "auto | integer in [1, 4096]"
    assert in_words(run["film"].kind) == "gif | mp4 | null"
    assert words(run["meta_batch_chunk"].kind) == ("null",)
    assert "step_size" in words(algo["algo.learned"].kind)


def test_a_variant_keeps_the_comments_it_does_not_replace() -> None:
    maml, fomaml = (option("algo", name).keys["algo.first_order"] for name in ("maml", "fomaml"))
    assert (maml.value, fomaml.value) == ("false", "true") and maml.comment == fomaml.comment
    assert option("algo", "fomaml").base == "maml"


def test_options_of_a_command_line() -> None:
    assert chosen([])["network"] == "mlp"
    assert chosen(["algo=varibad"])["network"] == "gru"
    assert chosen(["algo=varibad", "network=lstm"])["network"] == "lstm"
    assert chosen(["experiment=rl2_gridworld"]) | {"logger": ""} == {
        "env": "gridworld",
        "algo": "rl2",
        "learner": "ppo",
        "network": "gru",
        "experiment": "rl2_gridworld",
        "logger": "",
    }


def test_files_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "algo").mkdir()
    (tmp_path / "algo" / "mine.yaml").write_text(
        "# Mine\ndefaults: [maml, _self_]\ninner_lr: 3  # fast\nfree: [1,\n  2]\n"
    )
    keys = option("algo", "mine", [CONFIG_DIR, tmp_path]).keys
    assert (keys["algo.inner_lr"].value, keys["algo.inner_lr"].comment) == ("3", "fast")
    assert keys["algo.free"].value == "[1, 2]"
    (tmp_path / "algo" / "odd.yaml").write_text("defaults: [odd, gone, x: gone, ${env}]\na: [1\n")  # no file is too odd
    assert option("algo", "odd", [tmp_path]).keys["algo.a"].value == "[1"
