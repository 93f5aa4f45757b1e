"""What goes wrong unexpectedly is told apart: a full disk, no memory, or a bug with its report."""

import errno

import numpy as np
import pytest
import torch

from metarl_run.errors import Bug, NumericalError, ResourceError
from metarl_run.system.crash import Contained


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_disk_that_refuses_is_a_resource(number, tmp_path):
    with pytest.raises(ResourceError) as caught, Contained(tmp_path):
        raise OSError(number, "refused", str(tmp_path / "metrics.csv"))
    assert caught.value.exit_code == 5
    assert "metrics.csv" in str(caught.value)


def no_gpu_memory():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 1 GiB")


def no_memory_for_a_process():
    raise OSError(errno.ENOMEM, "Cannot allocate memory")


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        (lambda: torch.empty(2**60), f"tried to allocate {2**62} bytes"),
        (lambda: torch.empty(2**62), "Storage size calculation overflowed"),
        (lambda: np.empty(2**55), "Unable to allocate 256. PiB"),
        (lambda: bytearray(2**60), "MemoryError"),
        (no_gpu_memory, "tried to allocate 2.50 GiB"),
        (no_memory_for_a_process, "Cannot allocate memory"),
    ],
    ids=["torch", "torch beyond all", "numpy", "python", "gpu", "process"],
)
def test_memory_that_ran_out_is_a_resource_told_with_the_keys_that_set_its_size(fails, said, tmp_path):
    with pytest.raises(ResourceError, match="ran out: ") as caught, Contained(tmp_path):
        fails()
    assert caught.value.exit_code == 5
    assert caught.value.where == "memory"
    assert said in caught.value.reason and "\n" not in str(caught.value.reason)
    for key in ("meta_batch_chunk", "meta_batch_size", "episodes_per_task", "env.horizon", "network", "meta_test"):
        assert key in str(caught.value.hint)
    assert not list(tmp_path.iterdir())  # no crash report


def test_what_only_speaks_of_memory_is_a_bug(tmp_path):
    with pytest.raises(Bug), Contained(tmp_path):
        raise ValueError("the agent ran out of memory slots")


def test_anything_else_is_a_bug_with_a_report(tmp_path):
    with pytest.raises(Bug, match="OSError: what") as caught, Contained(tmp_path):
        raise OSError("what")
    assert caught.value.exit_code == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_expected_errors_pass(tmp_path):
    with pytest.raises(NumericalError), Contained(tmp_path):
        raise NumericalError("loss", "must be finite, got nan")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [FileNotFoundError, PermissionError])
def test_a_file_of_the_run_that_cannot_be_used_is_a_resource_and_others_are_a_bug(error, tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(ResourceError, match=r"run/config.yaml: refused"), Contained(tmp_path / "run"):
        raise error(errno.EACCES, "refused", str(tmp_path / "run/config.yaml"))
    with pytest.raises(Bug), Contained(tmp_path / "run"):
        raise error(errno.EACCES, "refused", str(tmp_path / "data.csv"))
