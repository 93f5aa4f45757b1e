"""Studies: their points, what came of them, and that a search which is stopped goes on as if it had not been."""

import math

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from metarl_run.errors import NumericalError, ResourceError, StateError
from metarl_run.search.study import FILE, NAME, Study, _storage, report, require_same


def objective(values):
    return -((math.log10(values["algo.inner_lr"]) + 1.0) ** 2) - values["meta_batch_size"] / 100


def lived(study, at_once=1, batches=100):
    """Points of so many batches, and what each came to."""
    for _ in range(batches):
        points = study.next_points(at_once)
        for point in points:
            study.complete(point, objective(point.values))
        if not points:
            break
    return [(trial.params, trial.value) for trial in study.trials]


@pytest.mark.parametrize("sampler, at_once", [("tpe", 5), ("cmaes", 4)])
def test_a_search_that_is_stopped_asks_for_the_same_points(tmp_path, search_of, sampler, at_once, with_choice):
    """Once between two batches, once with a batch begun, and once with a batch told in part."""
    search = search_of(with_choice, sampler=sampler)
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    whole = lived(Study(tmp_path / "whole", search), at_once)
    assert len(whole) == 12 and len({str(params) for params, _ in whole}) == 12
    lived(Study(tmp_path / "stopped", search), at_once, batches=1)
    begun = Study(tmp_path / "stopped", search).next_points(at_once)
    again = Study(tmp_path / "stopped", search)
    assert again.next_points(at_once) == begun
    again.complete(begun[0], objective(begun[0].values))
    assert lived(Study(tmp_path / "stopped", search), at_once) == whole
    best = Study(tmp_path / "stopped", search).best
    assert best is not None and objective(best.values) == max(value for _, value in whole)


def test_a_batch_that_was_cut_while_it_was_asked_for_is_filled(tmp_path, search_of):
    search = search_of(sampler="random")
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    first = Study(tmp_path / "whole", search).next_points(3)
    cut = Study(tmp_path / "cut", search)
    assert cut.next_points(1) == first[:1]
    cut.study.ask()  # and killed before its values were stored
    assert Study(tmp_path / "cut", search).next_points(3) == first


def test_a_study_that_was_cut_while_it_was_made_is_made(tmp_path, search_of):
    optuna.create_study(study_name=NAME, storage=_storage(tmp_path / FILE), direction="maximize")
    require_same(tmp_path, search_of())
    assert len(Study(tmp_path, search_of()).next_points(1)) == 1


def test_more_trials_go_on_and_costs_are_made_small(tmp_path, search_of):
    config = {"objective": "cpu_seconds"}
    lived(Study(tmp_path, search_of(config=config, trials=3)))
    more = Study(tmp_path, search_of(config=config, trials=5))
    assert len(lived(more)) == 5
    best = more.best
    assert best is not None and objective(best.values) == min(trial.value or 0.0 for trial in more.trials)


def test_failures_are_no_numbers_and_are_tried_again_where_that_may_help(tmp_path, search_of):
    search = search_of(trials=3, sampler="random")
    study = Study(tmp_path, search)
    errors = [NumericalError("x", "must be finite, got nan"), ResourceError("process", "killed by SIGKILL"), OSError()]
    for error in errors:
        (point,) = study.next_points(1)
        study.fail(point, error)
    assert study.next_points(1) == [] and study.best is None and study.importance() == {}
    assert [trial.value for trial in study.trials] == [None] * 3
    assert study.trials[0].user_attrs["reason"] == "x: must be finite, got nan"
    for also, retried in ((False, [1]), (False, [1]), (True, [1, 0, 2])):
        study.retry(also_failures=also)
        assert [trial.user_attrs["retry_of"] for trial in study.trials[3:]] == retried
    values = [trial.params for trial in study.trials]
    points = study.next_points(3)
    assert [point.number for point in points] == [3, 4, 5]
    assert [point.values for point in points] == [values[1], values[0], values[2]]


def test_the_study_of_another_search_is_refused(tmp_path, search_of, with_choice):
    require_same(tmp_path, search_of())  # there is none
    Study(tmp_path, search_of())
    require_same(tmp_path, search_of(trials=99, sampler="random", pruner="median", config={"retry_failed": False}))
    for other, key in (
        (search_of(with_choice), "algo is None there"),
        (search_of(SPACES := (with_choice[1],)), "algo.inner_lr"),
        (search_of(config={"meta_iterations": 9}), "meta_iterations is 4 there, and 9 here"),
        (search_of(config={"objective": "env_steps"}), "objective is meta_test.mean there"),
        (search_of(seeds=(5,)), "hydra.sweeper.seeds"),
    ):
        for refused in (require_same, Study):
            with pytest.raises(StateError, match="is the study of another search") as told:
                refused(tmp_path, other)
            assert key in told.value.reason, SPACES


@pytest.mark.parametrize("content", [b"no database at all, but text"])
def test_a_file_that_is_no_study_is_refused(tmp_path, search_of, content):
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(StateError, match="is no study of this program's"):
        require_same(tmp_path, search_of())


def test_a_link_is_refused(tmp_path, search_of):
    (tmp_path / FILE).symlink_to("elsewhere")
    with pytest.raises(StateError, match="must be a plain file, got a link"):
        Study(tmp_path, search_of())


def finished(study, value, of, step=None):
    """A complete point that was tried elsewhere."""
    values = dict(zip(study.space, of, strict=True))
    reported = {} if step is None else {step: value}
    study.study.add_trial(
        create_trial(params=values, distributions=study.space, value=value, intermediate_values=reported)
    )


def test_a_point_ends_that_falls_behind(tmp_path, search_of):
    """After five points with 1 to 5 at the first validation, one as good as the best of them, and one that is worse."""
    study = Study(tmp_path, search_of(sampler="random", config={"meta_iterations": 2}))
    for value in range(1, 6):
        finished(study, float(value), (0.1, 5), step=1)
    points = study.next_points(7)
    for pruner, ends in (("none", [False, False]), ("median", [False, True]), ("hyperband", [False, True])):
        study.study.set_user_attr("pruner", pruner)
        found = [report(tmp_path, point.number, 1, value) for point, value in zip(points, (5.0, 1.5), strict=True)]
        assert found == ends, pruner
    study.prune(points[1])
    trial = study.trials[points[1].number]
    assert (trial.state, trial.intermediate_values) == (TrialState.PRUNED, {1: 1.5})
    assert study.best != points[1]


def test_a_run_that_is_resumed_reports_nothing_twice(tmp_path, search_of):
    study = Study(tmp_path, search_of(pruner="median"))
    (point,) = study.next_points(1)
    for step, value in ((1, 0.5), (2, 0.75), (1, 9.0), (2, 9.0)):
        assert not report(tmp_path, point.number, step, value)
    assert study.trials[0].intermediate_values == {1: 0.5, 2: 0.75}


def test_the_key_that_matters_is_the_important_one(tmp_path, search_of):
    study = Study(tmp_path, search_of())
    for place in range(16):
        x, n = 10 ** (-2 * place / 15), 5 * (place % 4 + 1)
        finished(study, objective({"algo.inner_lr": x, "meta_batch_size": n}), (x, n))
    importance = study.importance()
    assert importance["algo.inner_lr"] > 0.7 and sum(importance.values()) == pytest.approx(1.0)
