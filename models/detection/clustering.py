"""Specks that lie together are one cluster: how candidates for calcifications become candidates for their clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.annotations import Candidate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["cluster_candidates"]

LEAST_MARGIN = 0.6
"""The least diameter of a cluster, in the unit of the world: that of two specks which touch."""


def cluster_candidates(candidates: Sequence[Candidate], rule: Mapping[str, Any]) -> list[Candidate]:
    """Return the candidates with those of one class joined to clusters.

    Specks are linked where they lie near one another (single linkage, which is DBSCAN with a least neighbourhood of one:
    Ester et al., 1996). A cluster's score is the chance that at least ``least`` of its specks are real, taking their
    scores for independent probabilities: three faint specks do not make what three bright ones do.

    Parameters
    ----------
    candidates : of one case, in world coordinates
    rule : mapping
        ``from`` names the class of single specks, ``into`` that of clusters, ``reach_mm`` how near two specks are linked
        (in the unit of the world), ``least`` how many make a cluster, ``speck_threshold`` the least score of a speck that
        counts, and ``threshold`` that of a cluster.

    Returns
    -------
    list of Candidate
        The clusters, best first, then all candidates of other classes as they were. Specks alone are dropped.
    """
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import KDTree

    least_score = float(rule.get("speck_threshold", 0.0))
    specks = [c for c in candidates if c.label == rule["from"] and c.score >= least_score]
    others = [c for c in candidates if c.label != rule["from"]]
    if not specks:
        return others
    places = np.asarray([speck.centre for speck in specks])
    scores = np.asarray([speck.score for speck in specks])
    linked = KDTree(places).sparse_distance_matrix(
        KDTree(places), float(rule["reach_mm"]), output_type="coo_matrix"
    )
    count, cluster_of = connected_components(linked, directed=False)
    least = int(rule["least"])
    clusters = []
    for number in range(count):
        members = np.flatnonzero(cluster_of == number)
        if len(members) < least:
            continue
        score = chance_of_at_least(least, scores[members])
        if score >= float(rule.get("threshold", 0.0)):
            clusters.append(_cluster(specks[members[0]].case_id, places[members], score, str(rule["into"])))
    return sorted(clusters, key=lambda c: -c.score) + others


def chance_of_at_least(least: int, probabilities: NDArray[np.float64]) -> float:
    """Return the chance that at least so many of independent events happen (the tail of a Poisson-binomial law)."""
    fewer = np.zeros(least)  # the chance of exactly 0, 1, … least - 1 events so far
    fewer[0] = 1.0
    for probability in probabilities:
        fewer[1:] = fewer[1:] * (1 - probability) + fewer[:-1] * probability
        fewer[0] *= 1 - probability
    return float(np.clip(1.0 - fewer.sum(), 0.0, 1.0))


def _cluster(case_id: str, places: NDArray[np.float64], score: float, label: str) -> Candidate:
    low, high = places.min(axis=0), places.max(axis=0)
    extent = float(np.linalg.norm(high - low))
    return Candidate(case_id, tuple(((low + high) / 2).tolist()), score, max(extent, LEAST_MARGIN), label)
