"""The place of a process among those that an engine started."""

import pytest

from metarl_run.system.launched import first_node, launched


def test_a_process_that_a_user_starts_has_none():
    assert launched({}) is None
    assert launched({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}) is None


def test_torchrun_tells_it():
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")
    found = launched({**dict(zip(names, "53129", strict=True)), "WORLD_SIZE": "8", "MASTER_ADDR": "node1"})
    assert (found.rank, found.size, found.local_rank, found.local_size) == (5, 8, 1, 2)
    assert found.environment == {"MASTER_ADDR": "node1", "MASTER_PORT": "9"}


def test_srun_tells_it_and_all_tasks_of_a_step_meet_at_the_same_port():
    common = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_JOB_ID": "17", "SLURM_STEP_ID": "0"}
    common |= {"SLURM_STEP_NODELIST": "gpu[03-04]", "SLURM_STEP_TASKS_PER_NODE": "2(x2)", "SLURM_CPUS_PER_TASK": "4"}
    ranks = [launched({**common, "SLURM_PROCID": str(i), "SLURM_LOCALID": str(i % 2)}) for i in range(4)]
    assert [(one.rank, one.local_rank, one.local_size, one.size) for one in ranks] == [
        (0, 0, 2, 4),
        (1, 1, 2, 4),
        (2, 0, 2, 4),
        (3, 1, 2, 4),
    ]
    assert {one.environment["MASTER_ADDR"] for one in ranks} == {"gpu03"}
    assert len({one.environment["MASTER_PORT"] for one in ranks}) == 1
    assert all(one.own_cpus for one in ranks)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("node1", "node1"), ("a,b", "a"), ("n[03-05,7],g1", "n03"), ("n[1-2]-x", "n1-x"), ("n[10,12]", "n10")],
)
def test_the_first_of_a_list_of_nodes(nodes, first):
    assert first_node(nodes) == first
