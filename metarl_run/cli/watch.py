"""`metarl-run watch RUN_FOLDER`: a film of what the run learned."""

from collections.abc import Sequence
from pathlib import Path

from metarl_run.cli.arguments import Parser
from metarl_run.config.stored import stored_run
from metarl_run.errors import DONE, ConfigError, StateError
from metarl_run.system.video import require_writer


def main(argv: Sequence[str]) -> int:
    """Make the film; the exit code.

    Raises:
        RunError: see `metarl_run.errors`.
    """
    parser = Parser("watch", __doc__, "metarl-run watch RUN_FOLDER [--task N] [--format mp4]")
    parser.add_argument("folder", type=Path, help="of a run")
    parser.add_argument("--task", type=int, default=0, help="which of the held-out tasks, from 0 (default: 0)")
    parser.add_argument("--format", choices=("gif", "mp4"), default="gif")
    parser.add_argument("--plugins", nargs="*", default=[], metavar="PACKAGE", help="packages whose code the run uses")
    given = parser.parse_args(argv)
    if given.task < 0:
        raise ConfigError("--task", f"must be >= 0, got {given.task}")
    given.folder = given.folder.expanduser()  # as shells do, and notebooks do not
    if not given.folder.is_dir():
        raise StateError(str(given.folder), "there is no such folder")
    require_writer(given.format, "--format")
    plan = stored_run(given.folder, given.plugins)
    from metarl_run.run.agent import set_up, take_over
    from metarl_run.run.film import film, filmed

    _, streams, family, algo = set_up(plan.config)
    take_over(algo, family, given.folder, plan.choices)
    path = given.folder / f"behaviour.{given.format}"
    film(algo, family, streams, path, index=given.task, **filmed(plan.config))
    print(path)
    return DONE
