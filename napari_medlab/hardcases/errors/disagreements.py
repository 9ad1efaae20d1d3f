"""Where readers, or two runs, do not agree: what is worth a look although no reference says who is right."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from napari_medlab.annotations import CandidateTable, FindingTable
from napari_medlab.evaluation.transitions import transitions
from napari_medlab.hardcases.errors.table import ErrorTable

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medlab.evaluation import MatchTable
    from napari_medlab.evaluation.transitions import FalsePositiveChange, FindingChange

__all__ = ["MarkedRun", "disagreements_of_runs", "disagreements_of_verdicts"]

Table = TypeVar("Table", CandidateTable, FindingTable)


def disagreements_of_verdicts(
    by_reader: Mapping[str, Mapping[str, str]], findings: FindingTable, candidates: CandidateTable
) -> ErrorTable:
    """Return the objects on which readers differ, those on which most pairs of readers do first.

    Parameters
    ----------
    by_reader : mapping of reader to mapping of object id to verdict
        Verdicts on objects that are in neither table are left aside.
    findings, candidates : tables
        Where the objects lie.
    """
    said: dict[str, dict[str, str]] = {}
    for reader, verdicts in by_reader.items():
        for object_id, verdict in verdicts.items():
            said.setdefault(object_id, {})[reader] = verdict
    split = {object_id: _share_of_pairs_that_differ(each) for object_id, each in said.items()}
    ranked = sorted(
        (object_id for object_id, share in split.items() if share > 0), key=lambda each: -split[each]
    )
    place = {object_id: n for n, object_id in enumerate(ranked)}
    found = ErrorTable.about(_chosen(findings, place), "disagreement")
    whole = ErrorTable.concatenated([found, ErrorTable.about(_chosen(candidates, place), "disagreement")])
    whole = whole.where(np.argsort([place[object_id] for object_id in whole.object_ids], kind="stable"))
    texts = ["; ".join(f"{r}: {v}" for r, v in said[object_id].items()) for object_id in whole.object_ids]
    return replace(whole, other=np.array(texts, dtype=np.str_))


@dataclass(frozen=True, eq=False)
class MarkedRun:
    """One run at its operating point: its name, its match table there, and its candidates."""

    name: str
    match: MatchTable
    candidates: CandidateTable


def disagreements_of_runs(
    a: MarkedRun, b: MarkedRun, findings: FindingTable, radius: float = 5.0
) -> ErrorTable:
    """Return what one run found and the other missed, and false positives that one of them alone has.

    The largest disagreement comes first: by how much the score of the run that marked the object exceeds that of the
    other, which has the lowest score of its table where it marked nothing at all. An object has the id that it has
    in the run that marked it, and ``other`` says which run that was.

    Parameters
    ----------
    a, b : MarkedRun
        Over the same cases and findings.
    findings : FindingTable
        That both were matched with.
    radius : float
        How far apart two false positives of one case may be to count as the same, in the unit of the centres.
    """
    changes = transitions(a.match, b.match, radius)
    marked = (
        _marked_alone(a, b, (changes.regressed, changes.removed_false_positive), findings),
        _marked_alone(b, a, (changes.fixed, changes.new_false_positive), findings),
    )
    sizes = np.concatenate([size for _, size in marked])
    whole = ErrorTable.concatenated([table for table, _ in marked])
    return whole.where(np.argsort(-sizes, kind="stable"))


def _marked_alone(
    run: MarkedRun,
    other: MarkedRun,
    changes: tuple[Sequence[FindingChange], Sequence[FalsePositiveChange]],
    findings: FindingTable,
) -> tuple[ErrorTable, NDArray[np.float64]]:
    """Return what ``run`` alone found or marked, and the size of each disagreement."""
    found, false = changes
    scores = {each.finding_id: (each.score_a, each.score_b) for each in found}
    alone = {each.candidate_id: each.score for each in false}
    lowest = min(other.candidates.scores.min(initial=np.inf), run.candidates.scores.min(initial=np.inf))
    tables = [ErrorTable.about(_chosen(findings, scores), "disagreement")]
    tables += [ErrorTable.about(_chosen(run.candidates, alone), "disagreement")]
    best = [max(scores[object_id]) for object_id in tables[0].object_ids]
    rest = [max(min(scores[object_id]), lowest) for object_id in tables[0].object_ids]
    tables[0] = replace(
        tables[0],
        score=np.array(best),
        other=np.full(len(best), f"found by {run.name}, missed by {other.name}"),
    )
    tables[1] = replace(tables[1], other=np.full(len(tables[1]), f"marked by {run.name} alone"))
    sizes = [np.array(best) - np.array(rest), tables[1].score - lowest]
    return ErrorTable.concatenated(tables), np.concatenate(sizes)


def _share_of_pairs_that_differ(verdicts: Mapping[str, str]) -> float:
    pairs = list(combinations(verdicts.values(), 2))
    return sum(here != there for here, there in pairs) / len(pairs) if pairs else 0.0


def _chosen(table: Table, ids: Container[str]) -> Table:
    """Return the rows of a table whose ids are among ``ids``."""
    return table.where(np.array([object_id in ids for object_id in table.ids.tolist()], dtype=np.bool_))
