"""Make the pictures of the documents: open the real window on small projects and photograph each view.

Run as ``.venv/bin/python scripts/screenshots.py [--out DIR] [--only NAME …]``. It starts an Xvfb of its own and needs
some minutes. Where ``MEDLAB_TEST_DATA`` names the folder of real samples, the chest CT and the slide in it are shown,
too; pictures that need them are left alone otherwise.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

    from napari_medlab.annotations import FindingTable
    from napari_medlab.geometry import Grid
    from napari_medlab.project import CaseRecord
    from napari_medlab.widgets.robot import Robot
    from napari_medlab.widgets.workspace import Workspace

ROOT = Path(__file__).resolve().parent.parent
MOST_BYTES = 350_000
OUTLINES, SLIDE_SHAPE = 100_000, (6144, 8192)
PATIENTS = 64
"""Of the project in which something fails: the fewest with which a slice of the data stands out by more than luck."""
TRAINING_STEPS = 48
NUCLEUS_PX = (40, 1500)
"""Of the real slide: what is smaller or larger than this is no nucleus."""


def main() -> None:
    """Make the pictures that were asked for, or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures", metavar="DIR")
    parser.add_argument("--only", nargs="+", default=list(ALBUMS), choices=list(ALBUMS), metavar="NAME",
                        help=f"some of {', '.join(ALBUMS)}")  # fmt: skip
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    data = os.environ.get("MEDLAB_TEST_DATA", "")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MEDLAB_STATE_DIR"] = os.environ["MEDLAB_CACHE_DIR"] = folder
        os.environ["USER"] = os.environ["LOGNAME"] = "anna"
        from napari_medlab.widgets.launcher import display, open_window

        with display(headless=True):
            from napari.settings import get_settings

            get_settings().appearance.theme = "dark"
            studio = Studio(open_window(), Path(folder), options.out, Path(data) if data else None)
            for name in options.only:
                ALBUMS[name](studio)
            sys.stdout.flush()
            os._exit(0)  # napari's threads outlive its window


class Studio:
    """The window, where projects are made, and where pictures go."""

    def __init__(self, workspace: Workspace, folder: Path, out: Path, data: Path | None) -> None:
        from napari_medlab.widgets.robot import Robot

        self.workspace, self.folder, self.out, self.data = workspace, folder, out, data
        self.controller, self.session = workspace.controller, workspace.controller.session
        self.robot: Robot = Robot(workspace, folder / "raw")

    def open(self, folder: Path, station: str = "Review", fp_per_scan: float = 1.0) -> None:
        """Open a project and wait until its run can be reviewed."""
        self.controller.open_project(folder)
        self.wait(lambda: self.project_folder == folder and self.session.review is not None, "the review")
        self.session.set_operating_point(fp_per_scan)
        self.workspace.show_station(station)
        self.robot.pause(1)

    @property
    def project_folder(self) -> Path | None:
        """The folder of the project that is open."""
        return self.session.project.folder if self.session.project is not None else None

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = 300) -> None:
        """Let the window work until a condition holds."""
        self.robot.wait_for(condition, seconds, what)

    def go_to(self, suits: Callable[[Any], bool]) -> None:
        """Go to the first error of the queue that suits, and wait until it is drawn."""
        queue = self.session.queue
        self.session.go_to(next(row for row in range(len(queue)) if suits(queue[row])))
        self.settle()

    def cases(self, kind: str) -> set[str]:
        """Return the ids of the cases of a kind."""
        return {case.case_id for case in self.controller.cases if case.kind == kind}

    def settle(self) -> None:
        """Wait until the case is on the canvas, sharp."""
        display, session = self.controller.display, self.session
        self.wait(lambda: display.view is not None and display.view.case_id == session.case_id, "the case")
        self.wait(lambda: display.turns.is_done, "the canvas")
        self.robot.pause(3)

    def zoom(self, factor: float, centre: tuple[float, float] | None = None) -> None:
        """Look closer by a factor, at a place (y, x) in the viewer's coordinates where one is given."""
        camera = self.workspace.viewer.scene.camera
        camera.zoom *= factor
        if centre is not None:
            camera.center = (0.0, *centre)
        self.robot.pause(3)

    def key(self, name: str) -> None:
        """Press a key."""
        from qtpy.QtCore import Qt

        self.robot.key(getattr(Qt.Key, f"Key_{name}"))
        self.robot.pause(1.5)

    def show_tab(self, number: int) -> None:
        """Bring the gallery up with one of its tabs."""
        if self.workspace.gallery.isHidden() or not self.workspace.gallery.isVisible():
            self.workspace.toggle_gallery()
        self.workspace.gallery.tabs.setCurrentIndex(number)
        self.robot.pause(2)

    def hide_tabs(self) -> None:
        """Give the room of the gallery back."""
        if self.workspace.gallery.isVisible():
            self.workspace.toggle_gallery()
        self.robot.pause(1)

    def picture(self, name: str, of: QWidget | None = None) -> None:
        """Photograph the window, or a part of it, into the documents."""
        path = self.robot.picture(name)
        if of is not None:
            of.grab().save(str(path))
        write_small(path, self.out / f"{name}.png")
        print(f"{name}.png: {(self.out / f'{name}.png').stat().st_size / 1000:.0f} kB", flush=True)


def write_small(source: Path, target: Path) -> None:
    """Write a picture as PNG of at most so many bytes: with fewer colours, then smaller."""
    from PIL import Image

    picture = Image.open(source).convert("RGB")
    for colours, share in ((0, 1.0), (256, 1.0), (256, 0.8), (256, 0.7), (256, 0.6), (128, 0.5)):
        size = (round(picture.width * share), round(picture.height * share))
        small = picture if share == 1 else picture.resize(size, Image.Resampling.LANCZOS)
        if colours:
            small = small.quantize(colours, dither=Image.Dither.NONE)
        buffer = io.BytesIO()
        small.save(buffer, "PNG", optimize=True)
        if buffer.tell() <= MOST_BYTES:
            break
    target.write_bytes(buffer.getvalue())


# -- projects -----------------------------------------------------------------------------------------------------


def mixed_project(folder: Path) -> Path:
    """Make the project of the window's tests, its slide large and full of outlines."""
    sys.path.insert(0, str(ROOT / "tests" / "widgets"))
    import mixed_project as mixed

    mixed.SLIDE_SHAPE = SLIDE_SHAPE
    return folder if folder.exists() else mixed.make_project(folder, outlines=OUTLINES)


def real_chest(folder: Path, data: Path) -> Path:
    """Make a project of phantoms and the real chest CT, and run the shipped detector over it."""
    from napari_medlab.jobs import CancelToken
    from napari_medlab.jobs.worker_process import WorkerProcess
    from napari_medlab.models.bundles import find_bundle
    from napari_medlab.models.inference.worker import MODULE
    from napari_medlab.models.workflows.predict import run_bundle
    from napari_medlab.project import Project
    from napari_medlab.project.adding import Source, add_images
    from napari_medlab.project.sample import SampleSize, fill_with_phantoms

    if folder.exists():
        return folder
    with Project.create(folder, reader="phantoms") as project, WorkerProcess(MODULE) as worker:
        series = folder / "images" / "ct"
        series.mkdir(parents=True)
        with tarfile.open(next((data / "ct_lung").glob("*.tar.xz"))) as archive:
            archive.extractall(series, filter="data")
        list(add_images(project, [Source(series, name="C3N-00247")]))
        list(fill_with_phantoms(project, SampleSize(5, 0)))
        cases = [case.case_id for case in project.cases()]
        for _ in run_bundle(project, find_bundle("lung-nodules"), cases, worker, CancelToken()):
            pass
    return folder


def real_slide(folder: Path, data: Path) -> Path:
    """Make a project of the real slide, its nuclei outlined where the blue stain is darkest."""
    from napari_medlab.annotations import RegionTable, new_id
    from napari_medlab.images import open_image
    from napari_medlab.project import Project
    from napari_medlab.project.adding import Source, add_images
    from napari_medlab.project.edits import add_regions, add_run, finish_case, finish_run

    path = data / "slides" / "cmu-1-small-region.svs"
    pixels = np.asarray(open_image(path).levels[0])
    with Project.create(folder, reader="threshold") as project:
        case = next(iter(add_images(project, [Source(path, name="CMU-1")])))
        run_id = new_id()
        project.commit(add_run(run_id, "", {"model": "threshold of haematoxylin"}))
        regions = nuclei(case.case_id, pixels)
        table = RegionTable.from_regions(case.case_id, regions, ndim=2)
        project.commit(add_regions(case.case_id, "nuclei", table, run_id))
        project.commit(finish_case(run_id, case.case_id, 1.0))
        project.commit(finish_run(run_id))
    return folder


def nuclei(case_id: str, pixels: np.ndarray[Any, Any]) -> list[Any]:
    """Return outlines of what the blue stain colours, by a threshold."""
    from scipy import ndimage
    from skimage.color import rgb2hed
    from skimage.filters import gaussian, threshold_otsu

    from napari_medlab.annotations import Region
    from napari_medlab.geometry import mask_to_rings

    stain = gaussian(rgb2hed(pixels[..., :3])[..., 0], 1.5)
    mask = ndimage.binary_opening(stain > threshold_otsu(stain), iterations=2)
    labels, _ = ndimage.label(mask)
    found = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        own = labels[box] == number
        if NUCLEUS_PX[0] <= own.sum() <= NUCLEUS_PX[1]:
            corner = np.array([part.start for part in box], dtype=np.float64)
            rings = tuple(ring + corner for ring in mask_to_rings(own))
            found.append(Region(case_id, rings, "", "nucleus"))
    return found


def sea_project(folder: Path) -> Path:
    """Make the project of the tutorial on photos by the commands that stand there."""
    from napari_medlab.cli.main import main as command_line

    sys.path.insert(0, str(ROOT / "examples"))
    from phantom_photos import write_photos

    if folder.exists():
        return folder
    sea = folder.parent / "sea"
    sea.mkdir()
    write_photos(sea, 12)
    reference = str(sea / "reference.json")
    for words in (
        ["init", str(folder)],
        ["add", str(folder), str(sea / "photos")],
        ["import-reference", str(folder), reference],
        [
            "import-predictions",
            str(folder),
            str(sea / "theirs-1.json"),
            "--images",
            reference,
            "--model",
            "theirs-1",
        ],
    ):
        if command_line(["project", *words]):
            raise RuntimeError(f"project {' '.join(words)} failed")
    return folder


def failing_project(folder: Path) -> Path:
    """Make a project of many small phantoms and a made-up run that misses most of the small nodules."""
    from napari_medlab.annotations import new_id
    from napari_medlab.phantoms.chest_ct import Site
    from napari_medlab.project import Project
    from napari_medlab.project.edits import add_candidates, add_run, finish_case, finish_run
    from napari_medlab.project.sample import SampleSize, fill_with_phantoms

    if folder.exists():
        return folder
    rng = np.random.default_rng(5)
    run_id = new_id()
    with Project.create(folder, reader="phantoms") as project:
        for _ in fill_with_phantoms(
            project, SampleSize(PATIENTS, 0), Site(shape=(36, 104, 116), most_nodules=8)
        ):
            pass
        project.commit(add_run(run_id, "", {"model": "made-up detector"}))
        for case in project.cases():
            found = made_up_candidates(case, project.findings(case.case_id), rng)
            project.commit(add_candidates(run_id, case.case_id, 0, found))
            project.commit(finish_case(run_id, case.case_id, 1.0))
        project.commit(finish_run(run_id))
    return folder


def made_up_candidates(case: CaseRecord, findings: FindingTable, rng: np.random.Generator) -> list[Any]:
    """Return a candidate on most large findings and on few small ones, and some where there is nothing."""
    from napari_medlab.annotations import Candidate
    from napari_medlab.geometry import Grid

    grid: Grid = Grid.from_json(case.grid or {})
    found = [
        Candidate(case.case_id, tuple(centre), float(rng.uniform(0.6, 1.0)), float(diameter))
        for centre, diameter in zip(findings.centres.tolist(), findings.diameters.tolist(), strict=True)
        if rng.random() < (0.3 if diameter < 6 else 0.92)
    ]
    for _ in range(4):
        place = grid.to_world(rng.uniform(0.25, 0.75, 3) * np.asarray(grid.shape))
        found.append(Candidate(case.case_id, tuple(place.tolist()), float(rng.uniform(0.05, 0.8)), 7.0))
    return found


# -- albums -------------------------------------------------------------------------------------------------------


def photograph_chest(studio: Studio) -> None:
    """Show review on the real CT."""
    if studio.data is None:
        return
    studio.open(real_chest(studio.folder / "chest", studio.data), fp_per_scan=4.0)
    real = next(case.case_id for case in studio.controller.cases if case.name == "C3N-00247")
    studio.go_to(lambda item: item.case_id == real)
    studio.picture("review-ct")


def photograph_mixed(studio: Studio) -> None:
    """Show review of phantoms of every kind, correcting, the keys and the light theme."""
    studio.open(mixed_project(studio.folder / "mixed"), fp_per_scan=2.0)
    volumes, views = studio.cases("volume"), studio.cases("mammogram")
    slides = studio.cases("slide")
    studio.go_to(lambda item: item.case_id in volumes and item.kind == "fp")
    studio.picture("review")
    studio.go_to(lambda item: item.case_id in views)
    studio.picture("review-exam")
    studio.go_to(lambda item: item.case_id in slides)
    studio.zoom(3)
    studio.picture("slide-near")
    studio.workspace.viewer.reset_view()
    studio.robot.pause(4)
    studio.picture("slide-far")
    photograph_correcting(studio, volumes)


def photograph_correcting(studio: Studio, volumes: set[str]) -> None:
    """Show vertices, brush, a preview, the keys and the light theme, on a CT."""
    from napari.settings import get_settings
    from qtpy.QtWidgets import QDialog

    studio.session.set_operating_point(8.0)
    studio.workspace.show_station("Correct")
    studio.go_to(lambda item: item.case_id in volumes and item.kind == "fn")
    studio.zoom(3, tuple(studio.controller.display.place[-2:].tolist()))
    studio.key("E")
    studio.picture("correct-vertices")
    studio.key("E")
    tools = studio.controller.display.case_outlines.tools
    tools.offset(1.5)
    studio.robot.pause(1)
    studio.key("S")
    studio.wait(lambda: tools.preview.is_shown, "the preview")
    studio.robot.pause(1)
    studio.picture("correct-preview")
    studio.key("Escape")
    studio.controller.editing.undo()
    studio.settle()
    correct: Any = studio.workspace.station("Correct")
    correct.brush_size.setValue(4)
    studio.key("B")
    middle = studio.controller.display.place[-2:]
    studio.robot.drag(np.add(middle, (-3, 3)), np.add(middle, (2, 4)))
    studio.picture("correct-brush")
    studio.key("B")
    studio.workspace.show_station("Review")
    studio.controller.show_keys()
    studio.robot.pause(1)
    window = studio.workspace.header.window()
    card = next(one for one in window.findChildren(QDialog) if one.windowTitle() == "Keys")
    studio.picture("keys", card)
    card.close()
    get_settings().appearance.theme = "light"
    studio.workspace.viewer.reset_view()
    studio.robot.pause(2)
    studio.picture("light")
    get_settings().appearance.theme = "dark"


def photograph_photos(studio: Studio) -> None:
    """Show what the tutorial on photos shows: a stone that a detector made elsewhere takes for an urchin."""
    studio.open(sea_project(studio.folder / "animals"), fp_per_scan=2.0)
    studio.go_to(lambda item: item.kind == "fp" and item.label == "urchin")
    studio.picture("review-photos")


def photograph_slide(studio: Studio) -> None:
    """Show the nuclei of the real slide."""
    if studio.data is None:
        return
    studio.open(real_slide(studio.folder / "slide", studio.data))
    studio.session.show_case(next(iter(studio.cases("slide"))))
    studio.settle()
    studio.zoom(5)
    studio.picture("slide-real")


def photograph_models(studio: Studio) -> None:
    """Show the three shipped models at work: on a chest CT, a mammography exam and a slide; and the card of one."""
    from qtpy.QtWidgets import QApplication

    from napari_medlab.widgets.panels.model_card import CardDialog
    from napari_medlab.widgets.panels.run import SHOWN, RunPanel

    sys.path.insert(0, str(ROOT / "tests" / "widgets"))
    import mixed_project as mixed

    studio.open(mixed.make_project(studio.folder / "models"), "Run")
    panel = studio.workspace.station("Run")
    if not isinstance(panel, RunPanel):
        raise TypeError(panel)
    for name, kind in (("lung-nodules", "volume"), ("mammography", "mammogram"), ("glomeruli", "slide")):
        studio.session.show_case(next(case.case_id for case in studio.controller.cases if case.kind == kind))
        studio.settle()
        panel.choose_model(
            next(bundle.hash for bundle in studio.controller.models.bundles if bundle.name == name)
        )
        panel.choose_cases(SHOWN)
        studio.robot.click(panel.start_button)
        studio.wait(lambda: studio.controller.models.is_running, "the run to begin", 30)
        studio.wait(lambda: not studio.controller.models.is_running, "the run")
        studio.settle()
        studio.picture(f"run-{name}")
    studio.robot.click(panel.about_button)
    studio.robot.pause(2)
    for dialog in (w for w in QApplication.topLevelWidgets() if isinstance(w, CardDialog) and w.isVisible()):
        studio.picture("model-card", of=dialog.browser)  # without the folder of this machine below it
        dialog.close()


def photograph_failures(studio: Studio) -> None:
    """Show the gallery, where it fails, and what is alike."""
    studio.open(failing_project(studio.folder / "failing"), fp_per_scan=2.0)
    studio.session.go_to(0)
    studio.settle()
    gallery = studio.workspace.gallery
    studio.show_tab(0)
    studio.robot.pause(6)
    studio.picture("gallery")
    studio.show_tab(1)
    failures = gallery.failures
    failures.start()
    studio.wait(lambda: not failures.start_button.isEnabled(), "looking to begin", 30)
    studio.wait(failures.start_button.isEnabled, "where it fails")
    studio.robot.pause(2)
    studio.wait(failures.start_button.isEnabled, "the slices")
    studio.picture("where-it-fails")
    studio.show_tab(2)
    gallery.similar.start()
    studio.wait(lambda: not gallery.similar.start_button.isEnabled(), "laying out to begin", 30)
    studio.wait(gallery.similar.start_button.isEnabled, "the map")
    studio.robot.pause(2)
    studio.picture("map")
    studio.hide_tabs()


def loop_project(folder: Path) -> Path:
    """Make a project of small phantoms to train and to test on, and run the shipped detector over it."""
    from napari_medlab.jobs import CancelToken
    from napari_medlab.jobs.worker_process import WorkerProcess
    from napari_medlab.models.bundles import find_bundle
    from napari_medlab.models.inference.worker import MODULE
    from napari_medlab.models.workflows.predict import run_bundle
    from napari_medlab.phantoms.chest_ct import Site
    from napari_medlab.project import Project
    from napari_medlab.project.sample import SampleSize, fill_with_phantoms

    if folder.exists():
        return folder
    site = Site(shape=(36, 104, 116), noise_hu=(30.0, 60.0), subsolid=0.4, most_nodules=6, calcified=(1, 3))
    with Project.create(folder, reader="phantoms") as project, WorkerProcess(MODULE) as worker:
        list(fill_with_phantoms(project, SampleSize(6, 5), site))
        cases = [case.case_id for case in project.cases()]
        for _ in run_bundle(project, find_bundle("lung-nodules"), cases, worker, CancelToken()):
            pass
    return folder


def photograph_loop(studio: Studio) -> None:
    """Go once round the loop: figures, hard examples, a training and its judgement, two runs compared, the journal."""
    studio.open(loop_project(studio.folder / "loop"), fp_per_scan=4.0)
    studio.go_to(lambda item: item.kind == "fp")
    photograph_evaluation(studio)
    photograph_training(studio)
    photograph_judgement(studio)


def photograph_evaluation(studio: Studio) -> None:
    """Show the curve with its intervals."""
    evaluate: Any = studio.workspace.station("Evaluate")
    studio.workspace.show_station("Evaluate")
    evaluate.evaluate()
    studio.wait(lambda: "CPM" in evaluate.summary.text(), "the figures")
    studio.robot.pause(2)
    studio.picture("evaluate")


def photograph_training(studio: Studio) -> None:
    """Show what a package would hold, write it, and show a training on it."""
    hard: Any = studio.workspace.station("Hard examples")
    studio.workspace.show_station("Hard examples")
    hard.form.validation.setValue(20)
    hard.look()
    studio.wait(lambda: hard.text.text().startswith("The pixels"), "the look")
    studio.robot.pause(2)
    studio.picture("hard-examples")
    hard.export()
    studio.wait(lambda: hard.text.text().startswith("Written"), "the package")
    retrain: Any = studio.workspace.station("Retrain")
    studio.workspace.show_station("Retrain")
    studio.wait(lambda: retrain.choice.may_train, "the package to be found")
    retrain.set_steps(TRAINING_STEPS)
    retrain.train()
    studio.wait(lambda: retrain.seen_steps > TRAINING_STEPS // 2, "half of the training")
    studio.picture("retrain")
    studio.wait(
        lambda: retrain.proposal is not None and not studio.controller.models.is_running, "the new model"
    )


def photograph_judgement(studio: Studio) -> None:
    """Show the new model beside the old one, lesion by lesion, and both in the journal."""
    retrain: Any = studio.workspace.station("Retrain")
    retrain.judge()
    studio.wait(lambda: retrain.judgement is not None, "the judgement")
    compare: Any = studio.workspace.station("Compare")
    studio.workspace.show_station("Compare")
    studio.wait(lambda: compare.compared is not None, "the comparison")
    compare.set_point(4.0)
    studio.robot.pause(2)
    compare.table.selectRow(0)
    studio.settle()
    studio.picture("compare")
    journal: Any = studio.workspace.station("Journal")
    studio.workspace.show_station("Journal")
    studio.wait(lambda: journal.chosen is not None, "the journal")
    studio.robot.pause(3)
    journal.table.selectRow(0)
    journal.conclusion.setPlainText("Half as many examples next time, and more of the small nodules.")
    journal.keep_conclusion()
    studio.robot.pause(2)
    studio.picture("journal")


ALBUMS: dict[str, Callable[[Studio], None]] = {
    "mixed": photograph_mixed,
    "photos": photograph_photos,
    "chest": photograph_chest,
    "slide": photograph_slide,
    "models": photograph_models,
    "failures": photograph_failures,
    "loop": photograph_loop,
}

if __name__ == "__main__":
    main()
