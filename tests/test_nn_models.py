"""The training graph: against the float64 twin, torch's own batch norm, and the engine."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import pqrnn_native as pq
from pqrnn_native import nn
from pqrnn_native.checkpoint import save_model
from pqrnn_native.nn import functional, ops
from pqrnn_native.nn.encoder import NormalizedQRNNLayer, PQRNNEncoder
from pqrnn_native.reference import model as reference
from pqrnn_native.reference import recurrence as twin
from pqrnn_native.train.inputs import distinct_rows, drop_tokens

F = 48
MODELS = {
    "embedding": nn.PQRNNForSentenceEmbedding,
    "classification": nn.PQRNNForClassification,
    "parsing": nn.PQRNNForParsing,
}


def make(task: str = "embedding", **settings: Any) -> pq.PQRNNConfig:
    heads: dict[str, Any] = {
        "embedding": {"output_size": 11},
        "classification": {"labels": ("no", "yes", "maybe")},
        "parsing": {"intents": ("play", "stop"), "slots": ("O", "B-song", "I-song")},
    }[task]
    small: dict[str, Any] = {
        "bottleneck_size": 20, "state_size": 18, "num_layers": 2,
        "projection": pq.ProjectionConfig(feature_size=F),
    }  # fmt: skip
    return pq.PQRNNConfig(task=task, **{**small, **heads, **settings})


CONFIGS = {
    "plain": make(),
    "one-layer-f": make(num_layers=1, pooling="f", kernel_size=1, bidirectional=False),
    "deep-ifo": make(num_layers=4, pooling="ifo", kernel_size=3, zoneout=0.5, state_size=9),
    "skip-heads": make(skip=True, attention_heads=4, kernel_size=1, zoneout=0.2),
    "one-direction-skip": make(skip=True, bidirectional=False, kernel_size=3, attention_heads=2),
    "classes": make("classification", pooling="f", kernel_size=3, zoneout=0.1),
    "classes-ifo": make("classification", pooling="ifo", bidirectional=False, num_layers=3),
    "parsing": make("parsing", attention_heads=3, kernel_size=2, zoneout=0.3),
    "parsing-skip-ifo": make("parsing", pooling="ifo", skip=True, num_layers=1, kernel_size=3),
    "parsing-context": make("parsing", slot_context=True, attention_heads=2, num_layers=3),
    "parsing-crf": make("parsing", crf=True),
    "tagger": make("parsing", intents=(), bidirectional=False, kernel_size=1),
    "tagger-context": make(
        "parsing",
        intents=(),
        slot_context=True,
        skip=True,
        slots=("O", "O@-2|B-me", "B-me", "I-me"),
    ),
}


def batch(
    rng: np.random.Generator, lengths: Any = (5, 0, 1, 12, 3, 7, 2, 4, 9, 6)
) -> tuple[Any, Any]:
    """Ternary features of texts of these lengths, ragged, and their offsets."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    features = rng.integers(-1, 2, (offsets[-1], F)).astype(np.float32)
    return torch.from_numpy(features), torch.from_numpy(offsets)


def parts(output: Any) -> tuple[Any, ...]:
    return output if isinstance(output, tuple) else (output,)


def trained(config: pq.PQRNNConfig, rng: np.random.Generator) -> Any:
    """A model after a few steps, so that moments, scales and shifts are no round numbers."""
    model = MODELS[config.task](config)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    targets = [torch.randn(part.shape) for part in parts(model(*batch(rng)))]
    for _ in range(4):
        found = parts(model(*batch(rng)))
        loss = sum(
            (part - target).square().mean()
            for part, target in zip(found, targets, strict=True)
            if part.numel()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@pytest.mark.parametrize("name", CONFIGS)
def test_eval_is_the_twin(name: str, rng: np.random.Generator) -> None:
    config = CONFIGS[name]
    model = trained(config, rng)
    tensors = model.export_tensors()
    assert {key: value.shape for key, value in tensors.items()} == config.tensor_shapes()
    features, offsets = batch(rng)
    with torch.no_grad():
        found = [part.numpy() for part in parts(model(features, offsets))]
    for n in range(len(offsets) - 1):
        rows = slice(int(offsets[n]), int(offsets[n + 1]))
        x = features[rows].numpy()
        wanted = reference.embedding if config.task == "embedding" else reference.outputs
        expected = wanted(config, tensors, x)
        np.testing.assert_allclose(found[0][n], expected, rtol=1e-4, atol=1e-5)
        if config.task == "parsing":
            slots = reference.slots(config, tensors, x)
            np.testing.assert_allclose(found[1][rows], slots, rtol=1e-4, atol=1e-5)
        elif config.task == "embedding":
            with torch.no_grad():
                vector = model(features[rows], torch.tensor([0, len(x)]), normalize=False)
            expected = reference.outputs(config, tensors, x)
            np.testing.assert_allclose(vector[0], expected, rtol=1e-4, atol=1e-5)
    assert np.abs(found[-1][0] - found[-1][3]).max() > 1e-3  # the input matters


@pytest.mark.parametrize("name", ["plain", "one-layer-f", "deep-ifo", "skip-heads"])
def test_training_normalises_as_torch(name: str, rng: np.random.Generator) -> None:
    """One layer in float64, its outputs, gradients and running moments, on torch's batch norm."""
    config = CONFIGS[name]
    layer = NormalizedQRNNLayer(
        F, config.state_size, config.kernel_size, config.pooling, config.bidirectional, 0.0
    ).double()
    with torch.no_grad():
        layer.scale.normal_()
        layer.shift.normal_()
    features, offsets = batch(rng)
    rows = features.double().requires_grad_()
    grad = torch.randn(len(rows), config.layer_size, dtype=torch.float64)
    h = layer(rows, offsets)
    h.backward(grad)
    found = [rows.grad, layer.weight.grad, layer.scale.grad, layer.shift.grad]

    leaves = [v.detach().clone().requires_grad_() for v in
              (rows, layer.weight, layer.scale, layer.shift)]  # fmt: skip
    mean, variance = torch.zeros(2, *layer.scale.shape, dtype=torch.float64)
    variance += 1
    expected = composed(config, *leaves, offsets, mean, variance)
    torch.testing.assert_close(h, expected, rtol=1e-9, atol=1e-11)
    for a, b in zip(found, torch.autograd.grad(expected, leaves, grad), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(layer.running_mean, mean, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(layer.running_var, variance, rtol=1e-9, atol=1e-11)


def composed(
    config: pq.PQRNNConfig, rows: Any, weight: Any, scale: Any, shift: Any, offsets: Any,
    mean: Any, variance: Any,
) -> Any:  # fmt: skip
    """A layer of torch's own parts: windows text by text, batch_norm on all rows, loops."""
    texts = [rows[a:b] for a, b in itertools.pairwise(offsets)]
    taps, hidden = config.kernel_size, config.state_size
    width = config.gates * hidden
    outputs = []
    for d in range(config.directions):
        gates = []
        for text in texts:
            zeros = text.new_zeros(taps - 1, text.shape[1])
            padded = torch.cat((text, zeros) if d else (zeros, text))
            steps = [
                sum(padded[t + j] @ weight[d, j].T for j in range(taps)) for t in range(len(text))
            ]
            gates.append(torch.stack(steps) if steps else text.new_zeros(0, width))
        part = slice(d * width, (d + 1) * width)
        y = torch.nn.functional.batch_norm(
            torch.cat(gates), mean[part], variance[part], scale[part], shift[part],
            training=True, momentum=0.1, eps=1e-5,
        )  # fmt: skip
        h = []
        for text in y.split([len(g) for g in gates]):
            named = dict(zip({2: "zf", 3: "zfo", 4: "zifo"}[config.gates],
                             text.split(hidden, 1), strict=True))  # fmt: skip
            state, states = text.new_zeros(hidden), {}
            for t in reversed(range(len(text))) if d else range(len(text)):
                f = torch.sigmoid(named["f"][t])
                i = torch.sigmoid(named["i"][t]) if "i" in named else 1 - f
                state = f * state + i * torch.tanh(named["z"][t])
                states[t] = torch.sigmoid(named["o"][t]) * state if "o" in named else state
            h += [states[t] for t in range(len(text))]
        outputs.append(torch.stack(h))
    return torch.cat(outputs, 1)


@pytest.mark.parametrize("name", ["plain", "classes", "parsing-skip-ifo", "tagger-context"])
@pytest.mark.parametrize("training", [False, True])
def test_ragged_is_padded(name: str, training: bool, rng: np.random.Generator) -> None:
    config = CONFIGS[name]
    model = trained(config, rng).train(training)
    lengths = [4, 0, 6, 1]
    features, offsets = batch(rng, lengths)
    padded = torch.full((4, 6, F), float("nan"))
    for n, length in enumerate(lengths):
        padded[n, :length] = features[int(offsets[n]) : int(offsets[n + 1])]
    torch.manual_seed(0)  # for zoneout
    ragged = parts(model(features, offsets))
    torch.manual_seed(0)
    found = parts(model(padded, lengths=torch.tensor(lengths)))
    torch.testing.assert_close(found[0], ragged[0], rtol=1e-6, atol=1e-6)
    if config.task == "parsing":
        valid = torch.arange(6) < torch.tensor(lengths)[:, None]
        torch.testing.assert_close(found[1][valid], ragged[1], rtol=1e-6, atol=1e-6)
        assert (found[1][~valid] == 0).all()


@pytest.mark.parametrize("dropped", [0.0, 0.5])
def test_sparse_features_are_the_plain_ones(dropped: float) -> None:
    """What training makes of a hashed projection, tokens hidden or not, in either way."""
    settings: dict[str, Any] = {"feature_size": 64, "token_hashes": 4}
    config = replace(CONFIGS["plain"], projection=pq.ProjectionConfig(**settings))
    torch.manual_seed(0)
    model = MODELS[config.task](config).train()
    projection = pq.Projection(**settings)
    texts = ["the cat and the dog and the bird", "", "the the the", "a dog"]
    inputs = distinct_rows(projection, texts)
    assert inputs.features.is_sparse
    plain = torch.from_numpy(projection.ragged_unique(texts)[0])
    results = []
    for rows in (inputs.features, plain):
        model.zero_grad()
        features, index = drop_tokens(rows, inputs.index, dropped, 1)
        torch.manual_seed(0)
        out = model(features, inputs.offsets, index=index)
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        results.append([out.detach(), *(p.grad.clone() for p in model.parameters())])
    assert results[0][1].abs().max() > 1e-4
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["plain", "skip-heads"])
def test_index_is_the_plain_features(name: str, rng: np.random.Generator) -> None:
    config = CONFIGS[name]
    model = trained(config, rng).train()
    projection = pq.Projection(feature_size=F)
    texts = ["the cat and the dog and the bird", "", "the the the", "a dog"]
    plain, offsets = projection.ragged(texts)
    rows, index, same = projection.ragged_unique(texts)
    np.testing.assert_array_equal(offsets, same)
    assert len(rows) < len(plain)
    results = []
    for features, extra in (
        (plain, {}), (rows, {"index": torch.from_numpy(index)})
    ):  # fmt: skip
        model.zero_grad()
        torch.manual_seed(0)
        out = model(torch.from_numpy(features), torch.from_numpy(offsets), **extra)
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        results.append([out.detach(), *(p.grad.clone() for p in model.parameters())])
    assert results[0][1].abs().max() > 1e-4
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_zoneout_decays_with_depth(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    encoder = PQRNNEncoder(make(num_layers=3, zoneout=0.5))
    assert [layer.zoneout for layer in encoder.layers] == [0.5, 0.25, 0.125]
    used: list[float] = []
    real = ops.norm_gate_pool

    def spy(*arguments: Any) -> Any:
        used.append(arguments[-2])
        return real(*arguments)

    monkeypatch.setattr(ops, "norm_gate_pool", spy)
    features, offsets = batch(rng)
    encoder(features, offsets)
    assert used == [0.5, 0.25, 0.125]
    encoder.eval()
    first, second = encoder(features, offsets)[0], encoder(features, offsets)[0]
    assert len(used) == 3  # none in eval mode
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_zoneout_of_a_layer_holds_what_the_twin_holds(rng: np.random.Generator) -> None:
    f = torch.zeros(3, 6, 20)
    z = torch.arange(6.0).view(1, 6, 1).expand(3, 6, 20).contiguous() + 1
    torch.manual_seed(5)
    seed = int(torch.randint(2**63 - 1, ()))
    torch.manual_seed(5)
    h = functional.qrnn_pool(z, f, zoneout=0.3)
    held = twin.zoneout_mask(seed, 0.3, 3, 6, 20)
    np.testing.assert_array_equal(h, twin.pool(z.numpy(), f.numpy(), held=held)[0])
    assert 0.2 < held.mean() < 0.4


@pytest.mark.parametrize(
    "name",
    ["plain", "deep-ifo", "parsing", "parsing-context", "parsing-crf", "tagger", "classes-ifo"],
)
def test_export_and_load(name: str, rng: np.random.Generator) -> None:
    config = CONFIGS[name]
    model = trained(config, rng)
    tensors = model.export_tensors()
    again = MODELS[config.task](config)
    again.train()(*batch(rng))  # running moments of its own, which loading has to undo
    again.load_tensors(tensors)
    for key, value in again.export_tensors().items():
        np.testing.assert_allclose(value, tensors[key], rtol=3e-7, atol=1e-9, err_msg=key)
    features, offsets = batch(rng)
    with torch.no_grad():
        pairs = zip(
            parts(again.eval()(features, offsets)), parts(model(features, offsets)), strict=True
        )
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["plain", "deep-ifo", "parsing"])
def test_recentring_changes_training_mode_alone(name: str, rng: np.random.Generator) -> None:
    """With the moments of a batch, that batch has the same output in training and in eval mode."""
    config = replace(CONFIGS[name], zoneout=0.0)
    model = MODELS[config.task](config)
    tensors = trained(config, rng).export_tensors()
    model.load_tensors(tensors)
    features, offsets = batch(rng)
    with torch.no_grad():
        before = parts(model.eval()(features, offsets))
        folded = parts(model.train()(features, offsets))
        model.load_tensors(tensors)
        model.encoder.recentre(features, offsets)
        assert model.encoder.training
        sizes = model.encoder.bottleneck.weight.std(1)
        torch.testing.assert_close(sizes, torch.full_like(sizes, 0.1))
        after = parts(model.eval()(features, offsets))
        training = parts(model.train()(features, offsets))
    for a, b, c, d in zip(before, folded, after, training, strict=True):
        torch.testing.assert_close(a, c, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(a, d, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(a, b, rtol=1e-2, atol=1e-2)


def test_loading_the_wrong_tensors(rng: np.random.Generator) -> None:
    model = nn.PQRNNForSentenceEmbedding(CONFIGS["plain"])
    tensors = model.export_tensors()
    with pytest.raises(ValueError, match=r"tensors must hold 'head.bias'"):
        model.load_tensors({k: v for k, v in tensors.items() if k != "head.bias"})
    wrong = {**tensors, "attention.weight": np.zeros((2, 36), np.float32)}
    with pytest.raises(ValueError, match=r"attention.weight must be of shape \(1, 36\), got"):
        model.load_tensors(wrong)
    model = nn.PQRNNForParsing(CONFIGS["parsing-context"])
    tensors = model.export_tensors()
    del tensors["slots.context.weight"]
    with pytest.raises(ValueError, match=r"tensors must hold 'slots.context.weight'"):
        model.load_tensors(tensors)


ENGINE = [
    "plain", "one-layer-f", "deep-ifo", "skip-heads", "classes", "parsing", "parsing-skip-ifo",
    "parsing-context", "parsing-crf", "tagger", "tagger-context",
]  # fmt: skip


@pytest.mark.parametrize("name", ENGINE)
def test_the_engine_is_the_graph(
    name: str, isa: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    del isa
    config = CONFIGS[name]
    model = trained(config, rng)
    path = tmp_path / "model.safetensors"
    save_model(path, config, model.export_tensors(), dtype="float32")
    texts = [
        "turn on the lights in the kitchen", "", "a", "What's the weather in São Paulo at 7:30?",
        "naïve café, ﬀ ½ — 你好世界 🙂", " ".join(f"word{n}" for n in range(300)), "!!! ... ???",
    ]  # fmt: skip
    features, offsets = pq.Projection(feature_size=F).ragged(texts)
    with torch.no_grad():
        graph = model(torch.from_numpy(features), torch.from_numpy(offsets))
    engine = pq.load(path)
    if config.task == "parsing":
        logits = engine.logits(texts)
        np.testing.assert_allclose(logits.intents, graph[0].numpy(), rtol=0, atol=1e-5)
        np.testing.assert_array_equal([len(rows) for rows in logits.slots], np.diff(offsets))
        found, expected = np.concatenate(logits.slots), graph[1].numpy()
    elif config.task == "classification":
        found, expected = engine.predict_proba(texts), graph.softmax(1).numpy()
    else:
        found, expected = engine.encode(texts), graph.numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_wrong_task_and_shapes() -> None:
    with pytest.raises(ValueError, match="config.task must be 'parsing', got 'embedding'"):
        nn.PQRNNForParsing(CONFIGS["plain"])
    model = nn.PQRNNForSentenceEmbedding(CONFIGS["plain"])
    with pytest.raises(ValueError, match=r"features must be \[tokens, 48\], got \(3, 47\)"):
        model(torch.zeros(3, 47), torch.tensor([0, 3]))
    with pytest.raises(ValueError, match=r"lengths must be 1 integers in \[0, 3\]"):
        model(torch.zeros(1, 3, F), lengths=torch.tensor([4]))
    with pytest.raises(ValueError, match="offsets must end at the number of rows 3, got 2"):
        model(torch.zeros(3, F), torch.tensor([0, 2]))


@pytest.mark.parametrize("name", list(CONFIGS))
def test_synchronised_norms_of_one_process_are_the_fused_ones(
    name: str, rng: np.random.Generator
) -> None:
    config = CONFIGS[name]
    torch.manual_seed(0)
    fused = MODELS[config.task](config)
    plain = MODELS[config.task](config)
    plain.load_state_dict(fused.state_dict())
    plain.encoder.synchronise()
    features, offsets = batch(rng)
    losses = []
    for model in (fused, plain):
        torch.manual_seed(1)  # zoneout
        out = model(torch.as_tensor(features), torch.as_tensor(offsets))
        parts = out if isinstance(out, tuple) else (out,)
        losses.append(sum((part * part.detach().cos()).sum() for part in parts))
        losses[-1].backward()
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=1e-5)
    for (key, a), b in zip(fused.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(b.grad, a.grad, rtol=1e-3, atol=1e-4, msg=key)
    for (key, a), b in zip(fused.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-6, msg=key)


def test_build_decides_the_class() -> None:
    for task, kind in MODELS.items():
        model = nn.build(make(task), dropout=0.25)
        assert type(model) is kind
        assert model.encoder.dropout == 0.25
