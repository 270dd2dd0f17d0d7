"""Metrics of sentence vectors, of labels, and of intents and slots."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ..projection import Projection
from ..tags import Span, SpanLabel, decode_tags, encode_tags
from .readers.base import Example, Task

Floats: TypeAlias = npt.NDArray[np.float64]
Labels: TypeAlias = str | Collection[str]
Slots: TypeAlias = Iterable[Sequence[Any]]  # start, end, label; what comes after is ignored
Parsed: TypeAlias = tuple[str, Slots]


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, ties sharing the mean of their ranks: float64 ``[n]``."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    ends = np.r_[starts[1:], len(values)]
    ranks = np.empty(len(values), dtype=np.float64)
    ranks[order] = np.repeat((starts + 1 + ends) / 2, ends - starts)
    return ranks


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman rank correlation with average ranks for ties (as in SemEval STS).

    Args:
        first, second: ``[n]``, n >= 2.

    Returns:
        A value in [-1, 1]; NaN when one side is constant.
    """
    if first.shape != second.shape or first.ndim != 1 or len(first) < 2:
        raise ValueError(
            f"spearman needs two vectors of equal length >= 2, got {first.shape}, {second.shape}"
        )
    a, b = average_ranks(first), average_ranks(second)
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / norm) if norm > 0 else float("nan")


def cosine_rows(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine of each row pair: float64 ``[n]``; 0 where a row is zero."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    norm = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.einsum("ij,ij->i", a, b) / np.where(norm > 0, norm, 1.0)


class F1(NamedTuple):
    """Precision, recall and their harmonic mean; 0 where nothing was predicted or there is none."""

    precision: float
    recall: float
    f1: float


# A metric is a function of sums over examples. What an example adds is a row of numbers, so that
# resampling the examples is one matrix product.
Statistic: TypeAlias = Callable[[Floats], Floats]


def _ratio(sums: Floats) -> Floats:
    """``[..., 2]``: part and whole; 0 of nothing is 0."""
    part, whole = sums[..., 0], sums[..., 1]
    return np.divide(part, whole, out=np.zeros(np.shape(part)), where=whole > 0)


def _f1(sums: Floats) -> Floats:
    """``[..., 3]``: right, predicted and gold items."""
    return _ratio(np.stack([2 * sums[..., 0], sums[..., 1] + sums[..., 2]], axis=-1))


def _macro_f1(sums: Floats) -> Floats:
    """``[..., 3 * labels]``: the mean over the labels that occur."""
    counts = sums.reshape(*sums.shape[:-1], -1, 3)
    occurs = counts.sum(axis=-1) > 0
    return _ratio(np.stack([_f1(counts).sum(axis=-1), occurs.sum(axis=-1)], axis=-1))


def _paired(name: str, first: Sequence[object], second: Sequence[object]) -> None:
    if not len(first) == len(second) > 0:
        raise ValueError(
            f"{name} must be one for each of at least one example, "
            f"got {len(second)} for {len(first)}"
        )


def _label_set(labels: Labels) -> frozenset[str]:
    return frozenset((labels,) if isinstance(labels, str) else labels)


def _slot_set(slots: Slots) -> frozenset[SpanLabel]:
    return frozenset((slot[0], slot[1], slot[2]) for slot in slots)


def _with_one(values: Iterable[bool]) -> Floats:
    """A 1 beside each value, for `_ratio`."""
    right = np.fromiter(values, np.float64)
    return np.stack([right, np.ones(len(right))], axis=1)


def _exact_counts(gold: Sequence[Example], parses: Sequence[Parsed]) -> Floats:
    _paired("parses", gold, parses)
    return _with_one(
        intent == row.intent and _slot_set(slots) == _slot_set(row.slots)
        for row, (intent, slots) in zip(gold, parses, strict=True)
    )


def _intent_counts(gold: Sequence[Example], parses: Sequence[Parsed]) -> Floats:
    _paired("parses", gold, parses)
    return _with_one(row.intent == parse[0] for row, parse in zip(gold, parses, strict=True))


def _slot_counts(gold: Sequence[Example], parses: Sequence[Parsed]) -> Floats:
    _paired("parses", gold, parses)
    counts = np.empty((len(gold), 3))
    for number, (row, (_, slots)) in enumerate(zip(gold, parses, strict=True)):
        wanted, given = _slot_set(row.slots), _slot_set(slots)
        counts[number] = len(wanted & given), len(given), len(wanted)
    return counts


def _token_counts(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> Floats:
    _paired("tag lists", gold, predicted)
    counts = np.empty((len(gold), 2))
    for number, (wanted, given) in enumerate(zip(gold, predicted, strict=True)):
        if len(wanted) != len(given):
            raise ValueError(
                f"tags must be one per token, got {len(given)} for {len(wanted)} "
                f"in example {number}"
            )
        counts[number] = sum(a == b for a, b in zip(wanted, given, strict=True)), len(wanted)
    return counts


def _label_counts(gold: Sequence[Labels], predicted: Sequence[Labels]) -> Floats:
    """``[n, 3 * labels]``: right, predicted and gold for each label that occurs on either side."""
    _paired("predictions", gold, predicted)
    pairs = [(_label_set(a), _label_set(b)) for a, b in zip(gold, predicted, strict=True)]
    names = {name: k for k, name in enumerate(sorted({x for a, b in pairs for x in a | b}))}
    counts = np.zeros((len(pairs), len(names), 3))
    for number, (wanted, given) in enumerate(pairs):
        for column, labels in enumerate((wanted & given, given, wanted)):
            for label in labels:
                counts[number, names[label], column] = 1
    return counts.reshape(len(pairs), -1)


def _all_labels(counts: Floats) -> Floats:
    """From ``[n, 3 * labels]`` to ``[n, 3]``."""
    return counts.reshape(len(counts), -1, 3).sum(axis=1)


def _same_counts(gold: Sequence[Labels], predicted: Sequence[Labels]) -> Floats:
    _paired("predictions", gold, predicted)
    return _with_one(_label_set(a) == _label_set(b) for a, b in zip(gold, predicted, strict=True))


def exact_match(gold: Sequence[Example], parses: Sequence[Parsed]) -> float:
    """Share of examples with the right intent and exactly the right slots.

    Args:
        gold: n examples.
        parses: n pairs of intent and slots; of a slot, start, end and label count.

    Raises:
        ValueError: another number of parses, or none.
    """
    return float(_ratio(_exact_counts(gold, parses).sum(axis=0)))


def intent_accuracy(gold: Sequence[Example], parses: Sequence[Parsed]) -> float:
    """Share of examples with the right intent; arguments and errors as `exact_match`."""
    return float(_ratio(_intent_counts(gold, parses).sum(axis=0)))


def slot_f1(gold: Sequence[Example], parses: Sequence[Parsed]) -> F1:
    """F1 over all slots, right where start, end and label are; as `exact_match` otherwise."""
    right, given, wanted = _slot_counts(gold, parses).sum(axis=0)
    return F1(
        precision=float(right / given) if given else 0.0,
        recall=float(right / wanted) if wanted else 0.0,
        f1=float(2 * right / (given + wanted)) if given + wanted else 0.0,
    )


def token_accuracy(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> float:
    """Share of tokens with the right tag.

    Args:
        gold, predicted: a list of tags for each of n texts.

    Raises:
        ValueError: another number of texts, or of tags in a text.
    """
    return float(_ratio(_token_counts(gold, predicted).sum(axis=0)))


def accuracy(gold: Sequence[Labels], predicted: Sequence[Labels]) -> float:
    """Share of examples with the right label, or with exactly the right set of labels.

    Args:
        gold, predicted: n labels or collections of labels.

    Raises:
        ValueError: another number of predictions, or none.
    """
    return float(_ratio(_same_counts(gold, predicted).sum(axis=0)))


def micro_f1(gold: Sequence[Labels], predicted: Sequence[Labels]) -> float:
    """F1 over all labels of all examples; arguments and errors as `accuracy`."""
    return float(_f1(_all_labels(_label_counts(gold, predicted)).sum(axis=0)))


def macro_f1(gold: Sequence[Labels], predicted: Sequence[Labels]) -> float:
    """Mean of each label's F1, over the labels that are gold or predicted somewhere.

    Arguments and errors as `accuracy`.
    """
    return float(_macro_f1(_label_counts(gold, predicted).sum(axis=0)))


def _resampled(
    values: Floats, statistic: Statistic, count: int, generator: np.random.Generator
) -> Floats:
    """The statistic of ``count`` resamples: float64 ``[count]``."""
    rows = len(values)
    sums = np.empty((count, values.shape[1]))
    # As many resamples at a time as make a matrix of some 16 MB.
    chunk = max(1, 2_000_000 // rows)
    for start in range(0, count, chunk):
        some = sums[start : start + chunk]
        weights = np.empty((len(some), rows))
        for weight in weights:
            weight[:] = np.bincount(generator.integers(rows, size=rows), minlength=rows)
        np.matmul(weights, values, out=some)
    return statistic(sums)


def _interval(samples: Floats) -> tuple[float, float]:
    low, high = np.quantile(samples, [0.025, 0.975])
    return float(low), float(high)


def bootstrap(values: npt.ArrayLike, n: int = 1000, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the mean of ``values`` under resampling of the examples.

    Args:
        values: ``[examples]``, for example 1 for right and 0 for wrong.
        n: resamples.
        seed: of the random numbers.

    Raises:
        ValueError: not a vector of at least one value, or no resample.
    """
    vector = np.asarray(values, np.float64)
    if vector.ndim != 1 or not len(vector):
        raise ValueError(f"values must be a vector of at least one value, got {vector.shape}")
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    columns = np.stack([vector, np.ones(len(vector))], axis=1)
    return _interval(_resampled(columns, _ratio, n, np.random.default_rng(seed)))


@dataclass(frozen=True)
class Score:
    """A metric, and its 95 % bootstrap interval where one was asked for."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Group:
    """The metrics of some examples.

    Attributes:
        examples: how many were evaluated.
        unparsed: how many more count as wrong for ``exact_match``.
        scores: metric by name.
    """

    examples: int
    unparsed: int
    scores: dict[str, Score]


@dataclass(frozen=True)
class Report:
    """Metrics of a model on a data set.

    Attributes:
        task: ``parse``, ``classify`` or ``tag``.
        overall: all examples together.
        languages: each language by itself.
        average: the unweighted mean over the languages of each metric.
    """

    task: Task
    overall: Group
    languages: dict[str, Group]
    average: dict[str, Score]

    def to_dict(self) -> dict[str, Any]:
        """As plain dictionaries, for JSON."""
        return asdict(self)

    def format(self) -> str:
        """A table in plain text, in per cent; half the interval's width after each value."""
        names = list(self.average)
        lines = [["", "examples", *(name.replace("_", " ") for name in names)]]
        groups = dict(sorted(self.languages.items())) if len(self.languages) > 1 else {}
        for title, group in [*groups.items(), ("all", self.overall)]:
            count = group.examples + group.unparsed
            lines.append([title, str(count), *(_percent(group.scores[n]) for n in names)])
        if groups:
            lines.append(["average", "", *(_percent(self.average[n]) for n in names)])
        widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if k == 0 else cell.rjust(width)
                for k, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )


def _percent(score: Score) -> str:
    if score.low is None or score.high is None:
        return f"{100 * score.value:.1f}"
    return f"{100 * score.value:.1f} ±{50 * (score.high - score.low):.1f}"


class _Metric(NamedTuple):
    counts: Floats  # [n, k]
    statistic: Statistic
    missing: bool = False  # whether examples that could not be parsed count as wrong


def _report(
    task: Task,
    languages: Sequence[str],
    metrics: Mapping[str, _Metric],
    unparsed: Mapping[str, int],
    resamples: int,
    seed: int,
) -> Report:
    if resamples < 0:
        raise ValueError(f"resamples must be at least 0, got {resamples}")
    of_row = np.array(languages)
    unknown = sorted(set(unparsed) - set(languages))
    if unknown:
        raise ValueError(f"unparsed names languages without an example: {unknown}")

    def group(rows: npt.NDArray[np.bool_], extra: int) -> tuple[Group, dict[str, Floats]]:
        scores, samples = {}, {}
        for name, metric in metrics.items():
            counts = metric.counts[rows]
            if metric.missing and extra:
                wrong = np.tile([0.0, 1.0], (extra, 1))
                counts = np.concatenate([counts, wrong])
            value = float(metric.statistic(counts.sum(axis=0)))
            if resamples:
                # The same seed for all: metrics that agree get one interval, and rows that are
                # parallel over languages are drawn together.
                generator = np.random.default_rng(seed)
                samples[name] = _resampled(counts, metric.statistic, resamples, generator)
                scores[name] = Score(value, *_interval(samples[name]))
            else:
                scores[name] = Score(value)
        return Group(int(rows.sum()), extra, scores), samples

    groups, samples = {}, {}
    for language in sorted(set(languages)):
        groups[language], samples[language] = group(of_row == language, unparsed.get(language, 0))
    if len(groups) == 1:
        overall = next(iter(groups.values()))
    else:
        overall, _ = group(np.ones(len(of_row), np.bool_), sum(unparsed.values()))
    average = {}
    for name in metrics:
        value = float(np.mean([g.scores[name].value for g in groups.values()]))
        bounds = (
            _interval(np.mean([s[name] for s in samples.values()], axis=0)) if resamples else ()
        )
        average[name] = Score(value, *bounds)
    return Report(task, overall, groups, average)


def parsing_report(
    gold: Sequence[Example],
    parses: Sequence[Parsed],
    unparsed: Mapping[str, int] | None = None,
    *,
    spans: Sequence[Sequence[Span]] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Report:
    """Exact match, intent accuracy, slot F1 and, given tokens, token accuracy.

    Without any gold intent the task is ``tag``, and there is no intent accuracy.

    Args:
        gold: n examples.
        parses: n pairs of intent and slots; of a slot, start, end and label count.
        unparsed: by language, examples that are not in ``gold`` as no tagger can get them right
            (`Examples.unparsed`). They count as wrong for exact match, not for the other metrics.
        spans: start and end of each token of each example, for token accuracy.
        resamples: for the 95 % intervals; 0: no intervals.
        seed: of the resampling.

    Raises:
        ValueError: another number of parses or spans, no example, or ``unparsed`` names a language
            without examples.
    """
    metrics = {"exact_match": _Metric(_exact_counts(gold, parses), _ratio, missing=True)}
    task: Task = "parse" if any(row.intent for row in gold) else "tag"
    if task == "parse":
        metrics["intent_accuracy"] = _Metric(_intent_counts(gold, parses), _ratio)
    metrics["slot_f1"] = _Metric(_slot_counts(gold, parses), _f1)
    if spans is not None:
        _paired("spans", gold, spans)
        wanted = [encode_tags(s, row.slots) for s, row in zip(spans, gold, strict=True)]
        given = [
            encode_tags(s, _slot_set(slots)) for s, (_, slots) in zip(spans, parses, strict=True)
        ]
        metrics["token_accuracy"] = _Metric(_token_counts(wanted, given), _ratio)
    languages = [row.language for row in gold]
    return _report(task, languages, metrics, unparsed or {}, resamples, seed)


def classification_report(
    gold: Sequence[Example],
    predicted: Sequence[Labels],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Report:
    """Accuracy (of whole label sets), micro and macro F1.

    Args:
        gold: n examples with labels.
        predicted: n labels or collections of labels.
        resamples: for the 95 % intervals; 0: no intervals.
        seed: of the resampling.

    Raises:
        ValueError: another number of predictions, or no example.
    """
    labels = [row.labels for row in gold]
    counts = _label_counts(labels, predicted)
    metrics = {
        "accuracy": _Metric(_same_counts(labels, predicted), _ratio),
        "micro_f1": _Metric(_all_labels(counts), _f1),
        "macro_f1": _Metric(counts, _macro_f1),
    }
    return _report("classify", [row.language for row in gold], metrics, {}, resamples, seed)


class Ceiling(NamedTuple):
    """What a perfect tagger would reach: share of slots, and of texts with every slot right."""

    slots: float
    utterances: float


def ceiling(
    examples: Iterable[Example],
    projection: Projection,
    allowed_tags: Container[str] | None = None,
    unparsed: Mapping[str, int] | None = None,
) -> dict[str, Ceiling]:
    """By language, the share of gold slots and of whole texts that tags over tokens can express.

    Args:
        examples: texts with slots.
        projection: splits the texts into tokens.
        allowed_tags: the divided tags that may be used; None: all.
        unparsed: by language, texts that are not in ``examples`` and count as not expressible.
    """
    counts: dict[str, list[int]] = {}
    for row in examples:
        spans = projection.spans(row.text)
        wanted = set(row.slots)
        right = len(wanted & set(decode_tags(spans, encode_tags(spans, row.slots, allowed_tags))))
        of_language = counts.setdefault(
            row.language, [0, 0, 0, (unparsed or {}).get(row.language, 0)]
        )
        for column, number in enumerate((right, len(wanted), right == len(wanted), 1)):
            of_language[column] += number
    return {
        language: Ceiling(right / slots if slots else 1.0, whole / rows)
        for language, (right, slots, whole, rows) in counts.items()
    }
