"""Text in Markdown: shown as it is, and nothing more."""

import pytest

from metarl_run.report import markup


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("<script>", "&lt;script>"),
        ("<!-- x", "&lt;!-- x"),
        ("[x](y)", r"[x]\(y)"),
        ("![x][y]", r"![x]\[y]"),
        ("&lt;", "&amp;lt;"),
        ("hidden=[64,64]", "hidden=[64,64]"),
        ("a < b & c", "a < b & c"),
        ("meta_train", "meta_train"),
    ],
)
def test_tags_links_and_entities_are_text(words, shown):
    assert markup.text(words) == shown


def test_code_is_fenced_by_more_backticks_than_it_holds():
    assert markup.code("a=1") == "`a=1`"
    assert markup.code("a`b``c") == "``` a`b``c ```"


def test_a_row_has_as_many_cells_as_entries():
    assert markup.row(["a|b", "c"]) == r"| a\|b | c |"
