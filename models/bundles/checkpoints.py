"""Weights out of PyTorch's own files, without running anything that lies in them."""

from __future__ import annotations

import re
import warnings
import zipfile
from typing import TYPE_CHECKING, Any

from napari_medlab.models.bundles.archives import contents
from napari_medlab.models.bundles.tensors import MAX_KEY, MAX_TENSORS, MAX_WEIGHT_BYTES

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    import torch

__all__ = ["check_archive", "read_checkpoint", "state_dict_in"]

MAX_PICKLE_BYTES = 64 << 20
NESTS = ("state_dict", "model_state_dict", "network_weights", "model", "network", "net", "state_dict_ema")
"""Where training programs keep the weights within a checkpoint."""

WRAPPERS = ("module.", "_orig_mod.")
"""What PyTorch puts before every name when a network was trained on several devices, or compiled."""

ASKED = re.compile(r"\bGLOBAL (\S+)")
"""How PyTorch names what a pickle asks Python for, and is not given."""

NUMBER_TYPES = ("float64", "float32", "float16", "int64", "int32", "bool")


def read_checkpoint(path: Path, *, allow_numbers: bool = False) -> Any:  # noqa: ANN401 - whatever was saved
    """Return what lies in a file that ``torch.save`` wrote, as long as it is tensors and plain values.

    Parameters
    ----------
    path : Path
    allow_numbers : bool
        Whether NumPy's numbers may occur beside the tensors, as they do in nnU-Net's checkpoints.

    Raises
    ------
    ValueError
        Where the file is no such archive, holds code, or asks for anything but tensors and plain values.
    """
    import torch

    check_archive(path)
    try:
        with (
            warnings.catch_warnings(action="ignore"),  # of kinds of tensors that are refused further on
            torch.sparse.check_sparse_tensor_invariants(),
            _numbers(allow=allow_numbers),
        ):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = " ".join(str(error).split())
        if asked := ASKED.search(reason):
            raise ValueError(
                f"it is no plain weights: it asks Python for {asked[1][:80]!r}, which is code"
            ) from error
        raise ValueError(
            f"it cannot be read as plain weights: {type(error).__name__}: {reason[:200]}"
        ) from error


def check_archive(path: Path) -> None:
    """Check a file of weights before PyTorch opens it.

    Raises
    ------
    ValueError
        Where it is no zip file, is compressed, too large or of too many members, or holds a program beside the weights.
    """
    members = contents(path)
    names = [member.filename for member in members]
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        raise ValueError("it is a TorchScript archive: a program, not weights alone")
    if any(
        name.endswith(("archive_format", "serialized_exported_program.json", "models/model.json"))
        for name in names
    ):
        raise ValueError("it is an exported program (.pt2): code, not weights alone")
    if packed := next((m.filename for m in members if m.compress_type != zipfile.ZIP_STORED), None):
        raise ValueError(f"its member {packed[:80]!r} is compressed, which weights never are")
    pickles = [member for member in members if member.filename.endswith(".pkl")]
    if [member.filename.rpartition("/")[2] for member in pickles] != ["data.pkl"]:
        raise ValueError(
            "it holds no data.pkl, or other pickles beside it: these are no weights of torch.save"
        )
    if pickles[0].file_size > MAX_PICKLE_BYTES:
        raise ValueError(f"its data.pkl has {pickles[0].file_size} bytes, more than {MAX_PICKLE_BYTES}")


def state_dict_in(checkpoint: object) -> dict[str, torch.Tensor]:
    """Return the weights in a checkpoint by name, without what wrappers of networks put before the names.

    Raises
    ------
    ValueError
        Where there are none, or anything among them is no plain tensor of numbers.
    """
    found = checkpoint
    for _ in NESTS:
        if not isinstance(found, dict) or _has_tensors(found):
            break
        found = next((found[key] for key in NESTS if isinstance(found.get(key), dict)), None)
    if not isinstance(found, dict) or not _has_tensors(found):
        raise ValueError(f"it holds no weights, neither directly nor as {', '.join(NESTS[:4])}")
    if len(found) > MAX_TENSORS:
        raise ValueError(f"it holds {len(found)} tensors, more than {MAX_TENSORS}")
    checked = {_checked_name(name): _checked_tensor(name, tensor) for name, tensor in found.items()}
    if sum(tensor.numel() * tensor.element_size() for tensor in checked.values()) > MAX_WEIGHT_BYTES:
        raise ValueError(f"its tensors have over {MAX_WEIGHT_BYTES} bytes")
    _check_finite(checked)
    return {name: tensor.clone().contiguous() for name, tensor in _unwrapped(checked).items()}


def _numbers(*, allow: bool) -> AbstractContextManager[Any]:
    """Let NumPy's numbers through, and nothing else, under the names that both of its generations gave them."""
    from contextlib import nullcontext

    import numpy as np
    import torch

    if not allow:
        return nullcontext()
    rebuild = np._core.multiarray.scalar  # type: ignore[attr-defined]  # it has no public name
    kinds = [type(np.dtype(name)) for name in NUMBER_TYPES]
    named = [(rebuild, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    return torch.serialization.safe_globals([*named, np.dtype, *kinds])


def _has_tensors(found: dict[Any, Any]) -> bool:
    import torch

    return any(isinstance(value, torch.Tensor) for value in found.values())


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= MAX_KEY or not name.isprintable():
        raise ValueError(f"a tensor is called {str(name)[:80]!r}")
    return name


def _checked_tensor(name: str, tensor: object) -> torch.Tensor:
    """Return a tensor that owns all of the numbers that it shows, and is of a kind that networks have."""
    import torch

    if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
        raise ValueError(f"{name[:80]} is a {type(tensor).__name__}, not a tensor")
    assert isinstance(tensor, torch.Tensor)
    is_plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    if not is_plain or tensor.dtype not in _number_types():
        kind = "quantised " if tensor.is_quantized else ""
        raise ValueError(
            f"{name[:80]} is a {kind}{tensor.layout} {tensor.dtype} tensor on {tensor.device.type}"
        )
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ValueError(f"{name[:80]} shows {tensor.numel()} values, and its file does not hold as many")
    return tensor.detach()


def _check_finite(weights: dict[str, torch.Tensor]) -> None:
    import torch

    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{name[:80]} holds values that are not finite")


def _number_types() -> tuple[torch.dtype, ...]:
    import torch

    floats = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
    return (*floats, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)


def _unwrapped(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    for _ in range(4):
        prefix = next((one for one in WRAPPERS if all(name.startswith(one) for name in weights)), None)
        if prefix is None:
            break
        weights = {name[len(prefix) :]: tensor for name, tensor in weights.items()}
    return weights
