"""A bundle put to the test: every check of its task's contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medlab.conformance import Check, ModelContract
    from napari_medlab.models.bundles import Bundle

__all__ = ["contract_for", "verify"]


def contract_for(bundle: Bundle) -> type[ModelContract]:
    """Return the contract of a bundle's task, on a phantom of the first kind of image that it reads.

    What a model was made to find may not be on a phantom: then it need not find anything there.
    """
    from napari_medlab.conformance import CONTRACTS
    from napari_medlab.models.predicting import open_model

    def make() -> Any:  # noqa: ANN401 - of each task its own
        return open_model(bundle, device="cpu", precision="float32")

    about = {
        "make": staticmethod(make), "kinds": bundle.preprocessing.kinds, "classes": bundle.classes, "must_find": False,
    }  # fmt: skip
    return type("BundleContract", (CONTRACTS[bundle.task],), about)


def verify(bundle: Bundle) -> Iterator[Check]:
    """Yield what came of each check; its code runs in this process.

    Raises
    ------
    InputRefusedError
        Before the first, where the bundle cannot be opened: ``"not-allowed"`` where its code may not run.
    """
    from napari_medlab.conformance import checks_of
    from napari_medlab.models.plugins.permission import check_allowed

    check_allowed(bundle)
    contract = contract_for(bundle)
    contract().model  # noqa: B018 - made here, so that a refusal is one and no failed check
    yield from checks_of(contract)
