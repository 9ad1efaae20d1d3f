"""Tables of errors for the tests, written as words: ``"fp:a fn:b"``."""

from __future__ import annotations

import re

import numpy as np

from napari_medlab.hardcases.errors.table import ERROR_KINDS, ErrorTable

KINDS = ERROR_KINDS


def error_table(text: str) -> ErrorTable:
    """Return the errors of a text, ``kind:id`` each; each lies in a case of its own."""
    pairs = re.findall(rf"({'|'.join(KINDS)}):(\S+)", text)
    n = len(pairs)
    return ErrorTable(
        kind=np.array([kind for kind, _ in pairs], dtype=np.str_),
        object_id=np.array([name for _, name in pairs], dtype=np.str_),
        case_id=np.array([f"case-{name}" for _, name in pairs], dtype=np.str_),
        label=np.full(n, "nodule"),
        centre=np.tile([0.0, 1.0, 2.0], (n, 1)),
        diameter=np.full(n, 5.0),
        score=np.full(n, 0.5),
        distance=np.full(n, 12.0),
        cause=np.array(["background" if kind == "fp" else "" for kind, _ in pairs], dtype=np.str_),
    )


def errors(table: ErrorTable) -> str:
    """Return what :func:`error_table` was given."""
    return " ".join(f"{item.kind}:{item.object_id}" for item in table)
