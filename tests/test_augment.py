"""Slot values that change places."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="pqrnn_native.train needs torch")

import pqrnn_native as pq
from pqrnn_native.train import Example
from pqrnn_native.train.augment import SlotExchange
from pqrnn_native.train.rows import RowSource, encode_rows

ALARM = Example("wake me at 7", "en", "alarm", ((11, 12, "time"),))
LATER = Example("a timer for half past nine please", "en", "timer", ((12, 26, "time"),))
GERMAN = Example("um acht", "de", "alarm", ((3, 7, "time"),))
TWO = Example("play Hurt by Cash", "en", "play", ((5, 9, "song"), (13, 17, "singer")))


def test_a_value_comes_from_the_same_label_and_language() -> None:
    exchange = SlotExchange([ALARM, LATER, GERMAN])
    found = {exchange(ALARM, np.random.default_rng(seed)).text for seed in range(64)}
    assert found == {"wake me at 7", "wake me at half past nine"}
    assert exchange(GERMAN, np.random.default_rng(0)) == GERMAN  # no other value is known


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


def config() -> pq.PQRNNConfig:
    return pq.PQRNNConfig(
        task="parsing", intents=("alarm", "timer"), slots=("O", "B-time", "I-time"),
        projection=pq.ProjectionConfig(feature_size=8, eos=True),
    )  # fmt: skip


def test_a_batch_mixes_changed_rows_and_others() -> None:
    examples = [ALARM, LATER]
    source = RowSource(examples, config(), exchange=0.6)
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


def test_without_exchange_a_batch_is_the_rows() -> None:
    examples = [ALARM, LATER]
    rows = np.array([1, 0])
    batch = RowSource(examples, config()).batch(rows, 0)
    plain = encode_rows([LATER, ALARM], config())
    assert batch.texts == plain.texts
    assert batch.tags is not None
    np.testing.assert_array_equal(batch.tags, plain.tags)
    np.testing.assert_array_equal(batch.starts, plain.starts)
    np.testing.assert_array_equal(batch.sentence, plain.sentence)
