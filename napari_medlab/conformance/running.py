"""Running a contract without pytest: for the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import SkipTest

from napari_medlab.conformance.classifiers import ClassifierContract
from napari_medlab.conformance.detectors import DetectorContract
from napari_medlab.conformance.segmenters import SegmenterContract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medlab.conformance.contract import ModelContract

__all__ = ["CONTRACTS", "Check", "checks_of"]

CONTRACTS: dict[str, type[ModelContract]] = {
    "detection": DetectorContract,
    "segmentation": SegmenterContract,
    "classification": ClassifierContract,
}
"""The contract of each task."""


@dataclass(frozen=True)
class Check:
    """What came of one check.

    Parameters
    ----------
    name : str
        What is promised, in words.
    reason : str
        Why it failed; empty where it did not.
    """

    name: str
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"check": self.name, "passed": not self.reason, "reason": self.reason}


def checks_of(contract: type[ModelContract]) -> Iterator[Check]:
    """Run every check of a contract that says how its model is made, and yield what came of each that applies to it."""
    for name in sorted(name for name in dir(contract) if name.startswith("test_")):
        check = getattr(contract(), name)
        words = str(check.__doc__).rstrip(".")
        try:
            check()
        except SkipTest:
            continue
        except AssertionError as error:
            yield Check(words, str(error))
        except Exception as error:  # noqa: BLE001 - a model that fails has failed the check
            yield Check(words, f"It failed: {type(error).__name__}: {error}")
        else:
            yield Check(words)
