"""Error lines: one line and a hint, whatever names are in them."""

import pytest

from metarl_run.errors import UNSEEN, ConfigError, visible


@pytest.mark.parametrize(
    ("character", "shown"),
    [
        ("\x1b", r"\x1b"),
        ("\x9b", r"\x9b"),
        ("\x7f", r"\x7f"),
        ("\u202e", r"\u202e"),
        ("\u2066", r"\u2066"),
        ("\u2028", r"\u2028"),
        ("\n", r"\n"),
        ("\r", r"\r"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_characters_that_a_terminal_obeys_are_shown(character, shown):
    assert visible(f"a{character}b") == f"a{shown}b"


@pytest.mark.parametrize("text", ["θ ← θ − β g", "größer", "日本", r"C:\new", "🙂", ""])
def test_all_others_stay(text):
    assert visible(text) == text


def test_an_error_is_one_line_and_a_hint():
    error = ConfigError("a\nerror: b", "must be \x1b[31mgreen", "use\n\u202egreen")
    assert str(error) == r"error: a\nerror: b: must be \x1b[31mgreen" + "\n" + r"hint: use\n\u202egreen"
    assert UNSEEN.findall(str(error)) == ["\n"]


def test_lines_may_be_kept():
    assert visible("a\nb\x1b", lines=True) == "a\nb\\x1b"
