"""What every augmentation is, and how several act on a text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from ..readers import Example

Augment: TypeAlias = Callable[[Example, np.random.Generator], Example]


class Augmentation(ABC):
    """Changes a share of the texts.

    Args:
        share: probability that a text is changed, [0, 1].

    Attributes:
        share: the same.

    Raises:
        ValueError: ``share`` is out of range.
    """

    def __init__(self, share: float) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"share must be in [0, 1], got {share!r}")
        self.share = share

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        """The example, changed with probability ``share`` where it :meth:`reaches` it.

        Args:
            example: stays as it is; intent and labels are also those of the result.
            rng: makes every choice.
        """
        return self.change(example, rng) if rng.random() < self.share else example

    @abstractmethod
    def reaches(self, example: Example) -> bool:
        """Whether another form of the example is known."""

    @abstractmethod
    def change(self, example: Example, rng: np.random.Generator) -> Example:
        """Another form of the example, or itself where none is known."""

    def describe(self) -> dict[str, Any]:
        """JSON-able facts that tell it from others: a run is resumed only with the same."""
        return {"name": type(self).__name__, "share": self.share}


def name_of(augment: Augment) -> str:
    """The name of a function, or of the class of a callable object."""
    return getattr(augment, "__qualname__", type(augment).__qualname__)


def describe(augment: Augment) -> dict[str, Any]:
    """As :meth:`Augmentation.describe`; of other callables the name is all that is known."""
    if isinstance(augment, Augmentation):
        return augment.describe()
    return {"name": name_of(augment)}


def checked(augment: Sequence[Augment]) -> tuple[Augment, ...]:
    """The augmentations.

    Raises:
        TypeError: not a list of callables.
    """
    if not isinstance(augment, list | tuple) or not all(map(callable, augment)):
        raise TypeError(f"augment must be a list of callables, got {augment!r:.200}")
    return tuple(augment)


def augmented(example: Example, augment: Iterable[Augment], rng: np.random.Generator) -> Example:
    """The example after all augmentations, one after the other; itself if none changed it.

    Raises:
        TypeError: one returned something else than an example.
        ValueError: one returned no text, or slots that are not in order within their text.
    """
    for change in augment:
        found = change(example, rng)
        if found is not example:
            _check(found, change)
        example = found
    return example


def _check(found: object, augment: Augment) -> None:
    if not isinstance(found, Example):
        raise TypeError(f"augment must return an Example, got {found!r:.200} of {name_of(augment)}")
    if not found.text.strip():
        raise ValueError(f"augment must return a text, got {found.text!r} of {name_of(augment)}")
    inside = all(0 <= start < end <= len(found.text) for start, end, _ in found.slots)
    if not inside or any(after[0] < before[1] for before, after in pairwise(found.slots)):
        raise ValueError(
            f"augment must return ascending slots within the text, got {found.slots!r} for "
            f"{found.text!r} of {name_of(augment)}"
        )
