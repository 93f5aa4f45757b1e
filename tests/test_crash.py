"""What goes wrong unexpectedly is told apart: a full disk, no memory, or a bug with its report."""

import errno

import pytest
import torch

from metarl_run.crash import Contained
from metarl_run.errors import Bug, NumericalError, ResourceError


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_disk_that_refuses_is_a_resource(number, tmp_path):
    with pytest.raises(ResourceError) as caught, Contained(tmp_path):
        raise OSError(number, "refused", str(tmp_path / "metrics.csv"))
    assert caught.value.exit_code == 5
    assert "metrics.csv" in str(caught.value)


def test_memory_that_ran_out_is_a_resource(tmp_path):
    with pytest.raises(ResourceError, match="meta_batch_size") as caught, Contained(tmp_path):
        torch.empty(2**60)
    assert caught.value.exit_code == 5
    with pytest.raises(ResourceError), Contained(tmp_path):
        raise MemoryError


def test_anything_else_is_a_bug_with_a_report(tmp_path):
    with pytest.raises(Bug, match="OSError: what") as caught, Contained(tmp_path):
        raise OSError("what")
    assert caught.value.exit_code == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_expected_errors_pass(tmp_path):
    with pytest.raises(NumericalError), Contained(tmp_path):
        raise NumericalError("loss", "must be finite, got nan")
    assert not list(tmp_path.iterdir())
