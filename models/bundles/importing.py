"""Importing models made elsewhere: told apart by what lies in them, read as data, written as bundles."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.durable import new_folder, write_file
from napari_medlab.errors import InputRefusedError
from napari_medlab.jobs import CancelToken
from napari_medlab.models.bundles.archives import check_members, contents, unpack
from napari_medlab.models.bundles.bundle import CARD, SPEC, WEIGHTS, Bundle, read_bundle, write_bundle
from napari_medlab.models.bundles.intake import Draft, ImportOptions, argument_of, not_importable
from napari_medlab.models.bundles.loading import CLASSIFIER_PREFIX, network_with
from napari_medlab.models.bundles.monai_import import is_monai_bundle, read_monai
from napari_medlab.models.bundles.nnunet import is_nnunet, read_nnunet
from napari_medlab.models.bundles.plain import read_plain
from napari_medlab.models.bundles.spec import problems_of_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from torch import nn

__all__ = ["ImportOptions", "copy_bundle", "import_here", "import_model"]

MODULE = "napari_medlab.models.bundles.import_service"
MIB = 1 << 20
BASE_SECONDS, BYTES_PER_SECOND = 90.0, 10 * MIB
BASE_BYTES, BYTES_PER_BYTE = 2560 * MIB, 6
POLL_SECONDS = 0.5
ZIP = b"PK\x03\x04"
PICKLE = b"\x80"
ONNX_BEGINNING = b"\x08"
HDF5 = b"\x89HDF"
CONFIGURED = (
    "configs/metadata.json",
    "configs/inference.json",
    "configs/inference.yaml",
    "configs/inference.yml",
)
UNPACKED = (".json", ".yaml", ".yml", ".pt", ".md", ".txt", ".py")
MAX_FOLDER_FILES = 50_000
TRIED_SIDE = 32


def import_model(
    path: Path, out: Path, options: ImportOptions | None = None, *, cancel: CancelToken | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> Bundle:  # fmt: skip
    """Turn a model that was made elsewhere into a bundle below ``out``; nothing that lies in its files is run.

    What it is, is told by what it holds: a bundle of ours (copied as it is), a folder or zip file of a MONAI bundle, a
    trained nnU-Net v2, weights as PyTorch or safetensors. The files are read in a process of its own, which is ended where
    it takes too long or too much memory.

    Parameters
    ----------
    path : file or folder
    out : folder for bundles
    options : what the files do not say themselves
    cancel : stops the reading
    on_progress : called with what is being done, in words

    Raises
    ------
    InputRefusedError
        With the reason: unknown or damaged, code, a network that is not built, or something that has to be given.
    CancelledError
    """
    from napari_medlab.jobs.worker_process import WorkerDiedError, WorkerProcess

    request = {
        "op": "import",
        "path": str(path),
        "out": str(out),
        "options": (options or ImportOptions()).as_json(),
    }
    folder = ""
    with WorkerProcess(MODULE) as worker, _Watch(worker.pid, _bytes_of(path)) as watch:
        try:
            for event in worker.events(request, cancel or CancelToken()):
                if event["event"] == "step" and on_progress is not None:
                    on_progress(event["text"])
                folder = event.get("folder", folder)
        except WorkerDiedError as error:
            raise not_importable(path, watch.reason or "reading it made its reader end") from error
    return read_bundle(Path(folder))


def import_here(path: Path, out: Path, options: ImportOptions) -> Generator[str, None, Bundle]:
    """Do what :func:`import_model` does, in this process; yields what is being done, and returns the bundle.

    Raises
    ------
    InputRefusedError
    """
    yield f"Reading {path.name}"
    if (path / SPEC).is_file():
        return copy_bundle(read_bundle(path), out)
    with tempfile.TemporaryDirectory(prefix="napari-medlab-") as unpacked:
        draft = _read(path, options, Path(unpacked))
        yield "Matching the weights with the network"
        completed = draft.completed(options)
        hashes = {file.name: _digest(file) for file in completed.files}
    spec = _spec(completed, options, path, hashes)
    _check(path, spec, completed)
    yield "Writing the bundle"
    return write_bundle(out, spec, completed.weights, precision="as given")


def copy_bundle(source: Bundle, into: Path) -> Bundle:
    """Copy what makes up a bundle, and nothing else that lies beside it; return the copy, checked again.

    Raises
    ------
    InputRefusedError
        Where it is there already, or changes meanwhile.
    """
    folder = into / f"{source.name}-{source.hash[:12]}"
    with new_folder(folder) as partial:
        for name in (WEIGHTS, SPEC, CARD):
            if (source.folder / name).is_file() and not (source.folder / name).is_symlink():
                write_file(partial / name, (source.folder / name).read_bytes())
        if read_bundle(partial).hash != source.hash:
            raise InputRefusedError(f"{source.folder} changed while it was copied.", code="bundle")
    return read_bundle(folder)


def _read(path: Path, options: ImportOptions, unpacked: Path) -> Draft:
    if path.is_dir():
        return _read_folder(path, options)
    if not path.is_file():
        raise not_importable(path, "it is not there")
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(ZIP) and _is_configured(path):
        return _read_folder(_unpacked(path, unpacked), options)
    if reason := _refusal(path, head):
        raise not_importable(path, reason)
    return read_plain(path, options, is_archive=head.startswith(ZIP))


def _read_folder(folder: Path, options: ImportOptions) -> Draft:
    if is_monai_bundle(folder):
        return read_monai(folder, options)
    if is_nnunet(folder):
        return read_nnunet(folder, options)
    found = (
        ", ".join(sorted(inner.name for inner in list(folder.iterdir())[:MAX_FOLDER_FILES])[:8]) or "nothing"
    )
    raise not_importable(
        folder, f"it is no bundle, no MONAI bundle and no nnU-Net, but holds {found}",
        f"A bundle holds {SPEC}, a MONAI bundle configs/inference.json, an nnU-Net plans.json and dataset.json.",
    )  # fmt: skip


def _refusal(path: Path, head: bytes) -> str:
    """Return why a file of another kind is not read; empty where it may be weights."""
    suffix = path.suffix.lower()
    if head.startswith(PICKLE) or suffix in (".pkl", ".pickle", ".joblib"):
        return "it is a pickle, which is code: save its weights with PyTorch 1.6 or later, or as safetensors"
    if suffix == ".onnx" or (
        head.startswith(ONNX_BEGINNING) and suffix not in (".pt", ".pth", ".safetensors")
    ):
        return "it is an ONNX graph, which says nothing about how its images were prepared"
    if head.startswith(HDF5):
        return "it is an HDF5 file, such as Keras writes"
    if suffix == ".pt2":
        return "it is an exported program (.pt2), which is code"
    return ""


def _is_configured(path: Path) -> bool:
    try:
        return any(member.filename.endswith(CONFIGURED) for member in contents(path))
    except (OSError, ValueError) as error:
        raise not_importable(path, str(error)) from error


def _unpacked(path: Path, folder: Path) -> Path:
    """Unpack what is read of a zipped MONAI bundle, and its programs, so that they are found and named."""
    inside = folder / _as_name(path.stem)
    try:
        members = contents(path)
        check_members(members, inside)
        unpack(path, [one for one in members if one.filename.lower().endswith(UNPACKED)], inside)
    except (OSError, ValueError) as error:
        raise not_importable(path, str(error)) from error
    found = [place.parent.parent for place in inside.rglob("configs/*")]
    return min(found, key=lambda place: len(place.parts), default=inside)


def _spec(draft: Draft, options: ImportOptions, path: Path, hashes: dict[str, str]) -> dict[str, Any]:
    facts = dict(draft.facts)
    wanted = options.name or str(facts.pop("name", "")) or path.name.removesuffix(path.suffix)
    limits = [*facts.pop("limits", []), *draft.limits]
    training = {**facts.pop("training", {}), "imported_from": {"format": draft.origin, "files": hashes}}
    return {
        "name": wanted if options.name else _as_name(wanted),
        "network": draft.network,
        "training": training,
        "parent": facts.pop("parent", None),
        "figures": facts.pop("figures", {}),
        "limits": [*limits, "Imported: its figures were not measured here."],
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **{key: value for key, value in facts.items() if key != "created"},
    }


def _as_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:64] or "imported"


def _check(path: Path, spec: dict[str, Any], draft: Draft) -> None:
    """Make sure that the bundle to be written can be used: its spec, and each network with its weights."""
    if problems := problems_of_spec({**spec, "weights_sha256": "0" * 64}):
        raise not_importable(path, "; ".join(problems), "Give what is wrong as an option.")
    own = dict(draft.weights)
    if spec.get("classifier") is not None:
        own = {name: tensor for name, tensor in own.items() if not name.startswith(CLASSIFIER_PREFIX)}
        judging = {name[len(CLASSIFIER_PREFIX) :]: t for name, t in draft.weights.items() if name not in own}
        _fitted(path, spec["classifier"]["network"], judging)
    network = _fitted(path, spec["network"], own)
    if spec["task"] == "detection":
        if not hasattr(network, "decode"):
            raise not_importable(
                path, f"the network {spec['network']['name']!r} detects nothing: it has no boxes to give"
            )
        return
    _try_out(path, network, spec)


def _fitted(path: Path, network: dict[str, Any], weights: dict[str, Any]) -> nn.Module:
    try:
        return network_with(network, weights)
    except InputRefusedError as error:
        raise InputRefusedError(f"{path.name}: {error.message}", code=error.code, hint=error.hint) from error
    except ValueError as error:
        raise not_importable(
            path, f"its weights do not fit the network {network['name']!r}: {error}",
            "Check the network's name and arguments: they have to be those with which it was trained.",
        ) from error  # fmt: skip


def _try_out(path: Path, network: nn.Module, spec: dict[str, Any]) -> None:
    """Let a network look at nothing, to see that it gives one output for each class."""
    import torch

    dims, channels = (
        argument_of(spec["network"], name, default)
        for name, default in (("spatial_dims", 3), ("in_channels", 1))
    )
    side = max(TRIED_SIDE, 2 * int(getattr(network, "multiple", 1)))
    try:
        with torch.inference_mode():
            outputs = network(torch.zeros(1, channels, *(side,) * dims))
        shape = tuple(outputs.shape)
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise not_importable(
            path, f"its network cannot look at {side} voxels along each axis: {error}"
        ) from error
    expected: tuple[int, ...] = (1, len(spec["classes"]))
    if spec["task"] == "segmentation":
        expected += (side,) * dims
    if shape != expected and not (len(spec["classes"]) == 1 and shape == expected[:1]):
        raise not_importable(
            path, f"its network gives {shape} for an image of {side} voxels along each axis, expected {expected}",
            "Check the classes (without the background) and --output: softmax takes the first class for the background.",
        )  # fmt: skip


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bytes_of(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    total = 0
    for count, inner in enumerate(path.rglob("*")):
        if count > MAX_FOLDER_FILES:
            raise not_importable(path, f"it holds over {MAX_FOLDER_FILES} files")
        total += inner.stat().st_size if inner.is_file() else 0
    return total


class _Watch:
    """Ends a process that takes longer, or more memory, than reading a file of its size can need."""

    def __init__(self, pid: int, size: int) -> None:
        self.reason = ""
        self._pid = pid
        self._seconds = BASE_SECONDS + size / BYTES_PER_SECOND
        self._bytes = BASE_BYTES + BYTES_PER_BYTE * size
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="import watch", daemon=True)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        import psutil

        waited = 0.0
        while not self._over.wait(POLL_SECONDS):
            waited += POLL_SECONDS
            try:
                taken = psutil.Process(self._pid).memory_info().rss
            except psutil.Error:
                return
            if waited > self._seconds:
                self.reason = f"reading it takes over {self._seconds:.0f} s"
            elif taken > self._bytes:
                self.reason = f"reading it takes over {self._bytes // MIB} MiB"
            if self.reason:
                os.kill(self._pid, 9)
                return
