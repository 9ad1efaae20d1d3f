"""What a command says that ran over several cases, of which every one failed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["every_case_failed"]

SHOWN = 3


def every_case_failed(reasons: Sequence[str], total: int) -> dict[str, Any]:
    """Return the ``error`` of a command's document, each reason once, where all cases failed; nothing otherwise.

    Parameters
    ----------
    reasons : sequence of str
        One for each case that failed.
    total : int
        How many cases there were.
    """
    if not total or len(reasons) < total:
        return {}
    counts = Counter(reasons).most_common()
    lines = [f"{count} of {total} cases: {reason}" for reason, count in counts[:SHOWN]]
    lines += [f"… and {len(counts) - SHOWN} more reasons"] if len(counts) > SHOWN else []
    return {"error": {"code": "every-case-failed", "message": "\n".join(lines), "hint": ""}}
