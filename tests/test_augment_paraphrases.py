"""Paraphrases from a mapping and from a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="pqrnn_native.train needs torch")

from pqrnn_native.train import Example
from pqrnn_native.train.augment import Paraphrases

ALARM = Example("wake me at 7", "en", "alarm", ((11, 12, "time"),), id="3")
LABELLED = Example("so good", "en", labels=("joy", "love"))


def write(path: Path, *rows: Any) -> str:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return f"jsonl:{path}"


def drawn(augment: Paraphrases, example: Example) -> set[str]:
    return {augment(example, np.random.default_rng(seed)).text for seed in range(64)}


def test_strings_are_enough_for_a_classifier() -> None:
    known = Paraphrases({"so good": ["very good", "how good", "very good"]}, share=1)
    assert drawn(known, LABELLED) == {"very good", "how good"}
    new = known(LABELLED, np.random.default_rng(0))
    assert (new.labels, new.language) == (("joy", "love"), "en")
    other = Example("So good", labels=("joy",))
    assert not known.reaches(other)
    assert known(other, np.random.default_rng(0)) is other


def test_half_of_the_draws_by_default(rng: np.random.Generator) -> None:
    known = Paraphrases({"so good": ["very good"]})
    changed = sum(known(LABELLED, rng) is not LABELLED for _ in range(1000))
    assert 436 <= changed <= 564  # four standard deviations


def test_a_parse_keeps_its_intent_and_has_new_slots(tmp_path: Path) -> None:
    spec = write(
        tmp_path / "rows.jsonl",
        {"of": "wake me at 7", "text": "at 7 please get me up", "slots": [[3, 4, "time"]],
         "intent": "not looked at"},
        {"of": "wake me at 7", "text": "get me up"},  # without the time it says something else
        {"of": "wake me at 7", "text": "7 am: up", "slots": [[0, 1, "time"], [2, 4, "half"]]},
        {"of": "wake me at 7", "text": "weck mich um 7", "slots": [[13, 14, "time"]],
         "language": "de"},
    )  # fmt: skip
    known = Paraphrases(spec, share=1)
    assert known.skipped == []
    assert known.reaches(ALARM)
    for seed in range(16):
        assert known(ALARM, np.random.default_rng(seed)) == Example(
            "at 7 please get me up", "en", "alarm", ((3, 4, "time"),), id="3"
        )


def test_examples_in_a_mapping() -> None:
    # One slot may become two of its label; white space at a slot's ends is not part of it.
    split = Example("tomorrow wake me at 7", "en", "x", ((0, 9, "time"), (20, 21, "time")))
    known = Paraphrases({ALARM.text: [split]}, share=1)
    assert known(ALARM, np.random.default_rng(0)) == Example(
        split.text, "en", "alarm", ((0, 8, "time"), (20, 21, "time")), id="3"
    )


def test_bad_lines_are_listed(tmp_path: Path) -> None:
    good = {"of": "a", "text": "b"}
    spec = write(
        tmp_path / "rows.jsonl",
        "{",
        good,
        "",
        {"text": "b"},
        {"of": "a", "text": " "},
        {"of": "a", "text": "bcd", "slots": [[0, 4, "x"]]},
        {"of": "a", "text": "bcd", "slots": [[0, 2, "x"], [1, 3, "x"]]},
        {"of": "a", "text": "b", "slots": "none"},
        {"of": "a", "text": "b", "language": 1},
    )
    known = Paraphrases(spec)
    assert [row.line for row in known.skipped] == [1, 4, 5, 6, 7, 8, 9]
    assert [row.reason for row in known.skipped[1:]] == [
        "of must be a str, got None",
        "no text",
        "slot [0, 4, 'x'] is not within the 3 characters of the text",
        "slots overlap: (0, 2, 'x') and (1, 3, 'x')",
        "slots must be a list, got 'none'",
        "language must be a str, got 1",
    ]
    assert known.reaches(Example("a"))


def test_bad_files_and_mappings(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.jsonl"):
        Paraphrases(f"jsonl:{tmp_path / 'absent.jsonl'}")
    with pytest.raises(ValueError, match="is a folder"):
        Paraphrases(f"jsonl:{tmp_path}")
    with pytest.raises(ValueError, match="named as one of jsonl:PATH, got 'csv:x'"):
        Paraphrases("csv:x")
    with pytest.raises(ValueError, match="holds no paraphrase; the first bad one: .*line 1: no "):
        Paraphrases(write(tmp_path / "bad.jsonl", {"of": "a", "text": ""}))
    with pytest.raises(ValueError, match="holds no paraphrase$"):
        Paraphrases(write(tmp_path / "empty.jsonl"))
    with pytest.raises(TypeError, match="source must be 'jsonl:FILE' or a mapping, got 3"):
        Paraphrases(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="to a list of paraphrases, got 'b' for 'a'"):
        Paraphrases({"a": "b"})
    with pytest.raises(TypeError, match="must be a str or an Example, got 3"):
        Paraphrases({"a": [3]})  # type: ignore[list-item]
    with pytest.raises(ValueError, match="must not be empty, got ''"):
        Paraphrases({"a": [""]})
    with pytest.raises(ValueError, match="is not within the 1 characters"):
        Paraphrases({"a": [Example("b", slots=((0, 2, "x"),))]})


def test_what_defines_a_run() -> None:
    first = Paraphrases({"a": ["b"]}).describe()
    assert first == Paraphrases({"a": ["b", "b"]}).describe()
    assert (first["name"], first["share"]) == ("Paraphrases", 0.5)
    assert first != Paraphrases({"a": ["c"]}).describe()
    assert first != Paraphrases({"a": ["b"]}, share=0.1).describe()
