"""A small invented parsing language: commands whose words tell the intent and the slots."""

from __future__ import annotations

import numpy as np

from pqrnn_native.train import Example

_THINGS = ("lamp", "radio", "heater", "window")
_PLACES = ("kitchen", "hall", "garden", "attic")
_VERBS = {"start": "IN:ON", "stop": "IN:OFF", "open": "IN:OPEN"}


def commands(count: int, seed: int = 0, languages: tuple[str, ...] = ("en",)) -> list[Example]:
    """Examples like "start the lamp in the kitchen"; in language "xx" the words are reversed."""
    rng = np.random.default_rng(seed)
    examples = []
    for number in range(count):
        verb = str(rng.choice(list(_VERBS)))
        words = [(verb, ""), ("the", ""), (str(rng.choice(_THINGS)), "SL:THING")]
        if rng.random() < 0.6:
            words += [("in", ""), ("the", ""), (str(rng.choice(_PLACES)), "SL:PLACE")]
        if rng.random() < 0.3:
            words += [("please", "")]
        language = languages[number % len(languages)]
        if language == "xx":
            words = [(word[::-1], label) for word, label in words]
        text, slots = "", []
        for word, label in words:
            text += " " if text else ""
            if label:
                slots.append((len(text), len(text) + len(word), label))
            text += word
        examples.append(Example(text, language, _VERBS[verb], tuple(slots)))
    return examples


def labelled(count: int, seed: int = 0, *, several: bool = False) -> list[Example]:
    """Texts labelled by the things in them: the first one, or all."""
    rng = np.random.default_rng(seed)
    examples = []
    for _ in range(count):
        things = [str(t) for t in rng.choice(_THINGS, rng.integers(several, 3) or 1, replace=False)]
        if several and rng.random() < 0.1:
            things = []
        text = " and ".join(things) if things else "nothing"
        labels = tuple(things) if several else tuple(things[:1])
        examples.append(Example(f"bring {text} now", labels=labels))
    return examples
