"""Slots as tags and back; the best valid tags against all sequences there are."""

from __future__ import annotations

import itertools
import pickle
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pqrnn_native.tags import (
    Slot,
    TagSet,
    collect_tags,
    collect_tags_by_intent,
    constrained,
    decode_tags,
    encode_tags,
    forbid_tags,
)

ALARM = "wake me at 7 am on monday"
ALARM_SPANS = [(0, 4), (5, 7), (8, 10), (11, 12), (13, 15), (16, 18), (19, 25)]


def test_a_slot_is_its_piece_of_the_text() -> None:
    assert Slot(5, 7, "PERSON", ALARM[5:7]) == (5, 7, "PERSON", "me")


def test_whole_tokens() -> None:
    slots = [(19, 25, "DAY"), (8, 15, "TIME"), (5, 7, "WHO")]
    tags = ["O", "B-WHO", "B-TIME", "I-TIME", "I-TIME", "O", "B-DAY"]
    assert encode_tags(ALARM_SPANS, slots) == tags
    assert decode_tags(ALARM_SPANS, tags) == sorted(slots)


def test_neighbours_of_one_label_stay_apart() -> None:
    spans = [(0, 1), (2, 3), (4, 5)]
    slots = [(0, 1, "X"), (2, 5, "X")]
    assert encode_tags(spans, slots) == ["B-X", "B-X", "I-X"]
    assert decode_tags(spans, ["B-X", "B-X", "I-X"]) == slots


def test_no_token_and_no_slot() -> None:
    assert encode_tags([], [(0, 3, "X")]) == []
    assert decode_tags([], []) == []
    assert encode_tags([(0, 3), (3, 3)], []) == ["O", "O"]
    assert encode_tags([(0, 0), (0, 3)], [(0, 3, "X")]) == ["O", "B-X"]


@pytest.mark.parametrize(
    ("spans", "slots", "tags"),
    [
        # "recuerdame llamar" with the slot "me": two characters before the end.
        ([(0, 10), (11, 17)], [(8, 10, "WHO")], ["O@-2|B-WHO", "O"]),
        # "l'heure de midi" with the slot "heure de": two characters after the start.
        ([(0, 7), (8, 10), (11, 15)], [(2, 10, "T")], ["O@2|B-T", "I-T", "O"]),
        # "my mum's car" with "mum" and "'s car": a slot ends where another begins.
        ([(0, 2), (3, 8), (9, 12)], [(3, 6, "R"), (6, 12, "C")], ["O", "B-R@-2|B-C", "I-C"]),
        # "big mum's" with "big mum": the left part goes on.
        ([(0, 3), (4, 9)], [(0, 7, "R")], ["B-R", "I-R@-2|O"]),
        # In the middle, the end it is.
        ([(0, 4)], [(2, 4, "X")], ["O@-2|B-X"]),
    ],
)
def test_a_border_within_a_token(
    spans: list[tuple[int, int]], slots: list[tuple[int, int, str]], tags: list[str]
) -> None:
    assert encode_tags(spans, slots) == tags
    assert decode_tags(spans, tags) == slots


def test_only_allowed_divided_tags_are_used() -> None:
    spans, slots = [(0, 10), (11, 17)], [(8, 17, "X")]
    assert encode_tags(spans, slots, {"O@-2|B-X"}) == ["O@-2|B-X", "I-X"]
    # The same border, counted from the other side.
    assert encode_tags(spans, slots, {"O@8|B-X"}) == ["O@8|B-X", "I-X"]
    assert encode_tags(spans, slots, set()) == ["B-X", "I-X"]


def test_a_token_of_several_slots_goes_to_the_largest_share() -> None:
    # Two borders cannot be said at all.
    assert encode_tags([(0, 9)], [(1, 3, "A"), (3, 8, "B")]) == ["B-B"]
    assert encode_tags([(0, 9)], [(1, 4, "A"), (5, 8, "B")]) == ["B-A"]
    assert encode_tags([(0, 9)], [(3, 5, "A")]) == ["B-A"]
    # The loser begins in the next token.
    assert encode_tags([(0, 9), (10, 12)], [(0, 7, "A"), (7, 12, "B")], set()) == ["B-A", "B-B"]


def test_a_part_that_has_no_room_is_left_out() -> None:
    assert decode_tags([(4, 6)], ["O@-2|B-X"]) == [(4, 6, "X")]
    assert decode_tags([(4, 6)], ["B-X@5|O"]) == [(4, 6, "X")]
    assert decode_tags([(4, 6)], ["B-X@-5|O"]) == []


def test_an_inside_tag_out_of_place_begins_a_slot() -> None:
    spans = [(0, 1), (2, 3), (4, 5), (6, 7)]
    assert decode_tags(spans, ["I-X", "I-X", "I-Y", "O"]) == [(0, 3, "X"), (4, 5, "Y")]
    assert decode_tags(spans, ["O", "I-X", "O", "I-X"]) == [(2, 3, "X"), (6, 7, "X")]


def test_labels_may_hold_any_character() -> None:
    slots = [(0, 1, "SL:A-B"), (2, 3, "a@b|c d"), (4, 5, "ü\n")]
    spans = [(0, 1), (2, 3), (4, 5)]
    tags = encode_tags(spans, slots)
    assert tags == ["B-SL:A-B", "B-a@b|c d", "B-ü\n"]
    assert decode_tags(spans, tags) == slots


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        ([(0, 2, "X"), (1, 3, "Y")], "overlap"),
        ([(1, 1, "X")], "empty"),
        ([(-1, 1, "X")], "negative"),
        ([(0, 2, "")], "label must not be empty"),
        ([(0, 2, "X@1|O")], r"read as a divided tag: 'X@1\|O'"),
    ],
)
def test_slots_that_have_no_tags(slots: list[tuple[int, int, str]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode_tags([(0, 3)], slots)


@pytest.mark.parametrize("tag", ["X", "B-", "b-X", "O@2|P", "O-X", ""])
def test_what_is_no_tag(tag: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(tag))):
        decode_tags([(0, 3)], [tag])
    with pytest.raises(ValueError, match=re.escape(repr(tag))):
        TagSet(["O", tag])


def test_one_tag_per_token() -> None:
    with pytest.raises(ValueError, match="got 1 for 2"):
        decode_tags([(0, 1), (1, 2)], ["O"])


@st.composite
def texts_with_slots(
    draw: st.DrawFn,
) -> tuple[list[tuple[int, int]], list[tuple[int, int, str]]]:
    """Tokens, some in two parts, and slots over runs of parts."""
    spans, parts, at = [], [], 0
    for _ in range(draw(st.integers(0, 6))):
        at += draw(st.integers(0, 2))
        start = at
        for _ in range(draw(st.integers(1, 2))):
            parts.append((at, at + draw(st.integers(1, 4))))
            at = parts[-1][1]
        spans.append((start, at))
    slots, first = [], 0
    while first < len(parts):
        last = min(first + draw(st.integers(0, 3)), len(parts) - 1)
        label = draw(st.sampled_from(["", "A", "B-B"]))
        if label:
            slots.append((parts[first][0], parts[last][1], label))
        first = last + 1
    return spans, slots


@given(texts_with_slots())
def test_decoding_inverts_encoding(
    case: tuple[list[tuple[int, int]], list[tuple[int, int, str]]],
) -> None:
    spans, slots = case
    assert decode_tags(spans, encode_tags(spans, slots)) == slots
    names = collect_tags([case], min_count=1)
    assert decode_tags(spans, encode_tags(spans, slots, names)) == slots
    assert TagSet(names).encode(spans, slots).shape == (len(spans),)
    # With no divided tag, every slot still covers whole tokens, and no label is made up.
    rough = decode_tags(spans, encode_tags(spans, slots, ()))
    assert {(s, e) for s, e, _ in rough} <= {
        (a[0], b[1]) for a, b in itertools.combinations_with_replacement(spans, 2)
    }
    assert {label for *_, label in rough} <= {label for *_, label in slots}


def test_collecting_tags() -> None:
    items = [
        ([(0, 2), (3, 6)], [(0, 2, "Y")]),
        ([(0, 6)], [(4, 6, "X")]),
        # A border of two names, of which the first item's is the more frequent.
        ([(0, 3)], [(1, 3, "X")]),
        ([(0, 5)], [(1, 4, "X")]),
    ]
    plain = ("O", "B-X", "B-Y", "I-X", "I-Y")
    assert collect_tags(items) == plain
    assert collect_tags(items, min_count=2) == (*plain, "O@-2|B-X")
    assert collect_tags(items, min_count=1) == (*plain, "O@-2|B-X")
    assert collect_tags([]) == ("O",)


def test_a_tag_set() -> None:
    tags = TagSet(["O", "B-X", "I-X"])
    assert len(tags) == 3
    assert tags == TagSet(("O", "B-X", "I-X")) == pickle.loads(pickle.dumps(tags))
    assert tags != TagSet(["O", "I-X", "B-X"])
    assert len({tags, TagSet(tags.names)}) == 1
    assert eval(repr(tags)) == tags
    np.testing.assert_array_equal(tags.ids(["I-X", "O"]), [2, 0])
    np.testing.assert_array_equal(tags.encode([(0, 1), (2, 3)], [(0, 3, "X")]), [1, 2])
    assert tags.ids([]).dtype == np.int64
    with pytest.raises(ValueError, match="tag 'B-Y' is not in the set"):
        tags.encode([(0, 1)], [(0, 1, "Y")])
    with pytest.raises(ValueError, match="different from each other"):
        TagSet(["O", "O"])
    with pytest.raises(ValueError, match="'O' is missing"):
        TagSet(["I-X"])
    with pytest.raises(ValueError, match="'O' is missing"):
        TagSet([])


def parts_of(tag: str) -> list[str]:
    match = re.fullmatch(r"(.+)@(-?[1-9][0-9]*)\|(.+)", tag)
    return [match[1], match[3]] if match else [tag]


def is_valid(tags: tuple[str, ...]) -> bool:
    before = "O"
    for part in itertools.chain.from_iterable(map(parts_of, tags)):
        if part[0] == "I" and before[1:] != part[1:]:
            return False
        before = part
    return True


SETS = [
    ["O", "B-X", "I-X"],
    ["I-X", "O", "I-Y", "B-X", "B-Y"],
    ["O", "B-X", "I-X", "O@2|B-X", "I-X@-2|O"],
    ["O", "B-X", "I-X", "B-Y", "I-Y", "I-X@-2|B-Y", "O@1|I-X", "B-Y@3|I-X", "B-X@3|I-X"],
    # An I-Y that nothing leads to.
    ["O", "I-Y", "B-X"],
    ["O"],
]


@pytest.mark.parametrize("names", SETS, ids=lambda names: ",".join(names))
@pytest.mark.parametrize("tokens", [1, 2, 4])
def test_the_best_tags_are_the_best_of_all_valid_ones(
    names: list[str], tokens: int, rng: np.random.Generator
) -> None:
    sequences = [
        np.array(ids)
        for ids in itertools.product(range(len(names)), repeat=tokens)
        if is_valid(tuple(names[k] for k in ids))
    ]
    tags = TagSet(names)
    for _ in range(20):
        logits = rng.normal(size=(tokens, len(names))).astype(np.float32)
        wanted = max(sequences, key=lambda ids: logits[np.arange(tokens), ids].sum(dtype=float))
        best = tags.best(logits)
        assert best.dtype == np.int64
        np.testing.assert_array_equal(best, wanted)
        np.testing.assert_array_equal(constrained(logits, names), wanted)


def test_many_texts_at_once_are_as_each_by_itself(rng: np.random.Generator) -> None:
    tags = TagSet(SETS[3])
    lengths = [3, 0, 1, 7, 2, 0]
    texts = [rng.normal(size=(n, len(tags))).astype(np.float32) for n in lengths]
    together = tags.best(np.concatenate(texts), np.cumsum([0, *lengths]))
    np.testing.assert_array_equal(together, np.concatenate([tags.best(t) for t in texts]))
    assert tags.best(np.empty((0, len(tags)), np.float32)).shape == (0,)


def test_an_inside_tag_alone_is_never_predicted() -> None:
    tags = TagSet(["O", "B-X", "I-X"])
    logits = np.array([[0, -1, 9], [0, -5, 1]], np.float32)
    # B I: -1 + 1 against O O: 0 + 0, B O: -1 + 0 and O B: 0 - 5.
    assert [tags.names[k] for k in tags.best(logits)] in (["B-X", "I-X"], ["O", "O"])
    logits[1, 2] = 2
    assert [tags.names[k] for k in tags.best(logits)] == ["B-X", "I-X"]
    assert tags.spans(logits, [(0, 4), (5, 9)]) == [(0, 9, "X")]


def test_shapes_are_checked() -> None:
    tags = TagSet(["O", "B-X"])
    with pytest.raises(ValueError, match=r"\[tokens, 2\], got \(3, 4\)"):
        tags.best(np.zeros((3, 4), np.float32))
    wrong = {
        (0, 2): "from 0 to the number of rows 3, got offsets[1] = 2",
        (1, 3): "got offsets[0] = 1",
        (0, 2, 1, 3): "got offsets[2] = 1",
        (-1, 3): "got offsets[0] = -1",
        (0, 2**62, 3): "got offsets[2] = 3",
        (): "offsets must be [texts + 1], got 1 dimensions and 0 elements",
    }
    for offsets, message in wrong.items():
        with pytest.raises(ValueError, match=re.escape(message)):
            tags.best(np.zeros((3, 2), np.float32), offsets)
    with pytest.raises(ValueError, match="got 3 for 2"):
        tags.spans(np.zeros((3, 2), np.float32), [(0, 1), (1, 2)])


def test_tags_of_an_intent_are_those_of_its_labels() -> None:
    tags = ("O", "B-X", "B-Y", "I-X", "I-Y", "O@-2|B-X", "B-X@1|I-Y")
    items = [
        ("a", [(0, 1, "X")]), ("a", []), ("b", [(0, 1, "X"), (2, 3, "Y")]), ("b", []), ("c", []),
    ]  # fmt: skip
    found = collect_tags_by_intent(items, ("a", "b", "c", "d"), tags, min_texts=2)
    assert found == ((0, 1, 3, 5), (0, 1, 2, 3, 4, 5, 6), (), ())
    assert collect_tags_by_intent(items, ("c",), tags, min_texts=1) == ((0,),)


def test_forbidden_tags_are_minus_infinity() -> None:
    logits = np.arange(8, dtype=np.float32).reshape(4, 2)
    allowed = np.array([[True, False], [True, True]])
    forbid_tags(logits, [0, 1, 1, 4], np.array([0, 0, 1]), allowed)
    assert logits.tolist() == [[0, -np.inf], [2, 3], [4, 5], [6, 7]]
