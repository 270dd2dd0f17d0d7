"""The search for the best tags: by hand, against all sequences, and against a slow twin."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pqrnn_native import _core
from pqrnn_native.tags import TagSet, constrained

Floats = npt.NDArray[np.float32]
NEVER = np.float32(-np.inf)


def best_tags(logits: Any, transitions: Any, starts: Any, offsets: Any = None) -> list[int]:
    logits = np.ascontiguousarray(logits, np.float32)
    borders = np.array([0, len(logits)] if offsets is None else offsets, np.int64)
    arrays = (np.ascontiguousarray(a, np.float32) for a in (transitions, starts))
    return _core.best_tags(logits, borders, *arrays).tolist()


def slow(logits: Floats, transitions: Floats, starts: Floats) -> list[int]:
    """Step by step in float32, in the order of sums that the kernels promise."""

    def first_largest(values: Floats) -> npt.NDArray[np.intp]:
        return np.where(np.isnan(values), NEVER, values).argmax(axis=0)

    with np.errstate(invalid="ignore"):
        score, back = starts + logits[0], []
        for row in logits[1:]:
            sums = score[:, None] + transitions
            back.append(first_largest(sums))
            best = np.take_along_axis(sums, back[-1][None], axis=0)[0]
            score = np.where(np.isnan(best), NEVER, best) + row
            largest = score[first_largest(score)]
            if np.isfinite(largest):
                score = score - largest
        found = [int(first_largest(score))]
    for places in reversed(back):
        found.append(int(places[found[-1]]))
    return found[::-1]


def test_by_hand(isa: str) -> None:
    # From 0 to 1 costs 3, from 1 to 1 earns 2; a text may not begin with 1.
    transitions, starts = [[0, -3], [0, 2]], [0, NEVER]
    # 0 0: 1 + 0; 0 1: 1 - 3 + 2.5.
    assert best_tags([[1, 9], [0, 2.5]], transitions, starts) == [0, 0]
    # 0 0 0: 1; 0 1 1: 1 - 3 + 2.5 + 2 + 1 = 3.5.
    assert best_tags([[1, 9], [0, 2.5], [0, 1]], transitions, starts) == [0, 1, 1]
    assert best_tags([[5, 9]], transitions, starts) == [0]
    assert best_tags(np.empty((0, 2)), transitions, starts) == []
    assert best_tags([[1, 9], [0, 2.5], [0, 1]], transitions, starts, [0, 0, 1, 1, 3, 3]) == [
        0, 0, 0,
    ]  # fmt: skip


@pytest.mark.parametrize("tags", [1, 2, 3, 5])
def test_no_sequence_scores_more(isa: str, tags: int, rng: np.random.Generator) -> None:
    for tokens in (1, 2, 4):
        for _ in range(10):
            logits = rng.normal(size=(tokens, tags))
            transitions = rng.normal(size=(tags, tags))
            transitions[rng.random((tags, tags)) < 0.3] = -np.inf
            transitions[:, 0] = rng.normal(size=tags)
            starts = np.where(np.arange(tags) % 2, -np.inf, rng.normal(size=tags))
            scores = {
                ids: starts[ids[0]]
                + logits[np.arange(tokens), ids].sum()
                + sum(transitions[a, b] for a, b in itertools.pairwise(ids))
                for ids in itertools.product(range(tags), repeat=tokens)
            }
            wanted = max(scores, key=scores.__getitem__)
            assert best_tags(logits, transitions, starts) == list(wanted)


# Around the widths of registers, and of blocks of four of them.
SIZES = [1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 130, 162]


@pytest.mark.parametrize("tags", SIZES)
def test_every_instruction_set_gives_the_twins_tags(
    isa: str, tags: int, rng: np.random.Generator
) -> None:
    transitions = rng.normal(size=(tags, tags)).astype(np.float32)
    transitions[rng.random((tags, tags)) < 0.5] = NEVER
    transitions[:, tags // 2] = 0
    starts = np.where(rng.random(tags) < 0.5, NEVER, np.float32(0))
    lengths = [1, 0, 2, 40, 0, 5]
    texts = [(3 * rng.normal(size=(n, tags))).astype(np.float32) for n in lengths]
    wanted = [slow(text, transitions, starts) for text in texts if len(text)]
    found = best_tags(np.concatenate(texts), transitions, starts, np.cumsum([0, *lengths]))
    assert found == list(itertools.chain.from_iterable(wanted))


@pytest.mark.parametrize("tags", [2, 5, 33, 70])
def test_of_equals_the_first_wins(isa: str, tags: int, rng: np.random.Generator) -> None:
    zeros = np.zeros((tags, tags), np.float32)
    assert best_tags(np.zeros((9, tags)), zeros, zeros[0]) == [0] * 9
    # Small whole numbers have many equal sums, and none is rounded.
    for tokens in (2, 30):
        logits, transitions, starts = (
            rng.integers(-1, 2, size=size).astype(np.float32)
            for size in ((tokens, tags), (tags, tags), tags)
        )
        assert best_tags(logits, transitions, starts) == slow(logits, transitions, starts)
    # Any way to the last token's best, 1, is as good: all that is seen of ties are zeros.
    logits = np.zeros((6, tags), np.float32)
    logits[-1, 1] = 1
    assert best_tags(logits, zeros, zeros[0]) == [0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize("tokens", [255, 256, 257, 258, 513, 514, 2000])
def test_long_texts_are_searched_in_segments(
    isa: str, tokens: int, rng: np.random.Generator
) -> None:
    logits = rng.normal(size=(tokens, 5)).astype(np.float32)
    transitions = rng.normal(size=(5, 5)).astype(np.float32)
    transitions[1, 2] = transitions[4, 0] = NEVER
    starts = np.array([0, 0, NEVER, 0, 1], np.float32)
    assert best_tags(logits, transitions, starts) == slow(logits, transitions, starts)
    # A first token that decides about the last one.
    logits[:] = 0
    stay = np.where(np.eye(5, dtype=bool), np.float32(0), NEVER)
    logits[0, 3] = 1e-3
    assert best_tags(logits, stay, np.zeros(5)) == [3] * tokens


def test_a_text_of_a_million_tokens(rng: np.random.Generator) -> None:
    """Scores are sums of a million logits, and yet each token has its own best tag."""
    logits = rng.normal(100, 1, size=(1_000_000, 3)).astype(np.float32)
    found = best_tags(logits, np.zeros((3, 3)), np.zeros(3))
    np.testing.assert_array_equal(found, logits.argmax(axis=1))


@pytest.mark.parametrize("tags", [1, 3, 20, 70])
def test_numbers_that_are_none(isa: str, tags: int, rng: np.random.Generator) -> None:
    """Whatever the numbers, the result is tags; and what is not a number never wins."""
    zeros = np.zeros((tags, tags), np.float32)
    for value in (np.nan, np.inf, -np.inf):
        everywhere = np.full((4, tags), value, np.float32)
        assert best_tags(everywhere, zeros, zeros[0]) == [0] * 4
        assert best_tags(np.zeros((4, tags)), np.full((tags, tags), value), zeros[0]) == [0] * 4
        assert best_tags(np.zeros((4, tags)), zeros, np.full(tags, value)) == [0] * 4
        logits = rng.normal(size=(30, tags)).astype(np.float32)
        logits[rng.random(logits.shape) < 0.3] = value
        transitions = rng.normal(size=(tags, tags)).astype(np.float32)
        assert best_tags(logits, transitions, zeros[0]) == slow(logits, transitions, zeros[0])
    logits = np.zeros((3, tags), np.float32)
    logits[:, : tags - 1] = np.nan
    assert best_tags(logits, zeros, zeros[0]) == [tags - 1] * 3


def test_shapes_are_checked() -> None:
    logits, transitions, starts = (np.zeros(s, np.float32) for s in ((3, 2), (2, 2), 2))
    offsets = np.array([0, 3])
    for wrong in (np.zeros((2, 3)), np.zeros((3, 3)), np.zeros(4), np.zeros((2, 2, 1))):
        with pytest.raises(ValueError, match="transitions must be"):
            _core.best_tags(logits, offsets, wrong.astype(np.float32), starts)
    for wrong in (np.zeros((3, 3)), np.zeros(6), np.zeros((3, 2, 1))):
        with pytest.raises(ValueError, match="logits must be"):
            _core.best_tags(wrong.astype(np.float32), offsets, transitions, starts)
    for wrong in (np.zeros(0), np.zeros((2, 1)), np.zeros(65537)):
        with pytest.raises(ValueError, match="starts must have one dimension"):
            _core.best_tags(logits, offsets, transitions, wrong.astype(np.float32))
    with pytest.raises(ValueError, match="offsets must be"):
        _core.best_tags(logits, np.array([[0, 3]]), transitions, starts)
    with pytest.raises(TypeError):
        _core.best_tags(logits.astype(np.float64), offsets, transitions, starts)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        _core.best_tags(logits, offsets, transitions[:, ::-1], starts)


def test_tag_sets_score_transitions() -> None:
    names = ["O", "B-X", "I-X"]
    logits = np.array([[1, 0.5, 9], [1, 0, 0.5]], np.float32)
    assert constrained(logits, names).tolist() == [0, 0]
    # From B-X to I-X earns 1: 0.5 + 1 + 0.5 = 2 is no more than 1 + 1, at 1.5 it is.
    transitions = np.zeros((3, 3))
    transitions[0, 2] = transitions[2, 1] = 50  # the former must not be, the latter begins with I-X
    transitions[1, 2] = 1.5
    assert constrained(logits, names, transitions).tolist() == [1, 2]
    tags = TagSet(names, transitions)
    assert tags.spans(logits, [(0, 1), (2, 3)]) == [(0, 3, "X")]
    assert tags.starts.tolist() == [True, True, False]
    assert tags.allowed.tolist() == [[True, True, False], [True, True, True], [True, True, True]]
    assert tags == TagSet(names, transitions.tolist()) != TagSet(names)
    for wrong in (np.zeros((2, 2)), np.zeros(9), [[0]]):
        with pytest.raises(ValueError, match=r"transitions must be \[3, 3\], got"):
            TagSet(names, wrong)


def test_logits_of_any_kind_and_layout() -> None:
    tags = TagSet(["O", "B-X", "I-X"])
    logits = np.array([[0, 2, 0, 1], [9, 1, 9, 3], [0, 0, 0, 0]])
    for kind in (np.float16, np.float32, np.float64):
        assert tags.best(logits.astype(kind)[:2, [0, 1, 3]]).tolist() == [1, 0]
        assert tags.best(logits.astype(kind).T[1:, :3][::-1], [0, 1, 3]).shape == (3,)
    every_second = np.array([0, 7, 1, 7, 3])[::2]
    assert tags.best(logits[:, :3], every_second).tolist() == [1, 0, 0]


def test_there_are_not_too_many_tags() -> None:
    names = ["O", *(f"B-{n}" for n in range(4096))]
    with pytest.raises(ValueError, match="at most 4096 tags, got 4097"):
        TagSet(names)
    tags = TagSet(names[:4096])
    logits = np.zeros((2, 4096), np.float32)
    logits[1, 4095] = 1
    assert tags.best(logits).tolist() == [0, 4095]
