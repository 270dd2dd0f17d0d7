"""Slot values that change places, rows in other languages, and how augmentations are combined."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="pqrnn_native.train needs torch")

import pqrnn_native as pq
from pqrnn_native.train import Example, TrainSettings
from pqrnn_native.train.augment import (
    Augment,
    ParallelRows,
    Paraphrases,
    SlotExchange,
    TemplateRecombination,
    augmentations,
)
from pqrnn_native.train.rows import RowSource, encode_rows

ALARM = Example("wake me at 7", "en", "alarm", ((11, 12, "time"),))
LATER = Example("a timer for half past nine please", "en", "timer", ((12, 26, "time"),))
GERMAN = Example("um acht", "de", "alarm", ((3, 7, "time"),))
TWO = Example("play Hurt by Cash", "en", "play", ((5, 9, "song"), (13, 17, "singer")))
BACH = Example("I want Bach's Toccata", "en", "play", ((7, 11, "singer"), (14, 21, "song")))


def drawn(augment: Augment, example: Example, count: int = 64) -> set[str]:
    return {augment(example, np.random.default_rng(seed)).text for seed in range(count)}


# --- SlotExchange


def test_a_value_comes_from_the_same_label_and_language() -> None:
    exchange = SlotExchange([ALARM, LATER, GERMAN])
    assert drawn(exchange, ALARM) == {"wake me at 7", "wake me at half past nine"}
    assert exchange(GERMAN, np.random.default_rng(0)) == GERMAN  # no other value is known
    assert [exchange.reaches(row) for row in (ALARM, LATER, GERMAN, TWO)] == [1, 1, 0, 0]


def test_slots_move_with_their_values() -> None:
    other = Example("Anna sings A Long Song", "en", "play", ((0, 4, "singer"), (11, 22, "song")))
    exchange = SlotExchange([TWO, other])
    rng = np.random.default_rng(3)
    texts = set()
    for _ in range(64):
        row = exchange(TWO, rng)
        texts.add(row.text)
        assert row.intent == "play"
        (start, end, song), (begin, stop, singer) = row.slots
        assert (song, singer) == ("song", "singer")
        assert row.text[start:end] in ("Hurt", "A Long Song")
        assert row.text[begin:stop] in ("Cash", "Anna")
        assert row.text[:start] == "play "
        assert row.text[end:begin] == " by "
        assert stop == len(row.text)
    assert len(texts) == 4


def test_a_label_without_values_stays() -> None:
    exchange = SlotExchange([ALARM])
    assert exchange(TWO, np.random.default_rng(0)) == TWO


# --- TemplateRecombination


def test_templates_change_hands() -> None:
    recombine = TemplateRecombination([TWO, BACH])
    rng = np.random.default_rng(0)
    # With two texts there is one way, worked out by hand.
    assert recombine(TWO, rng) == Example(
        "play Toccata by Bach", "en", "play", ((5, 12, "song"), (16, 20, "singer"))
    )
    assert recombine(BACH, rng) == Example(
        "I want Cash's Hurt", "en", "play", ((7, 11, "singer"), (14, 18, "song"))
    )


def test_values_that_occur_together_stay_together() -> None:
    third = Example("Anna: Home", "en", "play", ((0, 4, "singer"), (6, 10, "song")))
    recombine = TemplateRecombination([TWO, BACH, third, third])
    assert drawn(recombine, TWO) == {"play Toccata by Bach", "play Home by Anna"}
    # A text that is not among the examples may have any of them.
    new = dataclasses.replace(TWO, text="play Hope by Cash")
    assert drawn(recombine, new) == {
        "play Toccata by Bach", "play Home by Anna", "play Hurt by Cash"
    }  # fmt: skip


def test_other_languages_intents_and_slots_are_kept_apart() -> None:
    others = [
        dataclasses.replace(BACH, language="de"),
        dataclasses.replace(BACH, intent="buy"),
        dataclasses.replace(BACH, labels=("loud",)),
        dataclasses.replace(BACH, slots=BACH.slots[:1]),
        dataclasses.replace(BACH, slots=((2, 6, "song"), *BACH.slots)),
        dataclasses.replace(BACH, slots=()),
    ]
    recombine = TemplateRecombination([TWO, *others])
    for row in (TWO, *others):
        assert not recombine.reaches(row)
        assert recombine(row, np.random.default_rng(0)) is row
    assert TemplateRecombination([TWO, BACH]).reaches(TWO)


def test_slots_of_one_label_keep_their_order() -> None:
    call = Example("call Ann and Bo", "en", "call", ((5, 8, "who"), (13, 15, "who")))
    ring = Example("Cid, Dee: ring", "en", "call", ((0, 3, "who"), (5, 8, "who")))
    recombine = TemplateRecombination([call, ring])
    rng = np.random.default_rng(0)
    assert recombine(call, rng).text == "call Cid and Dee"
    assert recombine(ring, rng) == Example(
        "Ann, Bo: ring", "en", "call", ((0, 3, "who"), (5, 7, "who"))
    )


def test_offsets_are_characters_in_thai_and_hindi() -> None:
    # Vowel signs and tone marks are characters of their own; a slot may end inside a word.
    thai = Example("ปลุกฉันตอนเก้าโมง", "th", "alarm", ((10, 17, "time"),))
    noon = Example("ตั้งปลุกเที่ยงวันพรุ่งนี้", "th", "alarm", ((8, 14, "time"),))
    assert thai.text[10:17] == "เก้าโมง"
    assert noon.text[8:14] == "เที่ยง"
    recombine = TemplateRecombination([thai, noon])
    rng = np.random.default_rng(0)
    assert recombine(thai, rng) == Example("ปลุกฉันตอนเที่ยง", "th", "alarm", ((10, 16, "time"),))
    assert recombine(noon, rng) == Example("ตั้งปลุกเก้าโมงวันพรุ่งนี้", "th", "alarm", ((8, 15, "time"),))
    hindi = Example("टेड को कल भेजो", "hi", "send", ((0, 3, "who"), (7, 9, "day")))
    other = Example("आज माँ को भेजो", "hi", "send", ((0, 2, "day"), (3, 6, "who")))
    assert [hindi.text[s:e] for s, e, _ in hindi.slots] == ["टेड", "कल"]
    assert [other.text[s:e] for s, e, _ in other.slots] == ["आज", "माँ"]
    assert TemplateRecombination([hindi, other])(hindi, rng) == Example(
        "माँ को आज भेजो", "hi", "send", ((0, 3, "who"), (7, 9, "day"))
    )


# --- Properties of both

LETTERS = st.text("ab วันपूé'😀 ", max_size=4)
VALUES = st.text("xyก้हिß🎵", min_size=1, max_size=4)


@st.composite
def rows(draw: st.DrawFn) -> tuple[Example, list[str]]:
    """An example and the words around its slots, one more than there are slots."""
    values = draw(st.lists(VALUES, max_size=4))
    around = draw(st.lists(LETTERS, min_size=len(values) + 1, max_size=len(values) + 1))
    text, slots = "." + around[0], []
    for value, after in zip(values, around[1:], strict=True):
        label = draw(st.sampled_from("pq"))
        slots.append((len(text), len(text) + len(value), label))
        text += value + after
    language, intent = draw(st.sampled_from(["en", "th"])), draw(st.sampled_from(["i", "j"]))
    return Example(text, language, intent, tuple(slots), id="7"), ["." + around[0], *around[1:]]


def cut(example: Example) -> list[tuple[str, str]]:
    return [(label, example.text[start:end]) for start, end, label in example.slots]


@given(st.lists(rows(), min_size=1, max_size=6), st.integers(0, 2**32))
def test_spans_cut_out_what_the_slots_got(made: list[tuple[Example, list[str]]], seed: int) -> None:
    examples = [row for row, _ in made]
    rng = np.random.default_rng(seed)
    for kind in (SlotExchange, TemplateRecombination):
        augment = kind(examples)
        for row, around in made:
            new = augment(row, rng)
            assert (new.language, new.intent, new.id) == (row.language, row.intent, "7")
            assert [label for label, _ in cut(new)] == [label for label, _ in cut(row)]
            # The template and the values that the spans cut out make the whole text.
            pieces = [around[0]]
            for (_, value), after in zip(cut(new), around[1:], strict=True):
                pieces += value, after
            assert new.text == "".join(pieces)
            same = [e for e in examples if e.language == row.language]
            if kind is SlotExchange:
                assert set(cut(new)) <= {pair for e in same for pair in cut(e)}
            else:
                same = [e for e in same if e.intent == row.intent]
                key = lambda pair: pair[0]  # noqa: E731
                assert sorted(cut(new), key=key) in [sorted(cut(e), key=key) for e in same]
            if not augment.reaches(row):
                assert new is row


# --- ParallelRows

EN = dataclasses.replace(ALARM, id="1")
DE = Example("weck mich um 7", "de", "alarm", ((13, 14, "time"),), id="1")
FR = Example("réveille-moi à 7", "fr", "alarm", ((15, 16, "time"),), id="1")


def test_parallel_rows() -> None:
    parallel = ParallelRows([EN, DE, FR, dataclasses.replace(GERMAN, id="2"), GERMAN, TWO])
    assert drawn(parallel, EN) == {DE.text, FR.text}
    assert drawn(parallel, FR) == {EN.text, DE.text}
    assert parallel(EN, np.random.default_rng(0)) in (DE, FR)  # with its own slots
    for row in (GERMAN, TWO, dataclasses.replace(EN, intent="timer")):
        assert not parallel.reaches(row)
        assert parallel(row, np.random.default_rng(0)) is row


def test_in_one_language_nothing_is_parallel() -> None:
    again = dataclasses.replace(EN, text="wake me at 8")
    parallel = ParallelRows([EN, again])
    assert drawn(parallel, EN) == {EN.text}


# --- Shares


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_is_a_probability(share: float) -> None:
    for kind in (SlotExchange, TemplateRecombination, ParallelRows):
        with pytest.raises(ValueError, match=r"share must be in \[0, 1\], got "):
            kind([ALARM], share)
    with pytest.raises(ValueError, match=r"share must be in \[0, 1\], got "):
        Paraphrases({}, share)
    for name in ("slot_exchange", "recombine", "parallel"):
        with pytest.raises(ValueError, match=rf"{name} must be in \[0, 1\], got "):
            TrainSettings(**{name: share})


@pytest.mark.parametrize("kind", [TemplateRecombination, ParallelRows])
def test_that_share_of_the_texts_is_changed(
    kind: type[TemplateRecombination | ParallelRows], rng: np.random.Generator
) -> None:
    examples = [dataclasses.replace(TWO, id="1"), dataclasses.replace(BACH, id="1")]
    if kind is ParallelRows:
        examples[1] = dataclasses.replace(BACH, language="de", id="1")
    for share, least, most in ((0.0, 0, 0), (0.3, 240, 360), (1.0, 1000, 1000)):
        augment = kind(examples, share)
        changed = sum(augment(examples[0], rng) != examples[0] for _ in range(1000))
        assert least <= changed <= most  # 0.3: four standard deviations


# --- In training


def config(*, eos: bool = True) -> pq.PQRNNConfig:
    return pq.PQRNNConfig(
        task="parsing", intents=("alarm", "timer"), slots=("O", "B-time", "I-time"),
        projection=pq.ProjectionConfig(feature_size=8, eos=eos),
    )  # fmt: skip


def test_a_batch_mixes_changed_rows_and_others() -> None:
    examples = [ALARM, LATER]
    source = RowSource(examples, config(), augment=[SlotExchange(examples, 0.6)])
    rows = np.array([1, 0, 0])
    values = {"7": 1, "half past nine": 3}  # and their tokens
    seen = set()
    for seed in range(40):
        batch = source.batch(rows, seed)
        again = source.batch(rows, seed)
        assert batch.texts == again.texts
        assert batch.sentence is not None
        assert batch.sentence.tolist() == [1, 0, 0]
        assert batch.tags is not None
        for at, text in enumerate(batch.texts):
            start, end = ("a timer for ", " please") if at == 0 else ("wake me at ", "")
            value = text.removeprefix(start).removesuffix(end)
            seen.add((at, value))
            expected = [0] * 3 + [1] + [2] * (values[value] - 1) + [0] * bool(end) + [-100]
            tags = batch.tags[batch.starts[at] : batch.starts[at + 1]]
            assert tags.tolist() == expected
            assert batch.lengths[at] == len(expected)
    assert seen == {(at, value) for at in range(3) for value in values}


@pytest.mark.parametrize("augment", [[], [lambda example, rng: example]])
def test_without_changes_a_batch_is_the_rows(augment: list[Augment]) -> None:
    examples = [ALARM, LATER]
    rows = np.array([1, 0])
    batch = RowSource(examples, config(), augment=augment).batch(rows, 0)
    plain = encode_rows([LATER, ALARM], config())
    assert batch.texts == plain.texts
    assert batch.tags is not None
    np.testing.assert_array_equal(batch.tags, plain.tags)
    np.testing.assert_array_equal(batch.starts, plain.starts)
    np.testing.assert_array_equal(batch.sentence, plain.sentence)


def test_any_function_is_an_augmentation() -> None:
    def politely(example: Example, rng: np.random.Generator) -> Example:
        return dataclasses.replace(example, text=example.text + " please")

    def twice(example: Example, rng: np.random.Generator) -> Example:
        return dataclasses.replace(example, text=example.text + " please", intent="timer")

    batch = RowSource([ALARM], config(), augment=[politely, twice]).batch(np.array([0]), 0)
    assert batch.texts == ["wake me at 7 please please"]
    assert batch.tags is not None
    assert batch.tags.tolist() == [0, 0, 0, 1, 0, 0, -100]
    np.testing.assert_array_equal(batch.sentence, [1])


@pytest.mark.parametrize(
    ("found", "error", "message"),
    [
        ("a text", TypeError, "augment must return an Example, got 'a text' of "),
        (None, TypeError, "augment must return an Example, got None of "),
        (Example(" ", intent="alarm"), ValueError, "augment must return a text, got ' ' of "),
        (
            dataclasses.replace(ALARM, text="wake me"), ValueError,
            r"ascending slots within the text, got \(\(11, 12, 'time'\),\) for 'wake me' of ",
        ),
        (
            dataclasses.replace(TWO, slots=TWO.slots[::-1]), ValueError,
            "ascending slots within the text",
        ),
        (
            dataclasses.replace(ALARM, slots=((5, 5, "time"),)), ValueError,
            "ascending slots within the text",
        ),
        (dataclasses.replace(ALARM, intent="sing"), ValueError, "got .'sing',. for 'wake me at 7'"),
    ],
)  # fmt: skip
def test_what_is_no_example_of_the_task(
    found: object, error: type[Exception], message: str
) -> None:
    source = RowSource([ALARM], config(), augment=[lambda example, rng: found])  # type: ignore[list-item,return-value]
    with pytest.raises(error, match=message):
        source.batch(np.array([0]), 0)


def test_settings_come_around_further_augmentations() -> None:
    settings = TrainSettings(parallel=0.1, recombine=0.2, slot_exchange=0.3)
    own = Paraphrases({"a": ["b"]}, 0.4)
    found = augmentations([ALARM, LATER], settings, [own])
    kinds = [ParallelRows, Paraphrases, TemplateRecombination, SlotExchange]
    assert [type(each) for each in found] == kinds
    assert [each.share for each in found] == [0.1, 0.4, 0.2, 0.3]  # type: ignore[attr-defined]
    assert augmentations([ALARM], TrainSettings()) == ()


@pytest.mark.parametrize("augment", [SlotExchange([ALARM]), ["x"], "jsonl:rows", 3])
def test_augment_is_a_list_of_callables(augment: object) -> None:
    with pytest.raises(TypeError, match="augment must be a list of callables, got "):
        augmentations([ALARM], TrainSettings(), augment)  # type: ignore[arg-type]
