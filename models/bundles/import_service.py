"""The process that reads foreign models; started as ``python -m napari_medlab.models.bundles.import_service``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.jobs.worker_service import serve
from napari_medlab.models.bundles.importing import ImportOptions, import_here

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medlab.jobs import CancelToken

__all__ = ["read_foreign"]


def read_foreign(request: dict[str, Any], cancel: CancelToken) -> Iterator[dict[str, Any]]:
    """Import a model: yields ``step`` events with a ``text``, then ``bundle`` with the new ``folder``.

    The request names ``path``, ``out`` and ``options``, as :func:`napari_medlab.models.bundles.import_model` takes them.
    """
    options = ImportOptions.from_json(request["options"])
    steps = import_here(Path(request["path"]), Path(request["out"]), options)
    while True:
        cancel.check()
        try:
            yield {"event": "step", "text": next(steps)}
        except StopIteration as end:
            yield {"event": "bundle", "folder": str(end.value.folder.absolute())}
            return


if __name__ == "__main__":
    serve({"import": read_foreign})
