"""Jobs are done by the thread that waits, and the wait ends when it is told to."""

from __future__ import annotations

import threading
import time

from halfopen.ops.top.between import Between


def test_jobs_are_done_while_it_waits_and_by_the_waiting_thread() -> None:
    between, done = Between(), list[int]()
    between.do(lambda: done.append(threading.get_ident()))
    assert not between.wait(0.01)
    assert done == [threading.get_ident()]


def test_a_job_wakes_a_long_wait_and_the_end_ends_it() -> None:
    between, done = Between(), threading.Event()
    began = time.monotonic()
    waiting = threading.Thread(target=between.wait, args=(60.0,))
    waiting.start()
    between.do(done.set)
    assert done.wait(60)
    between.set()
    waiting.join(15)
    assert not waiting.is_alive()
    assert time.monotonic() - began < 30


def test_a_job_that_waits_by_the_same_event_does_not_begin_another() -> None:
    between, order = Between(), list[str]()

    def first() -> None:
        order.append("begun")
        between.wait(0.01)
        order.append("ended")

    between.do(first)
    between.do(lambda: order.append("second"))
    between.wait(0.01)
    between.wait(0.01)
    assert order == ["begun", "ended", "second"]


def test_nothing_is_begun_after_the_end() -> None:
    between, done = Between(), list[int]()
    between.set()
    between.do(lambda: done.append(1))
    assert between.wait(0.01)
    assert done == []
