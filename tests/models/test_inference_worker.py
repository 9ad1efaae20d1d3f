"""The worker answers with the very model that was asked for."""

from __future__ import annotations

import pytest

from napari_medlab.errors import InputRefusedError
from napari_medlab.jobs import CancelToken
from napari_medlab.models.bundles import find_bundle
from napari_medlab.models.inference.worker import warm_up


def test_another_model_in_the_folder_is_refused() -> None:
    asked = {"bundle": str(find_bundle("glomeruli").folder), "hash": "0" * 64, "device": "cpu"}
    with pytest.raises(InputRefusedError, match="00000000 was asked for") as refused:
        list(warm_up(asked, CancelToken()))
    assert refused.value.code == "other-model"
