"""Damaged and hostile variants of a run folder: every function changes a folder as its generator says.

Whoever changes a file of a checkpoint on purpose computes the hashes anew; the functions under `DAMAGE` do not.
"""

import hashlib
import io
import json
import os
import pickle
import random
import shutil
import socket
import stat
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from metarl_run.files import SEAL, seal

ESCAPES = ("\x1b[31mred", "\x1b]0;title\x07", "\x9b31m", "\u202egnp.exe", "\x7f", "a\nerror: b", "\u2028", "\ud800")
ODD = (None, True, "text", "", -1, 10**30, 10**4000, 1.5, 1e308, [], {}, [[]], {"a": 1}, [None], *ESCAPES)
"""Values in the place of others."""

FILES = ("run.json", "config.yaml", "metrics.csv", "timing.csv", "adaptation.csv", "train.log", "summary.json")
OTHERS = (".lock", ".owner", ".summary.json.tmp", ".run.json.tmp", ".config.yaml.tmp", "adaptation_curve.svg")
TARGETS = (
    *("os.system", "subprocess.run", "builtins.eval", "pickle.loads", "metarl_run.cli.train.main", "hydra.main"),
    *("metarl_run.config.build.locate", "metarl_run.config.build.build", "metarl_run.run.run.run", "shutil.rmtree"),
    *("metarl_run.system.atomic.write_atomically", "metarl_run.cli.train._call_hydra", "logging.FileHandler"),
    *("metarl_run.algo.maml.MAML", "metarl_run.logger.files.Table", "metarl_run.run.training.Training"),
)


def checkpoints(folder: Path) -> list[Path]:
    return sorted(
        (path for path in (folder / "checkpoints").iterdir() if path.name.isdigit()), key=lambda p: int(p.name)
    )


def parts(folder: Path) -> list[Path]:
    """The files that a resumed run reads."""
    of_checkpoints = [path / name for path in checkpoints(folder) for name in ("manifest.json", "tensors.pt")]
    return [*(folder / name for name in FILES), *of_checkpoints]


def some_checkpoints(folder: Path, generator: random.Random) -> list[Path]:
    """The newest checkpoint, or all of them."""
    found = checkpoints(folder)
    return found if generator.random() < 0.3 else found[-1:]


# --- Damage ---


def flip(folder: Path, generator: random.Random) -> str:
    path = generator.choice(parts(folder))
    data = bytearray(path.read_bytes())
    place = generator.randrange(len(data))
    data[place] ^= 1 << generator.randrange(8)
    path.write_bytes(bytes(data))
    return f"byte {place} of {path.relative_to(folder)}"


def truncate(folder: Path, generator: random.Random) -> str:
    path = generator.choice(parts(folder))
    length = generator.randrange(path.stat().st_size)
    os.truncate(path, length)
    return f"{path.relative_to(folder)} to {length} bytes"


def scramble(folder: Path, generator: random.Random) -> str:
    path = generator.choice(parts(folder))
    data = bytearray(path.read_bytes())
    for _ in range(20):
        data[generator.randrange(len(data))] = generator.randrange(256)
    path.write_bytes(bytes(data))
    return str(path.relative_to(folder))


def remove(folder: Path, generator: random.Random) -> str:
    path = generator.choice([*parts(folder), *checkpoints(folder), folder / "checkpoints"])
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    return str(path.relative_to(folder))


# --- Files of other kinds ---


def other_kind(folder: Path, generator: random.Random) -> str:
    """A link, a FIFO, a device, a socket, a folder or a huge file in the place of a file or folder."""
    whole = [folder / "checkpoints", *checkpoints(folder), folder / ".hydra", folder / "checkpoints" / ".000009.tmp"]
    path = generator.choice([*parts(folder), *(folder / name for name in OTHERS), *whole])
    kind = generator.choice(sorted(KINDS))
    outside = folder.parent / "outside" / path.name
    if path.exists():
        outside.parent.mkdir(exist_ok=True)
        shutil.rmtree(outside, ignore_errors=True)
        shutil.move(path, outside)
    KINDS[kind](path, outside)
    return f"{path.relative_to(folder)}: {kind}"


def _socket(path: Path, outside: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)


def _device(path: Path, outside: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    except OSError:  # only root may
        path.symlink_to("/dev/zero")


def _huge(path: Path, outside: Path) -> None:
    path.touch()
    os.truncate(path, 2**40)


KINDS: dict[str, Callable[[Path, Path], object]] = {
    "link": lambda path, outside: path.symlink_to(outside.absolute()),
    "link to nothing": lambda path, outside: path.symlink_to(outside.parent.absolute() / "nothing"),
    "loop": lambda path, outside: path.symlink_to(path.name),
    "FIFO": lambda path, outside: os.mkfifo(path),
    "device": _device,
    "socket": _socket,
    "folder": lambda path, outside: path.mkdir(),
    "huge": _huge,
}


# --- Records with hashes that are right ---


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every entry, at any depth."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield (*path, key)
        yield from places(entry, (*path, key))


def changed(record: Any, generator: random.Random, values: Sequence[Any] = ODD) -> str:
    """Change one entry of nested containers in place: another value, none, another name, or one more."""
    path = generator.choice(list(places(record)))
    node = record
    for key in path[:-1]:
        node = node[key]
    how = generator.choice(("value", "value", "none", "name", "more"))
    if how == "value" or isinstance(node, list):
        value = generator.choice(values) if generator.random() < 0.9 else deep(generator.choice((60, 900, 100_000)))
        node[path[-1]] = value
        return f"{path} = {str(value)[:30]!r}"[:200] if not isinstance(value, list) else f"{path} = a deep list"
    name = generator.choice((*ESCAPES, "other", "../../x", "__class__"))
    value = node[path[-1]]
    if how != "more":
        del node[path[-1]]
    if how != "none":
        node[name] = value
    return f"{path}: {how} {name!r}"


def deep(levels: int) -> list[Any]:
    made: list[Any] = []
    for _ in range(levels):
        made = [made]
    return made


def text_of(record: Any) -> str:
    """JSON, also of lists that are nested so deeply that json would not write them."""
    try:
        return json.dumps(record, indent=1)
    except RecursionError:
        return json.dumps(_shallow(record), indent=1).replace('"DEEP"', "[" * 100_000 + "]" * 100_000)


def _shallow(value: Any, level: int = 0) -> Any:
    if level > 20:
        return "DEEP"
    if isinstance(value, dict):
        return {key: _shallow(entry, level + 1) for key, entry in value.items()}
    return [_shallow(entry, level + 1) for entry in value] if isinstance(value, list) else value


def write_sealed(path: Path, record: Any) -> None:
    if isinstance(record, dict):
        record.pop(SEAL, None)
        try:
            record = {**record, SEAL: seal(record)}
        except (RecursionError, ValueError):
            record = {**record, SEAL: "0" * 64}
    path.write_text(text_of(record), encoding="utf-8")


def write_tensors(path: Path, data: bytes) -> None:
    """Write tensors.pt, and its size and hash into the manifest."""
    (path / "tensors.pt").write_bytes(data)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["tensors.pt"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    write_sealed(path / "manifest.json", manifest)


def manifest_changed(folder: Path, generator: random.Random) -> str:
    said = ""
    for path in some_checkpoints(folder, generator):
        manifest = json.loads((path / "manifest.json").read_text())
        agent = manifest.pop("agent")  # of which a run that is resumed has its own record
        said = changed(manifest, generator)
        write_sealed(path / "manifest.json", {**manifest, "agent": agent})
    return said


def manifest_text(folder: Path, generator: random.Random) -> str:
    text = generator.choice(
        ("[]", "null", "NaN", '{"format": 1}', '{"format": NaN}', "[" * 10**6, "9" * 10**6, "\ufeff{}")
    )
    for path in some_checkpoints(folder, generator):
        (path / "manifest.json").write_text(text)
    return text[:20]


def run_record_changed(folder: Path, generator: random.Random) -> str:
    record = json.loads((folder / "run.json").read_text())
    record = {key: record[key] for key in ("choices", "overrides", "versions", "configs")}
    said = changed(record, generator)
    (folder / "run.json").write_text(text_of(record), encoding="utf-8")
    return said


def config_changed(folder: Path, generator: random.Random, change: Callable[[Any], str] | None = None) -> str:
    """A configuration that may be a valid one, but asks for nothing that is large."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    said = change(config) if change else changed(config, generator, [v for v in ODD if type(v) not in (int, float)])
    try:
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=generator.random() < 0.5)
    except RecursionError:
        text = "[" * 100_000
    write_config(folder, text.encode("utf-8", "surrogatepass"))
    return said


def write_config(folder: Path, data: bytes) -> None:
    """Write config.yaml, and its hash into every manifest."""
    (folder / "config.yaml").write_bytes(data)
    for path in checkpoints(folder):
        manifest = json.loads((path / "manifest.json").read_text())
        write_sealed(path / "manifest.json", {**manifest, "config": hashlib.sha256(data).hexdigest()})


def config_text(folder: Path, generator: random.Random) -> str:
    name, text = generator.choice(sorted(CONFIG_TEXTS.items()))
    before = (folder / "config.yaml").read_bytes()
    write_config(folder, text if name in ("bytes", "huge") else before + text)
    return name


ALIASES = b"".join(b"a%d: &a%d [%s]\n" % (i, i, b",".join([b"*a%d" % (i - 1) if i else b"x"] * 10)) for i in range(12))
CONFIG_TEXTS = {
    "aliases": ALIASES,
    "deep": b"x: " + b"[" * 50_000,
    "deep mapping": b"x: " + b"{a: " * 50_000,
    "loop": b"x: &x [*x]\n",
    "tag": b"x: !!python/object/apply:os.system ['touch canary']\n",
    "other tag": b"x: !!set {a, b}\n",
    "twice": b"seed: 1\n",
    "bytes": b"\xff\xfe\x00",
    "huge": b"x: " + b"1" * 10**7,
    "digits": b"x: " + b"1" * 10**5 + b"\n",
    "second document": b"--- {}\n",
    "escape": b'"\\e[31m": 1\n',
}


def target(folder: Path, generator: random.Random) -> str:
    """A function or class in the place of a component, or in a value."""
    named = generator.choice(TARGETS)
    arguments = {"command": "touch canary", "argv": ["output_root=canary", "+logger.x={_target_:os.system}"]}
    hostile = {"_target_": named, **dict([generator.choice(sorted(arguments.items()))])}
    place = generator.choice(
        ("env", "algo", "learner", "network", "logger.x", "env.horizon", "algo.meta_optimizer", "seed")
    )

    def change(config: Any) -> str:
        *above, last = place.split(".")
        node = config
        for key in above:
            node = node[key]
        node[last] = hostile
        return f"{place}: {named}"

    return config_changed(folder, generator, change)


# --- Tensors with hashes that are right ---


class Reduced:
    """What runs a command where a pickle is loaded."""

    def __reduce__(self) -> Any:
        return os.system, ("touch canary",)


def zipped(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return made.getvalue()


def saved(state: Any, **options: Any) -> bytes:
    made = io.BytesIO()
    torch.save(state, made, **options)
    return made.getvalue()


def scripted(state: Any) -> bytes:
    made = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), made)
    return made.getvalue()


def entries_of(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def with_entry(state: Any, name: str, data: bytes) -> bytes:
    return zipped({**entries_of(saved(state)), name: data})


def with_pickle(state: Any, data: bytes) -> bytes:
    return with_entry(state, "archive/data.pkl", data)


def shorter_storage(state: Any) -> bytes:
    entries = entries_of(saved(state))
    return zipped({name: data[:4] if "/data/" in name else data for name, data in entries.items()})


def hash_bomb(state: Any) -> bytes:
    """A key that takes for ever to hash: a tuple of a tuple twice, of a tuple twice, …"""
    return with_pickle(state, b"\x80\x02})" + 200 * b"q\x00h\x00\x86" + b"K\x01s.")


ARCHIVES: dict[str, Callable[[Any], bytes]] = {
    "pickle": lambda state: pickle.dumps(Reduced()),
    "pickle in a state": lambda state: saved({**state, "progress": Reduced()}),
    "pickle in an archive": lambda state: with_pickle(state, pickle.dumps({"algo": Reduced()}, protocol=2)),
    "pickle of protocol 4": lambda state: with_pickle(state, pickle.dumps({"algo": {}}, protocol=4)),
    "legacy": lambda state: saved(state, _use_new_zipfile_serialization=False),
    "legacy pickle": lambda state: saved({"x": Reduced()}, _use_new_zipfile_serialization=False),
    "TorchScript": scripted,
    "path": lambda state: with_entry(state, "../../outside/x", b"x"),
    "absolute path": lambda state: with_entry(state, "/tmp/x", b"x"),
    "code": lambda state: with_entry(state, "archive/code/__torch__.py", b"x"),
    "constants": lambda state: with_entry(state, "archive/constants.pkl", b"x"),
    "compressed": lambda state: zipped(entries_of(saved(state)), zipfile.ZIP_DEFLATED),
    "bomb": lambda state: zipped({**entries_of(saved(state)), "archive/data/0": bytes(2**28)}, zipfile.ZIP_DEFLATED),
    "short storages": shorter_storage,
    "hash bomb": hash_bomb,
    "big buffer": lambda state: with_pickle(state, b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b"."),
    "big memo": lambda state: with_pickle(state, b"\x80\x02}r\xff\xff\xff\xff."),
    "empty archive": lambda state: zipped({}),
    "empty": lambda state: b"",
    "no mapping": lambda state: saved([state]),
    "sparse": lambda state: saved(put(state, lambda x: x.to_sparse())),
    "meta": lambda state: saved(put(state, lambda x: x.to("meta"))),
    "quantised": lambda state: saved(put(state, lambda x: torch.quantize_per_tensor(x.float(), 0.1, 0, torch.qint8))),
    "double": lambda state: saved(put(state, lambda x: x.double())),
    "complex": lambda state: saved(put(state, lambda x: x.to(torch.complex64))),
    "integers": lambda state: saved(put(state, lambda x: x.long())),
    "one more axis": lambda state: saved(put(state, lambda x: x[None])),
    "one number": lambda state: saved(put(state, lambda x: x.flatten()[:1])),
    "transposed": lambda state: saved(
        put(state, lambda x: x.mT if x.dim() > 1 and x.shape[0] != x.shape[1] else x[None])
    ),
    "numbers": lambda state: saved(put(state, lambda x: x.tolist())),
    "text": lambda state: saved(put(state, lambda x: "text")),
    "escape": lambda state: saved(put(state, lambda x: {ESCAPES[0]: x})),
}


def put(state: Any, change: Callable[[torch.Tensor], Any]) -> Any:
    """The state with its first tensor changed."""
    for key, value in state.items():
        if isinstance(value, torch.Tensor):
            return {**state, key: change(value)}
        if isinstance(value, dict) and value:
            return {**state, key: put(value, change)}
    raise AssertionError("there is no tensor")


def archive(folder: Path, generator: random.Random) -> str:
    name = generator.choice(sorted(ARCHIVES))
    for path in some_checkpoints(folder, generator):
        write_tensors(path, ARCHIVES[name](torch.load(path / "tensors.pt", weights_only=True)))
    return name


def state_changed(folder: Path, generator: random.Random) -> str:
    said = ""
    for path in some_checkpoints(folder, generator):
        state = torch.load(path / "tensors.pt", weights_only=True)
        while True:
            said = changed(state, generator)
            try:
                data = saved(state)
                break
            except (RecursionError, UnicodeEncodeError):  # which cannot be pickled
                state = torch.load(path / "tensors.pt", weights_only=True)
        write_tensors(path, data)
    return said


def renamed(folder: Path, generator: random.Random) -> str:
    """A checkpoint under a name of another iteration."""
    path, name = checkpoints(folder)[-1], generator.choice(("999999", "000000", "9" * 200, "000007", "0" * 30))
    shutil.copytree(path, path.with_name(name))
    if generator.random() < 0.5:
        shutil.rmtree(path)
    return name


DAMAGE = (flip, truncate, scramble, remove)
HOSTILE = (
    *(other_kind, manifest_changed, manifest_text, run_record_changed, config_changed, config_text, target),
    *(archive, state_changed, renamed),
)
