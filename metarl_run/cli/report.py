"""`metarl-run report FOLDER…`: runs and sweeps compared after the fact, as tables, pictures and a page."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from metarl_run.cli.arguments import Parser
from metarl_run.errors import DONE, ConfigError, ResourceError

USAGE = "metarl-run report FOLDER… [--output FOLDER] [--methods A,B] [--env E,F] [--format png,svg,pdf]"


def main(argv: Sequence[str]) -> int:
    """Write the report; the exit code.

    Raises:
        RunError: see `metarl_run.errors`.
    """
    parser = Parser("report", __doc__, USAGE)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="of a run or sweep, or of several")
    place = "where to (default: the folder itself if there is one, else report/)"
    parser.add_argument("--output", type=Path, metavar="FOLDER", help=place)
    parser.add_argument(
        "--methods", type=_names, default=[], metavar="A,B", help="which to show, in this order: options of algo"
    )
    parser.add_argument("--env", type=_names, default=[], metavar="E,F", help="families to show: options of env")
    parser.add_argument("--title", help="of page and pictures")
    parser.add_argument(
        "--format", type=_names, default=["png", "svg", "pdf"], metavar="A,B", help="of pictures (default: png,svg,pdf)"
    )
    parser.add_argument("--size", type=_size, metavar="WxH", help="of pictures, in inches, such as 6.5x3")
    parser.add_argument("--font", metavar="NAME", help="of text in pictures, such as 'DejaVu Serif'")
    parser.add_argument("--font-size", type=float, default=9.5, metavar="POINTS", help="(default: 9.5)")
    axes = ("iteration", "env_steps", "seconds")
    parser.add_argument("--axis", choices=axes, help="of learning curves in pictures; the page has all three")
    given = parser.parse_args(argv)
    if not 1 <= given.font_size <= 100:
        raise ConfigError("--font-size", f"must be in [1, 100], got {given.font_size:g}")
    from metarl_run.report import compare
    from metarl_run.report.figure import ENDINGS, PictureOptions

    if unknown := [ending for ending in given.format if ending not in ENDINGS]:
        raise ConfigError("--format", f"no format is {unknown[0]}", f"some of {','.join(ENDINGS)}")
    options = PictureOptions(
        size=given.size,
        font=given.font,
        font_size=given.font_size,
        title=given.title,
        axis=given.axis,
        endings=given.format,
    )
    try:
        report = compare.write(given.folders, given.output, options, methods=given.methods, envs=given.env)
    except OSError as error:
        raise ResourceError(str(error.filename), f"cannot be used: {error.strerror}") from error
    report.show()
    return DONE


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _size(text: str) -> tuple[float, float]:
    try:
        width, height = map(float, text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be WxH in inches, got {text}") from None
    if not (1 <= width <= 50 and 1 <= height <= 50):
        raise argparse.ArgumentTypeError(f"must be between 1 and 50 inches each, got {text}")
    return width, height
