"""What hostile files may do: be refused by name, soon and cheaply, or be harmless. Nothing else."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hostile_attempts import MIB, Attempts, Limits, Outcome
from hostile_bombs import BOMBS, SECRET
from hostile_folders import dismantle
from hostile_mutations import FORMATS, mutation, seeds, write_mutation
from hostile_volumes import metaimage
from hostile_zarr import sound_folders, write_folder, write_zarr_mutation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Survived

BOMB_SECONDS, BOMB_BYTES = 2.0, 300 * MIB
"""What refusing a bomb may cost: seconds of work, for a busy machine takes longer for the same."""
FILE_SECONDS, FILE_BYTES = 25.0, 2560 * MIB
KINDS = (*FORMATS, "zarr")
MANY = 2000
BUGS = ("ModuleNotFoundError", "ImportError", "NameError", "UnboundLocalError")
"""What no file can cause: a refusal that tells of one of these hides a mistake of ours."""
LIMITS_STRUCK = ("MemoryError", "bad_alloc", "Unable to allocate", "Failed to allocate")
"""What is said where no check refused a file and the limit on its reader did: no reason, and not the same everywhere."""
OVER_BUDGET = frozenset({"reader-hung", "reader-memory"})
"""The codes by which a file is refused that had to be ended."""
NOT_OURS = "reader"
"""The code under which the reader process tells of an error that nobody foresaw."""
PLAIN_BOMBS = (
    "dicom-deflated", "dicom-jpeg-ls", "nifti-gz", "mha-dims-200", "mha-zlib", "nrrd-gzip", "tiff-deflate-agreed", "pipe",
)  # fmt: skip
"""Some of the bombs that go off where they are trusted."""
ENDED = {"memory", "died", "hung"}
NEEDS_LINKS = pytest.mark.skipif(sys.platform == "win32", reason="needs pipes and links")

pytestmark = NEEDS_LINKS


@pytest.fixture(scope="module")
def harmless(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return one sound file of each kind: whoever has opened them has imported everything."""
    folder = tmp_path_factory.mktemp("harmless")
    paths = []
    for kind in FORMATS:
        for number, seed in enumerate(seeds(kind)):
            paths.append(folder / f"{kind}-{number}{seed.suffix}")
            paths[-1].write_bytes(seed.file)
    for number, files in enumerate(sound_folders()):
        paths.append(write_folder(folder / f"{number}.zarr", files))
    return paths


@pytest.fixture(scope="module")
def attempts(harmless: list[Path]) -> Iterator[Attempts]:
    with Attempts(harmless) as running:
        ends = {path.name: running.attempt(path) for path in harmless if path.suffix != ".pgm"}
        # a reader that refuses everything would pass all that follows
        assert {name: str(outcome) for name, outcome in ends.items() if outcome.end != "opened"} == {}
        yield running


@pytest.fixture(scope="module")
def plain(harmless: list[Path]) -> Iterator[Attempts]:
    """Return what reads files as whoever trusts them does, with the library of each format."""
    limits = Limits(seconds=10, memory_bytes=2 * BOMB_BYTES)
    with Attempts(harmless, opener="hostile_openers:plainly", limits=limits) as running:
        yield running


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_does_no_harm(attempts: Attempts, tmp_path: Path, name: str) -> None:
    assert fault_of_bomb(attempts, tmp_path, name) == ""


@pytest.mark.slow
@pytest.mark.promise
def test_no_bomb_does_harm(attempts: Attempts, plain: Attempts, tmp_path: Path, survived: Survived) -> None:
    faults, ends = {}, {}
    for name in BOMBS:
        (tmp_path / name).mkdir()
        faults[name] = fault_of_bomb(attempts, tmp_path / name, name)
    for name in PLAIN_BOMBS:
        (tmp_path / "plain" / name).mkdir(parents=True)
        ends[name] = plain.attempt(BOMBS[name].make(tmp_path / "plain" / name)).end
    harmed = {name: fault for name, fault in faults.items() if fault}
    survived(
        "hostile input", "bombs", tried=len(BOMBS), survived=len(BOMBS) - len(harmed),
        control=f"the libraries of the formats themselves: of {len(ends)} of them, {told(Counter(ends.values()))}",
        detail=f"each refused, or harmless, within {BOMB_SECONDS:g} s of work and {BOMB_BYTES // MIB} MiB",
    )  # fmt: skip
    assert harmed == {}
    assert set(ends.values()) <= ENDED, ends


def fault_of_bomb(attempts: Attempts, folder: Path, name: str) -> str:
    """Return what a bomb did that none may do; empty where it did no harm."""
    bomb = BOMBS[name]
    path = bomb.make(folder)
    outcome = attempts.attempt(path, needle=bomb.needle)
    if name == "folder-deep":
        dismantle(path)
    sys.stdout.write(f"{name:26} {outcome}\n")
    refused, opened = outcome.end == "refused", bomb.may_open and outcome.end == "opened"
    holds = {
        bomb.why: refused or opened,
        "its bytes came back": not outcome.leaked,
        "a mistake of ours": not hides_a_bug(outcome),
        "no check refused it": not any(words in outcome.error for words in LIMITS_STRUCK),
        "refused for another reason": not refused or bomb.codes is None or outcome.code in bomb.codes,
        "it cost too much": not too_much(outcome),
    }
    return "; ".join(f"{why}: {outcome}" for why, held in holds.items() if not held)


def too_much(outcome: Outcome) -> bool:
    return outcome.cpu_seconds > BOMB_SECONDS or outcome.peak_bytes > BOMB_BYTES


def told(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {end}" for end, count in counts.most_common())


@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_damaged_files_do_no_harm(attempts: Attempts, tmp_path: Path, kind: str) -> None:
    assert harm_of(outcomes_of(attempts, tmp_path, kind, range(100))) == {}


@pytest.mark.slow
@pytest.mark.promise
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", KINDS)
def test_two_thousand_damaged_files_do_no_harm(
    attempts: Attempts, plain: Attempts, quick_folder: Path, kind: str, survived: Survived
) -> None:
    outcomes = outcomes_of(attempts, quick_folder, kind, range(MANY))
    plainly = outcomes_of(plain, quick_folder, kind, range(100))
    foreign = {outcome.error.partition(":")[0] for outcome in plainly.values() if outcome.end == "foreign"}
    harmed = harm_of(outcomes)
    survived(
        "hostile input", "mutated files", tried=MANY, survived=MANY - len(harmed), detail=kind,
        control="plain libraries raise errors that nobody told of, for the same files",
    )  # fmt: skip
    assert harmed == {}
    assert foreign


@pytest.mark.slow
@pytest.mark.promise
def test_the_same_damage_kills_whoever_reads_it_in_its_own_process(
    plain: Attempts, quick_folder: Path, survived: Survived
) -> None:
    outcomes = outcomes_of(plain, quick_folder, "metaimage", range(160, 260))
    died = sum(outcome.end == "died" for outcome in outcomes.values())
    survived(
        "hostile input", "mutated files", tried=0, survived=0,
        control=f"SimpleITK in the same process: {died} of {len(outcomes)} damaged MetaImages end the process",
    )  # fmt: skip
    assert died


def outcomes_of(attempts: Attempts, folder: Path, kind: str, numbers: range) -> dict[int, Outcome]:
    """Return how damaged files ended, by their numbers."""
    outcomes: dict[int, Outcome] = {}
    for number in numbers:
        path = write_zarr_mutation(folder, number) if kind == "zarr" else write_mutation(folder, kind, number)
        outcomes[number] = attempts.attempt(path)
        remove: Callable[[Path], None] = shutil.rmtree if path.is_dir() else os.unlink
        remove(path)
    ends = Counter(f"{outcome.end} {outcome.code}".strip() for outcome in outcomes.values())
    slowest = max(outcomes.items(), key=lambda item: item[1].seconds)
    largest = max(outcomes.items(), key=lambda item: item[1].peak_bytes)
    sys.stdout.write(f"{kind}: {dict(ends.most_common())}\n")
    sys.stdout.write(f"  slowest {slowest[0]}: {slowest[1]}\n  largest {largest[0]}: {largest[1]}\n")
    return outcomes


def harm_of(outcomes: dict[int, Outcome]) -> dict[int, str]:
    """Return what is wrong with how damaged files ended, by their numbers."""
    return {number: str(outcome) for number, outcome in outcomes.items() if is_harm(outcome)}


def is_harm(outcome: Outcome) -> bool:
    """Tell whether a damaged file did what none may do."""
    over = outcome.seconds > FILE_SECONDS or outcome.peak_bytes > FILE_BYTES or outcome.code in OVER_BUDGET
    return (
        over or hides_a_bug(outcome) or outcome.code == NOT_OURS or outcome.end not in ("opened", "refused")
    )


def hides_a_bug(outcome: Outcome) -> bool:
    return any(f"{name}: " in outcome.error for name in BUGS)


def test_damage_is_the_same_every_time_and_differs_by_number() -> None:
    for kind in FORMATS:
        first = [mutation(kind, number) for number in range(20)]
        assert first == [mutation(kind, number) for number in range(20)]
        assert len({data for _, data in first}) > 15


def test_no_bomb_is_large(tmp_path: Path) -> None:
    sizes = {}
    for name, bomb in BOMBS.items():
        folder = tmp_path / name
        folder.mkdir()
        path = bomb.make(folder)
        if path.is_file():
            sizes[name] = path.stat().st_size
            path.unlink()
        elif name == "folder-deep":
            dismantle(path)
    assert {name: size for name, size in sizes.items() if size > 5 * MIB and name != "ome-long"} == {}
    assert len(BOMBS) >= 40


@pytest.mark.parametrize(
    ("opener", "end"), [("raises", "foreign"), ("nameless", "foreign"), ("dies", "died"), ("hangs", "hung")]
)
def test_the_harness_notices_a_parser_that_misbehaves(tmp_path: Path, opener: str, end: str) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"anything")
    with Attempts(opener=f"hostile_openers:{opener}", limits=Limits(seconds=2)) as misled:
        first, second = misled.attempt(path), misled.attempt(path)
    assert (first.end, second.end) == (end, end)
    assert is_harm(first)


def test_the_harness_notices_a_parser_that_swells(tmp_path: Path) -> None:
    with Attempts(opener="hostile_openers:swells") as misled:
        outcome = misled.attempt(tmp_path)
    assert outcome.end == "refused"
    assert 380 * MIB < outcome.peak_bytes < 500 * MIB
    assert too_much(outcome)


def test_the_harness_ends_a_parser_that_swells_without_limit(tmp_path: Path) -> None:
    with Attempts(opener="hostile_openers:swells", limits=Limits(memory_bytes=200 * MIB)) as misled:
        assert misled.attempt(tmp_path).end == "memory"


def test_the_harness_notices_bytes_that_come_back(attempts: Attempts, tmp_path: Path) -> None:
    (tmp_path / "beside.raw").write_bytes(SECRET)
    (tmp_path / "a.mhd").write_bytes(metaimage(b"", DimSize="64 64 1", ElementDataFile="beside.raw"))
    assert attempts.attempt(tmp_path / "a.mhd", needle=SECRET[:64]).leaked
    with Attempts(opener="hostile_openers:leaks") as misled:
        assert misled.attempt(tmp_path / "beside.raw", needle=SECRET[:64]).leaked
        assert not misled.attempt(tmp_path / "beside.raw", needle=os.urandom(64)).leaked
