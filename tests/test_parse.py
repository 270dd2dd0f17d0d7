"""Intents and slots of the inference engine: against the float64 twin, by hand, and as files."""

from __future__ import annotations

import dataclasses
import itertools
import json
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import twin

import pqrnn_native as pq
from pqrnn_native import parser as module
from pqrnn_native.checkpoint import load_tensors, read_metadata, save_model
from pqrnn_native.cli import main
from pqrnn_native.reference import model as reference

TEXTS = [
    "turn on the lights in the kitchen",
    "",
    "a",
    "What's the weather like in São Paulo tomorrow at 7:30?",
    "!!! ... ???",
    "naïve café, ﬀ ½ — 你好世界 สวัสดี 🙂",
    "   ",
    " ".join(f"word{i}" for i in range(300)),
    "b c",
    b"bytes \xff\xfe are \xc3\xa9 fine",
    "a \ud800 b",
]
INTENTS = ("play", "stop", "ask: why?")
TAGS = ("O", "B-a", "I-a", "B-b:c", "I-b:c")
SMALL = pq.PQRNNConfig(
    task="parsing",
    projection=pq.ProjectionConfig(feature_size=48),
    bottleneck_size=20,
    state_size=18,
    num_layers=2,
    intents=INTENTS,
    slots=TAGS,
)


def change(**fields: Any) -> pq.PQRNNConfig:
    return dataclasses.replace(SMALL, **fields)


MANY = ("O", *(f"{kind}-{n}" for n in range(20) for kind in "BI"), *(f"O@-{n}|B-1" for n in (1, 2)))
CONFIGS = {
    "plain": SMALL,
    "context": change(slot_context=True),
    "crf": change(crf=True),
    "tagger": change(intents=()),
    "tagger-context": change(intents=(), slot_context=True, state_size=7),
    "skip-heads": change(
        skip=True, attention_heads=4, kernel_size=3, slot_context=True, slots=MANY
    ),
    "ifo-tags-at-both-ends": change(
        projection=pq.ProjectionConfig(feature_size=33, bos=True, eos=True), pooling="ifo",
        skip=True, num_layers=1, bottleneck_size=17, slot_context=True,
    ),
    "deep-one-direction": change(bidirectional=False, num_layers=4, kernel_size=1, pooling="f"),
    "end-tag-and-limit": change(
        projection=pq.ProjectionConfig(feature_size=40, eos=True, split="space", max_tokens=5)
    ),
    "32-tags": change(
        slots=("O", *(f"B-{n}" for n in range(31))), intents=tuple(map(str, range(32)))
    ),
    "extra-features": change(
        projection=pq.ProjectionConfig(feature_size=40, first_cap=1.0, novelty_bits=3), skip=True
    ),
}  # fmt: skip


def load(path: Path) -> pq.Parser:
    parser = pq.load(path)
    assert isinstance(parser, pq.Parser)
    return parser


@pytest.fixture
def parser(tmp_path: Path, rng: np.random.Generator) -> pq.Parser:
    return load(twin.random_model(CONFIGS["context"], rng, tmp_path)[0])


def constant(
    folder: Path, tag: str, config: pq.PQRNNConfig = SMALL, intent: npt.ArrayLike = (0, 0, 0)
) -> pq.Parser:
    """A parser that says the same of every text, and ``tag`` of every token."""
    tensors = {name: np.zeros(shape) for name, shape in config.tensor_shapes().items()}
    tensors["slots.bias"][config.slots.index(tag)] = 9
    if config.intents:
        tensors["intent.bias"] = np.asarray(intent)
    save_model(folder / "constant", config, tensors, dtype="float32")
    return load(folder / "constant")


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_the_twins(
    name: str, isa: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    config = CONFIGS[name]
    path, tensors = twin.random_model(config, rng, tmp_path)
    model = load(path)
    assert model.isa == isa
    assert model.config == config
    found = model.logits(TEXTS)
    assert found.intents.shape == (len(TEXTS), len(config.intents))
    assert found.intents.dtype == np.float32
    assert len(found.slots) == len(found.spans) == len(TEXTS)
    projection = twin.projection(config)
    for n, text in enumerate(TEXTS):
        features = np.maximum(projection.ragged([text], dtype=np.float32)[0], -1)
        expected = reference.outputs(config, tensors, features)
        np.testing.assert_allclose(found.intents[n], expected, rtol=2e-4, atol=2e-5)
        tokens = slice(int(config.projection.bos), len(features) - int(config.projection.eos))
        slots = reference.slots(config, tensors, features)[tokens]
        np.testing.assert_allclose(found.slots[n], slots, rtol=2e-4, atol=3e-5, err_msg=repr(text))
        assert found.slots[n].dtype == np.float32
        assert found.spans[n].shape == (len(slots), 2)


def test_context_reaches_every_token(tmp_path: Path, rng: np.random.Generator) -> None:
    """Without its term the model is another one; the term is U times the pooled vector."""
    config = CONFIGS["context"]
    path, tensors = twin.random_model(config, rng, tmp_path)
    plain = dict(tensors)
    weight = plain.pop("slots.context.weight").astype(np.float64)
    save_model(tmp_path / "plain", SMALL, plain, dtype="float32")
    text = TEXTS[3]
    features = twin.projection(config).ragged([text], dtype=np.float32)[0]
    difference = load(path).logits(text).slots - load(tmp_path / "plain").logits(text).slots
    expected = weight @ reference.pooled(config, tensors, features)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(difference, np.tile(expected, (13, 1)), atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_text_has_its_own_bits(
    name: str, isa: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    del isa
    model = load(twin.random_model(CONFIGS[name], rng, tmp_path)[0])
    texts = TEXTS + [
        " ".join(rng.choice("the a of quick fox runs 7 ,".split(), n)) for n in range(40)
    ]
    alone = [model.logits(text, threads=1) for text in texts]
    parses = [model.parse(text) for text in texts]
    order = [int(n) for n in rng.permutation(len(texts))]
    for options in ({}, {"threads": 3}, {"batch_size": 1}, {"batch_size": 7, "threads": 2}):
        found = model.logits([texts[n] for n in order], **options)
        for row, n in enumerate(order):
            np.testing.assert_array_equal(found.intents[row], alone[n].intents)
            np.testing.assert_array_equal(found.slots[row], alone[n].slots)
            np.testing.assert_array_equal(found.spans[row], alone[n].spans)
        assert model.parse([texts[n] for n in order], **options) == [parses[n] for n in order]


def best_tags(logits: npt.NDArray[Any], names: tuple[str, ...]) -> list[str]:
    """By trying all."""

    def valid(tags: tuple[str, ...]) -> bool:
        before = ("O", *tags)
        return all(
            tag[0] != "I" or last[1:] == tag[1:] for last, tag in zip(before, tags, strict=False)
        )

    every = itertools.product(names, repeat=len(logits))
    return list(max(
        filter(valid, every),
        key=lambda tags: sum(row[names.index(tag)] for row, tag in zip(logits, tags, strict=True)),
    ))  # fmt: skip


def test_parses_are_the_best_of_the_twins(tmp_path: Path, rng: np.random.Generator) -> None:
    config = CONFIGS["plain"]
    tensors = twin.random_tensors(config, rng)
    for head in ("intent", "slots"):  # so that texts differ in what they are
        tensors[f"{head}.weight"] *= 9
        tensors[f"{head}.bias"][:] = 0
    path = tmp_path / "m"
    save_model(path, config, tensors, dtype="float32")
    texts = [" ".join(rng.choice("la les Élan été x y zz".split(), 4)) for _ in range(40)]
    joined = 0
    labels = set()
    for text, found in zip(texts, load(path).parse(texts), strict=True):
        features = twin.projection(config).ragged([text], dtype=np.float32)[0]
        intents = np.exp(reference.outputs(config, tensors, features))
        intents /= intents.sum()
        assert found.intent == INTENTS[intents.argmax()]
        assert found.score == pytest.approx(intents.max(), rel=1e-4)
        slots: list[pq.Slot] = []
        words = text.split()
        for n, tag in enumerate(best_tags(reference.slots(config, tensors, features), TAGS)):
            start = len(" ".join([*words[:n], ""])) if n else 0
            end = start + len(words[n])
            if tag[0] == "I":
                start = slots.pop().start
                joined += 1
            if tag != "O":
                slots.append(pq.Slot(start, end, tag[2:], text[start:end]))
        assert found.slots == slots, text
        labels |= {slot.label for slot in slots}
    assert joined > 5
    assert labels == {"a", "b:c"}


def test_spans_stand_for_the_text(tmp_path: Path) -> None:
    parser = constant(tmp_path, "B-b:c", intent=(0, 0, np.log(3)))
    text = "Où est 🙂👍🏽, สวัสดี你?"
    found = parser.parse(text)
    assert found.intent == "ask: why?"
    assert found.score == pytest.approx(0.6)
    assert found.slots == [
        (0, 2, "b:c", "Où"), (3, 6, "b:c", "est"), (7, 8, "b:c", "🙂"), (8, 10, "b:c", "👍🏽"),
        (10, 11, "b:c", ","), (12, 13, "b:c", "ส"), (13, 16, "b:c", "วัส"), (16, 18, "b:c", "ดี"),
        (18, 19, "b:c", "你"), (19, 20, "b:c", "?"),
    ]  # fmt: skip
    assert all(text[slot.start : slot.end] == slot.text for slot in found.slots)
    data = text.encode()
    in_bytes = parser.parse(data)
    assert in_bytes[:2] == found[:2]
    assert [slot[2:] for slot in in_bytes.slots] == [slot[2:] for slot in found.slots]
    assert [data[slot.start : slot.end].decode() for slot in in_bytes.slots] == [
        slot.text for slot in found.slots
    ]
    inside = constant(tmp_path, "I-a").parse("one two")  # none may begin with I-a
    assert inside.slots == [(0, 7, "a", "one two")]


def test_borders_inside_of_tokens(tmp_path: Path) -> None:
    """Characters of the token are counted, in bytes too."""
    before = "O@-2|B-me"
    config = change(slots=("O", before, "B-a@2|O", "B-me"))
    parser = constant(tmp_path, before, config)
    text = "recuérdame été ya 🙂"
    assert parser.parse(text).slots == [
        (8, 10, "me", "me"), (12, 14, "me", "té"), (15, 17, "me", "ya"), (18, 19, "me", "🙂"),
    ]  # fmt: skip
    data = text.encode()
    assert parser.parse(data).slots == [
        (9, 11, "me", "me"), (14, 17, "me", "té"), (18, 20, "me", "ya"), (21, 25, "me", "🙂"),
    ]  # fmt: skip
    after = constant(tmp_path, "B-a@2|O", config)
    assert after.parse(text).slots == [
        (0, 2, "a", "re"), (11, 13, "a", "ét"), (15, 17, "a", "ya"), (18, 19, "a", "🙂"),
    ]  # fmt: skip
    assert after.parse(data).slots == [
        (0, 2, "a", "re"), (12, 15, "a", "ét"), (18, 20, "a", "ya"), (21, 25, "a", "🙂"),
    ]  # fmt: skip


def test_ill_formed_bytes_have_a_place(tmp_path: Path) -> None:
    before = "O@-2|B-me"
    config = change(slots=("O", before), projection=pq.ProjectionConfig(48, split="space"))
    for data in (b"a\xff\xfe\xc3 \xe4\xbd", b"\xff\xff\xff\xff", b"\xf0\x9f\x99 abc"):
        for slot in constant(tmp_path, before, config).parse(data).slots:
            assert 0 <= slot.start <= slot.end <= len(data)
            assert slot.text == data[slot.start : slot.end].decode("utf-8", "replace")
    lone = constant(tmp_path, "B-a").parse("a \ud800 b")
    assert lone.slots[-1] == (4, 5, "a", "b")


def test_texts_without_tokens(tmp_path: Path) -> None:
    parser = constant(tmp_path, "B-a", intent=(0, np.log(2), 0))
    for text in ("", "   ", b"", b"\n"):
        found = parser.parse(text)
        assert (found.intent, found.slots) == ("stop", [])
        assert found.score == pytest.approx(0.5)
        logits = parser.logits(text)
        assert logits.slots.shape == (0, 5)
        assert logits.spans.shape == (0, 2)
        np.testing.assert_array_equal(logits.intents, np.float32([0, np.log(2), 0]))
    assert parser.parse([]) == []
    nothing = parser.logits([])
    assert (nothing.intents.shape, nothing.slots, nothing.spans) == ((0, 3), [], [])


def test_a_tagger_has_no_intent(tmp_path: Path) -> None:
    parser = constant(tmp_path, "B-a", CONFIGS["tagger-context"])
    assert parser.parse("x") == pq.Parse("", 1.0, [pq.Slot(0, 1, "a", "x")])
    assert parser.parse("") == ("", 1.0, [])
    assert parser.logits("x y").intents.shape == (0,)
    assert parser.logits(["x y"]).intents.shape == (1, 0)


def test_one_and_many(parser: pq.Parser) -> None:
    one = parser.parse("a b")
    assert isinstance(one, pq.Parse)
    assert type(one.score) is float
    for texts in (["a b"], ("a b",), iter(["a b"]), np.array(["a b"]), np.array(["a b"], object)):
        assert parser.parse(texts) == [one]
    assert parser.dim == 5
    assert parser.logits("a b").intents.shape == (3,)
    assert parser.logits("a b").slots.shape == (2, 5)


def test_parts_of_a_corpus(parser: pq.Parser, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = TEXTS * 3
    expected = parser.parse(texts)
    assert expected == [parser.parse(text) for text in texts]
    calls: list[tuple[int, int]] = []
    monkeypatch.setattr(module, "_TEXTS_AT_ONCE", 4)
    assert parser.parse(texts, progress=lambda *call: calls.append(call)) == expected
    assert calls == [(n, 33) for n in (*range(4, 33, 4), 33)]
    monkeypatch.setattr(module, "_SIZE_AT_ONCE", 40)
    assert parser.parse(texts, progress=False) == expected

    def fail(done: int, total: int) -> None:
        raise LookupError(f"{done} of {total}")

    with pytest.raises(LookupError, match="of 33"):
        parser.parse(texts, progress=fail)


@pytest.mark.parametrize(
    ("texts", "options", "error", "message"),
    [
        (None, {}, TypeError, "texts must be str, bytes or a list of them, got NoneType"),
        (3, {}, TypeError, "got int"),
        (["a", 7], {}, TypeError, r"texts\[1\] must be str or bytes, got int"),
        (bytearray(b"a"), {}, TypeError, r"texts\[0\] must be str or bytes, got int"),
        ("a", {"threads": 0}, ValueError, "threads must be at least 1, got 0"),
        ("a", {"threads": "2"}, TypeError, "threads must be int or None, got '2'"),
        ("a", {"batch_size": -3}, ValueError, "batch_size must be at least 1, got -3"),
    ],
)
def test_bad_arguments_are_named(
    parser: pq.Parser, texts: Any, options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        parser.parse(texts, **options)
    with pytest.raises(error, match=message):
        parser.logits(texts, **options)
    with pytest.raises(TypeError, match="progress must be callable or bool, got 3"):
        parser.parse("a", progress=3)  # type: ignore[arg-type]


def test_pickle_and_save_keep_every_bit(parser: pq.Parser, tmp_path: Path) -> None:
    expected = parser.parse(TEXTS)
    copy = pickle.loads(pickle.dumps(parser))
    assert type(copy) is pq.Parser
    assert copy.parse(TEXTS) == expected
    parser.save(tmp_path / "saved")
    assert load(tmp_path / "saved").parse(TEXTS) == expected
    assert pickle.loads(pickle.dumps(expected)) == expected
    assert "Parser dim=5" in repr(parser)
    assert parser.nbytes >= 4 * parser.config.parameter_count()


def test_one_parser_serves_many_threads(parser: pq.Parser) -> None:
    expected = parser.parse(TEXTS)
    start = threading.Barrier(6)

    def work(index: int) -> bool:
        start.wait()
        return all(parser.parse(TEXTS, threads=1 + index % 3) == expected for _ in range(5))

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(6)))


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_stored_types_are_dequantised(dtype: str, tmp_path: Path, rng: np.random.Generator) -> None:
    config = CONFIGS["context"]
    path, exact = twin.random_model(config, rng, tmp_path, dtype)
    stored = load_tensors(path)
    assert stored.keys() == exact.keys()
    assert 0 < np.abs(stored["slots.context.weight"] - exact["slots.context.weight"]).max() < 0.01
    features = twin.projection(config).ragged([TEXTS[0]], dtype=np.float32)[0]
    found = load(path).logits(TEXTS[0])
    expected = reference.slots(config, stored, features)
    np.testing.assert_allclose(found.slots, expected, rtol=2e-4, atol=2e-5)
    assert read_metadata(path).config == config


def without(name: str) -> Any:
    return lambda header: header.pop(name)


def reshaped(name: str, *shape: int) -> Any:
    return lambda header: header[name].update(shape=shape)


def configured(**fields: Any) -> Any:
    def apply(header: dict[str, Any]) -> None:
        config = {**json.loads(header["__metadata__"]["config"]), **fields}
        header["__metadata__"]["config"] = json.dumps(config)

    return apply


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without("intent.weight"), "tensor 'intent.weight' is missing"),
        (without("intent.bias"), "tensor 'intent.bias' is missing"),
        (without("slots.weight"), "tensor 'slots.weight' is missing"),
        (without("slots.bias"), "tensor 'slots.bias' is missing"),
        (without("slots.context.weight"), "tensor 'slots.context.weight' is missing"),
        (without("slots.transitions"), "tensor 'slots.transitions' is missing"),
        (reshaped("slots.transitions", 25), r"'slots.transitions' has shape \[25\], .*\[5, 5\]"),
        (configured(crf=False), "1 tensors that its configuration does not know"),
        (configured(crf=1), "crf must be a boolean"),
        (
            reshaped("intent.weight", 36, 3),
            r"has shape \[36, 3\], its configuration says \[3, 36\]",
        ),
        (reshaped("slots.weight", 5, 18, 2), r"shape \[5, 18, 2\], its configuration says"),
        (reshaped("slots.context.weight", 180), r"\[180\], its configuration says \[5, 36\]"),
        (reshaped("slots.bias", 5, 1), r"\[5, 1\], its configuration says \[5\]"),
        (configured(intents=[]), "2 tensors that its configuration does not know"),
        (configured(slot_context=False), "1 tensors that its configuration does not know"),
        (configured(slots=["O", "B-a"]), r"'slots.weight' has shape \[5, 36\], .* says \[2, 36\]"),
        (configured(slots=["O", "B-a", "B-b", "B-c", "b"]), "got 'b'"),
        (configured(slots=["I-a", "I-b", "I-c", "I-d", "I-e"]), "no tag may begin a text"),
        (configured(slots=["O", "O", "a", "b", "c"]), "slots must be distinct, got 'O' twice"),
        (configured(slots=[]), "slots must not be empty"),
        (configured(intents=[1]), "intents must be an array of strings"),
        (configured(slot_context=1), "slot_context must be a boolean"),
        (configured(labels=["a"]), "labels must be empty"),
        (configured(task="embedding", intents=[], slots=[]), "slot_context=True needs task"),
        (
            configured(task="embedding", intents=[], slots=[], slot_context=False),
            "crf=True needs task 'parsing'",
        ),
        (configured(task="embedding", slot_context=False), "intents must be empty"),
    ],
)
def test_damaged_files_are_refused(
    damage: Any, message: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    path, _ = twin.random_model(change(slot_context=True, crf=True), rng, tmp_path)
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    before = len(header)
    damage(header)
    if len(header) < before:  # let no gap be what is wrong with the file
        header["other"] = next(
            entry for name, entry in json.loads(data[8:end]).items() if name not in header
        )
    text = json.dumps(header).encode()
    bad = len(text).to_bytes(8, "little") + text + data[end:]
    with pytest.raises(ValueError, match=message):
        pq.Parser(bad)
    path.write_bytes(bad)
    with pytest.raises(ValueError, match=f"cannot load .*{message}"):
        pq.load(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_transitions_must_be_finite(value: float, tmp_path: Path, rng: np.random.Generator) -> None:
    path, _ = twin.random_model(CONFIGS["crf"], rng, tmp_path)
    data = bytearray(path.read_bytes())
    end = 8 + int.from_bytes(data[:8], "little")
    begin = end + json.loads(data[8:end])["slots.transitions"]["data_offsets"][0]
    data[begin + 28 : begin + 32] = np.float32(value).tobytes()
    with pytest.raises(ValueError, match=r"'slots.transitions' holds a value that is not finite"):
        pq.Parser(bytes(data))


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_transitions_decide(dtype: Any, isa: str, tmp_path: Path) -> None:
    """Every token says B-a; but O is to follow it, and B-a is to follow O."""
    config = change(crf=True)
    tensors = {name: np.zeros(shape) for name, shape in config.tensor_shapes().items()}
    tensors["slots.bias"][TAGS.index("B-a")] = 3
    save_model(tmp_path / "m", config, tensors, dtype=dtype)
    assert len(load(tmp_path / "m").parse("a b c d e").slots) == 5
    tensors["slots.transitions"][TAGS.index("B-a"), TAGS.index("O")] = 2
    tensors["slots.transitions"][TAGS.index("O"), TAGS.index("B-a")] = 2
    save_model(tmp_path / "m", config, tensors, dtype=dtype)
    parser = load(tmp_path / "m")
    # B O B O B: 3 * 3 + 4 * 2 = 17; B B B B B: 15; B B O B O ..: less.
    wanted = [(0, 1, "a", "a"), (4, 5, "a", "c"), (8, 9, "a", "e")]
    assert parser.parse("a b c d e").slots == wanted
    assert [parse.slots for parse in parser.parse(["b", "a b c d e", ""])] == [
        [(0, 1, "a", "b")], wanted, [],
    ]  # fmt: skip
    assert pickle.loads(pickle.dumps(parser)).parse("a b c d e").slots == wanted
    found = parser.transitions
    assert found is not None
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, tensors["slots.transitions"], rtol=1e-6)
    assert constant(tmp_path, "O").transitions is None


def test_an_intent_forbids_the_tags_it_does_not_have(isa: str, tmp_path: Path) -> None:
    """Every token says B-a first and B-b:c second; the intent "stop" has no slot a."""
    for intent, label in (("play", "a"), ("stop", "b:c"), ("ask: why?", "a")):
        config = change(intent_tags=((0, 1, 2), (0, 3, 4), ()))
        tensors = {name: np.zeros(shape) for name, shape in config.tensor_shapes().items()}
        tensors["intent.bias"][INTENTS.index(intent)] = 1
        tensors["slots.bias"][TAGS.index("B-a")] = 3
        tensors["slots.bias"][TAGS.index("B-b:c")] = 2
        save_model(tmp_path / "m", config, tensors)
        parser = load(tmp_path / "m")
        assert parser.config == config
        first, none, second = parser.parse(["x", "", "y z"])
        assert (first.intent, first.slots) == (intent, [(0, 1, label, "x")])
        assert none.slots == []
        assert second.slots == [(0, 1, label, "y"), (2, 3, label, "z")]
        assert parser.logits("x").slots[0, TAGS.index("B-a")] == 3  # logits are as they were


def test_other_classes_refuse_parsers(parser: pq.Parser, tmp_path: Path) -> None:
    parser.save(tmp_path / "m")
    data = (tmp_path / "m").read_bytes()
    for kind in (pq.Encoder, pq.Classifier):
        with pytest.raises(ValueError, match="needs a model for task .*, got one for 'parsing'"):
            kind(data)
    with pytest.raises(ValueError, match="Parser needs a model for task 'parsing', got one for"):
        pq.Parser(pq.load("default")._data)
    with pytest.raises(ValueError, match="has no vector of a text"):
        parser._core.encode(pq._core.Texts("a"), np.zeros(5, np.float32), 1, 0, True, None)
    with pytest.raises(ValueError, match="only a model for task 'parsing' has slots"):
        pq.load("default")._core.parse(("a",), 1, 0, True)


def test_damage_never_crashes(parser: pq.Parser, rng: np.random.Generator, tmp_path: Path) -> None:
    parser.save(tmp_path / "m")
    data = (tmp_path / "m").read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    loaded = 0
    for trial in range(400):
        bad = bytearray(data)
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(header if trial % 2 else 0, len(bad)))
            bad[at] = int(rng.integers(256))
        try:
            model = pq.Parser(bytes(bad))
        except ValueError:
            continue
        loaded += 1
        with np.errstate(all="ignore"):
            assert len(model.parse(["a b", ""])) == 2
    assert loaded > 50


def test_info_shows_a_parser(
    parser: pq.Parser, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser.save(tmp_path / "m")
    assert main(["info", "--json", str(tmp_path / "m")]) in (0, None)
    facts = json.loads(capsys.readouterr().out)
    assert facts["class"] == "Parser"
    assert facts["config"]["intents"] == list(INTENTS)
    assert facts["config"]["slot_context"] is True
    assert facts["weights"] == CONFIGS["context"].parameter_count()
    main(["info", str(tmp_path / "m")])
    assert "Parser" in capsys.readouterr().out
    config = dataclasses.replace(CONFIGS["skip-heads"], intent_tags=((0, 1), (), (0,)))
    tensors = {name: np.zeros(shape) for name, shape in config.tensor_shapes().items()}
    save_model(tmp_path / "many", config, tensors)
    main(["info", str(tmp_path / "many")])
    shown = capsys.readouterr().out
    assert '"B-3",\n    "... 43 in all"' in shown  # of MANY: O, B-0, I-0, B-1, ... I-2, B-3
    assert '"intent_tags": [\n    "... 3 in all"' in shown
