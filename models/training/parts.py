"""The part of a bundle that is trained further: its network, or the classifier of its candidates; the other stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from napari_medlab.models.bundles import Bundle

__all__ = ["CLASSIFIER", "NETWORK", "PARTS", "BundlePart", "PartName"]

PartName = Literal["network", "classifier"]
NETWORK: PartName = "network"
CLASSIFIER: PartName = "classifier"
PARTS: tuple[PartName, ...] = (NETWORK, CLASSIFIER)


@dataclass(frozen=True)
class BundlePart:
    """One of the networks of a bundle, with what a training has to know of it.

    Parameters
    ----------
    bundle : Bundle
    name : {"network", "classifier"}
        ``"classifier"`` is the one that judges the candidates of a detector (``bundle.classifier``). A bundle that is a
        classifier and nothing else has a ``"network"`` alone.

    Raises
    ------
    InputRefusedError
        ``"part"`` where the bundle has no such part.
    """

    bundle: Bundle
    name: PartName = NETWORK

    def __post_init__(self) -> None:
        if self.name not in PARTS or (self.name == CLASSIFIER and self.bundle.classifier is None):
            has = " and ".join(PARTS if self.bundle.classifier is not None else PARTS[:1])
            raise InputRefusedError(
                f"{self.bundle.title} has no {self.name} to train; it has a {has}.", code="part",
                hint="Export the hard examples again for this model, or begin with the model they were made for.",
            )  # fmt: skip

    @property
    def task(self) -> str:
        """``"detection"``, ``"segmentation"`` or ``"classification"``."""
        return self.bundle.task if self.name == NETWORK else "classification"

    @property
    def network(self) -> dict[str, Any]:
        """The network's ``name`` in the closed table and its ``arguments``."""
        network: dict[str, Any] = self._owner["network"]
        return network

    @property
    def classes(self) -> tuple[str, ...]:
        """What the outputs stand for; of a classifier of several outputs, the first is none."""
        if self.name == NETWORK:
            return self.bundle.classes
        outputs = int(self.network["arguments"].get("classes", 1))
        if outputs == 1:
            return (self.bundle.classes[0] if len(self.bundle.classes) == 1 else "lesion",)
        named = ("none", *self.bundle.classes)
        return named if len(named) == outputs else ("none", *(f"class {k}" for k in range(1, outputs)))

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What is done to an image before this network sees it, as the bundle says it."""
        if self.name == NETWORK:
            whole: dict[str, Any] = self.bundle.spec["preprocessing"]
            return whole
        return {key: self._owner[key] for key in ("spacing_mm", "window") if key in self._owner}

    def load(self) -> nn.Module:
        """Return the network with its weights, in eval mode."""
        from napari_medlab.models.bundles import load_network
        from napari_medlab.models.bundles.loading import load_classifier

        loaded = load_network(self.bundle) if self.name == NETWORK else load_classifier(self.bundle)
        if loaded is None:  # the part was looked for when this was made
            raise TypeError(self.name)
        return loaded

    def weights_with(self, network: nn.Module) -> dict[str, torch.Tensor]:
        """Return the tensors of a whole bundle: those of a network in the place of this part, the other's as they were."""
        from napari_medlab.models.bundles.loading import CLASSIFIER_PREFIX, read_weights

        prefix = CLASSIFIER_PREFIX if self.name == CLASSIFIER else ""
        new = {f"{prefix}{name}": tensor.cpu() for name, tensor in network.state_dict().items()}
        if self.bundle.classifier is None:
            return new
        kept = {
            name: tensor
            for name, tensor in read_weights(self.bundle).items()
            if name.startswith(CLASSIFIER_PREFIX) != (self.name == CLASSIFIER)
        }
        return {**new, **kept}

    @property
    def _owner(self) -> dict[str, Any]:
        owner = self.bundle.spec if self.name == NETWORK else self.bundle.classifier
        if owner is None:
            raise TypeError(self.name)
        return owner
