"""New labelled texts from old ones, drawn anew for every batch of a training run.

An augmentation is any function from an example and a generator to an example. The classes here each
change a share of the texts that they are given. What they say must follow from their arguments
alone: then a run is repeatable, can be resumed, and several processes see the same batch.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..readers import Example
from ..settings import TrainSettings
from .base import Augment, Augmentation, checked
from .parallel import ParallelRows
from .paraphrases import Paraphrases
from .slot_values import SlotExchange, TemplateRecombination

__all__ = [
    "Augment",
    "Augmentation",
    "ParallelRows",
    "Paraphrases",
    "SlotExchange",
    "TemplateRecombination",
    "augmentations",
]


def augmentations(
    examples: Sequence[Example], settings: TrainSettings, augment: Sequence[Augment] = ()
) -> tuple[Augment, ...]:
    """What the texts of a run go through, in order: other rows first, other values last.

    Args:
        examples: the training examples, of which those that the settings ask for are made.
        settings: ``parallel`` comes before ``augment``; ``recombine`` and ``slot_exchange`` after.
        augment: others, in their order.

    Raises:
        TypeError: ``augment`` is not a list of callables.
    """
    first: list[Augment] = []
    last: list[Augment] = []
    if settings.parallel:
        first.append(ParallelRows(examples, settings.parallel))
    if settings.recombine:
        last.append(TemplateRecombination(examples, settings.recombine))
    if settings.slot_exchange:
        last.append(SlotExchange(examples, settings.slot_exchange))
    return (*first, *checked(augment), *last)
