"""A SLURM of one node in a folder: munge, accounting in MariaDB, controller and node, all on the loopback interface.

    apt-get install slurm-wlm slurmdbd munge mariadb-server-core

Nothing outside the folder is touched. Commands of SLURM find it by the environment variable SLURM_CONF. There are two
partitions of the same two processors: jobs of `high` preempt those of `low`, which go back into the queue.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PROGRAMS = ("munged", "mariadbd", "mariadb-install-db", "slurmdbd", "slurmctld", "slurmd", "sbatch", "sacct")
PATIENCE = 240.0
"""Seconds that a daemon has to answer."""

ACCOUNTING = """\
AuthType=auth/munge
AuthInfo=socket={place}/munge/socket
DbdHost=localhost
DbdPort={dbd}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={mariadb}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
LogFile={place}/slurmdbd.log
PidFile={place}/slurmdbd.pid
"""
CLUSTER = """\
ClusterName=study
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={slurmctld}
SlurmdPort={slurmd}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# a job that was put back begins once its old credential has expired
AuthInfo=socket={place}/munge/socket,cred_expire=5
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd.log
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SlurmdTimeout=20
KillWait=30
MaxArraySize=1001
SchedulerParameters=sched_interval=2,sched_min_interval=100000,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePass={place}/munge/socket
AccountingStoragePort={dbd}
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1000 State=UNKNOWN
PartitionName=low Nodes={host} Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=20
PartitionName=high Nodes={host} PriorityTier=10 PreemptMode=OFF
"""


class OneNode:
    """The daemons, started with `with`.

    Args:
        place: folder for everything that they write.
        cpus: that jobs may have.

    Attributes:
        environment: variables by which commands find it.
    """

    def __init__(self, place: Path, cpus: int = 2) -> None:
        self.place, self.cpus = place.absolute(), cpus
        self.environment = {"SLURM_CONF": str(self.place / "slurm.conf")}
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "OneNode":
        if missing := [name for name in PROGRAMS if _path(name) is None]:
            raise SystemExit(f"not installed: {', '.join(missing)}; see the head of {Path(__file__).name}")
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for daemon in reversed([*self.daemons.values()]):
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def call(self, *command: str) -> str:
        """What a command of SLURM prints.

        Raises:
            CalledProcessError: if it fails.
        """
        done = subprocess.run(command, env=os.environ | self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
        return done.stdout

    def start_node(self) -> None:
        """Start the daemon of the node, as at its boot."""
        self._daemon("slurmd", "-D", "-N", _host())
        self._wait("node", lambda: "idle" in self.call("sinfo", "--noheader", "--format=%T", "--partition=low"))

    def crash_node(self) -> None:
        """End the node as a power cut does: its daemon and all processes of its jobs at once."""
        self.daemons.pop("slurmd").kill()
        for process in _processes_of_jobs():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def _start(self) -> None:
        for name in ("munge", "db", "state", "spool"):
            (self.place / name).mkdir(parents=True, exist_ok=True)
        (self.place / "munge").chmod(0o700)
        ports = _free_ports("mariadb", "dbd", "slurmctld", "slurmd")
        said = {"place": self.place, "host": _host(), "cpus": self.cpus, **ports}
        (self.place / "slurm.conf").write_text(CLUSTER.format(**said))
        (self.place / "slurmdbd.conf").write_text(ACCOUNTING.format(**said))
        (self.place / "slurmdbd.conf").chmod(0o600)
        self._munge()
        self._database(ports["mariadb"])
        self._daemon("slurmdbd", "-D")
        self._wait("slurmdbd", lambda: self.call("sacctmgr", "--immediate", "list", "cluster"))
        with contextlib.suppress(subprocess.CalledProcessError):  # there is one already
            self.call("sacctmgr", "--immediate", "add", "cluster", "study")
        self._daemon("slurmctld", "-D")
        self._wait("slurmctld", lambda: "UP" in self.call("scontrol", "ping"))
        self.start_node()

    def _munge(self) -> None:
        folder = self.place / "munge"
        key = folder / "key"
        if not key.exists():
            key.touch(mode=0o600)
            key.write_bytes(os.urandom(128))
        names = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        places = [f"--{option}={folder / name}" for option, name in names.items()]
        self._daemon("munged", "--foreground", "--force", *places)
        self._wait("munged", lambda: (folder / "socket").exists())

    def _database(self, port: int) -> None:
        data, address = self.place / "db", self.place / "db.socket"
        if not (data / "mysql").exists():
            options = ("--auth-root-authentication-method=normal", "--skip-test-db", "--user=root")
            subprocess.run(
                [_found("mariadb-install-db"), f"--datadir={data}", *options], check=True, stdout=subprocess.DEVNULL
            )
        here = (f"--datadir={data}", f"--socket={address}", f"--port={port}", "--bind-address=127.0.0.1")
        self._daemon("mariadbd", "--no-defaults", *here, "--user=root", "--innodb-lock-wait-timeout=900")
        self._wait("mariadbd", address.exists)
        for text in (
            "CREATE USER IF NOT EXISTS slurm@'127.0.0.1' IDENTIFIED BY 'slurm'",
            "CREATE USER IF NOT EXISTS slurm@localhost IDENTIFIED BY 'slurm'",
            "GRANT ALL ON slurm_acct_db.* TO slurm@'127.0.0.1'",
            "GRANT ALL ON slurm_acct_db.* TO slurm@localhost",
        ):
            subprocess.run([_found("mariadb"), "--no-defaults", f"--socket={address}", "-e", text], check=True)

    def _daemon(self, name: str, *arguments: str) -> None:
        with (self.place / f"{name}.printed").open("ab") as printed:
            self.daemons[name] = subprocess.Popen(
                [_found(name), *arguments],
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                start_new_session=True,
            )

    def _wait(self, name: str, true: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(subprocess.CalledProcessError):
                if true():
                    return
            ended = [name for name, daemon in self.daemons.items() if daemon.poll() is not None]
            if ended or time.monotonic() > deadline:
                printed = "\n".join(path.read_text(errors="replace")[-800:] for path in self.place.glob("*.printed"))
                raise SystemExit(f"{name} does not answer; ended: {ended}\n{printed}")
            time.sleep(0.2)


def versions() -> dict[str, str]:
    """Of the programs."""
    asked = {"slurm": ("sinfo", "--version"), "munge": ("munged", "--version"), "mariadb": ("mariadbd", "--version")}
    return {
        name: subprocess.run([_found(program), *options], capture_output=True, text=True).stdout.strip()
        for name, (program, *options) in asked.items()
    }


def _processes_of_jobs() -> list[int]:
    """The keepers of job steps and all that they have started, the keepers first so that they report nothing."""
    text = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,args="], capture_output=True, text=True).stdout
    rows = [(int(pid), int(parent), rest) for pid, parent, rest in (line.split(None, 2) for line in text.splitlines())]
    found = [pid for pid, _, args in rows if args.startswith("slurmstepd")]
    for pid in found:
        found += [child for child, parent, _ in rows if parent == pid and child not in found]
    return found


def _free_ports(*names: str) -> dict[str, int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in names]
    ports = {name: each.getsockname()[1] for name, each in zip(names, sockets, strict=True)}
    for each in sockets:
        each.close()
    return ports


def _host() -> str:
    return socket.gethostname().partition(".")[0]


def _path(program: str) -> str | None:
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))


def _found(program: str) -> str:
    path = _path(program)
    assert path is not None
    return path


def main(command: Sequence[str]) -> int:
    """Run a command beside such a SLURM in a folder: `slurm_node.py FOLDER COMMAND…`."""
    place, *words = command
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the daemons are ended
    with OneNode(Path(place)) as node:
        return subprocess.run(words, env=os.environ | node.environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
