"""Models that were made to do harm: none of them runs anything, and the same means do harm where they are not held back."""

from __future__ import annotations

import json
import os
import pickle
import stat
import struct
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from foreign_models import UNET, imported, inference, monai_bundle, nnunet, plans, unet_weights, zipped
from torch import nn

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.bundles import import_model, load_network, read_bundle, write_bundle
from napari_medlab.models.bundles.importing import ImportOptions
from napari_medlab.models.networks import build_network

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Survived

    Made = Callable[[Path, Path], Path]

GIVEN: dict[str, Any] = {
    "network": "UNet", "arguments": UNET, "task": "segmentation", "classes": ("spleen",), "output": "softmax",
    "axes": "RAS", "preprocessing": {"window": [0.0, 1.0]},
}  # fmt: skip
"""What a person says of the weights, so that nothing but what is hostile stands in the way."""

COMMAND = "touch {marker}"


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)


def in_config(**changes: object) -> Made:
    """Return what writes a MONAI bundle whose configuration holds something else; MARKER stands for the marker's path."""

    def make(folder: Path, marker: Path) -> Path:
        text = json.dumps(inference(**changes)).replace("MARKER", str(marker))
        return monai_bundle(folder / "model", json.loads(text))

    return make


def in_weights(change: Callable[[dict[str, Any], Path], Any]) -> Made:
    """Return what writes a file of weights that was changed."""

    def make(folder: Path, marker: Path) -> Path:
        weights = dict(unet_weights())
        changed = change(weights, marker)
        torch.save(weights if changed is None else changed, folder / "model.pt")
        return folder / "model.pt"

    return make


def in_plans(path: str, value: object) -> Made:
    def make(folder: Path, marker: Path) -> Path:
        document = plans()
        place: Any = document["configurations"]["base"]["architecture"]
        *before, last = path.split(".")
        for part in before:
            place = place[part]
        place[last] = value
        return nnunet(folder / "x__3d_fullres", {"a": torch.zeros(1)}, document)

    return make


def first(weights: dict[str, Any]) -> str:
    return next(name for name, tensor in weights.items() if tensor.is_floating_point())


def replaced(make: Callable[[torch.Tensor], object]) -> Made:
    def change(weights: dict[str, Any], marker: Path) -> None:
        name = first(weights)
        weights[name] = make(weights[name])

    return in_weights(change)


def quantised(tensor: torch.Tensor) -> torch.Tensor:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)


def pickled(folder: Path, marker: Path) -> Path:
    (folder / "model.pkl").write_bytes(pickle.dumps(Payload(COMMAND.format(marker=marker))))
    return folder / "model.pkl"


def pickled_as_weights(folder: Path, marker: Path) -> Path:
    (folder / "model.pt").write_bytes(pickle.dumps(Payload(COMMAND.format(marker=marker))))
    return folder / "model.pt"


def in_nnunet(folder: Path, marker: Path) -> Path:
    path = nnunet(folder / "x__3d_fullres", {"a": torch.zeros(1)})
    torch.save(
        {"network_weights": {}, "logging": Payload(COMMAND.format(marker=marker))},
        path / "fold_0/checkpoint_final.pth",
    )
    return path


def scripted(folder: Path, marker: Path) -> Path:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), folder / "model.pt")
    return folder / "model.pt"


def exported(folder: Path, marker: Path) -> Path:
    with zipfile.ZipFile(folder / "model.pt2", "w") as archive:
        archive.writestr("model/archive_format", "pt2")
        archive.writestr("model/models/model.json", "{}")
        archive.writestr("model/data.pkl", b"")
    return folder / "model.pt2"


def rezipped(change: Callable[[zipfile.ZipFile, str, bytes], None]) -> Made:
    """Return what writes a file of weights again, member by member."""

    def make(folder: Path, marker: Path) -> Path:
        torch.save(unet_weights(), folder / "plain.pt")
        with (
            zipfile.ZipFile(folder / "plain.pt") as plain,
            zipfile.ZipFile(folder / "model.pt", "w") as archive,
        ):
            for name in plain.namelist():
                change(archive, name, plain.read(name))
        return folder / "model.pt"

    return make


def compressed(archive: zipfile.ZipFile, name: str, payload: bytes) -> None:
    archive.writestr(name, payload, zipfile.ZIP_DEFLATED)


def bombed(folder: Path, marker: Path) -> Path:
    with zipfile.ZipFile(folder / "model.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data.pkl", b"\x80\x02}.")
        with archive.open("model/data/0", "w", force_zip64=True) as member:
            for _ in range(64):
                member.write(bytes(1 << 20))
    return folder / "model.pt"


def crowded(folder: Path, marker: Path) -> Path:
    with zipfile.ZipFile(folder / "model.pt", "w") as archive:
        for number in range(20_001):
            archive.writestr(f"model/data/{number}", b"")
    return folder / "model.pt"


def spread(folder: Path, marker: Path) -> Path:
    """Write weights of one number that is shown as a tensor of a hundred million."""
    torch.save({"a": torch.zeros(1).expand(10**8)}, folder / "model.pt")
    return folder / "model.pt"


def unsound_sparse(folder: Path, marker: Path) -> Path:
    sparse = torch.sparse_coo_tensor(torch.tensor([[5]]), torch.tensor([1.0]), (2,), check_invariants=False)
    torch.save({"a": sparse}, folder / "model.pt")
    return folder / "model.pt"


def member(name: str, mode: int = 0, payload: bytes = b"x") -> Made:
    """Return what writes a zipped MONAI bundle with one member more."""

    def make(folder: Path, marker: Path) -> Path:
        path = zipped(monai_bundle(folder / "model"), folder / "model.zip")
        with zipfile.ZipFile(path, "a") as archive:
            info = zipfile.ZipInfo(name.replace("MARKER", str(marker)))
            info.external_attr = mode << 16
            archive.writestr(info, payload)
        return path

    return make


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> Made:
    """Return what writes a safetensors file by hand."""

    def make(folder: Path, marker: Path) -> Path:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        claimed = len(text) if length is None else length
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", claimed) + text + data)
        return folder / "model.safetensors"

    return make


def entry(start: int, stop: int, shape: list[int] | None = None, dtype: str = "F32") -> dict[str, Any]:
    shape = [(stop - start) // 4] if shape is None else shape
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def in_yaml(text: str) -> Made:
    def make(folder: Path, marker: Path) -> Path:
        path = monai_bundle(folder / "model")
        (path / "configs/inference.json").unlink()
        (path / "configs/inference.yaml").write_text(text.replace("MARKER", str(marker)))
        return path

    return make


def with_arguments(network: str, **arguments: object) -> Made:
    return in_config(network_def={"_target_": network, **arguments})


def with_program(folder: Path, marker: Path) -> Path:
    path = monai_bundle(folder / "model")
    (path / "scripts").mkdir()
    (path / "scripts/__init__.py").write_text(f"open({str(marker)!r}, 'w')")
    return path


def linked(folder: Path, marker: Path) -> Path:
    path = monai_bundle(folder / "model")
    (path / "models/model.pt").rename(folder / "elsewhere.pt")
    (path / "models/model.pt").symlink_to(folder / "elsewhere.pt")
    return path


def linked_bundle(folder: Path, marker: Path) -> Path:
    bundle = own_bundle(folder)
    (bundle / "model.safetensors").rename(folder / "elsewhere.safetensors")
    (bundle / "model.safetensors").symlink_to(folder / "elsewhere.safetensors")
    return bundle


def own_bundle(folder: Path, **changes: object) -> Path:
    arguments = {"spatial_dims": 2, "channels": [4, 4, 4], "classes": 1}
    spec = {
        "name": "tiny", "task": "detection", "network": {"name": "centre-heatmap", "arguments": arguments},
        "preprocessing": {"spacing_mm": 1.5, "window": [-1000.0, 400.0]}, "postprocessing": {}, "classes": ["nodule"],
        **changes,
    }  # fmt: skip
    return write_bundle(folder, spec, build_network("centre-heatmap", arguments).state_dict()).folder


def in_spec(text: Callable[[str], str]) -> Made:
    """Return what writes a bundle of ours whose spec was changed as a text."""

    def make(folder: Path, marker: Path) -> Path:
        path = own_bundle(folder)
        (path / "bundle.json").write_text(text((path / "bundle.json").read_text()))
        return path

    return make


SYSTEM = {"_target_": "os.system", "command": "touch MARKER"}
DEEP = b"[" * 5000 + b"]" * 5000
ALIASES = "\n".join(
    ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))]
)

HOSTILE: dict[str, tuple[Made, str]] = {
    "os.system as the network": (in_config(network_def=SYSTEM), "os.system"),
    "os.system elsewhere": (in_config(dataset=SYSTEM), "os.system"),
    "os.system within a list": (in_config(handlers=[[{"deep": [SYSTEM]}]]), "os.system"),
    "a class that is no network of MONAI's": (with_arguments("monai.networks.nets.os.system"), "monai.networks.nets.os"),
    "a function of MONAI's that downloads": (in_config(x={"_target_": "monai.apps.utils.download_url"}), "download_url"),
    "an expression": (in_config(initialize="$__import__('os').system('touch MARKER')"), "initialize"),
    "an expression within lists": (in_config(run=[[["$open('MARKER', 'w')"]]]), "run#0#0#0"),
    "an expression as a key": (in_config(**{"$open('MARKER', 'w')": 1}), "$open"),
    "an expression in the network": (with_arguments("UNet", spatial_dims="$open('MARKER', 'w')"), "network_def"),
    "an expression behind a reference": (
        in_config(x="$open('MARKER', 'w')", network_def={"_target_": "UNet", **UNET, "act": "@x"}), "x ="),
    "imports": (in_config(imports=["$import antigravity"]), "imports"),
    "imports without a dollar": (in_config(imports=["os"]), "imports"),
    "requirements": (in_config(network_def={"_target_": "UNet", **UNET, "_requires_": "$open('MARKER', 'w')"}), "_requires_"),
    "another file's text": (in_config(x="%/etc/passwd"), "/etc/passwd"),
    "a reference to itself": (in_config(x="@y", y="@x", network_def={"_target_": "UNet", **UNET, "act": "@x"}), "@x"),
    "a program beside the weights": (with_program, "scripts/__init__.py"),
    "python objects in YAML": (in_yaml("network_def: !!python/object/apply:os.system ['touch MARKER']"), "tag"),
    "aliases in YAML": (in_yaml(ALIASES), "alias"),
    "a key that occurs twice": (in_yaml("network_def: 1\nnetwork_def: 2"), "twice"),
    "a zip that leads upwards": (member("../../escaped.txt"), "no place inside"),
    "a zip with absolute paths": (member("MARKER"), "no place inside"),
    "a zip with a drive": (member("C:\\escaped.json"), "no place inside"),
    "a zip with a link": (member("model/link.json", stat.S_IFLNK | 0o777, b"/etc/passwd"), "link"),
    "a link in place of weights": (linked, "no file models/model.pt"),
    "a link in place of a bundle's weights": (linked_bundle, "link"),
    "a pickle": (pickled, "pickle"),
    "a pickle called weights": (pickled_as_weights, "pickle"),
    "code among the weights": (
        in_weights(lambda weights, marker: weights.update(a=Payload(COMMAND.format(marker=marker)))), "posix.system"),
    "code as the name of a tensor": (
        in_weights(lambda weights, marker: [(Payload(COMMAND.format(marker=marker)), weights)]), "posix.system"),
    "code in an nnU-Net's log": (in_nnunet, "posix.system"),
    "a class of ours in an nnU-Net's plans": (in_plans("arch_kwargs.nonlin", "os.system"), "nonlin"),
    "a package of nobody in an nnU-Net's plans": (in_plans("network_class_name", "evil.PlainConvUNet"), "PlainConvUNet"),
    "a whole network": (in_weights(lambda weights, marker: nn.Linear(2, 2)), "torch.nn.modules.linear.Linear"),
    "TorchScript": (scripted, "TorchScript"),
    "an exported program": (exported, ".pt2"),
    "an unsound sparse tensor": (unsound_sparse, "cannot be read"),
    "a sparse tensor": (replaced(lambda tensor: tensor.to_sparse()), "sparse"),
    "a tensor without numbers": (replaced(lambda tensor: tensor.to("meta")), "meta"),
    "a quantised tensor": (replaced(quantised), "quantised"),
    "a complex tensor": (replaced(lambda tensor: tensor.to(torch.complex64)), "complex64"),
    "a tensor larger than its file": (spread, "does not hold as many"),
    "weights that are not finite": (replaced(lambda tensor: tensor * float("nan")), "not finite"),
    "weights of another shape": (replaced(lambda tensor: tensor[..., None]), "expected"),
    "weights of another type": (replaced(lambda tensor: tensor.long()), "expected"),
    "text among the weights": (replaced(lambda tensor: "hello"), "not a tensor"),
    "compressed weights": (rezipped(compressed), "compressed"),
    "a bomb": (bombed, "compressed"),
    "20,001 members": (crowded, "20001"),
    "a header that claims the world": (safetensors(b"{}", length=1 << 60), "claims"),
    "a header longer than its file": (safetensors(b"{}", length=1 << 20), "claims"),
    "tensors that overlap": (safetensors({"a": entry(0, 8), "b": entry(4, 12)}, bytes(12)), "overlap"),
    "tensors beyond the end": (safetensors({"a": entry(0, 1 << 30)}, bytes(8)), "end at byte"),
    "a gap between tensors": (safetensors({"a": entry(0, 4), "b": entry(8, 12)}, bytes(12)), "gap"),
    "a shape that does not fit its bytes": (safetensors({"a": entry(0, 8, [1 << 31, 1 << 31])}, bytes(8)), "does not fit"),
    "a shape below zero": (safetensors({"a": entry(0, 8, [-2])}, bytes(8)), "no proper shape"),
    "a type that nobody knows": (safetensors({"a": entry(0, 8, [2], "F128")}, bytes(8)), "F128"),
    "10,001 tensors": (safetensors({f"t{n}": entry(0, 0, [0]) for n in range(10_001)}), "10001 tensors"),
    "a tensor that occurs twice": (safetensors(b'{"a": 1, "a": 2}'), "twice"),
    "a header nested too deep": (safetensors(DEEP), "nested"),
    "a header that is no JSON": (safetensors(b"\xff\xfe"), "safetensors"),
    "gigantic layers": (with_arguments("UNet", **{**UNET, "channels": [4096, 4096]}), "larger than its weights"),
    "numbers beyond measure": (with_arguments("UNet", **{**UNET, "channels": [10**15, 8]}), "larger than 65536"),
    "layers without end": (
        with_arguments("SegResNet", spatial_dims=3, blocks_down=[60000] * 4, blocks_up=[1, 1, 1]), "larger than its weights"),
    "a download in disguise": (
        with_arguments("FlexibleUNet", in_channels=1, out_channels=2, backbone="../../x"), "do not fit"),
    "an argument that is no plain one": (with_arguments("SegResNetDS", preprocess="os.system"), "preprocess"),
    "a name that leads elsewhere": (in_spec(lambda text: text.replace('"tiny"', '"../../tiny"')), "name"),
    "a spec with NaN": (in_spec(lambda text: text.replace("1.5", "NaN")), "NaN"),
    "a spec with a number beyond all": (in_spec(lambda text: text.replace("1.5", "1e999")), "finite"),
    "a spec of the future": (in_spec(lambda text: text.replace('"schema": 2', '"schema": 3')), "newer version"),
    "a network that is a module": (in_spec(lambda text: text.replace('"centre-heatmap"', '"os.system"')), "os.system"),
    "a spec nested too deep": (in_spec(lambda text: text.replace("1.5", DEEP.decode())), "nested"),
    "random bytes": (safetensors(np.random.default_rng(0).bytes(5000), length=5000), "safetensors"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "said"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_model_is_refused_and_nothing_of_it_runs(tmp_path: Path, make: Made, said: str) -> None:
    marker, place = tmp_path / "marker", tmp_path / "place"
    place.mkdir()
    made = make(place, marker)
    before = everything_in(tmp_path)
    with pytest.raises(InputRefusedError) as caught:
        used(made, tmp_path / "out")
    assert said in str(caught.value)
    assert not marker.exists()
    assert everything_in(tmp_path) == before


def used(made: Path, out: Path) -> None:
    """Do with a model all that can be done: read it where it is one of ours, else import it, and load its network."""
    is_weights = made.is_file() and made.suffix != ".zip"
    is_ours = (made / "bundle.json").is_file()
    load_network(read_bundle(made) if is_ours else imported(made, out, **(GIVEN if is_weights else {})))


def everything_in(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


@pytest.mark.slow
@pytest.mark.promise
@pytest.mark.timeout(1200)
def test_no_hostile_model_runs_or_writes_anything(tmp_path: Path, survived: Survived) -> None:
    assert len(HOSTILE) >= 25
    harmed = {
        name: fault
        for number, (name, (make, said)) in enumerate(HOSTILE.items())
        if (fault := fault_of(make, said, tmp_path / f"{number}"))
    }
    # no blank in a path: the commands that are not to run would come to nothing
    ran = [
        name
        for number, name in enumerate(UNHELD)
        if runs_where_it_is_not_held_back(name, tmp_path / f"unheld{number}")
    ]
    survived(
        "hostile input", "hostile models", tried=len(HOSTILE), survived=len(HOSTILE) - len(harmed),
        control=f"torch.load(weights_only=False), MONAI's ConfigParser, zip names believed: {len(ran)} of {len(UNHELD)} do harm",
        detail="each refused with the reason; no code run, no file written, no crash",
    )  # fmt: skip
    assert harmed == {}
    assert ran == list(UNHELD)


def fault_of(make: Made, said: str, folder: Path) -> str:
    """Return what a model did that none may do; empty where it was refused as it should be."""
    marker, place = folder / "marker", folder / "place"
    place.mkdir(parents=True)
    made = make(place, marker)
    before = everything_in(folder)
    try:
        used(made, folder / "out")
    except InputRefusedError as error:
        told = str(error)
    except BaseException as error:  # noqa: BLE001 - what is not ours is what is looked for
        return f"{type(error).__name__}: {error}"
    else:
        return "it was taken"
    if said not in told:
        return f"refused for another reason: {told}"
    return "it ran or wrote something" if marker.exists() or everything_in(folder) != before else ""


def by_torch(made: Path) -> None:
    torch.load(made, weights_only=False)


def by_monai(made: Path) -> None:
    from monai.bundle.config_parser import ConfigParser

    parser = ConfigParser()
    parser.read_config(made / "configs/inference.json")
    parser.get_parsed_content("network_def")


def by_names(made: Path) -> None:
    with zipfile.ZipFile(made) as archive:
        for name in archive.namelist():
            if name.startswith(".."):
                (made.parent / "a" / "b").mkdir(parents=True)
                (made.parent / "a" / "b" / name).write_bytes(archive.read(name))


UNHELD: dict[str, Callable[[Path], None]] = {
    "code among the weights": by_torch, "os.system as the network": by_monai, "a zip that leads upwards": by_names,
}  # fmt: skip
"""Ways to use a model without any care."""


def runs_where_it_is_not_held_back(name: str, folder: Path) -> bool:
    """Tell whether a model does harm to whoever uses it without care: its marker or a file outside appears."""
    (folder / "place").mkdir(parents=True)
    marker = folder / "marker"
    made = HOSTILE[name][0](folder / "place", marker)
    before = set(everything_in(folder))
    UNHELD[name](made)
    return any(path.endswith(("marker", "escaped.txt")) for path in set(everything_in(folder)) - before)


@pytest.mark.parametrize("name", ["os.system as the network", "an expression", "imports", "requirements"])
def test_code_that_is_passed_over_does_not_run_either(tmp_path: Path, name: str) -> None:
    marker, place = tmp_path / "marker", tmp_path / "place"
    place.mkdir()
    made = HOSTILE[name][0](place, marker)
    try:
        bundle = imported(made, tmp_path / "out", skip_code=True)
    except InputRefusedError:
        assert name in ("os.system as the network", "requirements")
    else:
        load_network(bundle)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["code among the weights", "a pickle called weights"])
def test_the_process_that_imports_runs_nothing(tmp_path: Path, name: str) -> None:
    marker, place = tmp_path / "marker", tmp_path / "place"
    place.mkdir()
    made = HOSTILE[name][0](place, marker)
    with pytest.raises(InputRefusedError, match="code"):
        import_model(made, tmp_path / "out", ImportOptions(**GIVEN))
    assert not marker.exists()


def test_the_environment_does_not_change_what_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable turns off PyTorch's default, and not what is written out."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    made = HOSTILE["code among the weights"][0](tmp_path, tmp_path / "marker")
    with pytest.raises(InputRefusedError):
        imported(made, tmp_path / "out", **GIVEN)
    assert not (tmp_path / "marker").exists()


def test_control_the_plain_weights_are_imported(tmp_path: Path) -> None:
    """The refusals above are due to what is hostile, not to the weights or to what a person said."""
    made = in_weights(lambda weights, marker: None)(tmp_path, tmp_path / "marker")
    assert imported(made, tmp_path / "out", **GIVEN).classes == ("spleen",)


@pytest.mark.parametrize("name", UNHELD)
def test_control_it_does_harm_where_it_is_not_held_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """MONAI's configuration runs even where its expressions are switched off."""
    monkeypatch.setenv("MONAI_EVAL_EXPR", "0")
    assert runs_where_it_is_not_held_back(name, tmp_path)
