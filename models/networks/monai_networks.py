"""MONAI's networks that a bundle may name: a closed table of names, arguments, and the sizes of input that they take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn

__all__ = ["MONAI_NETWORKS", "build_monai", "monai_name"]

PACKAGE = "monai.networks.nets"
MULTIPLE = "multiple"
COMMON = ("spatial_dims", "in_channels", "out_channels")
BLOCKS = ("act", "norm", "dropout", "bias")


@dataclass(frozen=True)
class _Entry:
    """A network of MONAI's.

    Parameters
    ----------
    arguments : tuple of str
        The arguments that are taken from a file.
    multiple : callable
        From the arguments to what the sizes of the input have to be divisible by.
    fixed : dict
        Arguments that no file decides about: nothing is downloaded.
    """

    arguments: tuple[str, ...]
    multiple: Callable[[Mapping[str, Any]], int]
    fixed: Mapping[str, Any]


def build_monai(target: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Return a network of MONAI's by its class's name, untrained, with the attribute ``multiple``.

    Parameters
    ----------
    target : a name in :data:`MONAI_NETWORKS`
    arguments : plain values for its constructor

    Raises
    ------
    InputRefusedError
        Where the table has no such network, or it takes no such argument.
    """
    import monai.networks.nets as nets

    entry = MONAI_NETWORKS.get(target)
    if entry is None:
        raise InputRefusedError(
            f"The network {target[:80]!r} is not one of those that are built: {', '.join(sorted(MONAI_NETWORKS))}.",
            code="unknown-network", hint="Import the model's predictions instead.",
        )  # fmt: skip
    if odd := sorted(set(arguments) - set(entry.arguments) - set(entry.fixed)):
        raise InputRefusedError(
            f"The network {target!r} takes no argument {', '.join(map(repr, odd))} from a file.",
            code="network-arguments",
        )
    network: nn.Module = getattr(nets, target)(**{**arguments, **entry.fixed})
    setattr(network, MULTIPLE, entry.multiple(arguments))
    return network


def monai_name(target: str) -> str | None:
    """Return the table's name for what a MONAI config calls a network, such as ``monai.networks.nets.unet.UNet``; or None."""
    package, _, name = target.rpartition(".")
    known = ALIASES.get(name, name)
    is_monais = package in ("", PACKAGE) or (
        package.startswith(f"{PACKAGE}.") and package.count(".") == PACKAGE.count(".") + 1
    )
    return known if is_monais and known in MONAI_NETWORKS else None


def _product_of(name: str) -> Callable[[Mapping[str, Any]], int]:
    """Return what multiplies the strides of an argument, for the axis that is halved most often."""

    def multiple(arguments: Mapping[str, Any]) -> int:
        steps = [step if isinstance(step, list | tuple) else [step] * 3 for step in arguments.get(name, ())]
        shortest = min((len(step) for step in steps), default=0)
        return math.lcm(*(math.prod(int(step[axis]) for step in steps) for axis in range(shortest)))

    return multiple


def _halvings(name: str, default: int) -> Callable[[Mapping[str, Any]], int]:
    """Return two to the power of how often an argument's levels halve the input."""
    return lambda arguments: int(2 ** (min(len(arguments.get(name) or range(default)), 16) - 1))


def _always(multiple: int) -> Callable[[Mapping[str, Any]], int]:
    return lambda _: multiple


_KERNELS = ("channels", "strides", "kernel_size", "up_kernel_size")
_FEATURES = ("features", *BLOCKS, "upsample")
_DENSE = ("init_features", "growth_rate", "block_config", "bn_size", "act", "norm", "dropout_prob")
_SEG_RES = ("init_filters", "act", "norm", "blocks_down", "blocks_up", "upsample_mode")
_OFFLINE = {"pretrained": False}

MONAI_NETWORKS: dict[str, _Entry] = {
    "UNet": _Entry((*COMMON, *_KERNELS, "num_res_units", *BLOCKS, "adn_ordering"), _product_of("strides"), {}),
    "AttentionUnet": _Entry((*COMMON, *_KERNELS, "dropout"), _product_of("strides"), {}),
    "BasicUNet": _Entry((*COMMON, *_FEATURES), _always(16), {}),
    "SegResNet": _Entry(
        (*COMMON, *_SEG_RES, "dropout_prob", "norm_name", "num_groups", "use_conv_final"), _halvings("blocks_down", 4), {}
    ),
    "SegResNetDS": _Entry((*COMMON, *_SEG_RES, "dsdepth", "resolution"), _halvings("blocks_down", 4), {}),
    "DynUNet": _Entry(
        (*COMMON, "kernel_size", "strides", "upsample_kernel_size", "filters", "dropout", "norm_name", "act_name",
         "deep_supervision", "deep_supr_num", "res_block", "trans_bias"), _product_of("strides"), {},
    ),
    "FlexibleUNet": _Entry(
        (*COMMON, "backbone", "decoder_channels", "norm", "act", "dropout", "decoder_bias", "upsample", "pre_conv",
         "interp_mode", "is_pad"), _always(32), _OFFLINE,
    ),
    "VNet": _Entry(
        (*COMMON, "act", "dropout_prob", "dropout_prob_down", "dropout_prob_up", "dropout_dim", "bias"), _always(16), {}
    ),
    "SwinUNETR": _Entry(
        (*COMMON, "patch_size", "depths", "num_heads", "qkv_bias", "mlp_ratio", "feature_size", "norm_name",
         "drop_rate", "attn_drop_rate", "dropout_path_rate", "normalize", "patch_norm", "use_checkpoint", "use_v2"),
        _always(32), {},
    ),
    "DenseNet": _Entry((*COMMON, *_DENSE), _always(1), {}),
    **{name: _Entry((*COMMON, *_DENSE, "progress"), _always(1), _OFFLINE)
       for name in ("DenseNet121", "DenseNet169", "DenseNet201", "DenseNet264")},
    "EfficientNetBN": _Entry(
        ("spatial_dims", "in_channels", "num_classes", "model_name", "norm", "adv_prop", "progress"), _always(1), _OFFLINE
    ),
}  # fmt: skip
"""What a bundle may name; everything else is refused."""

ALIASES = {
    "Unet": "UNet", "unet": "UNet", "BasicUnet": "BasicUNet", "Basicunet": "BasicUNet", "basicunet": "BasicUNet",
    "AttentionUNet": "AttentionUnet", "DynUnet": "DynUNet", "Dynunet": "DynUNet", "Densenet": "DenseNet",
    "densenet": "DenseNet", "Densenet121": "DenseNet121", "densenet121": "DenseNet121", "DenseNet121": "DenseNet121",
}  # fmt: skip
"""Other names that MONAI gives the same classes."""
