from __future__ import annotations

import threading
import time

import pytest

from napari_medlab.jobs import CancelledError, CancelToken


def test_the_first_reason_stays() -> None:
    token = CancelToken()
    token.check()
    token.cancel("the window was closed")
    token.cancel("something else")
    with pytest.raises(CancelledError, match="the window was closed") as caught:
        token.check()
    assert (caught.value.code, caught.value.reason) == ("cancelled", "the window was closed")


def test_of_many_threads_one_wins_and_all_see_the_same() -> None:
    token, gate = CancelToken(), threading.Barrier(8)

    def cancel(number: int) -> None:
        gate.wait()
        token.cancel(str(number))

    threads = [threading.Thread(target=cancel, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reasons = set()
    for _ in range(8):
        with pytest.raises(CancelledError) as caught:
            token.check()
        reasons.add(caught.value.reason)
    assert len(reasons) == 1


def test_waiting_ends_at_once_when_cancelled() -> None:
    token = CancelToken()
    assert not token.wait(0.01)
    threading.Timer(0.05, token.cancel).start()
    began = time.monotonic()
    assert token.wait(10)
    assert time.monotonic() - began < 5
    assert token.is_cancelled
