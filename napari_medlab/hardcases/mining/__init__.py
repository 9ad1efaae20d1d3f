"""Choosing the examples to learn from: rules that do not hurt, and the ones to measure them against."""

from napari_medlab.hardcases.mining.choosing import mine
from napari_medlab.hardcases.mining.pool import Pool, Replay
from napari_medlab.hardcases.mining.rule import DOUBTS, KINDS, Chosen, Example, MiningRule
from napari_medlab.hardcases.mining.strategies import STRATEGIES, Strategy

__all__ = [
    "DOUBTS",
    "KINDS",
    "STRATEGIES",
    "Chosen",
    "Example",
    "MiningRule",
    "Pool",
    "Replay",
    "Strategy",
    "mine",
]
