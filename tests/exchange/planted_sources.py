"""Images and annotations with a token in every slot that could name somebody, and a project made of them."""

from __future__ import annotations

import base64
import gzip
import io
import json
import sqlite3
import zipfile
import zlib
from contextlib import closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import tifffile
from exchange_samples import key_of, masks_of, region_of
from PIL import Image as Pictures
from PIL.PngImagePlugin import PngInfo
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from napari_medlab.annotations import Candidate, Finding, RegionTable
from napari_medlab.exchange.contents import Wanted
from napari_medlab.exchange.reference import import_reference
from napari_medlab.geometry import Grid
from napari_medlab.project import Project, Verdict
from napari_medlab.project.adding import Source, add_images
from napari_medlab.project.edits import (
    add_candidates,
    add_findings,
    add_regions,
    add_run,
    finish_case,
    finish_run,
    set_fields,
    set_verdict,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXT_TAGS = (
    "PatientName", "PatientID", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "PatientAddress",
    "PatientComments", "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName", "StationName",
    "ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName", "PhysiciansOfRecord", "StudyID",
    "AccessionNumber", "StudyDescription", "SeriesDescription", "ProtocolName", "DeviceSerialNumber", "Occupation",
    "AdditionalPatientHistory", "RequestingPhysician", "RequestedProcedureDescription", "ImageComments",
    "MilitaryRank", "EthnicGroup", "MedicalRecordLocator", "CurrentPatientLocation", "AdmissionID", "IssuerOfPatientID",
    "ManufacturerModelName", "SoftwareVersions",
)  # fmt: skip


class Tokens:
    """Gives out tokens, and remembers them."""

    def __init__(self) -> None:
        self.given: list[str] = []

    def new(self, before: str = "", behind: str = "") -> str:
        """Return a text that holds a new token."""
        token = f"Zq{len(self.given):03d}Xk"
        self.given.append(token)
        return f"{before}{token}{behind}"


def planted_project(folder: Path, tokens: Tokens) -> Project:
    """Make a project of a DICOM series, a NIfTI volume, a photo and a slide, all full of tokens, with a finished run."""
    sources = folder / tokens.new("ward ")
    volumes = [_series(sources / tokens.new("ct "), tokens), _nifti(sources, tokens)]
    planar = [_photo(sources, tokens), _slide(sources, tokens)]
    project = Project.create(folder / "project", reader=tokens.new("reader-"))
    patients = [tokens.new("MRN-") for _ in range(4)]
    given = [Source(path, patient=who) for path, who in zip([*volumes, *planar], patients, strict=True)]
    for case in add_images(project, given):
        fields: dict[str, str | float] = {"site": tokens.new("clinic "), tokens.new("field "): 1}
        project.commit(set_fields(case.case_id, {}, fields))
        _objects(project, case.case_id, tokens)
    _run(project, tokens)
    coco = _coco(folder, project.cases()[2].name, tokens)
    import_reference(project, Wanted(coco))
    return project


def searched(folder: Path) -> bytes:
    """Return all there is in a folder: names, contents, and what can be unpacked of them."""
    found: list[bytes] = []
    for path in sorted(folder.rglob("*")):
        found.append(str(path.relative_to(folder)).encode())
        if path.is_file():
            found += _unpacked(path)
    return b"\n".join(found)


def _unpacked(path: Path) -> Iterator[bytes]:
    raw = path.read_bytes()
    yield raw
    if raw[:2] == b"\x1f\x8b":
        yield gzip.decompress(raw)
    if raw[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            yield from (archive.read(name) for name in archive.namelist())
    if raw[:15] == b"SQLite format 3":
        yield from _journal(path)
    if raw[128:132] == b"DICM":
        with suppress(zlib.error):
            yield zlib.decompress(raw[132:], -15)
    if raw[:4] == b"\x89PNG":
        yield repr(Pictures.open(io.BytesIO(raw)).info).encode()
    yield raw.replace(b"\x00", b"")  # two bytes a character


def _journal(path: Path) -> Iterator[bytes]:
    with closing(sqlite3.connect(path)) as db:
        for (payload,) in db.execute("SELECT payload FROM journal").fetchall():
            text = zlib.decompress(payload) if isinstance(payload, bytes) else payload.encode()
            yield text
            if b'"vertex_counts"' in text:  # ids that came in batches stand in base 64
                batch = json.loads(text)
                yield base64.b64decode(batch["ids"]) + base64.b64decode(batch["owner_ids"])


def _series(folder: Path, tokens: Tokens) -> Path:
    folder.mkdir(parents=True)
    uid, study = generate_uid(), generate_uid()
    told = {tag: tokens.new()[:16] for tag in TEXT_TAGS}
    more = {
        name: tokens.new()
        for name in ("meta", "nested", "deeper", "private", "overlay", "icon", "preamble", "code")
    }
    for number in range(4):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.SourceApplicationEntityTitle = more["meta"]
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.SeriesInstanceUID, dataset.StudyInstanceUID, dataset.Modality = uid, study, "CT"
        for tag, text in told.items():
            setattr(dataset, tag, text)
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = (
            [0, 0, 2.0 * number],
            [1, 0, 0, 0, 1, 0],
        )
        dataset.PixelSpacing, dataset.Rows, dataset.Columns = [0.5, 0.5], 24, 24
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, 1
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.InstanceNumber = 1, -1024, number + 1
        dataset.PixelData = np.full((24, 24), 40 * number, "<i2").tobytes()
        inner, deeper = Dataset(), Dataset()
        inner.RequestedProcedureID, deeper.CodeMeaning, deeper.CodeValue = (
            more["nested"],
            more["deeper"],
            more["code"],
        )
        inner.RequestedProcedureCodeSequence = Items([deeper])
        dataset.RequestAttributesSequence = Items([inner])
        block = dataset.private_block(0x0099, "HOME", create=True)
        block.add_new(1, "LO", more["private"])
        dataset.add_new(0x60004000, "LT", more["overlay"])  # comments of an overlay
        icon = Dataset()
        icon.ImageComments = more["icon"]
        dataset.IconImageSequence = Items([icon])
        dataset.preamble = more["preamble"].encode().ljust(128, b"\0")
        dataset.save_as(folder / f"{tokens.new('slice ')}.dcm", enforce_file_format=True)
    return folder


def _nifti(folder: Path, tokens: Tokens) -> Path:
    image = nibabel.Nifti1Image(np.zeros((24, 24, 6), np.int16), np.diag([1.0, 1.0, 2.0, 1.0]))
    header: Any = image.header
    for name in ("descrip", "aux_file", "intent_name", "db_name"):
        header[name] = tokens.new()
    header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", tokens.new().encode()))
    path = folder / tokens.new("scan ", ".nii.gz")
    nibabel.save(image, path)
    return path


def _photo(folder: Path, tokens: Tokens) -> Path:
    pixels = np.random.default_rng(1).integers(0, 255, (32, 40, 3), dtype=np.uint8)
    info = PngInfo()
    info.add_text("Author", tokens.new())
    info.add_text("Comment", tokens.new(), zip=False)
    path = folder / tokens.new("photo ", ".png")
    Pictures.fromarray(pixels).save(path, pnginfo=info)
    return path


def _slide(folder: Path, tokens: Tokens) -> Path:
    path = folder / tokens.new("slide ", ".tif")
    pixels = np.random.default_rng(2).integers(0, 255, (64, 80, 3), dtype=np.uint8)
    tags = [
        (315, "s", 0, tokens.new(), True),
        (316, "s", 0, tokens.new(), True),
        (33432, "s", 0, tokens.new(), True),
    ]
    tifffile.imwrite(
        path, pixels, photometric="rgb", tile=(32, 32), description=tokens.new(), software=tokens.new(),
        extratags=tags, metadata=None, resolution=(20000, 20000), resolutionunit="CENTIMETER",
    )  # fmt: skip
    return path


def _objects(project: Project, case_id: str, tokens: Tokens) -> None:
    """Add outlined findings of two classes, the first of them under an id that names somebody."""
    grid = Grid.from_json(project.case(case_id).grid or {})
    shape = tuple(min(size, most) for size, most in zip(grid.shape, (4, 24, 24)[-grid.ndim :], strict=True))
    small = {name: mask for name, mask in masks_of(shape).items() if mask.any()}
    findings, regions = [], []
    for number, (name, mask) in enumerate(small.items()):
        own = tokens.new("finding ") if number == 0 else key_of(f"{case_id} {name}")
        centre = tuple(grid.to_world(np.argwhere(mask).mean(axis=0)).tolist())
        label = "glomerulus" if number % 2 else "mass"
        findings.append(Finding(case_id, centre, 4.0, label, finding_id=own))
        region = replace(region_of(case_id, name, mask), owner_id=own, label=label)
        regions.append(replace(region, region_id=tokens.new("outline ")) if number == 0 else region)
    project.commit(add_findings(findings))
    table = RegionTable.from_regions(case_id, regions)
    project.commit(add_regions(case_id, tokens.new("batch "), table))


def _run(project: Project, tokens: Tokens) -> None:
    run_id = tokens.new("run ")
    project.commit(add_run(run_id, "", {"model": tokens.new("model ")}))
    for case in project.cases():
        table = project.findings(case.case_id)
        given = [table.finding(row) for row in range(len(table))]
        found = [
            Candidate(case.case_id, one.centre, 0.5, 3.0, "mass", key_of(f"candidate {one.finding_id}"))
            for one in given
        ]
        project.commit(add_candidates(run_id, case.case_id, 0, found))
        project.commit(finish_case(run_id, case.case_id, 0.1))
        said = Verdict("agreed", tokens.new("comment "), (tokens.new("tag "),))
        project.commit(set_verdict(case.case_id, run_id, found[0].candidate_id, before=None, after=said))
    project.commit(finish_run(run_id))


def _coco(folder: Path, name: str, tokens: Tokens) -> Path:
    """Write annotations with tokens wherever the format leaves room for words."""
    new = tokens.new
    path = folder / new("annotations ", ".json")
    path.write_text(json.dumps({
        "info": {"contributor": new(), "description": new()}, "licenses": [{"id": 1, "name": new()}],
        "images": [{"id": 1, "file_name": f"{name}.png", "width": 40, "height": 32, "coco_url": new(), "note": new()}],
        "categories": [{"id": 1, "name": "mass", "supercategory": new()}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [22, 3, 4, 6], "iscrowd": 0, "author": new()}],
    }))  # fmt: skip
    return path
