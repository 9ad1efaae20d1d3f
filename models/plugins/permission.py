"""Which code of other packages a person allowed to run: each by its SHA-256, in a file that only its owner can write."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from napari_medlab.durable import make_folder, state_folder, sync_folder, write_file, writing
from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.models.bundles import Bundle

__all__ = ["allow", "check_allowed", "disallow", "is_allowed"]

FILE = "allowed_models.json"
OWNER_ALONE = 0o600
OTHERS_WRITE = 0o022


def allow(bundle: Bundle) -> None:
    """Let the code of a bundle run from now on: this very code, and no other version of it.

    Raises
    ------
    InputRefusedError
        ``"not-code"`` where the bundle has none; ``"permissions"`` where others could have written what is kept.
    DiskError
        Where it cannot be kept.
    """
    code = _code_of(bundle)
    _write({**_read(), bundle.hash: {
        "name": bundle.name, "package": code["package"], "version": code["version"],
        "allowed": datetime.now(UTC).isoformat(timespec="seconds"),
    }})  # fmt: skip


def disallow(bundle: Bundle) -> None:
    """Take the permission back, for every version of this name from the same package.

    Raises
    ------
    InputRefusedError, DiskError
        As :func:`allow` does.
    """
    package = _code_of(bundle)["package"]
    kept = {
        key: one for key, one in _read().items() if (one["name"], one["package"]) != (bundle.name, package)
    }
    _write(kept)


def is_allowed(bundle: Bundle) -> bool:
    """Tell whether a bundle may run: it is data, or its very code was allowed.

    Raises
    ------
    InputRefusedError
        ``"permissions"`` where others could have written what is kept.
    """
    return bundle.code is None or bundle.hash in _read()


def check_allowed(bundle: Bundle) -> None:
    """Refuse a bundle whose code nobody allowed.

    Raises
    ------
    InputRefusedError
        ``"not-allowed"``, with how to allow it; ``"permissions"`` where others could have written what is kept.
    """
    if is_allowed(bundle):
        return
    code = _code_of(bundle)
    others = (
        one for one in _read().values() if (one["name"], one["package"]) == (bundle.name, code["package"])
    )
    last = max((one["allowed"] for one in others), default="")
    why = f"has changed since it was allowed on {last[:10]}" if last else "was not allowed to run yet"
    raise InputRefusedError(
        f"{bundle.title} is code of the package {code['package']} {code['version']} in {bundle.folder}, which {why}.",
        code="not-allowed",
        hint=f"If you trust this code with your files, allow it: napari-medlab models allow {bundle.hash[:12]}",
    )  # fmt: skip


def _code_of(bundle: Bundle) -> dict[str, Any]:
    if bundle.code is None:
        raise InputRefusedError(
            f"{bundle.title} is data and runs no code of its own, so there is nothing to allow.",
            code="not-code", hint="It can be used as it is.",
        )  # fmt: skip
    return bundle.code


def _read() -> dict[str, dict[str, str]]:
    path = state_folder() / FILE
    try:
        about = path.stat()
        kept = json.loads(path.read_text(encoding="utf-8"))["allowed"]
        allowed = {str(key): {name: str(one[name]) for name in ("name", "package", "version", "allowed")}
                   for key, one in kept.items()}  # fmt: skip
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _odd(path, f"cannot be read: {error!r}") from error
    if os.name == "posix" and (about.st_mode & OTHERS_WRITE or about.st_uid != os.geteuid()):
        raise _odd(path, "can be written by others")
    return allowed


def _write(allowed: dict[str, dict[str, str]]) -> None:
    path = state_folder() / FILE
    partial = path.with_name(f"{FILE}.partial-{os.getpid()}")
    with writing(path):
        make_folder(path.parent)
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT, OWNER_ALONE))  # before anything is in it
        write_file(partial, json.dumps({"allowed": allowed}, indent=1).encode())
        partial.replace(path)
        sync_folder(path.parent)


def _odd(path: Path, why: str) -> InputRefusedError:
    return InputRefusedError(
        f"{path}, which says what code may run, {why}: no code of other packages is run.",
        code="permissions", hint="Remove the file, and allow again what you trust: napari-medlab models allow NAME",
    )  # fmt: skip
