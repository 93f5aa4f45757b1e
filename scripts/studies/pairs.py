"""Compatibility of algorithms, learners and task families: every combination is run in small or refused in one line.

A combination that is accepted but fails in its meta-updates or meta-test is a failure (exit code 1).
"""

import argparse
import itertools
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from metarl_run.config.compose import compose_points
from metarl_run.errors import ConfigError, RunError
from metarl_run.folders import CONFIG_DIR
from metarl_run.rollout import collect
from metarl_run.run.agent import set_up
from metarl_run.run.training import Training
from metarl_run.system.crash import Contained
from metarl_run.system.interruption import StopRequest

OUTPUTS = Path(__file__).resolve().parents[2] / "outputs"
USUAL_NETWORK = "mlp"
SMALL = ("experiment=smoke", "threads=1")
PLAN = (
    "meta_iterations",
    "meta_batch_size",
    "meta_batch_chunk",
    "episodes_per_task",
    "meta_validation",
    "meta_test",
    "validate_every",
    "checkpoint_every",
)
HEAD = """\
# Which pairs run

Made by `scripts/studies/pairs`: every algorithm with every learner on every task family was run in small
(`experiment=smoke`) or refused before anything was built. ✓ ran with `network=mlp`, or with the network that is named;
a number says why a pair was refused; ✗ is a failure.
"""


@dataclass(frozen=True)
class Outcome:
    """Outcome of one combination.

    Attributes:
        kind: `ran`, `refused` before anything was built, or `failed`.
        line: reason that it does not run; empty if it does.
    """

    kind: Literal["ran", "refused", "failed"]
    line: str = ""


@dataclass(frozen=True)
class Pair:
    """One cell of the table, with the network that was used."""

    algo: str
    learner: str
    env: str
    network: str
    outcome: Outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUTPUTS, help="folder for pairs.md (default: outputs)")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    pairs = list(examined(options("algo"), options("learner"), options("env")))
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "pairs.md").write_text(table(pairs), encoding="utf-8")
    kinds = [pair.outcome.kind for pair in pairs]
    print(f"{chosen.out / 'pairs.md'}: {', '.join(f'{kinds.count(kind)} {kind}' for kind in sorted(set(kinds)))}")
    return 1 if "failed" in kinds else 0


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIG_DIR / group).glob("*.yaml"))


# --- Running ---


def examined(algos: Sequence[str], learners: Sequence[str], envs: Sequence[str]) -> Iterator[Pair]:
    """Examine every combination in turn."""
    for env, algo, learner in itertools.product(envs, algos, learners):
        pair = examine(algo, learner, env)
        outcome = pair.outcome.line or f"ran with {pair.network}"
        print(f"{env} {algo} {learner}: {outcome}", file=sys.stderr, flush=True)
        yield pair


def examine(algo: str, learner: str, env: str) -> Pair:
    """Result with the first network that is not refused, the usual one first.

    If all are refused, the network is not the cause: a refusal that does not mention it is returned.
    """
    pairs = []
    for network in sorted(options("network"), key=lambda name: name != USUAL_NETWORK):
        outcome = outcome_of(f"algo={algo}", f"learner={learner}", f"env={env}", f"network={network}")
        pairs.append(Pair(algo, learner, env, network, outcome))
        if outcome.kind != "refused":
            return pairs[-1]
    return min(pairs, key=lambda pair: re.search(r"\bnetwork[=:]", pair.outcome.line) is not None)


def outcome_of(*overrides: str) -> Outcome:
    """Outcome of a command line, up to its meta-test."""
    try:
        (point,) = compose_points([*SMALL, *overrides]).points
    except ConfigError as error:
        return Outcome("refused", first_line(error))
    with tempfile.TemporaryDirectory() as folder:
        try:
            with Contained(Path(folder)):
                train_and_test(point.config, Path(folder))
        except RunError as error:
            traceback.print_exception(error)
            return Outcome("failed", first_line(error))
    return Outcome("ran")


def train_and_test(config: Mapping[str, Any], folder: Path) -> None:
    """Build the agent, meta-train it and meta-test it."""
    _, streams, family, algo = set_up({**config, "device": "cpu"})
    plan = {key: config[key] for key in PLAN}
    training = Training(
        algo=algo,
        family=family,
        streams=streams,
        sinks={},
        stop=StopRequest(),
        folder=folder,
        collect=collect,
        **plan,
    )
    training.meta_train()
    training.meta_test()


def first_line(error: RunError) -> str:
    return str(error).splitlines()[0]


# --- Output ---


def table(pairs: Sequence[Pair]) -> str:
    """A matrix per task family, and the reasons that its numbers refer to."""
    lines = list(dict.fromkeys(pair.outcome.line for pair in pairs if pair.outcome.line))
    learners = list(dict.fromkeys(pair.learner for pair in pairs))
    text = [HEAD]
    for env, mine in itertools.groupby(pairs, key=lambda pair: pair.env):
        text += [f"## {env}\n", f"| | {' | '.join(learners)} |", f"|---{'|---' * len(learners)}|"]
        for algo, row in itertools.groupby(mine, key=lambda pair: pair.algo):
            cells = [cell(pair, lines) for pair in row]
            text.append(f"| {algo} | {' | '.join(cells)} |")
        text.append("")
    text += ["## Why not\n", *(f"{number}. `{line}`" for number, line in enumerate(lines, 1))]
    return "\n".join(text) + "\n"


def cell(pair: Pair, lines: Sequence[str]) -> str:
    match pair.outcome.kind:
        case "ran":
            return "✓" if pair.network == USUAL_NETWORK else f"✓ {pair.network}"
        case "refused":
            return str(lines.index(pair.outcome.line) + 1)
    return f"✗ {lines.index(pair.outcome.line) + 1}"


if __name__ == "__main__":
    sys.exit(main())
