"""Build the wheel from the tree and from the sdist, compare them, and look for what has to be inside.

Both are built from a copy and without isolation: setuptools is all that it takes, and nothing is downloaded. With ``--out
DIR`` the wheel is kept there.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = (
    "napari_medlab",
    "models",
    "widgets",
    "pyproject.toml",
    "setup.py",
    "README.md",
    "LICENSE",
    "MANIFEST.in",
)
REQUIRED = ("napari_medlab/napari.yaml", "napari_medlab/icon.svg", "napari_medlab/py.typed")
BUNDLE_FILES = ("bundle.json", "model.safetensors", "CARD.md")


def copy_sources(target: Path) -> None:
    """Copy what the build reads, but neither links nor caches."""
    target.mkdir()
    skipped = shutil.ignore_patterns("__pycache__", "*.py[cod]", "*.egg-info")
    links = {str(path) for path in (ROOT / "napari_medlab").iterdir() if path.is_symlink()}

    def ignore(folder: str, names: list[str]) -> set[str]:
        return {*skipped(folder, names), *(name for name in names if str(Path(folder) / name) in links)}

    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=ignore)
        elif source.exists():
            shutil.copy2(source, target / name)


def build(source: Path, target: Path, *kinds: str) -> None:
    """Run ``python -m build``; its output is shown only where it fails."""
    command = [sys.executable, "-m", "build", "--no-isolation", *kinds, "--outdir", str(target), str(source)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        print(done.stdout[-4000:], done.stderr[-4000:], file=sys.stderr)
        raise SystemExit(f"The build failed: {' '.join(command)}")


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of the one wheel in a folder; RECORD follows from the others."""
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/RECORD")}


def expected_files() -> set[str]:
    """Return what the wheel has to hold: every module of the tree, the manifest, and all of each bundle."""
    files = set(REQUIRED)
    for folder in ("models", "widgets"):
        files |= {
            f"napari_medlab/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / folder).rglob("*.py")
        }
    files |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "napari_medlab").rglob("*.py")}
    for bundle in (ROOT / "models" / "zoo").glob("*/bundle.json"):
        files |= {f"napari_medlab/models/zoo/{bundle.parent.name}/{name}" for name in BUNDLE_FILES}
    return files


def main() -> int:
    """Print how the two wheels differ and what they lack."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where the wheel is kept, in place of what is there"
    )
    kept: Path | None = parser.parse_args().out
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        copy_sources(folder / "tree")
        build(folder / "tree", folder / "from-tree", "--wheel")
        shutil.rmtree(folder / "tree")
        copy_sources(folder / "tree")
        build(folder / "tree", folder / "from-sdist")  # without a kind, the wheel is built from the sdist
        tree, sdist = contents(folder / "from-tree"), contents(folder / "from-sdist")
        if kept is not None:
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(folder / "from-sdist", kept)
    faults = [f"only in the wheel from the tree: {name}" for name in sorted(tree.keys() - sdist.keys())]
    faults += [f"only in the wheel from the sdist: {name}" for name in sorted(sdist.keys() - tree.keys())]
    faults += [f"differs: {name}" for name in sorted(tree.keys() & sdist.keys()) if tree[name] != sdist[name]]
    faults += [f"missing from both: {name}" for name in sorted(expected_files() - tree.keys() - sdist.keys())]
    bare = [name for name in tree if name.startswith(("models/", "widgets/", "tests/"))]
    faults += [f"at the top level: {name}" for name in bare]
    print("\n".join(faults) or f"wheels: {len(tree)} files, the same from the tree and from the sdist")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
