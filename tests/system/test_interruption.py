"""Requests to stop: when they are obeyed, beside handlers of others such as schedulers', and what comes last."""

import os
import signal

import pytest

from metarl_run.system.interruption import Interrupted, StopRequest


@pytest.fixture
def stop():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    request = StopRequest()
    request.install()
    yield request
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_first_signal_waits_for_a_safe_point(stop):
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.exit_code == 143
    with pytest.raises(Interrupted):
        stop.check()


def test_work_that_can_be_done_again_is_left_at_once(stop):
    with pytest.raises(Interrupted) as caught, stop.obeyed_at_once():
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("went on")
    assert caught.value.exit_code == 130
    with pytest.raises(Interrupted), stop.obeyed_at_once():  # asked for before
        pytest.fail("began")


@pytest.mark.parametrize("wish", ["granted", "fails"])
def test_the_second_signal_ends_the_process_after_its_last_wish(wish, stop, monkeypatch):
    said = []

    def last_wish(code):
        said.append(code)
        if wish == "fails":
            raise OSError("full")

    monkeypatch.setattr(os, "_exit", lambda code: said.append(f"ended with {code}"))
    stop.last_wish = last_wish
    os.kill(os.getpid(), signal.SIGINT)
    assert said == []
    os.kill(os.getpid(), signal.SIGTERM)
    assert said == [143, "ended with 143"]


# --- Beside handlers of others ---


@pytest.fixture
def scheduler():
    """Signals that another's handler has got; USR2 makes it leave."""
    got = []

    def requeue(number, frame):
        got.append(number)
        raise SystemExit(-1)

    before = {number: signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM)}
    signal.signal(signal.SIGUSR2, requeue)
    signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))  # by which it bypasses the signal
    try:
        yield got
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_handler_of_others_is_called_at_the_next_safe_point(scheduler):
    stop = StopRequest()
    with pytest.raises(Interrupted) as caught, stop.listening():
        signal.raise_signal(signal.SIGUSR2)
        assert not scheduler and stop.exit_code == 140  # training saves now
        stop.check()
    assert scheduler == [signal.SIGUSR2]
    assert caught.value.exit_code == 140 and isinstance(caught.value.by, SystemExit)


def test_a_run_goes_on_if_a_handler_of_others_lets_it(scheduler):
    stop = StopRequest()
    with stop.listening():
        for _ in range(2):  # the second does not end the process
            signal.raise_signal(signal.SIGTERM)
        stop.check()
        assert scheduler == [signal.SIGTERM] * 2 and stop.exit_code is None


def test_of_two_signals_none_is_lost(scheduler):
    stop = StopRequest()
    with pytest.raises(Interrupted), stop.listening():
        signal.raise_signal(signal.SIGUSR2)
        signal.raise_signal(signal.SIGTERM)
        stop.check()
    assert signal.SIGUSR2 in scheduler


def test_a_signal_of_ones_own_counts_beside_one_that_others_ignore(scheduler):
    stop = StopRequest()
    with pytest.raises(Interrupted) as caught, stop.listening():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        stop.check()
    assert (caught.value.exit_code, scheduler) == (130, [signal.SIGTERM])


def test_a_signal_after_the_last_safe_point_still_arrives(scheduler):
    with pytest.raises(Interrupted), StopRequest().listening():
        signal.raise_signal(signal.SIGUSR2)
    assert scheduler == [signal.SIGUSR2]


def test_handlers_are_as_before_once_a_job_has_ended(scheduler):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)]
    with StopRequest().listening():
        assert signal.getsignal(signal.SIGUSR2) != before[3]
    now = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)]
    assert now == before


def test_without_others_a_signal_stops_at_the_next_safe_point():
    stop = StopRequest()
    with pytest.raises(Interrupted) as caught, stop.listening():
        signal.raise_signal(signal.SIGTERM)
        stop.check()
    assert (caught.value.exit_code, caught.value.by) == (143, None)


def test_a_process_that_only_waits_stops_at_once():
    stop = StopRequest()
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, stop._on_signal)
    try:
        stop.nothing_to_save = True
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_child_leaves_it_to_its_parent_to_end_at_once():
    stop = StopRequest()
    stop.leaves_at_once = False
    with stop.listening():
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)
        assert stop.exit_code == 130
        stop.exit_code = None
