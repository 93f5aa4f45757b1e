"""Kill -9 a run at random moments, resume it until it finishes, and compare every byte with an uninterrupted run.

Three negative controls follow, each of which must make a difference: the optimiser's state is reset, rows after the
last checkpoint are kept, the seed is changed.
"""

import argparse
import hashlib
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from black_box import SMALL, Running, call, iterations_done, left_behind, record, summary

from metarl_run.system.json_text import json_text

CHECKPOINT_EVERY = 7
PLAN = (*SMALL, "meta_iterations=400", f"checkpoint_every={CHECKPOINT_EVERY}", "validate_every=25")
START, RESUME = (*PLAN, "hydra.run.dir=run"), ("resume=run",)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="number of kills (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments (default: 0)")
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        result = examine(Path(place), chosen.kills, random.Random(chosen.seed))
    text = json_text({"seed": chosen.seed, **result})
    print(text, end="")
    if chosen.out is not None:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(text)
    return 0 if result["identical"] and result["every_control_was_caught"] else 1


def examine(place: Path, kills: int, generator: random.Random) -> dict[str, Any]:
    """Run all kills and controls; the content of the result."""
    begun = time.monotonic()
    whole_folder = fresh(place, "whole")
    finish(whole_folder, START)
    seconds = time.monotonic() - begun
    whole = record(whole_folder / "run")

    moments: list[dict[str, Any]] = []
    runs: list[dict[str, Any]] = []
    while len(moments) < kills:
        folder = fresh(place, f"run{len(runs)}")
        before = len(moments)
        while len(moments) < kills and (moment := kill_once(folder, seconds * generator.random())):
            say(f"kill {len(moments) + 1} of {kills}: {moment}")
            moments.append(moment)
        finish(folder, next_command(folder))
        runs.append({"kills": len(moments) - before, "differences": differences(whole, folder / "run")})
        say(f"run {len(runs)}: {runs[-1]}")

    controls = {name: control(fresh(place, name), whole, spoil) for name, spoil in CONTROLS.items()}
    return {
        "plan": PLAN,
        "kills": len(moments),
        "runs": runs,
        "identical": not any(run["differences"] for run in runs),
        "compared": sorted(whole),
        "uninterrupted_seconds": round(seconds, 2),
        "moments": moments,
        "controls": controls,
        "every_control_was_caught": all(controls.values()),
        "versions": summary(whole_folder / "run")["versions"],
        "platform": platform.platform(),
    }


# --- Killing and finishing ---


def kill_once(folder: Path, after: float) -> dict[str, Any] | None:
    """Kill the run in `folder` after so many seconds; return its state then, or None if it had finished."""
    running = Running(*next_command(folder), cwd=folder)
    time.sleep(after)
    if running.process.poll() is not None:
        returncode, _, error = running.end()
        assert returncode == 0, error
        return None
    running.kill()
    run = folder / "run"
    saved = sorted(path.name for path in run.glob("checkpoints/[0-9]*"))
    return {
        "seconds_after_start": round(after, 3),
        "iterations": iterations_done(run),
        "checkpoint": int(saved[-1]) if saved else None,
        "half_written": sorted(left_behind(run)) if run.is_dir() else [],
    }


def next_command(folder: Path) -> tuple[str, ...]:
    """The command that continues a run; one that died before it wrote run.json can only be started again."""
    return RESUME if (folder / "run" / "run.json").exists() else START


def finish(folder: Path, command: tuple[str, ...]) -> None:
    done = call(*command, cwd=folder, timeout=600)
    assert done.returncode == 0, done.stderr


def differences(whole: dict[str, bytes], run: Path) -> list[str]:
    """Names of files that differ from the uninterrupted run's, and of those that should not exist."""
    mine = record(run)
    wrong = [name for name in sorted(whole.keys() | mine.keys()) if whole.get(name) != mine.get(name)]
    return wrong + left_behind(run)


# --- Negative controls ---


def control(folder: Path, whole: dict[str, bytes], spoil: Callable[[Path], None]) -> list[str]:
    """Differences at the end if `spoil` is applied to a run between kill and resume."""
    running = Running(*START, cwd=folder)
    middle = 3 * CHECKPOINT_EVERY + CHECKPOINT_EVERY // 2  # rows after the last checkpoint
    running.wait_until(lambda: iterations_done(folder / "run") >= middle)
    running.kill()
    spoil(folder / "run")
    finish(folder, RESUME)
    found = differences(whole, folder / "run")
    say(f"control {folder.name}: {found or 'NOT CAUGHT'}")
    return found


def forget_optimizer(run: Path) -> None:
    """Set the meta-optimiser's moments to zero in every checkpoint, with matching hashes."""
    for path in run.glob("checkpoints/[0-9]*"):
        state = torch.load(path / "tensors.pt", weights_only=True)
        for tensors in state["algo"]["meta_optimizer"].values():
            for tensor in tensors:
                tensor.zero_()
        torch.save(state, path / "tensors.pt")
        manifest = json.loads((path / "manifest.json").read_text())
        data = (path / "tensors.pt").read_bytes()
        manifest["files"]["tensors.pt"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        (path / "manifest.json").write_text(json.dumps(manifest))


def keep_rows(run: Path) -> None:
    """Set the file lengths that every checkpoint records to the current ones."""
    for path in run.glob("checkpoints/[0-9]*/manifest.json"):
        manifest = json.loads(path.read_text())
        for name in manifest["positions"]["files"]:
            manifest["positions"]["files"][name] = os.path.getsize(run / f"{name}.csv")
        path.write_text(json.dumps(manifest))


def change_seed(run: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**config, "seed": config["seed"] + 1}, sort_keys=False))


CONTROLS = {"forget_optimizer": forget_optimizer, "keep_rows": keep_rows, "change_seed": change_seed}


def fresh(place: Path, name: str) -> Path:
    folder = place / name
    folder.mkdir()
    return folder


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
