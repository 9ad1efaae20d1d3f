"""The process that parses foreign files: whatever one of them does to it, the others open."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medlab.errors import ImageRefusedError, InputRefusedError, MedlabError, Option
from napari_medlab.geometry import Grid
from napari_medlab.images import Decisions, Image, ImageWarning, Window, contents, open_image
from napari_medlab.images.isolation import Limits, ReaderProcess, process, remote
from napari_medlab.images.isolation.messages import (
    describe,
    describe_error,
    error_from,
    image_from,
    level_forms,
)
from napari_medlab.images.tiles import MemoryTiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
HANG = 100.0
MIB = 1 << 20
SECONDS = 1.5
"""What a file may take here, where the process has started."""


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ReaderProcess]]:
    """Return what makes the reader of this test, whose files misbehave by name."""
    made: list[ReaderProcess] = []

    def make(seconds: float = 60.0, *, again: float = 60.0, memory_bytes: int = 1024 * MIB) -> ReaderProcess:
        """Start a process with a limit, and give those that follow it ``again``, in which they have to start as well."""
        living = ReaderProcess(Limits(again, memory_bytes), 4)
        made.append(living)
        monkeypatch.setattr(remote, "reader_process", lambda: living)
        living.ask({"op": "warm"})
        assert living._child is not None
        living._child._limits = Limits(seconds, memory_bytes)
        return living

    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    )
    monkeypatch.setattr(process, "MODULE", "misbehaving_reader")
    yield make
    for each in made:
        each.close()


@pytest.fixture
def named(tmp_path: Path) -> Callable[[str], Path]:
    """Return what makes a file of a name."""

    def make(name: str) -> Path:
        path = tmp_path / name
        path.write_bytes(b"some bytes")
        return path

    return make


def outcome(path: Path) -> str:
    """Return the code with which an image is refused, or ``opened`` where its pixels are right."""
    try:
        image = open_image(path)
        pixels = image.arrays[0].read(slice(None), keep=False)
    except MedlabError as error:
        return error.code
    expected = np.broadcast_to((10 * np.arange(3) + len(path.name))[:, None, None], pixels.shape)
    return "opened" if np.array_equal(pixels, expected) else "wrong pixels"


def test_what_misbehaves_is_refused_and_the_next_image_opens(
    reader: Callable[..., ReaderProcess], named: Callable[[str], Path]
) -> None:
    reader()
    expected = {
        "leave-a": "reader-died", "plain-a": "opened", "crash-a": "reader-died", "print-a": "opened",
        "ask-a": "reader-memory", "fail-a": "unreadable", "recurse-a": "unreadable", "refuse-a": "doubtful",
        "quit-a": "reader", "wrong-a": "unreadable", "plain-b": "opened",
    }  # fmt: skip
    assert {name: outcome(named(name)) for name in expected} == expected


def test_what_hangs_is_ended(reader: Callable[..., ReaderProcess], named: Callable[[str], Path]) -> None:
    reader(SECONDS)
    assert outcome(named("hang-a")) == "reader-hung"
    assert outcome(named("plain-a")) == "opened"


def test_what_takes_too_much_memory_is_ended(
    reader: Callable[..., ReaderProcess], named: Callable[[str], Path]
) -> None:
    reader(memory_bytes=200 * MIB)
    assert outcome(named("eat-a")) == "reader-memory"
    assert outcome(named("plain-a")) == "opened"


def test_a_tile_that_hangs_is_refused_and_the_others_are_read(
    reader: Callable[..., ReaderProcess], named: Callable[[str], Path]
) -> None:
    reader(SECONDS)
    image = open_image(named("pixels-a"))
    assert image.arrays[0][0].shape == (16, 16)
    with pytest.raises(ImageRefusedError) as caught:
        image.arrays[0][1]
    assert caught.value.code == "reader-hung"
    assert image.arrays[0][2].shape == (16, 16)


@pytest.mark.parametrize(("culprit", "code"), [("leave", "reader-died"), ("hold", "reader-hung")])
def test_of_several_in_flight_only_the_culprit_fails(
    reader: Callable[..., ReaderProcess], named: Callable[[str], Path], culprit: str, code: str
) -> None:
    """The innocent may have been asked for earlier than the culprit, or later."""
    reader(1.5, again=4.0)
    names = ["slow-1", f"{culprit}-22", "slow-333"]
    paths = [named(name) for name in names]
    with ThreadPoolExecutor(3) as pool:
        asked = []
        for path in paths:
            asked.append(pool.submit(outcome, path))
            time.sleep(0.05)
        outcomes = [future.result(HANG) for future in asked]
    assert outcomes == ["opened", code, "opened"]


def test_many_readers_of_many_files_all_get_their_own_answers(
    reader: Callable[..., ReaderProcess], named: Callable[[str], Path]
) -> None:
    reader()
    names = ["plain-1", "crash-2", "plain-333", "fail-4", "refuse-5", "plain-666666", "quit-7", "print-88"]
    codes = ["opened", "reader-died", "opened", "unreadable", "doubtful", "opened", "reader", "opened"]
    paths = [named(name) for name in names] * 2
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(outcome, paths, timeout=HANG)) == codes * 2


def test_a_request_that_meets_a_dying_process_is_answered_by_the_next(
    reader: Callable[..., ReaderProcess], named: Callable[[str], Path]
) -> None:
    """The process is killed at any moment, again and again, while nobody's file is at fault."""
    living = reader()
    path = named("plain-a")
    done = threading.Event()

    def kill() -> None:
        for _ in range(4):
            time.sleep(0.3)
            pid = living.pid
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
        done.set()

    killer = threading.Thread(target=kill)
    killer.start()
    codes = set()
    while not done.is_set():
        codes.add(outcome(path))
    killer.join()
    # alone in flight it is taken for the culprit: it is never left waiting, and never wrong
    assert codes <= {"opened", "reader-died"}
    assert outcome(path) == "opened"


def test_closing_while_somebody_waits_loses_no_answer(
    reader: Callable[..., ReaderProcess], named: Callable[[str], Path]
) -> None:
    living = reader()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(outcome, named("slow-a"))
        time.sleep(0.6)
        living.close()
        assert asked.result(HANG) == "opened"


def test_progress_keeps_a_slow_file_alive_and_is_told(
    reader: Callable[..., ReaderProcess], named: Callable[[str], Path]
) -> None:
    reader(SECONDS)
    told: list[tuple[int, int]] = []
    path = named("progress-a")
    open_image(path, on_progress=lambda done, total: told.append((done, total)))
    assert told == [(number, 30) for number in range(30)]


def test_two_who_wait_for_the_same_slow_file_both_get_it(
    reader: Callable[..., ReaderProcess], named: Callable[[str], Path]
) -> None:
    """The second one waits in silence while the first one's progress is told."""
    reader(SECONDS)
    path = named("progress-a")
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(outcome, [path, path])) == ["opened", "opened"]


def test_tiles_that_take_long_far_below_are_no_file_that_hangs(
    reader: Callable[..., ReaderProcess], named: Callable[[str], Path]
) -> None:
    reader(1.0)
    image = open_image(named("levels-a"))
    coarsest = image.arrays[-1].read(..., keep=False)
    assert coarsest.shape == (8, 256)


def test_a_listener_that_raises_harms_nobody_else(
    reader: Callable[..., ReaderProcess], named: Callable[[str], Path]
) -> None:
    reader()

    def listen(done: int, total: int) -> None:
        raise KeyError(done)

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(outcome, named("slow-a"))
        with pytest.raises(KeyError):
            open_image(named("progress-a"), on_progress=listen)
        assert other.result(HANG) == "opened"


def test_reading_can_be_stopped(reader: Callable[..., ReaderProcess], named: Callable[[str], Path]) -> None:
    living = reader()
    told: list[int] = []
    path = named("progress-a")
    with pytest.raises(MedlabError) as caught:
        open_image(path, on_progress=lambda done, _: told.append(done), stop=lambda: len(told) > 2)
    assert caught.value.code == "cancelled"
    assert len(told) < 30
    pid = living.pid
    assert outcome(named("plain-a")) == "opened"
    assert living.pid == pid  # nothing had to be ended


def test_errors_travel_with_code_hint_and_options(
    reader: Callable[..., ReaderProcess], named: Callable[[str], Path]
) -> None:
    reader()
    with pytest.raises(ImageRefusedError) as caught:
        open_image(named("refuse-a"))
    error = caught.value
    assert (error.message, error.code, error.hint) == ("It is doubtful.", "doubtful", "Decide.")
    assert error.options == (Option("Take the first", {"phase": 0}),)
    with pytest.raises(ImageRefusedError, match="ForeignError: for no reason"):
        open_image(named("fail-a"))


@pytest.mark.parametrize("kind", [MedlabError, InputRefusedError, ImageRefusedError])
def test_errors_keep_their_kind(kind: type[MedlabError]) -> None:
    error = error_from(json.loads(json.dumps(describe_error(kind("what", code="why", hint="how")))))
    assert (type(error), error.message, error.code, error.hint) == (kind, "what", "why", "how")


@pytest.mark.parametrize("change", [b"other byte", b"more bytes than before"])
def test_a_file_that_changed_since_it_was_opened_is_refused(
    reader: Callable[..., ReaderProcess], named: Callable[[str], Path], change: bytes
) -> None:
    reader()
    path = named("whole-a")
    image = open_image(path)
    assert image.arrays[0].read(..., keep=False).tobytes() == b"some bytes"
    path.write_bytes(change)
    os.utime(path, ns=(1, 1))
    with pytest.raises(ImageRefusedError) as caught:
        image.arrays[0].read(..., keep=False)
    assert caught.value.code == "changed"
    assert open_image(path).arrays[0][...].tobytes() == change
    with pytest.raises(ImageRefusedError):
        image.arrays[0].read(..., keep=False)
    path.unlink()
    with pytest.raises(ImageRefusedError):
        image.arrays[0].read(..., keep=False)


def test_a_picture_exchanged_for_another_shows_no_pixels_of_the_other(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.pgm")
    image = open_image(path)
    path.write_bytes(path.read_bytes()[:-20] + bytes([200] * 20))
    os.utime(path, ns=(5, 5))
    with pytest.raises(ImageRefusedError) as caught:
        image.arrays[0][...]
    assert caught.value.code == "changed"


def test_more_images_than_are_kept_open_can_all_be_read(
    reader: Callable[..., ReaderProcess], named: Callable[[str], Path]
) -> None:
    reader()
    images = [open_image(named("plain-" + "x" * number)) for number in range(1, 40)]
    for number, image in enumerate(images, start=1):
        assert int(image.arrays[0][1, 2, 3]) == 10 + len("plain-") + number


texts = st.text(max_size=12)
reals = st.floats(allow_nan=False, allow_infinity=False, width=32)
windows = st.builds(Window, texts, reals, reals, st.lists(reals, max_size=4).map(tuple))
dtypes = st.sampled_from(["<u1", "<u2", ">i2", "<i4", "<f4", ">f8"]).map(np.dtype)


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(*[st.integers(1, 4)] * 3),
    dtype=dtypes,
    spacing=st.tuples(*[st.floats(0.01, 50)] * 3),
    rest=st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["volume", "slide", "mammogram", "photo"]),
            "modality": texts,
            "windows": st.lists(windows, max_size=3).map(tuple),
            "is_rgb": st.booleans(),
            "is_inverted": st.booleans(),
            "channel_names": st.lists(texts, max_size=3).map(tuple),
            "warnings": st.lists(st.builds(ImageWarning, texts, texts), max_size=2).map(tuple),
            "details": st.dictionaries(
                texts, st.one_of(texts, st.integers(), reals, st.booleans(), st.none()), max_size=3
            ),
            "decisions": st.builds(
                Decisions, texts, st.none() | st.integers(0, 9), st.sampled_from(["", "split"])
            ),
            "lineage": st.lists(texts, max_size=2).map(tuple),
        }
    ),
)
def test_an_image_comes_through_as_it_was(
    shape: tuple[int, ...], dtype: np.dtype[Any], spacing: tuple[float, ...], rest: dict[str, Any]
) -> None:
    grid = Grid.axis_aligned(shape, spacing, unit="mm")
    image = Image(Path("a"), sources=(MemoryTiles(np.zeros(shape, dtype)),), grid=grid, **rest)
    message = json.loads(json.dumps(describe(image)))
    copy = image_from(Path("a"), message, image.sources)
    for name in (
        "kind",
        "modality",
        "windows",
        "is_rgb",
        "channel_names",
        "warnings",
        "details",
        "decisions",
        "lineage",
    ):
        assert getattr(copy, name) == getattr(image, name)
    assert copy.is_inverted == image.is_inverted
    assert (copy.grid.shape, copy.grid.unit) == (grid.shape, grid.unit)
    np.testing.assert_array_equal(copy.grid.affine, grid.affine)
    assert level_forms(message) == [(shape, dtype, shape)]


def test_numbers_of_numpy_in_details_come_through(tmp_path: Path) -> None:
    grid = Grid.axis_aligned((1, 1, 1), (1, 1, 1), unit="mm")
    from napari_medlab.images.isolation.frames import read_frame, write_frame

    image = Image(
        Path("a"), "volume", "", (MemoryTiles(np.zeros((1, 1, 1))),), grid, details={"a": np.float32(0.5)}
    )
    with (tmp_path / "frames").open("w+b") as file:
        write_frame(file, describe(image), [np.arange(6, dtype=">u2")[::2], np.zeros((0, 3))])
        write_frame(file, {"id": 1})
        file.seek(0)
        message, arrays = read_frame(file)
        assert message["details"] == {"a": 0.5}
        assert [array.nbytes for array in arrays] == [6, 0]
        assert arrays[0].view(">u2").tolist() == [0, 2, 4]
        assert read_frame(file) == ({"id": 1}, [])
        with pytest.raises(EOFError):
            read_frame(file)


def picture(path: Path) -> Path:
    path.write_bytes(b"P5\n5 4\n255\n" + bytes(range(20)))
    return path


def test_pixels_can_be_asked_for_in_another_process(tmp_path: Path) -> None:
    image = open_image(picture(tmp_path / "a.pgm"))
    (tmp_path / "source").write_bytes(pickle.dumps(image.arrays[0]))
    program = (
        "import pickle, sys\nfrom napari_medlab.images.isolation import close_reader\n"
        "with open(sys.argv[1], 'rb') as file:\n    array = pickle.load(file)\nprint(array[1:3, ::2].tolist())\nclose_reader()"
    )
    command = [sys.executable, "-W", "error", "-c", program, str(tmp_path / "source")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG, check=False)
    assert json.loads(done.stdout) == [[5, 7, 9], [10, 12, 14]], done.stderr
    assert done.stderr == ""


PARENT = """
import json, sys, time
from napari_medlab.images import open_image
from napari_medlab.images.isolation import reader_process
image = open_image(sys.argv[1])
print(reader_process().pid, flush=True)
time.sleep(0 if sys.argv[2] == "end" else 600)
"""


def gone(pid: int) -> bool:
    """Wait until a process is no more; tell whether it is."""
    try:
        psutil.Process(pid).wait(HANG)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_the_process_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", PARENT, str(picture(tmp_path / "a.pgm"))]
    with subprocess.Popen([*command, "wait"], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert psutil.pid_exists(child)
        parent.kill()
        assert gone(child)
    done = subprocess.run([*command, "end"], capture_output=True, text=True, timeout=HANG, check=True)
    assert gone(int(done.stdout))
    assert done.stderr == ""


def test_nothing_is_left_of_a_process_that_was_closed_or_has_died(
    reader: Callable[..., ReaderProcess], named: Callable[[str], Path]
) -> None:
    def left() -> set[int]:
        return {child.pid for child in psutil.Process().children(recursive=True)}

    before = left()
    living = reader()
    assert outcome(named("plain-a")) == "opened"
    pid = living.pid
    assert pid is not None
    assert pid in left()
    assert outcome(named("crash-a")) == "reader-died"
    assert gone(pid)
    assert outcome(named("plain-b")) == "opened"
    living.close()
    living.close()
    assert living.pid is None
    assert left() <= before


def test_modules_beside_the_images_are_not_imported(
    tmp_path: Path,
    reader: Callable[..., ReaderProcess],
    monkeypatch: pytest.MonkeyPatch,
    named: Callable[[str], Path],
) -> None:
    """People start programs in the folder that their data lies in."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("tifffile.py", "psutil.py", "misbehaving_reader.py"):
        (folder / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w').write('yes')\n", encoding="utf-8")
    monkeypatch.chdir(folder)
    reader()
    assert outcome(named("plain-a")) == "opened"
    assert not (tmp_path / "ran").exists()


def test_contents_of_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageRefusedError) as caught:
        contents(tmp_path / "nowhere")
    assert caught.value.code == "not-found"
