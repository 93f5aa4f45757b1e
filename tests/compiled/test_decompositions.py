"""What compiled programs compute otherwise is what torch computes."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from metarl_run.compiled.decompositions import FEW, LARGE, ON_CPU, SMALL, THIN, sigmoid, tanh
from metarl_run.network.affine import NARROW
from metarl_run.network.product import MKL, using

M = 3


def normals(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def decomposed(function, *tensors):
    """The result of the traced graph, and which operations it consists of."""
    graph = make_fx(function, decomposition_table=ON_CPU)(*tensors)
    return graph(*tensors), {str(node.target) for node in graph.graph.nodes if node.op == "call_function"}


def test_rational_functions():
    x = torch.cat([torch.linspace(-40, 40, 200_001), torch.logspace(-30, 0, 1001)])
    for function, exact, bound in ((sigmoid, torch.sigmoid, 2e-7), (tanh, torch.tanh, 4e-7)):
        error = (function(x).double() - exact(x.double())).abs()
        assert error.max() < bound
        assert torch.equal(function(torch.zeros(1)), exact(torch.zeros(1)))


@pytest.mark.parametrize("inputs", [1, FEW, FEW + 1, SMALL // 5 + 1])
@pytest.mark.parametrize("rows", [1, 2, 11, 12, 15])
def test_a_product_of_stacks(inputs, rows):
    bias, x, weight = (normals(*shape) for shape in [(M, 1, 5), (M, rows, inputs), (M, inputs, 5)])

    def function(bias, x, weight):
        return torch.baddbmm(bias, x, weight, beta=-2, alpha=3)

    found, operations = decomposed(function, bias, x, weight)
    torch.testing.assert_close(found, function(bias, x, weight))
    generated = inputs <= FEW or (inputs * 5 <= SMALL and rows not in (1, 11))
    assert ("aten.bmm.default" in operations) == (not generated)


@pytest.mark.parametrize("inputs", [1, THIN, THIN + 1])
@pytest.mark.parametrize("rows", [11, 12])
@pytest.mark.parametrize("columns", [NARROW - 1, NARROW, 70, LARGE // (THIN + 1) // 12 + 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_product_of_matrices(inputs, rows, columns, dtype):
    bias, x, weight = (normals(*shape, dtype=dtype) for shape in [(1, columns), (rows, inputs), (inputs, columns)])

    def function(bias, x, weight):
        return torch.addmm(bias, x, weight, beta=-2, alpha=3)

    found, operations = decomposed(function, bias, x, weight)
    torch.testing.assert_close(found, function(bias, x, weight))
    if (inputs <= THIN and rows == 12) or columns < NARROW:
        assert "aten.sum.dim_IntList" in operations
    elif dtype == torch.float32 and rows * weight.numel() >= LARGE:
        assert "metarl_run.product.default" in operations
    else:
        assert "aten.mm.default" in operations


def test_products_of_views():
    """Rows that lie apart, and a transposed weight."""
    x, weight = normals(200, 380, dtype=torch.float32)[:, 10:310] / 300**0.5, normals(200, 300, dtype=torch.float32).mT
    found, operations = decomposed(torch.mm, x, weight)
    assert operations == {"metarl_run.product.default"}
    torch.testing.assert_close(found, x @ weight)


def test_where_onednn_is_not_in_use_a_product_is_torchs():
    x, weight = normals(200, 300, dtype=torch.float32), normals(300, 200, dtype=torch.float32)
    with using(MKL):
        assert decomposed(torch.mm, x, weight)[1] == {"aten.mm.default"}


@pytest.mark.parametrize("right", [False, True])
def test_where_a_number_belongs_among_bounds(right):
    bounds = torch.tensor([[0.0, 0.0, 0.25, 1.0], [0.5, 0.5, 0.5, 0.5]])
    x = torch.tensor([[-1.0, 0.0, 0.25, 0.3, 1.0, 2.0], [0.4, 0.5, 0.6, 0.0, 1.0, 0.5]])

    def function(bounds, x):
        return torch.searchsorted(bounds, x, right=right)

    found, operations = decomposed(function, bounds, x)
    assert "aten.searchsorted.Tensor" not in operations
    assert torch.equal(found, function(bounds, x))


def test_between_two_numbers():
    start, end, weight = normals(50, seed=1), normals(50, seed=2), torch.linspace(0, 1, 50).double()
    found, _ = decomposed(torch.lerp, start, end, weight)
    torch.testing.assert_close(found, torch.lerp(start, end, weight))
