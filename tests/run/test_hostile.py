"""A sample of what `scripts/studies/hostile_loop` tries: refused, or gone on with from what is whole."""

import random
import shutil
import warnings

import hostile
import pytest
import torch

from metarl_run.config.compose import compose_points
from metarl_run.config.plan import Plan
from metarl_run.config.stored import stored_run
from metarl_run.errors import UNSEEN, StateError
from metarl_run.report.run import curve
from metarl_run.run.archive import read_archive
from metarl_run.run.run import run
from metarl_run.system.interruption import StopRequest

FUNCTIONS = [f for f in (*hostile.DAMAGE, *hostile.HOSTILE) if f not in (hostile.config_changed, hostile.target)]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(curve, "save", lambda *drawn: [])


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """A run that was cut before its last words, with what it ended in."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    plan = ("experiment=smoke", "threads=1", "meta_iterations=3", "checkpoint_every=1", "validate_every=2")
    (point,) = compose_points(plan).points
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curve, "save", lambda *drawn: [])
        run(Plan(point.config, point.choices, list(point.overrides)), folder, StopRequest())
    ended = results(folder)
    (folder / "summary.json").write_text('{"status": "interrupted"}')
    return folder, ended


def results(folder):
    rows = [(folder / f"{name}.csv").read_bytes() for name in ("metrics", "adaptation")]
    newest = hostile.checkpoints(folder)[-1]
    params = read_archive((newest / "tensors.pt").read_bytes())["algo"]["meta_params"]
    return rows, {name: tensor.tolist() for name, tensor in params.items()}


def resumed(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(stored_run(folder, []), folder, StopRequest())
    return results(folder)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_a_variant_is_refused_or_ends_as_the_run_would_have(function, seed, cut, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    folder, ended = cut
    shutil.copytree(folder, tmp_path / "run")
    function(tmp_path / "run", random.Random(seed))
    outside = {path: path.read_bytes() for path in tmp_path.glob("outside/**/*") if path.is_file()}
    try:
        assert resumed(tmp_path / "run") == ended
    except StateError as error:
        assert UNSEEN.findall(str(error)) in ([], ["\n"])
    assert not UNSEEN.findall("".join(record.getMessage() for record in caplog.records))
    assert not (tmp_path / "canary").exists()
    assert all(path.read_bytes() == content for path, content in outside.items())


@pytest.mark.parametrize(
    "name", ["double", "one number", "numbers", "text", "sparse", "TorchScript", "pickle in a state"]
)
def test_a_checkpoint_that_no_run_wrote_is_passed_over_although_its_hashes_are_right(name, cut, tmp_path, capsys):
    folder, ended = cut
    shutil.copytree(folder, tmp_path / "run")
    newest = hostile.checkpoints(tmp_path / "run")[-1]
    state = torch.load(newest / "tensors.pt", weights_only=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hostile.write_tensors(newest, hostile.ARCHIVES[name](state))
    assert resumed(tmp_path / "run") == ended
    assert "000003: tensors.pt" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("iteration",), "3"),
        (("iteration",), 2),
        (("positions",), []),
        (("positions", "files"), [1]),
        (("positions", "files", "metrics"), "text"),
        (("positions", "files", "metrics"), -1),
        (("positions", "files", "metrics"), 10**30),
        (("positions", "files", "metrics"), hostile.deep(1000)),
        (("positions",), {}),
        (("positions", "files"), {}),
        (("files",), {}),
        (("format",), [1]),
    ],
)
def test_so_is_one_whose_manifest_no_run_wrote(where, value, cut, tmp_path, capsys):
    folder, ended = cut
    shutil.copytree(folder, tmp_path / "run")
    newest = hostile.checkpoints(tmp_path / "run")[-1]
    manifest = hostile.json.loads((newest / "manifest.json").read_text())
    node = manifest
    for key in where[:-1]:
        node = node[key]
    node[where[-1]] = value
    hostile.write_sealed(newest / "manifest.json", manifest)
    assert resumed(tmp_path / "run") == ended
    assert "using the one before" in capsys.readouterr().err


def test_where_there_is_none_before_it_is_refused_and_nothing_changes(cut, tmp_path):
    shutil.copytree(cut[0], tmp_path / "run")
    for path in hostile.checkpoints(tmp_path / "run"):
        state = torch.load(path / "tensors.pt", weights_only=True)
        hostile.write_tensors(path, hostile.ARCHIVES["double"](state))
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.[pc]*") if path.is_file()}
    with pytest.raises(StateError, match=r"none of 2 checkpoints is usable") as caught:
        resumed(tmp_path / "run")
    assert caught.value.exit_code == 3
    assert before == {path: path.read_bytes() for path in before}


def test_a_file_in_the_place_of_the_checkpoints(cut, tmp_path):
    shutil.copytree(cut[0], tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints")
    (tmp_path / "run/checkpoints").touch()
    with pytest.raises(StateError, match="must be a folder of checkpoints"):
        resumed(tmp_path / "run")


@pytest.mark.parametrize("seed", range(40))
def test_any_flipped_bit_of_run_json_is_noticed(seed, cut, tmp_path):
    shutil.copytree(cut[0], tmp_path / "run")
    path, generator = tmp_path / "run/run.json", random.Random(seed)
    data = bytearray(path.read_bytes())
    place = generator.randrange(len(data))
    data[place] ^= 1 << generator.randrange(8)
    path.write_bytes(bytes(data))
    if hostile.json.loads(cut[0].joinpath("run.json").read_bytes()) != tolerant(bytes(data)):
        with pytest.raises(StateError):
            stored_run(tmp_path / "run", [])


def tolerant(data):
    try:
        return hostile.json.loads(data)
    except ValueError:
        return None
