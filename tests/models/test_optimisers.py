from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn

from napari_medlab.models.training.optimisers import Lookahead, build_optimiser, parameter_groups
from napari_medlab.models.training.recipe import LookaheadSettings, OptimiserSettings, Recipe


def one_weight(value: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor([value]))


def step(optimiser: torch.optim.Optimizer | Lookahead, weight: nn.Parameter, gradient: float) -> float:
    weight.grad = torch.tensor([gradient])
    optimiser.step()
    return float(weight.detach())


def test_slow_weights_go_half_way_after_every_other_step() -> None:
    weight = one_weight(1.0)
    lookahead = Lookahead(torch.optim.SGD([weight], lr=0.1), steps=2, share=0.5)
    assert step(lookahead, weight, 1.0) == pytest.approx(0.9)
    # fast at 0.8, slow from 1 half of the way there
    assert step(lookahead, weight, 1.0) == pytest.approx(0.9)
    assert step(lookahead, weight, 2.0) == pytest.approx(0.7)
    # fast at 0.5, slow from 0.9 half of the way there
    assert step(lookahead, weight, 2.0) == pytest.approx(0.7)


def test_lookahead_all_the_way_is_the_inner_optimiser() -> None:
    plain, ahead = one_weight(1.0), one_weight(1.0)
    inner = torch.optim.AdamW([plain], lr=0.1)
    lookahead = Lookahead(torch.optim.AdamW([ahead], lr=0.1), steps=3, share=1.0)
    for gradient in (1.0, -0.5, 2.0, 0.3):
        assert step(inner, plain, gradient) == step(lookahead, ahead, gradient)


def test_lookahead_goes_on_from_its_state() -> None:
    weight, other = one_weight(1.0), one_weight(7.0)
    first = Lookahead(torch.optim.SGD([weight], lr=0.1, momentum=0.9), 3, 0.5)
    for gradient in (1.0, 2.0):
        step(first, weight, gradient)
    second = Lookahead(torch.optim.SGD([other], lr=0.1, momentum=0.9), 3, 0.5)
    second.load_state_dict(deepcopy(first.state_dict()))
    with torch.no_grad():
        other.copy_(weight)
    assert [step(first, weight, g) for g in (1.0, 0.5)] == [step(second, other, g) for g in (1.0, 0.5)]


def build(settings: OptimiserSettings, network: nn.Module) -> torch.optim.Optimizer | Lookahead:
    optimiser = build_optimiser(network, Recipe(steps=1, learning_rate=0.5, optimiser=settings))
    assert isinstance(optimiser, torch.optim.Optimizer | Lookahead)
    return optimiser


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_weights_decay_and_biases_and_norms_do_not(name: str) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.PReLU())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1.0)
    settings = OptimiserSettings(name=name, weight_decay=0.1)  # type: ignore[arg-type]
    optimiser = build(settings, network)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    for key, parameter in network.named_parameters():
        moved = bool((parameter != 1).any())
        assert moved == (key == "0.weight"), key


def test_decoupled_decay_takes_its_share_of_the_weight() -> None:
    network = nn.Linear(1, 1, bias=False)
    nn.init.ones_(network.weight)
    optimiser = build(OptimiserSettings(name="adamw", weight_decay=0.1), network)
    network.weight.grad = torch.zeros(1, 1)
    optimiser.step()
    assert network.weight.item() == pytest.approx(1 - 0.5 * 0.1)


def test_each_name_is_its_optimiser() -> None:
    network = nn.Linear(2, 1)
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    for name, kind in kinds.items():
        settings = OptimiserSettings(name=name, nesterov=True)  # type: ignore[arg-type]
        assert type(build(settings, network)) is kind
        inside = build(replace(settings, lookahead=LookaheadSettings(4, 0.8)), network)
        assert isinstance(inside, Lookahead)
        assert (type(inside.inner), inside.steps, inside.share) == (kind, 4, 0.8)
    assert build(OptimiserSettings(name="sgd", nesterov=True), network).param_groups[0]["nesterov"]


def test_a_network_without_biases_has_one_group() -> None:
    groups = parameter_groups(nn.Linear(2, 1, bias=False), 0.1)
    assert [group["weight_decay"] for group in groups] == [0.1]
