"""The loss of the tags' CRF against all sequences there are, and a parser trained with it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pqrnn_native.train needs torch")

import twin
from invented import commands
from test_viterbi import slow

import pqrnn_native as pq
from pqrnn_native import nn
from pqrnn_native.checkpoint import load_tensors
from pqrnn_native.tags import TagSet, decode_tags
from pqrnn_native.train import supervised
from pqrnn_native.train.crf import crf_loss, crf_marginals
from pqrnn_native.train.fitting import fit
from pqrnn_native.train.learner import Logits
from pqrnn_native.train.rows import IGNORED
from pqrnn_native.train.settings import TrainSettings, default_config

ALLOWED = torch.tensor([[1, 1, 0, 1], [1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 0, 1]], dtype=torch.bool)
STARTS = torch.tensor([True, True, False, True])


def every(logits: Any, offsets: Any, tags: Any, transitions: Any) -> Any:
    """The loss by its definition: all valid sequences of each text, and the gold one."""
    total = 0
    for begin, end in itertools.pairwise(offsets.tolist()):
        tokens = [t for t in range(begin, end) if tags[t] != IGNORED]
        if not tokens:
            continue

        def score(ids: tuple[int, ...], tokens: list[int] = tokens) -> Any:
            pairs = [transitions[a, b] for a, b in itertools.pairwise(ids)]
            return sum([*pairs, *(logits[t, k] for t, k in zip(tokens, ids, strict=True))])

        gold = tuple(tags[tokens].tolist())
        valid = {
            ids
            for ids in itertools.product(range(4), repeat=len(tokens))
            if STARTS[ids[0]] and all(ALLOWED[a, b] for a, b in itertools.pairwise(ids))
        }
        scores = [score(ids) for ids in sorted(valid | {gold})]
        total += torch.logsumexp(torch.stack(scores), 0) - score(gold)
    return total


def problem(lengths: list[int], seed: int = 0, kind: Any = torch.float64) -> tuple[Any, ...]:
    """Logits, offsets, tags and transitions; tags may well not be valid."""
    generator = torch.Generator().manual_seed(seed)
    offsets = torch.tensor([0, *itertools.accumulate(lengths)])
    logits = 2 * torch.randn(sum(lengths), 4, dtype=torch.float64, generator=generator)
    transitions = torch.randn(4, 4, dtype=torch.float64, generator=generator)
    tags = torch.randint(0, 4, (sum(lengths),), generator=generator)
    return logits.to(kind).requires_grad_(), offsets, tags, transitions.to(kind).requires_grad_()


def loss(logits: Any, offsets: Any, tags: Any, transitions: Any) -> Any:
    return crf_loss(logits, offsets, tags, transitions, ALLOWED, STARTS)


def test_marginals_are_shares_of_all_valid_sequences() -> None:
    tags = TagSet(("O", "B-x", "I-x", "B-y"))
    logits, offsets, _, transitions = problem([3, 0, 1, 4], seed=3)
    scores, moves = logits.detach().numpy(), transitions.detach().numpy()
    expected = np.zeros_like(scores)
    for begin, end in itertools.pairwise(offsets.tolist()):
        for ids in itertools.product(range(4), repeat=end - begin):
            pairs = list(itertools.pairwise(ids))
            if not ids or ids[0] == 2 or any(b == 2 and a not in (1, 2) for a, b in pairs):
                continue
            places = np.arange(begin, end), np.array(ids)
            expected[places] += np.exp(scores[places].sum() + sum(moves[a, b] for a, b in pairs))
    expected /= expected.sum(axis=1, keepdims=True)
    found = crf_marginals(scores.astype(np.float32), offsets.numpy(), moves, tags)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-12)
    assert crf_marginals(scores[:0], np.zeros(3, np.int64), moves, tags).shape == (0, 4)


def test_by_hand() -> None:
    # Of the 2 x 2 sequences of two tags that all score 0, 1 1 must not be: 3 are left.
    logits, transitions = torch.zeros(2, 2), torch.zeros(2, 2)
    allowed = torch.tensor([[True, True], [True, False]])
    starts = torch.tensor([True, True])
    for tags, count in (([0, 1], 3), ([0, 0], 3), ([1, 0], 3), ([1, 1], 4)):
        found = crf_loss(
            logits, torch.tensor([0, 2]), torch.tensor(tags), transitions, allowed, starts
        )
        assert found.item() == pytest.approx(np.log(count), abs=1e-6)
    # A text of one token is a cross entropy: 0.693147 = log 2 with what may begin it.
    one = crf_loss(
        torch.tensor([[1.0, 1.0, 7.0]]), torch.tensor([0, 1]), torch.tensor([1]),
        torch.zeros(3, 3), torch.ones(3, 3, dtype=torch.bool), torch.tensor([True, True, False]),
    )  # fmt: skip
    assert one.item() == pytest.approx(0.6931472, abs=1e-6)


@pytest.mark.parametrize("lengths", [[1], [2], [5], [3, 1, 4, 4, 2], [0, 3, 0, 5, 0], [2, 2, 2]])
def test_loss_and_gradients_are_those_of_all_sequences(lengths: list[int]) -> None:
    for seed in range(4):
        logits, offsets, tags, transitions = problem(lengths, seed)
        wanted = every(logits, offsets, tags, transitions)
        found = loss(logits, offsets, tags, transitions)
        torch.testing.assert_close(found, wanted)
        inputs = (logits, transitions)
        gradients = torch.autograd.grad(2 * found, inputs)
        # Of texts of one token the definition does not even see the transitions.
        expected = torch.autograd.grad(
            2 * wanted, inputs, allow_unused=True, materialize_grads=True
        )
        torch.testing.assert_close(gradients, expected)


def test_gradients_are_those_of_differences() -> None:
    logits, offsets, tags, transitions = problem([4, 0, 1, 3])
    torch.autograd.gradcheck(lambda x, a: loss(x, offsets, tags, a), (logits, transitions))


def test_ignored_tokens_are_not_there() -> None:
    logits, offsets, tags, transitions = problem([4, 3, 2, 5])
    tags[[0, 3, 6, 7, 8, 11]] = IGNORED  # at both ends, the whole third text, in the middle
    found = loss(logits, offsets, tags, transitions)
    torch.testing.assert_close(found, every(logits, offsets, tags, transitions))
    kept = tags != IGNORED
    alone = loss(logits[kept], torch.tensor([0, 2, 4, 4, 8]), tags[kept], transitions)
    torch.testing.assert_close(found, alone)
    (gradient,) = torch.autograd.grad(found, logits)
    assert not gradient[~kept].any()


def test_a_batch_is_the_sum_of_its_texts() -> None:
    lengths = [7, 60, 1, 0, 33, 7]
    logits, offsets, tags, transitions = problem(lengths, kind=torch.float32)
    together = loss(logits, offsets, tags, transitions)
    gradient = torch.autograd.grad(together, logits)[0]
    total = 0.0
    for begin, end in itertools.pairwise(offsets.tolist()):
        part = logits[begin:end].detach().requires_grad_()
        alone = loss(part, torch.tensor([0, end - begin]), tags[begin:end], transitions)
        total += alone.item()
        found = torch.autograd.grad(alone, part)[0]
        torch.testing.assert_close(gradient[begin:end], found, rtol=1e-4, atol=1e-5)
    assert together.item() == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("lengths", [[], [0, 0], [2]])
def test_nothing_to_learn_from(lengths: list[int]) -> None:
    logits, offsets, tags, transitions = problem(lengths)
    tags[:] = IGNORED
    found = loss(logits, offsets, tags, transitions)
    assert found.item() == 0
    gradients = torch.autograd.grad(found, (logits, transitions))
    assert not any(gradient.any() for gradient in gradients)
    assert gradients[0].shape == logits.shape


def test_a_gold_sequence_that_is_not_valid_is_learned_within_reason() -> None:
    logits, offsets, tags, transitions = problem([3])
    tags[:] = torch.tensor([2, 0, 2])  # 2 may neither begin nor follow 0
    with torch.no_grad():
        logits[range(3), tags] -= 500
    found = loss(logits, offsets, tags, transitions)
    assert 1400 < found.item() < 1600
    with torch.no_grad():
        logits[range(3), tags] += 1000
    found = loss(logits, offsets, tags, transitions)
    assert 0 <= found.item() < 1e-6
    assert not any(gradient.any() for gradient in torch.autograd.grad(found, (logits, transitions)))


def test_large_numbers() -> None:
    logits, offsets, tags, transitions = problem([6, 2, 9], kind=torch.float32)
    tags[:] = 0
    with torch.no_grad():
        logits[offsets[:-1], 2] += 500  # which may not begin a text
        transitions[0, 2] += 1000  # which may not follow 0
        logits[1::2, 1] -= 40
        logits[4, 3] += 40
        transitions[1] += 30
    inputs = (logits, transitions)
    found = loss(logits, offsets, tags, transitions)
    wanted = every(*(part.double() if part.is_floating_point() else part for part in (
        logits, offsets, tags, transitions,
    )))  # fmt: skip
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    for gradient, exact in zip(
        torch.autograd.grad(found, inputs), torch.autograd.grad(wanted, inputs), strict=True
    ):
        torch.testing.assert_close(gradient, exact, rtol=1e-3, atol=1e-4)


def test_a_long_text() -> None:
    logits, offsets, tags, transitions = problem([5000], kind=torch.float32)
    tags[:] = 1
    found = loss(logits, offsets, tags, transitions)
    double = loss(logits.double(), offsets, tags, transitions.double())
    assert found.item() == pytest.approx(double.item(), rel=1e-4)
    gradient = torch.autograd.grad(found, logits)[0]
    # Marginals less gold ones: of each token they sum to nothing.
    torch.testing.assert_close(gradient.sum(1), torch.zeros(5000), rtol=0, atol=1e-4)


def test_half_precision_is_computed_with_in_float32() -> None:
    logits, offsets, tags, transitions = problem([5, 3], kind=torch.float32)
    half = logits.detach().bfloat16().requires_grad_()
    wanted = loss(half.detach().float(), offsets, tags, transitions)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(half, offsets, tags, transitions)
        found.backward()
    assert found.dtype == torch.float32
    assert found.item() == wanted.item()
    assert half.grad.dtype == torch.bfloat16


def test_the_loop_divides_by_tokens() -> None:
    names = ("O", "B-x", "I-x")
    tag_set = TagSet(names)
    logits, transitions = torch.randn(5, 3), torch.randn(3, 3)
    numbers, offsets = np.array([IGNORED, 1, 2, 0, 1]), np.array([0, 3, 5])
    gold = supervised.GoldTags(numbers, offsets, tag_set)
    found = supervised.losses(
        Logits(None, logits, transitions), None, gold, smoothing=0.3, rows=2, tokens=8
    )
    wanted = crf_loss(
        logits, torch.from_numpy(offsets), torch.from_numpy(numbers), transitions,
        torch.from_numpy(tag_set.allowed), torch.from_numpy(tag_set.starts),
    )  # fmt: skip
    assert found.keys() == {"loss"}
    assert found["loss"].item() == pytest.approx(wanted.item() / 8)


def test_parsers_and_taggers_have_it_by_default() -> None:
    names = {"intents": ("a",), "slots": ("O", "B-x", "I-x")}
    assert default_config("parse", **names).crf
    assert default_config("tag", slots=names["slots"]).crf
    assert not default_config("parse", **names, crf=False).crf
    assert not default_config("classify", labels=("a",)).crf


@pytest.mark.parametrize("task", ["parse", "tag"])
def test_a_trained_model_parses_as_its_graph(task: Any, tmp_path: Path) -> None:
    examples, dev = commands(200), commands(50, seed=1)
    result = fit(
        examples, dev, task=task, out=tmp_path,
        config={
            "num_layers": 1, "bottleneck_size": 32, "state_size": 16,
            "projection": {"feature_size": 64, "ngram_size": 0},
        },
        settings=TrainSettings(
            epochs=6, batch_size=16, learning_rate=5e-3, threads=1, bfloat16=False
        ),
        progress=False,
    )  # fmt: skip
    assert result.config.crf
    config = result.config
    tensors = load_tensors(result.path)
    transitions = tensors["slots.transitions"]
    tag_set = TagSet(config.slots)
    assert np.abs(transitions[tag_set.allowed]).max() > 0.01
    assert not transitions[~tag_set.allowed].any()  # nothing is learned about what may not be
    graph = nn.PQRNNForParsing(config).eval()
    graph.load_tensors(tensors)
    parser = pq.load(result.path)
    projection = twin.projection(config)
    never = np.float32(-np.inf)
    scores = np.where(tag_set.allowed, transitions, never)
    starts = np.where(tag_set.starts, np.float32(0), never)
    for example in dev:
        features, offsets = projection.ragged([example.text])
        with torch.inference_mode():
            _, logits = graph(torch.from_numpy(features), torch.from_numpy(offsets))
        names = [config.slots[k] for k in slow(logits.numpy(), scores, starts)]
        found = parser.parse(example.text).slots
        spans = projection.spans(example.text)
        assert [tuple(slot[:3]) for slot in found] == decode_tags(spans, names)
    assert result.dev.average["slot_f1"].value > 0.5
