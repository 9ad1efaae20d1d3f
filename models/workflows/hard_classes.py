"""Whether the findings that examples are cut around are of classes that a model learns."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.workflows.hard_cutting import rule_of

if TYPE_CHECKING:
    from napari_medlab.annotations import FindingTable
    from napari_medlab.models.training.parts import BundlePart
    from napari_medlab.models.workflows.sample_objects import ClassRule

__all__ = ["warnings_about_classes"]

MOST_NAMED = 4


def warnings_about_classes(findings: FindingTable, part: BundlePart) -> list[str]:
    """Return what a person ought to know about the classes of findings that examples are cut around.

    Parameters
    ----------
    findings : FindingTable
        Those of all cases that examples may be taken of; excluded ones do not matter.
    part : BundlePart
        What the examples are for.

    Raises
    ------
    InputRefusedError
        ``other-classes`` where there are findings and none is of a class that the part learns: what comes of it would be
        examples of nothing. Which class was meant is not guessed.
    """
    rule = rule_of(part)
    called = Counter(findings.labels[~findings.is_excluded].tolist())
    if called and all(rule.number_of(label) is None for label in called):
        raise _refused(called, part, rule)
    strange = Counter({label: count for label, count in called.items() if label not in part.bundle.classes})
    if not strange:
        return []
    told = f"{strange.total()} of the {called.total()} findings are called {_named(strange)}"
    if rule.is_one:
        return [f"{told}, and are learnt as {_listed(rule)}: {part.bundle.title} knows no other class."]
    return [
        f"{told}, which {part.bundle.title} does not learn: they count neither as lesion nor as background."
    ]


def _refused(called: Counter[str], part: BundlePart, rule: ClassRule) -> InputRefusedError:
    first, known = called.most_common(1)[0][0], rule.classes[0] if rule.classes else "CLASS"
    one = len(rule.classes) == 1 and len(called) == 1
    ways = (
        f"--names '{first}={known}'" if not one else f"--class {_quoted(known)}, or --names '{first}={known}'"
    )
    return InputRefusedError(
        f"None of the {called.total()} findings is of a class that {part.bundle.title} learns ({_listed(rule)}); "
        f"they are called {_named(called)}.",
        code="other-classes",
        hint=f"Import them again with {ways}: project import-reference gives those that are there the new class.",
    )


def _named(called: Counter[str]) -> str:
    """Return the most frequent names, with their counts where there are several."""
    if len(called) == 1:
        return repr(next(iter(called)))
    shown = [f"{label!r} ({count})" for label, count in called.most_common(MOST_NAMED)]
    rest = len(called) - len(shown)
    return ", ".join([*shown, f"{rest} more"] if rest else shown)


def _listed(rule: ClassRule) -> str:
    return ", ".join(rule.classes) or "no class"


def _quoted(name: str) -> str:
    return f"'{name}'" if " " in name else name
