"""A table's output in state s is its row s."""

import torch

from metarl_run.network.table import Table


def test_rows_are_outputs_for_one_agent_and_for_a_stack():
    network = Table(num_inputs=3, heads={"policy": 2}, initial_value=0.5)
    assert network.init(torch.Generator())["policy"].tolist() == [[0.5, 0.5]] * 3
    stack = torch.arange(12.0).view(2, 3, 2)
    states = torch.tensor([[2, 0], [1, 1]])
    one_hot = torch.eye(3)[states]  # [M, B, S]
    output = network({"policy": stack}, one_hot, {})[0]["policy"]
    assert torch.equal(output, torch.stack([stack[0, [2, 0]], stack[1, [1, 1]]]))
    assert torch.equal(network({"policy": stack[1]}, one_hot[1], {})[0]["policy"], stack[1, [1, 1]])


def test_a_table_is_all_head_and_says_that_it_is_one():
    network = Table(num_inputs=3, heads={"policy": 2, "value": 1}, initial_value=0.5)
    assert network.head_names() == network.init(torch.Generator()).keys() == {"policy", "value"}
    assert network.provides == ("table",)
