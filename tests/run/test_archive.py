"""Reader of tensors.pt: reads what torch.save writes of a state, and nothing that does more."""

import contextlib

import hostile
import pytest
import torch

from metarl_run.run.archive import STORAGES, read_archive

STATE = {
    "algo": {
        "meta_params": {"w": torch.randn(3, 2), "empty": torch.empty(0, 4), "scalar": torch.tensor(2.5)},
        "generator": torch.Generator().get_state(),
        "memory": [torch.arange(4), torch.tensor([True, False])],
    },
    "progress": {"iteration": 3, "steps": 2**40, "score": -0.5, "none": None, "flag": True, "pair": (1, "é")},
}


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.stride() == other.stride() and torch.equal(one, other)
    return type(one) is type(other) and one == other


def test_it_reads_what_was_saved():
    assert same(read_archive(hostile.saved(STATE)), STATE)


@pytest.mark.parametrize("dtype", STORAGES.values(), ids=str)
def test_every_dtype(dtype):
    tensor = torch.tensor([[0, 1, 1], [1, 0, 1]]).to(dtype)
    assert same(read_archive(hostile.saved({"x": tensor})), {"x": tensor})


def test_views_and_shared_storages():
    whole = torch.randn(4, 6)
    state = {"whole": whole, "part": whole[1:3, ::2], "turned": whole.T, "spread": torch.zeros(1, 2).expand(3, 2)}
    found = read_archive(hostile.saved(state))
    assert same(found, state)
    assert found["part"].untyped_storage().data_ptr() == found["whole"].untyped_storage().data_ptr()


def test_what_modules_and_optimisers_save():
    net = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "parameter": net.weight}
    assert same(read_archive(hostile.saved(state))["net"]["weight"], net.weight.detach())
    assert same(read_archive(hostile.saved(state))["optimizer"], optimizer.state_dict())


READ = (
    "no mapping",
    "big memo",
    "double",
    "integers",
    "one more axis",
    "one number",
    "transposed",
    "numbers",
    "text",
    "escape",
)
"""Archives of plain containers: `metarl_run.run.form` tells that they are not a run's."""


@pytest.mark.parametrize("name", sorted({*hostile.ARCHIVES} - {*READ}))
@pytest.mark.filterwarnings("ignore")
def test_what_else_an_archive_may_hold_is_refused_and_not_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = hostile.ARCHIVES[name](STATE)
    with pytest.raises(ValueError, match=r"^\w+: "):
        read_archive(data)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_archive_is_refused_or_read(seed):
    """Whatever the bytes, nothing but a ValueError leaves the reader."""
    data = bytearray(hostile.saved(STATE))
    generator = hostile.random.Random(seed)
    for _ in range(100):
        place = generator.randrange(len(data))
        before = data[place]
        data[place] ^= 1 << generator.randrange(8)
        with contextlib.suppress(ValueError):
            read_archive(bytes(data))
        data[place] = before
