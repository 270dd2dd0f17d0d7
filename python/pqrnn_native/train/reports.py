"""How good answers are, by task, and which figure chooses the best model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .metrics import Report, classification_report, parsing_report
from .readers import Examples


def report(examples: Examples, answers: Sequence[Any], *, resamples: int = 1000) -> Report:
    """Metrics of answers.

    Args:
        examples: ``n`` of them with their gold answers.
        answers: ``n`` pairs (intent, slots) for ``parse`` and ``tag``, label tuples for
            ``classify``.
        resamples: of the bootstrap intervals; 0: none.
    """
    if examples.task == "classify":
        return classification_report(examples.rows, answers, resamples=resamples)
    return parsing_report(examples.rows, answers, examples.unparsed, resamples=resamples)


def chosen_metric(examples: Examples) -> str:
    """The metric that decides which model is the best: its mean over languages counts."""
    if examples.task == "parse":
        return "exact_match"
    if examples.task == "tag":
        return "slot_f1"
    return "micro_f1" if examples.multi_label else "accuracy"


def sentence_names(examples: Examples, answers: Sequence[Any]) -> tuple[list[str], list[str]]:
    """Gold and predicted intents or labels, for a confusion matrix; none of taggers.

    Several labels count as one name, joined by commas.
    """
    if examples.task == "tag":
        return [], []
    if examples.task == "parse":
        return [row.intent for row in examples], [intent for intent, _ in answers]
    return [",".join(row.labels) for row in examples], [",".join(names) for names in answers]
