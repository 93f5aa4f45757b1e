"""The papers' numbers as they stand in the papers, typed here a second time, and what they may be off by."""

from pathlib import Path

import pytest

from metarl_run.config.compose import compose_points
from metarl_run.config.table import Table, changed, table_of
from metarl_run.folders import CONFIG_DIR
from metarl_run.table.statistics import matched

TABLES = ("rl2_bandits", "rl2_mdps", "snail_bandits", "snail_mdps", "rl3", "dpt_bandits")


@pytest.fixture(scope="module")
def tables() -> dict[str, Table]:
    return {name: table_of(compose_points([f"experiment={name}"]).points[0].config["table"]) for name in TABLES}


PUBLISHED = {
    ("rl2_bandits", "10,5"): "Random 5.0, Gittins 6.6, TS 5.7, OTS 6.5, UCB1 6.7, eps-Greedy 6.6, Greedy 6.6, RL2 6.7",
    ("rl2_bandits", "100,10"): "Random 49.9, Gittins 82.8, TS 76.7, OTS 81.4, UCB1 82.4, eps-Greedy 77.4, RL2 83.5",
    ("rl2_bandits", "500,50"): "Random 249.6, Gittins 463.7, TS 427.2, OTS 437.6, UCB1 457.6, Greedy 402.8, RL2 438.9",
    ("rl2_mdps", "10"): "Random 100.1, PSRL 138.1, OPSRL 144.1, UCRL2 146.6, BEB 150.2, eps-Greedy 132.8, Greedy 134.8",
    ("rl2_mdps", "50"): "Random 499.7, PSRL 904.4, OPSRL 930.7, UCRL2 918.9, BEB 917.8, eps-Greedy 823.3, RL2 936.1",
    ("rl2_mdps", "100"): "PSRL 1939.5, OPSRL 1973.9, UCRL2 1942.1, BEB 1935.1, Greedy 1578.5, RL2 1913.7",
    ("snail_bandits", "500,10"): "Gittins 437.8, Random 249.0, LSTM 432.5",
    ("snail_bandits", "1000,50"): "Gittins 944.1, Random 499.8, LSTM 847.43",
    ("snail_mdps", "10"): "Random 0.482, eps-Greedy 0.640, PSRL 0.665, OPSRL 0.694, UCRL2 0.706, LSTM 0.752",
    ("snail_mdps", "100"): "Random 0.481, eps-Greedy 0.857, PSRL 0.934, OPSRL 0.951, UCRL2 0.936, LSTM 0.922",
    ("rl3", "bandit_500"): "RL2 392.1, RL3 393.2, RL3-Markov 391.75",
    ("rl3", "mdp_1000"): "RL2 1871.8, RL3 1916.8",
    ("dpt_bandits", "500"): "UCB 0.9759, TS 0.9779, DPT 0.9753",
}


@pytest.mark.parametrize(("name", "row"), PUBLISHED)
def test_the_numbers_are_the_papers(name: str, row: str, tables: dict[str, Table]) -> None:
    for entry in PUBLISHED[name, row].split(", "):
        column, number = entry.split()
        assert tables[name].protocol[row].published[column] == float(number)


def test_the_true_prior_is_the_distribution_of_the_tasks() -> None:
    """Normal mean rewards and symmetric Dirichlets of `random_mdp`, for every agent; see conf/env/random_mdp.yaml."""
    config = compose_points(["experiment=rl2_mdps"]).points[0].config
    tasks, table = config["env"]["meta_test"], config["table"]
    _, mean, deviation = tasks["mean_reward"]
    true = {"reward_mean": mean, "reward_precision": deviation**-2, "concentration": tasks["concentration"]}
    true["noise_precision"] = config["env"]["reward_deviation"] ** -2
    assert table["not_compared"] == ["true prior"] and len(table["blocks"]["true prior"]) == 6
    for column, changes in table["blocks"]["true prior"].items():
        prior = changed(table["agents"][column]["algo"], changes)["prior"]
        assert {key: prior[key] for key in true} == true, column


@pytest.mark.parametrize(
    ("name", "rows", "columns"),
    [
        ("rl2_bandits", 9, 8),
        ("rl2_mdps", 5, 8),
        ("snail_bandits", 10, 3),
        ("snail_mdps", 5, 6),
        ("rl3", 5, 4),
        ("dpt_bandits", 1, 4),
    ],
)
def test_every_row_and_column_is_there(name: str, rows: int, columns: int, tables: dict[str, Table]) -> None:
    assert (len(tables[name].protocol), len(tables[name].agents)) == (rows, columns)


@pytest.mark.parametrize(
    ("name", "row", "column", "tolerance"),
    [
        *(("rl2_bandits", f"10,{k}", "TS", 0.25) for k in (5, 10, 50)),
        *(("rl2_bandits", f"100,{k}", "Greedy", x) for k, x in ((5, 1.5), (10, 1.2), (50, 1.0))),
        *(("rl2_bandits", f"500,{k}", "UCB1", x) for k, x in ((5, 7.3), (10, 4.6), (50, 2.5))),
        *(("rl2_bandits", f"500,{k}", "Greedy", x) for k, x in ((5, 7.9), (10, 6.1), (50, 5.8))),
        *(("rl2_mdps", str(n), "BEB", x) for n, x in ((10, 2.5), (25, 5.8), (50, 11), (75, 16.5), (100, 22))),
    ],
)
def test_the_tolerances_are_three_standard_errors_of_the_paper(
    name: str, row: str, column: str, tolerance: float, tables: dict[str, Table]
) -> None:
    declared = tables[name].protocol[row]
    assert declared.tolerance_of(column) == tolerance
    paper = declared.published[column]
    assert paper is not None and matched(paper - tolerance, paper, tolerance, one_sided=False, standard_error=0.0)


def test_rows_have_the_lifetimes_and_tasks_of_their_keys(tables: dict[str, Table]) -> None:
    for name in ("rl2_bandits", "snail_bandits"):
        for key, row in tables[name].protocol.items():
            n, k = map(int, key.split(","))
            assert (row.episodes, row.env) == (n, {"num_arms": k})
    for name in ("rl2_mdps", "snail_mdps"):
        assert all(row.episodes == int(key) and row.env == {} for key, row in tables[name].protocol.items())
    rl3 = tables["rl3"].protocol
    assert [row.episodes for row in rl3.values()] == [100, 500, 10, 50, 100]  # episodes of MDPs have 10 steps
    assert [row.env.get("num_arms") for row in rl3.values()] == [5, 5, None, None, None]
    assert rl3["mdp_1000"].deviation == {"RL2": 7.4, "RL3": 7.4, "RL3-prior": 7.4}


def test_rl3_is_the_papers_and_the_one_that_is_given_the_prior_gets_no_verdict(tables: dict[str, Table]) -> None:
    rl3 = tables["rl3"]
    assert rl3.not_compared == ["RL3-prior"]
    for row in ("mdp_100", "mdp_500", "mdp_1000"):
        papers, variant = (
            compose_points([f"experiment={rl3.agents[column].experiments[row]}"]).points[0].config
            for column in ("RL3", "RL3-prior")
        )
        planner = {"reward_prior": 0.0, "reward_weight": 0.0, "transition_weight": 0.0, "optimism": [0.0]}
        assert {key: papers["algo"][key] for key in planner} == planner
        assert papers["algo"] == variant["algo"] | planner  # and nothing else differs
        assert papers["budgets"] == variant["budgets"] and papers["learner"] == variant["learner"]
        assert papers["published"]["lifetime_return"] is not None and variant["published"]["lifetime_return"] is None


def test_the_grids_are_the_papers(tables: dict[str, Table]) -> None:
    agents = {**tables["rl2_bandits"].agents, **{f"mdp {k}": v for k, v in tables["rl2_mdps"].agents.items()}}
    grids = {name: values for name, agent in agents.items() for values in agent.grid.values()}
    tenths = [tenth / 10 for tenth in range(11)]
    assert grids["Gittins"] == [0.9, 0.99, 0.999, 0.9999]
    assert grids["OTS"] == grids["mdp OPSRL"] == list(range(1, 21))
    assert grids["UCB1"] == grids["eps-Greedy"] == tenths
    assert grids["mdp eps-Greedy"] == tenths[1:]  # 0 is Greedy's
    logarithmic = [10 ** (-4 + place / 5) for place in range(21)]
    assert grids["mdp UCRL2"] == grids["mdp BEB"] == pytest.approx(logarithmic, rel=1e-3)
    assert {name for name, agent in agents.items() if not agent.grid} == {
        *("Random", "TS", "Greedy", "RL2"),
        *("mdp Random", "mdp PSRL", "mdp Greedy", "mdp RL2"),
    }


def test_as_published_agents_believe_in_mean_0_and_the_true_prior_is_mean_1(tables: dict[str, Table]) -> None:
    blocks = tables["rl2_mdps"].blocks
    assert list(blocks) == ["as published", "true prior"]
    means = [{column: change["prior"]["reward_mean"] for column, change in block.items()} for block in blocks.values()]
    believers = ("PSRL", "OPSRL", "UCRL2", "BEB", "eps-Greedy", "Greedy")
    assert means == [dict.fromkeys(believers, 0.0), dict.fromkeys(believers, 1.0)]
    assert list(tables["rl2_bandits"].blocks) == ["as published"]
    assert any("true one" in note for note in tables["rl2_bandits"].notes)


@pytest.mark.parametrize("name", TABLES)
def test_experiments_of_learned_columns_exist(name: str, tables: dict[str, Table]) -> None:
    known = {path.stem for path in Path(CONFIG_DIR, "experiment").glob("*.yaml")}
    learned = [agent for agent in tables[name].agents.values() if agent.learned]
    assert learned and all(set(agent.experiments.values()) <= known for agent in learned)
