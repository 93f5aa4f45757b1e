"""Requests to stop: when they are obeyed, and what is left to do before the process ends."""

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
