"""Pools of objects to choose from, made up."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_medlab.hardcases.mining import Example, Pool, Replay

__all__ = ["make_pool", "make_replay"]


def make_pool(seed: int = 0, size: int = 120, cases: int = 6, **columns: Any) -> Pool:  # noqa: ANN401 - the other columns
    """Return objects of some cases, two cases to a patient; the first third of each kind is the queue, kinds in turns."""
    rng = np.random.default_rng(seed)
    number = np.arange(size)
    is_positive = number % 5 == 0
    in_queue = number < size // 3
    kind = np.where(is_positive, np.where(in_queue, "fn", "hit"), np.where(in_queue, "fp", "background"))
    case = rng.integers(0, cases, size)
    made: dict[str, Any] = {
        "object_id": np.asarray([f"object{n}" for n in number]),
        "case_id": np.asarray([f"case{n}" for n in case]),
        "patient": np.asarray([f"patient{n // 2}" for n in case]),
        "kind": kind, "centre": rng.uniform(0, 100, (size, 3)), "score": rng.permutation(size) / size,
        "is_positive": is_positive, "is_proposed": np.ones(size, bool), "verdict": np.full(size, "", "U16"),
        "is_doubted": np.zeros(size, bool), "is_near_miss": np.zeros(size, bool), "was_exported": np.zeros(size, bool),
        "shown": np.flatnonzero(in_queue),
    }  # fmt: skip
    return Pool(**{**made, **columns})


def make_replay(count: int = 400) -> Replay:
    """Return findings and places of six cases, as many of each."""
    cases = [f"case{n % 6}" for n in range(count)]
    found = [
        Example(case, (1.0, 2.0, 3.0), "replay", 1.0, f"found{n}", is_positive=True)
        for n, case in enumerate(cases)
    ]
    return Replay(found, [Example(case, (float(n), 0.0, 0.0), "replay") for n, case in enumerate(cases)])
