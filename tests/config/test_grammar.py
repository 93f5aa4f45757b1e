"""Values that are printed for pasting come back as they were, through a shell and Hydra's grammar."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from metarl_run.config.grammar import argument, at_home, quoted

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=20)


def value(text: str) -> object:
    return OverridesParser.create().parse_override(text).value()


@given(TEXTS.filter(lambda text: "${" not in text))
def test_quoted_is_the_same_text_again(text: str) -> None:
    assert str(value(f"key={quoted(text)}")).strip("\"'") == text.strip("\"'")


@pytest.mark.parametrize(
    "text",
    ["outputs/a", "runs (v2)/a", "it's", 'a "b"', "a,b", "{x}", "1", "true", "a=b", "a\\b", "ü", "inf", ".5", "-1"],
)
def test_an_argument_survives_shell_and_grammar(text: str) -> None:
    (word,) = shlex.split(argument("resume", text))
    found = value(word)
    assert (found if isinstance(found, str) else found.text) == text  # type: ignore[union-attr]


def test_plain_texts_are_not_quoted() -> None:
    assert argument("resume", "outputs/2026-11-30/1_maml") == "resume=outputs/2026-11-30/1_maml"
    assert argument("resume", "runs (v2)") == "'resume=\"runs (v2)\"'"


@pytest.mark.parametrize("text", ["a${b}", "a\\${b}", "a\\\\${b}", "${oc.env:HOME}", "${x", 'a"${b}\\'])
def test_what_looks_like_a_reference_is_none(text: str) -> None:
    (word,) = shlex.split(argument("resume", text))
    found = OmegaConf.create({"resume": str(value(word))})
    assert found.resume == text


def test_a_folder_called_tilde_is_not_home() -> None:
    assert argument("resume", "~/a") == "'resume=\"./~/a\"'"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("resume=~/a b", 'resume="/home/me/a b"'),
        ("checkpoint=~/a,~/b", 'checkpoint="/home/me/a","/home/me/b"'),
        ("++output_root=~", '++output_root="/home/me"'),
        ("--config-dir=~/conf", "--config-dir=/home/me/conf"),
        ("resume=a/~", "resume=a/~"),
        ("~resume", "~resume"),
        ("panel=~x", "panel=~x"),
    ],
)
def test_the_home_folder(text, wanted, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert at_home(text, ["resume", "checkpoint", "output_root"]) == wanted
