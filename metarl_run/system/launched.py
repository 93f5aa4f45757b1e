"""Place of this process among those that an engine started for one run: torchrun, SLURM's srun, or our own launcher.

Nothing is imported: the place is known from the environment, before torch is.
"""

import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

OUTCOME = "METARL_RUN_OUTCOME"
"""Environment variable of ranks that our own launcher started: file for the exit code of a run that is not to be tried
again."""


@dataclass(frozen=True)
class Launched:
    """One of several processes of a run.

    Attributes:
        engine: that started it.
        rank, size: number of this process, and of all.
        local_rank, local_size: the same of those on this machine.
        environment: variables by which the processes find each other.
        own_cpus: each has CPUs of its own on this machine, rather than a share of all.
    """

    engine: str
    rank: int
    size: int
    local_rank: int
    local_size: int
    environment: Mapping[str, str]
    own_cpus: bool = False


def launched(environment: Mapping[str, str] = os.environ) -> Launched | None:
    """This process's place; None if nobody but the user started it."""
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return _of_torchrun(environment)
    if int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1 and "SLURM_PROCID" in environment:
        return _of_slurm(environment)
    return None


def _of_torchrun(environment: Mapping[str, str]) -> Launched:
    rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    names = ("MASTER_ADDR", "MASTER_PORT")
    return Launched(
        engine="torchrun",
        rank=rank,
        size=size,
        local_rank=int(environment.get("LOCAL_RANK", rank)),
        local_size=int(environment.get("LOCAL_WORLD_SIZE", size)),
        environment={name: environment[name] for name in names if name in environment},
    )


def _of_slurm(environment: Mapping[str, str]) -> Launched:
    rank, size = int(environment["SLURM_PROCID"]), int(environment["SLURM_STEP_NUM_TASKS"])
    job = environment.get("SLURM_JOB_ID", "") + "." + environment.get("SLURM_STEP_ID", "")
    nodes = environment.get("SLURM_STEP_NODELIST", "localhost")
    defaults = {"MASTER_ADDR": first_node(nodes), "MASTER_PORT": str(20000 + zlib.crc32(job.encode()) % 20000)}
    found = {name: environment.get(name, value) for name, value in defaults.items()}
    per_node = environment.get("SLURM_STEP_TASKS_PER_NODE", str(size))
    first = re.match(r"\d+", per_node)
    return Launched(
        engine="srun",
        rank=rank,
        size=size,
        local_rank=int(environment.get("SLURM_LOCALID", rank)),
        local_size=int(first[0]) if first else size,
        environment={**found, "RANK": str(rank), "WORLD_SIZE": str(size)},
        own_cpus="SLURM_CPUS_PER_TASK" in environment,
    )


def first_node(nodes: str) -> str:
    """The first of SLURM's list of nodes: `node03` of `node[03-05,7],gpu1`."""
    found = re.match(r"([^,\[]+)(?:\[(\d+)[^\]]*\])?([^,\[]*)", nodes)
    return nodes if found is None else found[1] + (found[2] or "") + found[3]
