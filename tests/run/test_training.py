"""The outer loop: exact resume, and evaluations that change nothing."""

import csv
import signal

import pytest
import torch
from diagnostic import CountsEpisodes, PaysAction
from suited import composed

from metarl_run.algo.base import MetaLearner
from metarl_run.algo.meta_optimizer.sgd import SGD
from metarl_run.errors import NumericalError, StateError
from metarl_run.evaluation import evaluate, joined
from metarl_run.logger.base import RunInfo
from metarl_run.logger.files import Files
from metarl_run.rollout import collect
from metarl_run.run import checkpoint
from metarl_run.run.agent import build_agent, load_trained
from metarl_run.run.training import Training
from metarl_run.seeding import Streams
from metarl_run.system.interruption import Interrupted, StopRequest

SMALL = {"num_tasks": 3, "adaptation_steps": 1, "episodes_per_task": 2}


def config(options):
    chosen = [f"{group}={option}" for group, option in options.items()]
    return composed(*chosen, "env.horizon=8").config


PAIRS = [
    {"algo": "maml", "env": "cartpole_family", "learner": "reinforce", "network": "mlp"},
    {"algo": "reptile", "env": "random_mdp", "learner": "actor_critic", "network": "table"},
    {"algo": "fomaml", "env": "pendulum_family", "normalise": "{observations:true,rewards:true}"},
]


@pytest.fixture(autouse=True)
def opened(monkeypatch):
    """Every sink that a test opens is closed after it, as the end of a process would."""
    sinks = []
    open_sink = Files.open
    monkeypatch.setattr(Files, "open", lambda self, *given: (sinks.append(self), open_sink(self, *given))[1])
    yield
    for sink in sinks:
        sink.close()


@pytest.fixture(params=PAIRS, ids=lambda pair: f"{pair['algo']}-{pair['env']}")
def options(request):
    return request.param


def make(
    folder,
    options,
    *,
    seed=0,
    validate_every=2,
    checkpoint_every=1,
    meta_iterations=4,
    stop=None,
    meta_batch_chunk=None,
):
    streams = Streams(seed, torch.device("cpu"))
    family, algo = build_agent(config(options), streams)
    folder.mkdir(exist_ok=True)
    training = Training(
        algo=algo,
        collect=collect,
        family=family,
        streams=streams,
        sinks={"files": Files()},
        stop=stop or StopRequest(),
        folder=folder,
        meta_iterations=meta_iterations,
        meta_batch_size=3,
        meta_batch_chunk=meta_batch_chunk,
        episodes_per_task=2,
        meta_validation=SMALL,
        meta_test=SMALL,
        validate_every=validate_every,
        checkpoint_every=checkpoint_every,
    )
    saved = checkpoint.load_newest(training.checkpoints)
    sink = training.sinks["files"]
    if saved:
        training.load(saved)
    info = RunInfo(
        folder=folder, config={}, algo="", env="", learner="", seed=seed, meta_iterations=4, first_iteration=0
    )
    sink.open(info, saved.positions["files"] if saved else {})
    return training


def finish(training):
    training.meta_train()
    training.meta_test()
    training.sinks["files"].close()
    return training


def record(folder):
    """Everything a run leaves that no clock has touched."""
    tables = {name: (folder / f"{name}.csv").read_bytes() for name in ("metrics", "adaptation")}
    saved = {path.parent.name: path.read_bytes() for path in sorted(folder.glob("checkpoints/*/tensors.pt"))}
    return tables | saved


def test_a_stopped_and_resumed_run_is_the_run_that_was_never_stopped(tmp_path, options):
    whole = finish(make(tmp_path / "whole", options))
    assert whole.iteration == 4
    for stop_after in (1, 2, 3):
        folder = tmp_path / f"parts{stop_after}"
        training = make(folder, options)
        training.meta_iterations = stop_after
        training.meta_train()  # and here the process dies
        finish(make(folder, options))
        assert record(folder) == record(tmp_path / "whole")


def test_statistics_of_observations_are_loaded_with_the_meta_parameters(tmp_path):
    """Trap 14: the loaded agent earns what the trained one did, to the last bit."""
    training = finish(make(tmp_path / "run", PAIRS[-1]))
    family, algo = build_agent(config(PAIRS[-1]), training.streams)
    load_trained(algo, family, tmp_path / "run", "this agent")
    found, expected = (
        joined(list(evaluate(*agent, training.streams, split="meta_test", iteration=4, **SMALL)))
        for agent in ((algo, family), (training.algo, training.family))
    )
    assert family.normalisation.reward_unit != 1.0
    assert found == expected


def test_a_checkpoint_without_statistics_is_refused_where_they_are_needed(tmp_path):
    plain = {key: value for key, value in PAIRS[-1].items() if key != "normalise"}
    finish(make(tmp_path / "run", plain))
    family, algo = build_agent(config(PAIRS[-1]), Streams(0, torch.device("cpu")))
    with pytest.raises(StateError, match="its statistics do not fit"):
        load_trained(algo, family, tmp_path / "run", "this agent")


def test_rows_written_after_the_last_checkpoint_are_neither_lost_nor_doubled(tmp_path, options):
    finish(make(tmp_path / "whole", options, checkpoint_every=2))
    training = make(tmp_path / "parts", options, checkpoint_every=2)
    training.meta_iterations = 3
    training.save = lambda: None  # dies before the checkpoint that would end this part
    training.meta_train()
    training.meta_test()
    finish(make(tmp_path / "parts", options, checkpoint_every=2))
    assert record(tmp_path / "parts") == record(tmp_path / "whole")


def test_an_interrupt_saves_first(tmp_path, options):
    finish(make(tmp_path / "whole", options, checkpoint_every=4))
    stop = StopRequest()
    training = make(tmp_path / "parts", options, checkpoint_every=4, stop=stop)
    stop.exit_code = 130
    with pytest.raises(Interrupted) as caught:
        training.meta_train()
    assert caught.value.exit_code == 130
    assert training.iteration == 1
    finish(make(tmp_path / "parts", options, checkpoint_every=4))
    tables, whole = record(tmp_path / "parts"), record(tmp_path / "whole")
    assert all(tables[name] == whole[name] for name in ("metrics", "adaptation", "000004"))


@pytest.mark.parametrize("iteration", [1, 2])
def test_an_interrupt_in_the_first_iteration_alone_does_not_wait_for_its_end(iteration, tmp_path, options, monkeypatch):
    stop = StopRequest()
    training = make(tmp_path / "run", options, checkpoint_every=4, stop=stop)
    plain = training._meta_iteration

    def interrupted(algo):
        if training.iteration == iteration - 1:
            stop._on_signal(signal.SIGINT, None)
        plain(algo)

    monkeypatch.setattr(training, "_meta_iteration", interrupted)
    with pytest.raises(Interrupted), stop.obeyed_at_once():
        training.meta_train()
    assert training.iteration == {1: 0, 2: 2}[iteration]
    assert (training.checkpoints / "000002").exists() == (iteration == 2)


def test_a_handler_of_a_scheduler_is_called_after_saving_and_may_go_on_or_leave(tmp_path):
    called = []

    def handle(number, frame):
        called.append(checkpoint.load_newest(training.checkpoints).iteration)
        if len(called) == 2:  # as one does that puts the job back into its queue
            raise SystemExit(-1)
        signal.raise_signal(number)

    finish(make(tmp_path / "whole", PAIRS[0], checkpoint_every=4))
    stop, before = StopRequest(), signal.signal(signal.SIGUSR2, handle)
    try:
        with pytest.raises(Interrupted) as caught, stop.listening():
            training = make(tmp_path / "parts", PAIRS[0], checkpoint_every=4, stop=stop)
            signal.raise_signal(signal.SIGUSR2)
            training.meta_train()
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert isinstance(caught.value.by, SystemExit) and called == [1, 2]
    finish(make(tmp_path / "parts", PAIRS[0], checkpoint_every=4))
    tables, whole = record(tmp_path / "parts"), record(tmp_path / "whole")
    assert all(tables[name] == whole[name] for name in ("metrics", "adaptation", "000004"))


@pytest.mark.parametrize(
    ("spoil", "hint"),
    [
        (lambda algo: None, None),
        (lambda algo: next(iter(algo.meta_params.values())).data.fill_(1e9), "lower algo.meta_optimizer.lr"),
    ],
)
def test_a_step_size_is_to_blame_if_parameters_have_grown_without_bounds(spoil, hint, tmp_path, options):
    training = make(tmp_path / "run", options)

    def fails(live):
        live(1)
        spoil(training.algo)
        raise NumericalError("meta-loss", "must be finite, got nan", task=1)

    training.algo.meta_update = fails
    with pytest.raises(NumericalError, match=r"meta-loss of .* in task 1, meta-iteration 1") as caught:
        training.meta_train()
    assert caught.value.hint == hint


def test_every_attribute_that_training_changes_is_saved(tmp_path, options):
    """`session_env_steps` alone may be forgotten: it is a speed, not a result."""
    trained = make(tmp_path / "run", options)
    fresh = dict(vars(make(tmp_path / "fresh", options)))
    trained.meta_train()
    changed = {
        name for name, value in vars(trained).items() if isinstance(value, int | float | None) and value != fresh[name]
    }
    assert changed == {*Training.SAVED, "session_env_steps"}
    loaded = make(tmp_path / "run", options)
    assert all(getattr(loaded, name) == getattr(trained, name) for name in Training.SAVED)
    assert_same(loaded.algo.state(), trained.algo.state())


def assert_same(one, other):
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list):
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    else:
        assert one == other


def test_evaluating_or_not_never_changes_training(tmp_path, options):
    runs = [make(tmp_path / str(every), options, validate_every=every) for every in (0, 1, 3)]
    for training in runs:
        training.meta_train()
    states = [training.algo.state() for training in runs]
    assert_same(states[0], states[1])
    assert_same(states[0], states[2])


def test_adaptation_csv_has_exact_returns_on_tabular_families_and_empty_cells_elsewhere(tmp_path, options):
    finish(make(tmp_path, options))
    with (tmp_path / "adaptation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["split"], row["iteration"]) for row in rows} == {
        ("meta_validation", "2"),
        ("meta_validation", "4"),
        ("meta_test", "4"),
    }
    cells = [(row["expected_return"], row["optimal_return"]) for row in rows]
    if options["env"] == "random_mdp":
        assert all(float(expected) < float(optimal) for expected, optimal in cells)
    else:
        assert set(cells) == {("", "")}


def test_held_out_tasks_are_none_of_the_training_tasks(tmp_path, options):
    training = make(tmp_path / "run", options)
    seen = []
    sample = training.family.sample

    def listening(num_tasks, split, generator):
        task = sample(num_tasks, split, generator)
        seen.append((split, frozenset(task.hashes())))
        return task

    training.family.sample = listening
    finish(training)
    meta_train = [hashes for split, hashes in seen if split == "meta_train"]
    held_out = [hashes for split, hashes in seen if split == "meta_test"]
    assert len(meta_train) == 4
    assert len(set().union(*meta_train)) == 4 * 3  # fresh tasks in every meta-iteration
    assert not set().union(*meta_train) & set().union(*held_out)
    validation, again, final = held_out
    assert validation == again  # the same tasks each time, so that validations can be compared
    assert not validation & final


def test_seed_zero_is_a_seed_like_any_other(tmp_path, options):
    runs = [finish(make(tmp_path / name, options, seed=seed)) for name, seed in [("a", 0), ("b", 0), ("c", 1)]]
    assert record(tmp_path / "a") == record(tmp_path / "b")
    assert record(tmp_path / "a") != record(tmp_path / "c")
    assert runs[0].env_steps > 0


def test_global_randomness_plays_no_part(tmp_path, options):
    for seed, name in [(1, "a"), (2, "b")]:
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        finish(make(tmp_path / name, options))
        assert torch.equal(torch.get_rng_state(), before)
    assert record(tmp_path / "a") == record(tmp_path / "b")


class Remembering(CountsEpisodes, MetaLearner):
    """Pays as many episodes as it lived before, times the horizon; learns nothing."""

    def __init__(self):
        self.meta_params, self.meta_optimizer = {}, SGD(lr=1.0, max_grad_norm=1.0)
        self.meta_optimizer.attach(self.meta_params)

    def meta_update(self, live):
        live(3)
        return {}


def remembering(folder, **options):
    training = make(folder, PAIRS[0], meta_iterations=1, **options)
    training.algo, training.family = Remembering(), PaysAction(horizon=5)
    training.meta_train()
    with (folder / "metrics.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    return training, row


def test_returns_before_and_after_are_single_episodes_also_for_an_agent_that_remembers(tmp_path):
    _, row = remembering(tmp_path, validate_every=0)
    assert float(row["meta_train/return_after"]) - float(row["meta_train/return_before"]) == pytest.approx(3 * 5)


def test_the_lifetime_of_an_agent_that_remembers_is_all_episodes_of_a_slot(tmp_path):
    _, row = remembering(tmp_path, validate_every=0)
    first = float(row["meta_train/return_before"])  # 5 times the mean bonus of the tasks
    assert float(row["meta_train/lifetime_return"]) == pytest.approx(4 * first + 5 * (0 + 1 + 2 + 3), rel=1e-6)


def test_the_best_checkpoint_of_an_agent_that_remembers_has_the_best_lifetimes(tmp_path):
    training, _ = remembering(tmp_path, validate_every=1)
    with (tmp_path / "adaptation.csv").open(newline="") as file:
        returns = [float(row["episode_return"]) for row in csv.DictReader(file)]
    assert len(returns) == SMALL["num_tasks"] * 2  # one step of adaptation is a second episode
    assert training.score == pytest.approx(sum(returns) / SMALL["num_tasks"], rel=1e-6)


def test_the_best_checkpoint_of_an_agent_that_does_not_is_the_best_after_adaptation(tmp_path, options):
    training = make(tmp_path, options)
    training.meta_train()
    with (tmp_path / "adaptation.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["iteration"], row["adaptation_step"]) == ("4", "1")]
    assert training.score == pytest.approx(sum(float(row["episode_return"]) for row in rows) / SMALL["num_tasks"])
    assert "lifetime_return" not in (tmp_path / "metrics.csv").read_text()


class Returning(Remembering):
    """Lives in fresh tasks, and twice in the standing ones, as an agent that remembers two episodes."""

    def meta_update(self, live):
        live(0)
        given = self.start(3)._replace(memory={"ended": torch.full((3, 1), 2)})
        for _ in range(2):
            assert live(0, given).agents == [given]
        return {}


def test_given_agents_live_in_the_same_tasks_at_every_call_and_nothing_else_changes(tmp_path):
    drawn = []
    for algo in (Remembering(), Returning()):
        training = make(tmp_path / type(algo).__name__, PAIRS[0], meta_iterations=2, validate_every=0)
        training.algo, training.family = algo, PaysAction(horizon=5)
        sample, tasks = training.family.sample, []
        training.family.sample = lambda *given, sample=sample, tasks=tasks: tasks.append(sample(*given)) or tasks[-1]
        training.meta_train()
        drawn.append([task.hashes() for task in tasks])
    (fresh, later), (first, standing, *others) = drawn
    assert first == fresh and others == [standing, later, standing, standing]
    assert not {*standing} & {*fresh, *later}


@pytest.mark.parametrize("size", [1, 2])
def test_a_run_that_learns_from_a_few_tasks_at_a_time_is_the_run_that_learns_from_all(tmp_path, options, size):
    whole, parts = (make(tmp_path / str(each), options, meta_batch_chunk=each) for each in (None, size))
    for training in (whole, parts):
        finish(training)
    tables = []
    for folder in (tmp_path / "None", tmp_path / str(size)):
        with (folder / "metrics.csv").open(newline="") as file:
            tables.append(list(csv.DictReader(file)))
    for row, other in zip(*tables, strict=True):
        told, other_told = (
            {k: float(v) for k, v in r.items() if v and not k.startswith("time/")} for r in (row, other)
        )
        assert told == pytest.approx(other_told, rel=1e-5, abs=1e-5)
    for name, θ in whole.algo.meta_params.items():
        torch.testing.assert_close(parts.algo.meta_params[name], θ, rtol=1e-5, atol=1e-5)


class LivesAgain(MetaLearner):
    """Asks for lifetimes twice over; the agent is that of the algorithm it wraps."""

    def __init__(self, algo):
        self.start, self.act, self.adapt, self.lifetimes = algo.start, algo.act, algo.adapt, []

    def meta_update(self, live):
        self.lifetimes += [live(1), live(1, again=True), live(1), live(0, again=True)]
        return {}

    def start(self, num_tasks): ...
    def act(self, agent, percept): ...
    def adapt(self, agent, rollout): ...


def test_lives_lived_again_are_the_same_and_fresh_ones_are_not(tmp_path):
    training = make(tmp_path / "run", PAIRS[0])
    algo = LivesAgain(training.algo)
    training._meta_iteration(algo)
    first, again, fresh, shorter = (lifetime.rollouts for lifetime in algo.lifetimes)
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.observation, other.observation) and torch.equal(one.action, other.action)
    assert not torch.equal(first[0].observation[:, 0], fresh[0].observation[:, 0])
    assert len(shorter) == 1 and torch.equal(fresh[0].observation, shorter[0].observation)
