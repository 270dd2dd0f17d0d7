"""Metrics of intents, slots and labels, by hand and against other implementations."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

import pqrnn_native as pq
from pqrnn_native.tags import decode_tags
from pqrnn_native.train import metrics
from pqrnn_native.train.readers import Example

GOLD = [
    Example("call mum", "en", "CALL", ((5, 8, "WHO"),)),
    Example("stop", "en", "STOP"),
    Example("wake me at 7", "en", "ALARM", ((5, 7, "WHO"), (8, 12, "TIME"))),
    Example("ruf an", "de", "CALL"),
]
PARSES = [
    ("CALL", [(5, 8, "WHO", "mum")]),  # right; what follows the label does not count
    ("STOP", [(0, 4, "WHO")]),
    ("ALARM", [(8, 12, "TIME"), (5, 7, "TIME")]),
    ("STOP", []),
]


def test_parsing_metrics_by_hand() -> None:
    assert metrics.exact_match(GOLD, PARSES) == 1 / 4
    assert metrics.intent_accuracy(GOLD, PARSES) == 3 / 4
    # Right: WHO mum, TIME at 7; predicted 4, gold 3.
    precision, recall, f1 = metrics.slot_f1(GOLD, PARSES)
    assert (precision, recall) == (2 / 4, 2 / 3)
    assert f1 == pytest.approx(2 * (2 / 4) * (2 / 3) / (2 / 4 + 2 / 3))
    assert metrics.slot_f1(GOLD[1:2], [("", [])]) == (0.0, 0.0, 0.0)
    assert metrics.token_accuracy([["O", "B-X"], [], ["O"]], [["O", "O"], [], ["O"]]) == 2 / 3


def test_label_metrics_by_hand() -> None:
    gold: list[metrics.Labels] = ["a", ("a", "b"), (), "c"]
    given: list[metrics.Labels] = ["a", ("a",), ("d",), "b"]
    assert metrics.accuracy(gold, given) == 1 / 4
    # a 2/2/2, b 0/1/1, c 0/0/1, d 0/1/0 of right/predicted/gold.
    assert metrics.micro_f1(gold, given) == 2 * 2 / (4 + 4)
    assert metrics.macro_f1(gold, given) == 1 / 4
    assert metrics.macro_f1([()], [()]) == 0


@pytest.mark.parametrize(
    "metric",
    [metrics.exact_match, metrics.intent_accuracy, metrics.slot_f1, metrics.parsing_report],
)
def test_one_parse_for_each_example(metric: object) -> None:
    assert callable(metric)
    with pytest.raises(ValueError, match="got 3 for 4"):
        metric(GOLD, PARSES[:3])
    with pytest.raises(ValueError, match="at least one"):
        metric([], [])


def test_one_label_and_tag_for_each() -> None:
    for metric in (metrics.accuracy, metrics.micro_f1, metrics.macro_f1):
        with pytest.raises(ValueError, match="got 2 for 1"):
            metric(["a"], ["a", "b"])
    with pytest.raises(ValueError, match="got 1 for 2 in example 1"):
        metrics.token_accuracy([["O"], ["O", "O"]], [["O"], ["O"]])


def test_slot_f1_agrees_with_seqeval(rng: np.random.Generator) -> None:
    seqeval = pytest.importorskip("seqeval.metrics", reason="needs seqeval")
    names = np.array(["O", "O", "B-X", "I-X", "B-Y", "I-Y"])
    gold = [list(map(str, rng.choice(names, n))) for n in rng.integers(1, 12, 300)]
    keep = [rng.random(len(tags)) < 0.8 for tags in gold]
    given = [
        [a if k else str(rng.choice(names)) for a, k in zip(tags, ks, strict=True)]
        for tags, ks in zip(gold, keep, strict=True)
    ]
    spans = [[(2 * k, 2 * k + 1) for k in range(len(tags))] for tags in gold]
    rows = [Example("x", slots=tuple(decode_tags(s, t))) for s, t in zip(spans, gold, strict=True)]
    parses = [("", decode_tags(s, t)) for s, t in zip(spans, given, strict=True)]
    ours = metrics.slot_f1(rows, parses)
    assert ours.precision == pytest.approx(seqeval.precision_score(gold, given))
    assert ours.recall == pytest.approx(seqeval.recall_score(gold, given))
    assert ours.f1 == pytest.approx(seqeval.f1_score(gold, given))
    assert metrics.token_accuracy(gold, given) == pytest.approx(seqeval.accuracy_score(gold, given))


def test_label_metrics_agree_with_sklearn(rng: np.random.Generator) -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn")
    gold = [str(k) for k in rng.integers(0, 6, 200)]
    given = [g if rng.random() < 0.6 else str(rng.integers(0, 9)) for g in gold]
    assert metrics.accuracy(gold, given) == pytest.approx(sklearn.accuracy_score(gold, given))
    for average, ours in (("micro", metrics.micro_f1), ("macro", metrics.macro_f1)):
        theirs = sklearn.f1_score(gold, given, average=average, zero_division=0)
        assert ours(gold, given) == pytest.approx(theirs)

    several = rng.random((200, 5)) < 0.3
    guesses = several ^ (rng.random((200, 5)) < 0.1)
    sets, guessed = (
        [tuple(str(k) for k in np.flatnonzero(row)) for row in table]
        for table in (several, guesses)
    )
    assert metrics.accuracy(sets, guessed) == pytest.approx(
        sklearn.accuracy_score(several, guesses)
    )
    for average, ours in (("micro", metrics.micro_f1), ("macro", metrics.macro_f1)):
        theirs = sklearn.f1_score(several, guesses, average=average, zero_division=0)
        assert ours(sets, guessed) == pytest.approx(theirs)


def test_the_bootstrap_interval_is_that_of_the_binomial() -> None:
    values = np.repeat([1.0, 0.0], [320, 80])
    low, high = metrics.bootstrap(values, n=4000, seed=1)
    # 0.8 +- 1.96 sqrt(0.8 * 0.2 / 400), within the resampling's own noise.
    assert low == pytest.approx(0.8 - 0.0392, abs=0.004)
    assert high == pytest.approx(0.8 + 0.0392, abs=0.004)
    assert metrics.bootstrap(values, seed=3) == metrics.bootstrap(values, seed=3)
    assert metrics.bootstrap([1.0, 1.0]) == (1.0, 1.0)
    for wrong in ([], [[1.0]]):
        with pytest.raises(ValueError, match="at least one value"):
            metrics.bootstrap(wrong)
    with pytest.raises(ValueError, match="got 0"):
        metrics.bootstrap([1.0], n=0)


def test_a_parsing_report() -> None:
    report = metrics.parsing_report(GOLD, PARSES, {"en": 1, "de": 1}, resamples=200)
    assert report.task == "parse"
    assert list(report.languages) == ["de", "en"]
    values = {k: {n: s.value for n, s in g.scores.items()} for k, g in report.languages.items()}
    # Rows that could not be parsed are wrong for exact match alone.
    assert values["de"] == {"exact_match": 0 / 2, "intent_accuracy": 0.0, "slot_f1": 0.0}
    assert values["en"] == {
        "exact_match": 1 / 4,
        "intent_accuracy": 1.0,
        "slot_f1": pytest.approx(4 / 7),
    }
    assert report.overall.scores["exact_match"].value == 1 / 6
    assert (report.overall.examples, report.overall.unparsed) == (4, 2)
    assert report.average["exact_match"].value == (0 / 2 + 1 / 4) / 2
    assert report.average["slot_f1"].value == pytest.approx((0 + 4 / 7) / 2)
    for score in (*report.overall.scores.values(), *report.average.values()):
        assert score.low is not None
        assert score.high is not None
        assert score.low <= score.value <= score.high
    same = metrics.parsing_report(GOLD, PARSES, {"en": 1, "de": 1}, resamples=200)
    assert same == report
    assert json.loads(json.dumps(report.to_dict()))["languages"]["en"]["scores"]["exact_match"][
        "value"
    ] == pytest.approx(0.25)
    with pytest.raises(ValueError, match="resamples must be at least 0, got -1"):
        metrics.parsing_report(GOLD, PARSES, resamples=-1)
    with pytest.raises(ValueError, match=r"unparsed names .* \['fr'\]"):
        metrics.parsing_report(GOLD, PARSES, {"fr": 1})


def test_token_accuracy_in_a_report() -> None:
    spans = [[(0, 4), (5, 8)], [(0, 4)], [(0, 4), (5, 7), (8, 10), (11, 12)], [(0, 3), (4, 6)]]
    report = metrics.parsing_report(GOLD, PARSES, spans=spans, resamples=0)
    # Wrong: "stop" and "me".
    assert report.overall.scores["token_accuracy"].value == 7 / 9
    with pytest.raises(ValueError, match="spans must be one for each"):
        metrics.parsing_report(GOLD, PARSES, spans=spans[:2])


def test_slots_without_intents_are_tagging() -> None:
    rows = [Example("a b", slots=((0, 1, "X"),), tokens=((0, 1), (2, 3)))]
    report = metrics.parsing_report(rows, [("", [(0, 1, "X")])], resamples=0)
    assert report.task == "tag"
    assert {k: s.value for k, s in report.overall.scores.items()} == {
        "exact_match": 1.0,
        "slot_f1": 1.0,
    }


def test_a_report_as_a_table() -> None:
    report = metrics.parsing_report(GOLD, PARSES, {"en": 1}, resamples=0)
    assert report.format().splitlines() == [
        "         examples  exact match  intent accuracy  slot f1",
        "de              1          0.0              0.0      0.0",
        "en              4         25.0            100.0     57.1",
        "all             5         20.0             75.0     57.1",
        "average                   12.5             50.0     28.6",
    ]
    rows = [Example("x", labels=("a",)), Example("y", labels=("b",))]
    report = metrics.classification_report(rows, ["a", "a"], resamples=100)
    assert report.task == "classify"
    head, line = report.format().splitlines()
    assert head.split() == ["examples", "accuracy", "micro", "f1", "macro", "f1"]
    # Resamples of two rows, one right: a quarter has none right, a quarter has both.
    assert line.split() == ["all", "2", "50.0", "±50.0", "50.0", "±50.0", "33.3", "±50.0"]


def test_a_classification_report_by_language() -> None:
    rows = [
        Example("x", "en", labels=("a",)),
        Example("y", "en", labels=("b",)),
        Example("z", "de", labels=("c",)),
    ]
    report = metrics.classification_report(rows, [("a",), ("a",), ("c",)], resamples=0)
    scores = report.languages["en"].scores
    # a: F1 of 1/2/1 is 2/3, b: 0. The label c is not in English.
    assert scores["macro_f1"].value == pytest.approx((2 / 3 + 0) / 2)
    assert report.overall.scores["macro_f1"].value == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert report.average["accuracy"].value == (1 / 2 + 1) / 2


def by_words(text: str) -> list[tuple[int, int]]:
    spans, at = [], 0
    for word in text.split(" "):
        spans.append((at, at + len(word)))
        at += len(word) + 1
    return spans


def test_the_ceiling_by_hand() -> None:
    rows = [
        Example("call mum", "en", "CALL", ((5, 8, "WHO"),)),
        Example("mum's car", "en", "X", ((0, 3, "WHO"), (6, 9, "WHAT"))),
        Example("stop", "de", "STOP"),
    ]
    projection = cast(pq.Projection, SimpleNamespace(spans=by_words))
    assert metrics.ceiling(rows, projection) == {"en": (1.0, 1.0), "de": (1.0, 1.0)}
    assert metrics.ceiling(rows, projection, set()) == {"en": (2 / 3, 1 / 2), "de": (1.0, 1.0)}
    assert metrics.ceiling(rows, projection, {"B-WHO@-2|O"}, {"en": 2}) == {
        "en": (1.0, 2 / 4),
        "de": (1.0, 1.0),
    }
