"""Standard output: names are printed as they are, control characters visible."""

from rich.table import Table
from rich.text import Text

from metarl_run.errors import UNSEEN
from metarl_run.report.output import standard_output

NAME = "[red]\x1b[31mx\x9b\u202e[/red] :smile:"
SHOWN = r"[red]\x1b[31mx\x9b\u202e[/red] :smile:"


def test_names_are_no_markup_and_no_commands(capsys):
    console = standard_output()
    table = Table(title=NAME)
    table.add_column(NAME, no_wrap=True)
    table.add_row(NAME)
    for renderable in (NAME, Text(NAME), table):
        console.print(renderable, crop=False)
    out = capsys.readouterr().out
    assert out.count(SHOWN) >= 3
    assert {*UNSEEN.findall(out)} == {"\n"}
