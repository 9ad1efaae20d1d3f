"""What is chosen by looking at cases must not be chosen on the cases that it is tested on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["SplitCase", "require_validation"]


class SplitCase(Protocol):
    """A case that knows where it belongs, such as :class:`napari_medlab.project.CaseRecord`."""

    @property
    def case_id(self) -> str:
        """What tells it from others."""
        ...

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def split(self) -> str:
        """``"train"``, ``"test"``, or the name of a part of the training cases that is kept for validation."""
        ...

    @property
    def frozen(self) -> bool:
        """Whether it belongs to the frozen test set."""
        ...


def require_validation(cases: Iterable[SplitCase], what: str) -> None:
    """Check that something may be chosen on cases: there are some, and none of them is for testing.

    Parameters
    ----------
    cases : iterable of SplitCase
    what : str
        What is chosen, for the message, such as ``"The threshold"``.

    Raises
    ------
    InputRefusedError
        With code ``"test-cases"`` where one of them is a test case or frozen, and ``"no-cases"`` where there is none.
    """
    given = list(cases)
    for_testing = [case.name for case in given if case.frozen or case.split.lower() == "test"]
    if for_testing:
        shown = ", ".join(for_testing[:3]) + (" …" if len(for_testing) > 3 else "")
        raise InputRefusedError(
            f"{what} would be chosen on {len(for_testing)} of {len(given)} cases that are for testing: {shown}. "
            "Figures on them would then be too good.",
            code="test-cases",
            hint="Choose it on validation cases: a fold of the training cases that the model was not trained on.",
        )
    if not given:
        raise InputRefusedError(
            f"{what} cannot be chosen without cases.", code="no-cases",
            hint="Name the validation cases: a fold of the training cases that the model was not trained on.",
        )  # fmt: skip
