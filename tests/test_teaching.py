"""Fine-tuned teachers: which subwords are a token's, what the heads say, and that they learn."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pqrnn_native.train needs torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("tokenizers")
pytest.importorskip("tqdm", reason="the run folder's progress bar needs tqdm")

from invented import commands, labelled
from safetensors.numpy import load_file
from tiny_encoder import MARKS, bert, pieces_tokenizer, words_tokenizer, write_encoder

import pqrnn_native as pq
from pqrnn_native.train import Example, default_config, supervised
from pqrnn_native.train.settings import default_projection
from pqrnn_native.train.teaching import FineTunedTeacher, TuneResult, fine_tune
from pqrnn_native.train.teaching.alignment import align, places
from pqrnn_native.train.teaching.model import (
    TeacherModel,
    keep_lower,
    longest_text,
    quiet,
    read_encoder,
)
from pqrnn_native.train.teaching.subwords import SubwordFeaturizer

ROWS, DEV = commands(60), commands(30, seed=1)
TEXTS = [row.text for row in ROWS]
SETTINGS = {"epochs": 15, "batch_size": 8, "learning_rate": 3e-3, "threads": 1}
PROJECTION = default_projection({})


def test_a_token_is_the_mean_of_the_subwords_that_overlap_it() -> None:
    # "waking me" as [CLS] wak ing _me [SEP], the space being part of the last.
    weights = align([(0, 6), (7, 9)], [(0, 0), (0, 3), (3, 6), (6, 9), (0, 0)])
    assert weights.dtype == np.float32
    np.testing.assert_array_equal(weights, [[0, 0.5, 0.5, 0, 0], [0, 0, 0, 1, 0]])
    assert places(weights, 7).tolist() == [0, 0]


def test_several_tokens_in_one_subword_have_places() -> None:
    spans = pq.Projection(64).spans("ตั้งปลุก 7")
    assert spans == [(0, 4), (4, 5), (5, 7), (7, 8), (9, 10)]
    weights = align(spans, [(0, 6), (6, 8), (8, 10)])
    np.testing.assert_array_equal(
        weights, [[1, 0, 0], [1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]]
    )
    # The third begins in the first subword, after two others; the fourth is alone in its own.
    assert places(weights, 7).tolist() == [0, 1, 2, 0, 0]
    assert places(weights, 1).tolist() == [0, 1, 1, 0, 0]


def test_tokens_without_subwords_take_the_nearest() -> None:
    # A tokenizer that drops punctuation, and one that was cut after 8 characters.
    weights = align([(0, 2), (3, 4), (5, 8), (9, 20), (21, 22)], [(0, 0), (0, 2), (5, 8), (8, 8)])
    rows = [[0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 1, 0]]
    np.testing.assert_array_equal(weights, rows)
    # Only marks: the first of them.
    np.testing.assert_array_equal(align([(0, 1)], [(0, 0), (0, 0)]), [[1, 0]])
    assert align([], [(0, 0), (0, 1)]).shape == (0, 2)


def test_alignment_of_random_intervals(rng: np.random.Generator) -> None:
    for _ in range(200):
        sides = [np.sort(rng.choice(30, 2 * rng.integers(1, 6), replace=False)) for _ in range(2)]
        spans, offsets = ([tuple(pair) for pair in side.reshape(-1, 2).tolist()] for side in sides)
        for token, row in zip(spans, align(spans, offsets), strict=True):
            mine = set(range(*token))
            own = [k for k, piece in enumerate(offsets) if mine & set(range(*piece))]
            if not own:
                gaps = [min(abs(a - b) for a in mine for b in range(*p)) for p in offsets]
                own = [gaps.index(min(gaps))]
            expected = np.zeros(len(offsets))
            expected[own] = 1 / len(own)
            np.testing.assert_allclose(row, expected, rtol=1e-6)


def test_a_batch_of_many_scripts() -> None:
    pieces = ["▁", "▁wa", "ke", "▁me", "ตั้งปลุก", "▁मुझे", "▁ज", "गाओ", "é", *"abcdefgh"]
    featurizer = SubwordFeaturizer(pieces_tokenizer(pieces), PROJECTION, 9, max_tokens=2)
    texts = ["wake me", "ตั้งปลุก", "मुझे जगाओ", "", "a \ud800 b", "abcdefgh abcdefgh"]
    inputs = featurizer(texts)
    names = dict(enumerate((*MARKS, *pieces)))
    told = [
        [names[k] for k in ids[mask == 1].tolist()]
        for ids, mask in zip(inputs.ids, inputs.mask, strict=True)
    ]
    assert told[0] == ["[CLS]", "▁wa", "ke", "▁me", "[SEP]"]
    assert told[1] == ["[CLS]", "▁", "ตั้งปลุก", "[SEP]"]
    assert told[2] == ["[CLS]", "▁मुझे", "▁ज", "गाओ", "[SEP]"]
    assert told[3] == ["[CLS]", "[SEP]"]
    assert told[4][4] == "[UNK]"
    assert len(told[5]) == 9  # and no more
    assert inputs.offsets.diff().tolist() == [2, 4, 2, 0, 3, 2]
    weights = inputs.weights
    np.testing.assert_array_equal(weights[0, :2, :5], [[0, 0.5, 0.5, 0, 0], [0, 0, 0, 1, 0]])
    # The tokenizer says of its own "▁" that it stands for the first character, as its neighbour.
    np.testing.assert_array_equal(weights[1, :, 1:3], [[0.5, 0.5], [0, 1], [0, 1], [0, 1]])
    assert inputs.places[1].tolist() == [0, 0, 1, 2]
    np.testing.assert_array_equal(weights[2, :2, :5], [[0, 1, 0, 0, 0], [0, 0, 0.5, 0.5, 0]])
    assert not weights[3].any()
    np.testing.assert_array_equal(weights.sum(2).sum(1), [2, 4, 2, 0, 3, 2])
    assert featurizer.training(texts, 0).offsets.diff().tolist() == [2, 2, 2, 0, 2, 2]


def test_a_tokenizer_without_marks_or_tags() -> None:
    inputs = SubwordFeaturizer(words_tokenizer(["a b"], marks=False), None, 8)(["", "a b"])
    assert inputs.mask.sum(1).tolist() == [1, 2]
    assert inputs.offsets.tolist() == [0, 0, 0]
    assert inputs.weights.shape == (2, 0, 8)


@pytest.mark.parametrize("task", ["parse", "classify", "tag"])
def test_logits_are_means_of_hidden_states_times_heads(task: Any) -> None:
    """Each text by itself in float64, with loops instead of products."""
    texts = ["start the lamp", "stop the radio in the hall, please", "", "the"]
    tokenizer = words_tokenizer([*TEXTS, ","])
    names: dict[str, Any] = {
        "parse": {"intents": ("a", "b", "c"), "slots": ("O", "B-x", "I-x")},
        "classify": {"labels": ("a", "b")},
        "tag": {"slots": ("O", "B-x", "I-x")},
    }[task]
    config = default_config(task, crf=False, **names)
    model = TeacherModel(bert(len(tokenizer)), config).eval()
    if "place" in model.heads:
        torch.nn.init.normal_(model.heads["place"].weight)
    projection = PROJECTION if config.slots else None
    inputs = SubwordFeaturizer(tokenizer, projection, 64)(texts)
    with torch.inference_mode():
        said = inputs.through(model)
    sentence, tags = said if isinstance(said, tuple) else (said, None)
    heads = {name: value.double().numpy() for name, value in model.heads.state_dict().items()}
    projected = pq.Projection(64, split_apostrophes=True)
    rows = []
    for number, text in enumerate(texts):
        encoded = tokenizer(text, return_offsets_mapping=True)
        offsets = encoded.pop("offset_mapping")
        with torch.inference_mode():
            one = {name: torch.tensor([value]) for name, value in encoded.items()}
            hidden = model.encoder.double()(**one).last_hidden_state[0].numpy()
        if task != "tag":
            expected = heads["sentence.weight"] @ hidden.mean(0) + heads["sentence.bias"]
            np.testing.assert_allclose(sentence[number], expected, atol=1e-5)
        for start, end in projected.spans(text) if task != "classify" else []:
            own = [hidden[k] for k, (a, b) in enumerate(offsets) if a < end and b > start]
            state = np.mean(own, axis=0) + heads["place.weight"][0]
            rows.append(heads["tags.weight"] @ state + heads["tags.bias"])
    if task == "classify":
        assert tags is None
    else:
        assert sentence.shape == (4, len(config.intents))
        np.testing.assert_allclose(tags, rows, atol=1e-5)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"), TEXTS)


def tune(encoder: Path, out: Path, **options: Any) -> TuneResult:
    return fine_tune(encoder, ROWS, DEV, out=out, settings=SETTINGS, progress=False, **options)


def test_a_parser_learns(encoder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    result = tune(encoder, tmp_path / "teacher", say=said.append)
    assert result.dev.average["exact_match"].value == 1
    assert said[0].startswith("60 rows, ")
    assert result.parameters == sum(
        tensor.size
        for name in ("model", "heads")
        for tensor in load_file(tmp_path / f"teacher/{name}.safetensors").values()
    )
    facts = json.loads((tmp_path / "teacher/teacher.json").read_text("utf-8"))
    assert facts["intents"] == ["IN:OFF", "IN:ON", "IN:OPEN"]
    assert facts["slots"][0] == "O"
    assert facts["result"]["exact_match"] == 100
    assert facts["max_length"] == 62  # the encoder has 64 positions
    teacher = FineTunedTeacher(tmp_path / "teacher", device="cpu")
    assert (teacher.name, teacher.task) == ("teacher", "parse")
    found = teacher(["stop the radio please", ""])
    assert found[0].sentence.argmax() == facts["intents"].index("IN:OFF")
    tags = [facts["slots"][k] for k in found[0].tags.argmax(1)]
    assert tags == ["O", "O", "B-SL:THING", "O"]
    assert found[1].tags.shape == (0, len(facts["slots"]))
    assert found[1].sentence.sum() == pytest.approx(1)
    # The same again has nothing to do, and no checkpoint of weights is kept for it.
    before = (tmp_path / "teacher/model.safetensors").read_bytes()
    assert (tmp_path / "teacher/run/checkpoint.pt").stat().st_size < 5000
    said.clear()
    again = tune(encoder, tmp_path / "teacher", say=said.append)
    assert not said
    assert again.dev == result.dev
    assert (tmp_path / "teacher/model.safetensors").read_bytes() == before
    with pytest.raises(ValueError, match="made with another freeze_embeddings"):
        tune(encoder, tmp_path / "teacher", freeze_embeddings=True)


def test_classifiers_and_taggers_learn(encoder: Path, tmp_path: Path) -> None:
    rows = labelled(60, several=True)
    folder = write_encoder(tmp_path / "encoder", [row.text for row in rows])
    result = fine_tune(
        folder, rows, labelled(30, 1, several=True), out=tmp_path / "labels", progress=False,
        settings={**SETTINGS, "epochs": 20},
    )  # fmt: skip
    assert result.dev.average["accuracy"].value == 1
    teacher = FineTunedTeacher(tmp_path / "labels", device="cpu")
    (found,) = teacher(["bring lamp and radio now"])
    there = {name for name, p in zip(teacher.config.labels, found.sentence, strict=True) if p > 0.5}
    assert there == {"lamp", "radio"}
    result = tune(encoder, tmp_path / "tagger", task="tag")
    assert result.dev.task == "tag"
    assert result.dev.average["slot_f1"].value == 1
    (found,) = FineTunedTeacher(tmp_path / "tagger", device="cpu")(["start the lamp"])
    assert found.sentence.shape == (0,)
    assert found.tags.argmax(1).tolist()[:2] == [0, 0]


@pytest.mark.parametrize("frozen", [False, True])
def test_a_cut_run_goes_on_to_the_same_weights(
    frozen: bool, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervised, "_CHECKPOINT_SECONDS", 0.0)
    tune(encoder, tmp_path / "whole", freeze_embeddings=frozen)
    step = supervised.train_step

    def cut(learner, data, rows, at, processes):  # type: ignore[no-untyped-def]
        if at == 30:
            raise KeyboardInterrupt
        return step(learner, data, rows, at, processes)

    with monkeypatch.context() as patch:
        patch.setattr(supervised, "train_step", cut)
        with pytest.raises(KeyboardInterrupt):
            tune(encoder, tmp_path / "cut", freeze_embeddings=frozen)
    with pytest.raises(FileNotFoundError, match=r"holds no teacher\.json of a finished teacher"):
        FineTunedTeacher(tmp_path / "cut")
    tune(encoder, tmp_path / "cut", freeze_embeddings=frozen)
    for name in ("model", "heads"):
        whole, resumed = (
            (tmp_path / folder / f"{name}.safetensors").read_bytes() for folder in ("whole", "cut")
        )
        assert whole == resumed
    name = "embeddings.word_embeddings.weight"
    before, after = (
        load_file(folder / "model.safetensors") for folder in (encoder, tmp_path / "cut")
    )
    assert np.array_equal(before[name], after[name]) == frozen
    name = "embeddings.position_embeddings.weight"
    assert not np.array_equal(before[name], after[name])


def test_fewer_layers(encoder: Path, tmp_path: Path) -> None:
    tune(encoder, tmp_path / "teacher", layers=1)
    assert json.loads((tmp_path / "teacher/config.json").read_text())["num_hidden_layers"] == 1
    before, after = (
        load_file(folder / "model.safetensors") for folder in (encoder, tmp_path / "teacher")
    )
    # BERT's pooler is not used, and is not saved.
    missing = {name for name in before if name not in after and "pooler" not in name}
    assert missing == {name for name in before if name.startswith("encoder.layer.1.")}
    again = FineTunedTeacher(tmp_path / "teacher", device="cpu")(["start the lamp"])
    assert again[0].sentence.argmax() >= 0


def test_frozen_layers(encoder: Path, tmp_path: Path) -> None:
    tune(encoder, tmp_path / "teacher", freeze_layers=1)
    before, after = (
        load_file(folder / "model.safetensors") for folder in (encoder, tmp_path / "teacher")
    )
    same = {name for name in after if np.array_equal(before[name], after[name])}
    still = {name for name in after if name.startswith(("embeddings.", "encoder.layer.0."))}
    assert same - still <= {name for name in after if "pooler" in name}
    assert still <= same


@pytest.mark.parametrize("name", ["layers", "freeze_layers"])
@pytest.mark.parametrize("count", [-1, 3])
def test_layers_that_there_are_not(name: str, count: int, encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{name} must be 0 to 2, the encoder's layers, got"):
        tune(encoder, tmp_path / "teacher", **{name: count})


def test_an_encoder_without_layers() -> None:
    body = torch.nn.Linear(2, 2)
    body.config = transformers.PretrainedConfig()
    with pytest.raises(ValueError, match=r"layers must be 0 for this encoder, got 2: .* in Linear"):
        keep_lower(body, 2)


def test_longest_text(encoder: Path) -> None:
    model, tokenizer = read_encoder(encoder)
    assert longest_text(model, tokenizer, 20) == 20
    assert longest_text(model, tokenizer, 500) == 62
    tokenizer.model_max_length = 30
    assert longest_text(model, tokenizer, 500) == 30


def without_offsets(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    transformers.CanineTokenizer().save_pretrained(folder)


def without_a_weight(folder: Path) -> None:
    from safetensors.numpy import save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def of_two_parts(folder: Path) -> None:
    config = transformers.T5Config(
        vocab_size=40, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2
    )
    with quiet():
        transformers.T5Model(config).save_pretrained(folder)


def of_images(folder: Path) -> None:
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    with quiet():
        transformers.ViTModel(config).save_pretrained(folder)


def damaged(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"nothing of the kind")


def unknown(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "no-such-model"}')


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (without_offsets, r"tokenizer that gives offsets \(a fast one\), got CanineTokenizer"),
        (without_a_weight, r"lacks 1 weights, the first is 'encoder\.layer\.1\.output\.dense\.w"),
        (of_two_parts, "must hold an encoder alone, got T5Model"),
        (of_images, "must hold an encoder of texts, got ViTModel: "),
        (damaged, "cannot be read: .*header"),
        (unknown, "cannot be read: .*no-such-model"),
    ],
)
def test_encoders_of_no_use_get_one_sentence(
    harm: Callable[[Path], None], sentence: str, tmp_path: Path
) -> None:
    folder = write_encoder(tmp_path / "encoder", TEXTS)
    harm(folder)
    with pytest.raises(ValueError, match=sentence) as caught:
        tune(folder, tmp_path / "teacher")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "teacher").exists()


def test_other_mistakes(encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"'/nowhere' holds no config\.json"):
        tune(Path("/nowhere"), tmp_path / "teacher")
    with pytest.raises(ValueError, match="max_length must be at least 1, got 0"):
        tune(encoder, tmp_path / "teacher", max_length=0)
    with pytest.raises(ValueError, match="split must be one of"):
        tune(encoder, tmp_path / "teacher", projection={"split": "letters"})
    with pytest.raises(ValueError, match="not 'parse'"):
        fine_tune(encoder, [Example("a", labels=("x",))] * 9, out=tmp_path / "t", task="parse")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="a teacher learns in one process, got 2"):
        tune(encoder, tmp_path / "teacher")
    assert not (tmp_path / "teacher").exists()


def test_damaged_teachers(encoder: Path, tmp_path: Path) -> None:
    out = tmp_path / "teacher"
    fine_tune(
        encoder,
        ROWS,
        DEV,
        out=out,
        settings={**SETTINGS, "epochs": 1},
        progress=False,
        device="cpu",
    )
    facts = json.loads((out / "teacher.json").read_text("utf-8"))
    fewer = {"intents": facts["intents"][:2], "intent_tags": []}
    (out / "teacher.json").write_text(json.dumps({**facts, **fewer}))
    with pytest.raises(ValueError, match=r"heads\.safetensors' does not fit teacher\.json"):
        FineTunedTeacher(out)
    (out / "teacher.json").write_text(json.dumps({**facts, "format_version": 2}))
    with pytest.raises(ValueError, match=r"teacher\.json' is not of a teacher: .*version 2"):
        FineTunedTeacher(out)
    (out / "teacher.json").write_text("{")
    with pytest.raises(ValueError, match="is not of a teacher"):
        FineTunedTeacher(out)
