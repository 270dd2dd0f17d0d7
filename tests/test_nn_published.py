"""The published graph: values worked out by hand, the NumPy twin, gradients, and that it learns."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published_twin import Twin
from published_twin import fake_quantise as twin_fake_quantise

torch = pytest.importorskip("torch")

import pqrnn_native as pq
from pqrnn_native import nn
from pqrnn_native.nn.published import AttentionPooling, PublishedPQRNN, QRNNDirection, QRNNLayer
from pqrnn_native.nn.published_layers import (
    ActivationQuantiser,
    BatchNorm,
    Convolution,
    Dense,
    FixedRange,
    fake_quantise,
)

F = 12
LENGTHS = [4, 0, 1, 6, 3, 2]
PUBLISHED = pq.ProjectionConfig(feature_size=F, split="space", char="signed")


def make(**settings: Any) -> pq.PQRNNConfig:
    small: dict[str, Any] = {
        "task": "classification", "labels": ("no", "yes", "maybe"), "projection": PUBLISHED,
        "bottleneck_size": 7, "state_size": 5, "num_layers": 2, "kernel_size": 3,
    }  # fmt: skip
    return pq.PQRNNConfig(**{**small, **settings})


VECTORS = {"task": "embedding", "labels": (), "output_size": 10}
CONFIGS = {
    "classes": make(),
    "vectors": make(**VECTORS),
    "f": make(pooling="f", kernel_size=1),
    "deep": make(num_layers=3, kernel_size=2, zoneout=0.6, **VECTORS),
}


def tensor(values: Any) -> Any:
    return torch.tensor(values, dtype=torch.float64)


def close(found: Any, expected: Any) -> None:
    found = found.detach().numpy() if isinstance(found, torch.Tensor) else found
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def randomised(module: Any, rng: np.random.Generator) -> Any:
    """In float64, with parameters and stored values that are no round numbers."""
    module = module.double()
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            numbers = rng.normal(size=tuple(value.shape)) * 0.7
            last = name.rsplit(".", 1)[-1]
            if last in ("scale", "high", "moving_variance"):
                numbers = 0.5 + np.abs(numbers)
            elif last == "low":
                numbers = -np.abs(numbers)
            value.copy_(torch.as_tensor(numbers))
    return module


def state_of(module: Any, prefix: str = "") -> dict[str, Any]:
    return {f"{prefix}{name}": value.clone().numpy() for name, value in module.state_dict().items()}


def box(rng: np.random.Generator, width: int, lengths: Any = LENGTHS) -> tuple[Any, Any]:
    """Numbers [n, T, width], zero in the padding, and a mask [n, T]."""
    mask = (np.arange(max(lengths) + 2) < np.array(lengths)[:, None]).astype(np.float64)
    return rng.normal(size=(*mask.shape, width)) * mask[:, :, None], mask


def ragged(rng: np.random.Generator) -> tuple[Any, Any]:
    offsets = np.concatenate([[0], np.cumsum(LENGTHS)])
    features = rng.integers(-1, 2, (offsets[-1], F)).astype(np.float32)
    return torch.from_numpy(features), torch.from_numpy(offsets)


def boxed(features: Any, offsets: Any, padding: int = 2) -> tuple[Any, Any]:
    """What the twin takes, of what the graph takes."""
    lengths = np.diff(offsets)
    mask = (np.arange(lengths.max() + padding) < lengths[:, None]).astype(np.float64)
    filled = np.zeros((*mask.shape, F))
    filled[mask == 1] = features
    return filled, mask


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fixed_ranges_by_hand(dtype: Any) -> None:
    def values(low: float, given: list[float]) -> Any:
        return FixedRange(low, 1.0, True)(torch.tensor(given, dtype=dtype)).double().numpy()

    # 0.3 is 38.25 steps of 2/255, -0.5 is -63.75 steps.
    wanted = np.array([-127, 128, 0, 38, -64, 128, -127]) * 2 / 255
    found = values(-1.0, [-1.0, 1.0, 0.0, 0.3, -0.5, 7.0, -7.0])
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    np.testing.assert_allclose(found[:2], [-0.9960784, 1.0039216], rtol=1e-6)
    assert found[2] == 0
    # 0.3 is 76.5 steps of 1/255, in binary a little more in either dtype; 0.5 is 127.5 exactly.
    found = values(0.0, [0.0, 1.0, -0.2, 1.2, 0.5, 0.302])
    np.testing.assert_allclose(found, np.array([0, 255, 0, 255, 128, 77]) / 255, rtol=1e-6)
    grid = values(-1.0, np.linspace(-1.2, 1.2, 5001).tolist()) * 255 / 2
    assert {round(step) for step in grid} == set(range(-127, 129))
    np.testing.assert_allclose(grid, grid.round(), atol=1e-4)


def test_any_range_is_nudged_by_hand() -> None:
    # Steps of 0.01; 10.4 of them lie below 0, so levels go from -0.10 to 2.45.
    x = tensor([-0.104, -5.0, 2.446, 0.0, 0.333, 1.018])
    close(fake_quantise(x, tensor(-0.104), tensor(2.446)), [-0.1, -0.1, 2.45, 0, 0.33, 1.02])
    # Nothing but 0 in the range.
    x = tensor([-1.0, 0.0, 3.0]).requires_grad_()
    y = fake_quantise(x, tensor(0.0), tensor(0.0))
    close(y, [0, 0, 0])
    y.sum().backward()
    close(x.grad, [1, 1, 1])


def test_fake_quantise_is_the_twin(rng: np.random.Generator) -> None:
    for low, high in [(-1, 1), (0, 1), (-0.3, 4), (-2.2, 0), (-0.01, 0.9)]:
        x = rng.normal(size=400) * 2
        found = fake_quantise(torch.from_numpy(x), tensor(float(low)), tensor(float(high)))
        close(found, twin_fake_quantise(x, low, high))


def test_gradients_are_straight_through() -> None:
    # Inside is what lies between the lowest and the highest level, -0.99608 and 1.00392.
    x = tensor([-1.5, -0.997, -0.996, -0.3, 0.0, 0.4, 1.0, 1.003, 1.004, 2.0]).requires_grad_()
    weights = tensor([float(n) for n in range(1, 11)])
    (FixedRange(-1.0, 1.0, True)(x) * weights).sum().backward()
    close(x.grad, [0, 0, 3, 4, 5, 6, 7, 8, 0, 0])


def test_weights_by_hand() -> None:
    layer = Dense(2, 2, relu=False, quantize=True).double()
    with torch.no_grad():
        layer.weight.copy_(tensor([[0.1, 2.55], [0.523, 1.0]]))  # 0 joins the range: steps of 0.01
    close(layer.quantised_weight(), [[0.1, 2.55], [0.52, 1.0]])
    with torch.no_grad():
        layer.weight.copy_(tensor([[-2.55, -0.1], [-0.523, -1.0]]))
    close(layer.quantised_weight(), [[-2.55, -0.1], [-0.52, -1.0]])
    layer.quantize = False
    close(layer.quantised_weight(), [[-2.55, -0.1], [-0.523, -1.0]])


def test_activation_range_by_hand() -> None:
    module = ActivationQuantiser(True).double()
    close(module(tensor([-0.55, 2.0, 1.004])), [-0.55, 2.0, 1.0])  # steps of 0.01
    close(module.low, 0.99 * -0.55)
    close(module.high, 0.01 * 1 + 0.99 * 2)
    module(tensor([1.0, 2.0]))  # the range of this batch is [0, 2]
    close(module.low, 0.01 * 0.99 * -0.55)
    close(module.high, 0.01 * 1.99 + 0.99 * 2)
    module.eval()
    with torch.no_grad():
        module.low.fill_(-1.0)
        module.high.fill_(1.55)
    close(module(tensor([-7.0, 0.333, 9.0])), [-1.0, 0.33, 1.55])
    close(module.high, 1.55)
    x = tensor([0.1234, -5.0])
    off = ActivationQuantiser(False).double()
    close(off(x), x)
    close(torch.stack([off.low, off.high]), [0, 1])


def test_batch_norm_by_hand() -> None:
    norm = BatchNorm(1).double()
    x, mask = tensor([[[1.0], [3.0], [100.0]]]), tensor([[[1.0], [1.0], [0.0]]])
    root = np.sqrt(5 + 1e-9)  # the raw second moment of 1 and 3; their variance is 1
    close(norm(x, mask), [[[-1 / root], [1 / root], [0.0]]])
    close(norm.moving_mean, [0.999 * 2])
    close(norm.moving_variance, [0.001 * 1 + 0.999 * 5])
    norm.eval()
    root = np.sqrt(4.996 + 1e-9)
    close(norm(x, mask), [[[(1 - 1.998) / root], [(3 - 1.998) / root], [0.0]]])
    close(norm.moving_mean, [1.998])

    plain = BatchNorm(1).double()
    root = np.sqrt(1 + 1e-9)
    close(plain(tensor([[1.0], [3.0]]), None), [[-1 / root], [1 / root]])
    close(plain.moving_variance, [1])
    plain(tensor([]).reshape(0, 1), None)
    close(plain.moving_mean, [1.998])


def test_convolutions_see_one_side_by_hand() -> None:
    x, mask = tensor([[[1.0], [10.0], [100.0]]]), torch.ones(1, 3, 1, dtype=torch.float64)
    sums = {False: [3, 32, 320], True: [32, 320, 200]}
    for reverse, expected in sums.items():
        layer = Convolution(1, 1, taps=2, reverse=reverse, quantize=False).double().eval()
        with torch.no_grad():
            layer.weight.copy_(tensor([[[2.0]], [[3.0]]]))
        close(layer(x, mask)[0, :, 0] * np.sqrt(1 + 1e-9), expected)


@pytest.mark.parametrize("quantize", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_pieces_are_the_twin(training: bool, quantize: bool, rng: np.random.Generator) -> None:
    x, mask = box(rng, 6)
    given = torch.from_numpy(x), torch.from_numpy(mask[:, :, None])
    shape: dict[str, Any] = {"taps": 3, "pooling": "fo", "zoneout": 0.0, "quantize": quantize}
    pieces: dict[str, tuple[Any, Any]] = {
        "relu": (
            Dense(6, 4, relu=True, quantize=quantize),
            lambda twin: twin.dense("m", x, mask, relu=True),
        ),
        "gate": (
            Convolution(6, 4, taps=2, reverse=True, quantize=quantize),
            lambda twin: twin.gate("m", x, mask, reverse=True),
        ),
        "direction": (
            QRNNDirection(6, 4, reverse=True, **shape),
            lambda twin: twin.direction("m", x, mask, reverse=True, zoneout=0.0),
        ),
        "layer": (QRNNLayer(6, 4, **shape), lambda twin: twin.layer("m", x, mask, zoneout=0.0)),
        "attention": (AttentionPooling(6, quantize), lambda twin: twin.attention("m", x, mask)),
    }
    for piece, expected in pieces.values():
        module = randomised(piece, rng).train(training)
        twin = Twin(state_of(module, "m."), make(), training=training, quantize=quantize)
        close(module(*given), expected(twin))
        check_stored(module, twin, "m.")


def check_stored(module: Any, twin: Twin, prefix: str = "") -> None:
    found = state_of(module, prefix)
    assert twin.stored
    for name, value in twin.stored.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("quantize", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["classes", "vectors", "f"])
def test_the_graph_is_the_twin(
    name: str, training: bool, quantize: bool, rng: np.random.Generator
) -> None:
    config = CONFIGS[name]
    model = randomised(PublishedPQRNN(config, quantize=quantize), rng).train(training)
    features, offsets = ragged(rng)
    twin = Twin(state_of(model), config, training=training, quantize=quantize)
    found = model(features, offsets)
    close(found, twin(*boxed(features, offsets)))
    check_stored(model, twin)
    assert len(np.unique(found.detach().numpy().round(6), axis=0)) == len(LENGTHS)


def test_zoneout_holds_states(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    config = CONFIGS["deep"]
    model = randomised(PublishedPQRNN(config), rng)
    zoneouts = [direction.zoneout for layer in model.layers for direction in layer.directions]
    np.testing.assert_allclose(zoneouts, [0.6, 0.6, 0.36, 0.36, 0.216, 0.216])
    features, offsets = ragged(rng)
    before = state_of(model)
    drawn: list[Any] = []

    def rand_like(x: Any) -> Any:
        drawn.append(rng.uniform(size=tuple(x.shape)))
        return torch.from_numpy(drawn[-1])

    monkeypatch.setattr(torch, "rand_like", rand_like)
    found = model(features, offsets)
    assert len(drawn) == 6
    boxes = boxed(features, offsets, padding=1)
    twin = Twin(before, config, training=True, quantize=True, uniforms=iter(drawn))
    close(found, twin(*boxes))
    quiet = Twin(before, config, training=True, quantize=True)
    assert np.abs(quiet(*boxes) - found.detach().numpy()).max() > 1e-3
    model.eval()(features, offsets)
    assert len(drawn) == 6


@pytest.mark.parametrize("reverse", [False, True])
def test_padding_passes_the_state(reverse: bool, rng: np.random.Generator) -> None:
    """Steps that are masked, wherever they are, change no other step."""
    module = QRNNDirection(
        3, 4, taps=1, pooling="f", zoneout=0.0, reverse=reverse, quantize=True
    )  # fmt: skip
    module = randomised(module, rng).eval()
    valid = torch.tensor([False, True, True, False, False, True, False])
    x = torch.from_numpy(rng.normal(size=(1, 7, 3)))
    found = module(x, valid[None, :, None].double())
    whole = module(x[:, valid], torch.ones(1, 3, 1, dtype=torch.float64))
    close(found[:, valid], whole.detach().numpy())
    assert not found[:, ~valid].any()
    assert whole.abs().min() > 0


@pytest.mark.parametrize("training", [False, True])
def test_inputs_of_all_kinds(training: bool, rng: np.random.Generator) -> None:
    config = CONFIGS["classes"]
    model = randomised(PublishedPQRNN(config), rng).train(training)
    features, offsets = ragged(rng)
    expected = model(features, offsets).detach().numpy()
    padded = torch.full((len(LENGTHS), 9, F), float("nan"))
    for n, length in enumerate(LENGTHS):
        padded[n, :length] = features[int(offsets[n]) : int(offsets[n + 1])]
    close(model(padded, lengths=torch.tensor(LENGTHS)), expected)
    unique, index = np.unique(features.numpy(), axis=0, return_inverse=True)
    rows = torch.from_numpy(np.concatenate([unique, np.full((1, F), np.nan, np.float32)]))
    close(model(rows, offsets, index=torch.from_numpy(index)), expected)
    with pytest.raises(ValueError, match="features must be 12 wide"):
        model(features[:, :5], offsets)


@pytest.mark.parametrize("training", [False, True])
def test_texts_without_tokens(training: bool, rng: np.random.Generator) -> None:
    model = randomised(PublishedPQRNN(CONFIGS["vectors"]), rng).train(training)
    features, offsets = ragged(rng)
    vectors = model(features, offsets)
    assert not vectors[1].any()
    assert vectors[0].any()
    before = state_of(model)
    for count in (0, 3):
        found = model(features[:0], torch.zeros(count + 1, dtype=torch.int64))
        close(found, np.zeros((count, 10)))
    moments = [name for name in before if "moving" in name]
    assert moments
    for name in moments:  # of no token at all there is nothing to store
        close(state_of(model)[name], before[name])


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("pooling", ["f", "fo"])
def test_gradients(training: bool, pooling: str, rng: np.random.Generator) -> None:
    config = make(pooling=pooling, bottleneck_size=3, state_size=2, kernel_size=2, num_layers=1)
    model = randomised(PublishedPQRNN(config, quantize=False), rng).train(training)
    _, offsets = ragged(rng)
    rows = torch.from_numpy(rng.normal(size=(int(offsets[-1]), F))).requires_grad_()
    parameters = dict(model.named_parameters())

    def output(rows: Any, *values: Any) -> Any:
        given = dict(zip(parameters, values, strict=True))
        return torch.func.functional_call(model, given, (rows, offsets))

    assert torch.autograd.gradcheck(output, (rows, *parameters.values()))


def test_quantised_gradients_reach_all_weights(rng: np.random.Generator) -> None:
    model = randomised(PublishedPQRNN(CONFIGS["classes"]), rng)
    model(*ragged(rng)).square().sum().backward()
    for name, parameter in model.named_parameters():
        if name != "head.bias":  # centred batch norm takes it away again
            assert parameter.grad.abs().max() > 1e-9, name


def test_l2_penalty_by_hand() -> None:
    model = PublishedPQRNN(make(num_layers=1))
    layers = 1 + 2 * 3 + 1 + 1  # bottleneck, gates, attention, head
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(5.0)
        for name, parameter in model.named_parameters():
            if name.endswith((".weight", ".bias")):
                parameter.zero_()
                parameter.view(-1)[0] = 2.0
    assert model.l2_penalty(0.1).item() == pytest.approx(0.1 * layers * 2 * 4 / 2)


def test_learns_a_separable_task(rng: np.random.Generator) -> None:
    """Which of two words is in a text, learned from some texts and asked about others."""
    words = torch.from_numpy(rng.integers(-1, 2, (12, F)).astype(np.float32))
    lengths = rng.integers(2, 7, 96)
    offsets = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]))
    index = torch.from_numpy(rng.integers(2, 12, int(offsets[-1])))
    targets = torch.from_numpy(rng.integers(0, 2, 96))
    places = offsets[:-1] + torch.from_numpy(rng.integers(0, lengths))
    index[places] = targets
    train, test = offsets[:65], offsets[64:] - offsets[64]
    seen, unseen = index[: offsets[64]], index[offsets[64] :]
    model = nn.build(make(labels=("a", "b"), zoneout=0.05), reference=True)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(120):
        logits = model(words, train, index=seen)
        loss = torch.nn.functional.cross_entropy(logits, targets[:64]) + model.l2_penalty(1e-5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        found = model.eval()(words, test, index=unseen).argmax(1)
    assert (found == targets[64:]).double().mean() >= 0.9


def test_the_loop_in_the_documentation() -> None:
    page = Path(__file__).resolve().parent.parent / "docs" / "differences.md"
    if not page.is_file():
        pytest.skip("no docs/ beside the tests")
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, str(page), "exec"), names)
    assert isinstance(names["model"], PublishedPQRNN)
    assert names["found"].tolist() == names["targets"].tolist()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "parsing", "labels": (), "slots": ("O",)}, "task must be .* got 'parsing'"),
        ({"pooling": "ifo"}, "pooling must be 'f' or 'fo' .* got 'ifo'"),
        ({"bidirectional": False}, "bidirectional must be True .* got False"),
        ({"attention_heads": 2}, "attention_heads must be 1 .* got 2"),
        ({"skip": True}, "skip must be False .* got True"),
        ({"precision": "int8"}, "precision must be 'float32' .* got 'int8'"),
        ({**VECTORS, "output_size": 11}, "output_size must be twice .* 10, .* got 11"),
        (
            {"projection": pq.ProjectionConfig(feature_size=F)},
            "projection.split must be 'space' or 'codepoints' .* got 'words'",
        ),
        (
            {"projection": pq.ProjectionConfig(feature_size=64, split="space", token_hashes=2)},
            "projection.token_hashes must be 0 .* got 2",
        ),
        (
            {"projection": pq.ProjectionConfig(feature_size=64, split="space", ngram_size=32)},
            "projection.ngram_size must be 0 .* got 32",
        ),
    ],
)
def test_refuses_what_was_not_published(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nn.build(make(**settings), reference=True)


def test_build_takes_the_published_graph_on_request() -> None:
    model = nn.build(CONFIGS["classes"], reference=True)
    assert type(model) is PublishedPQRNN
    assert model.head.quantize
    with pytest.raises(ValueError, match="dropout must be 0 with reference=True, got 0.1"):
        nn.build(CONFIGS["classes"], dropout=0.1, reference=True)


def test_state_is_kept_and_nothing_exported(rng: np.random.Generator, tmp_path: Path) -> None:
    model = randomised(PublishedPQRNN(CONFIGS["classes"]), rng)
    features, offsets = ragged(rng)
    model(features, offsets)
    torch.save(model.state_dict(), tmp_path / "state.pt")
    again = PublishedPQRNN(CONFIGS["classes"]).double()
    again.load_state_dict(torch.load(tmp_path / "state.pt"))
    close(again.eval()(features, offsets), model.eval()(features, offsets).detach().numpy())
    with pytest.raises(NotImplementedError, match="no model file"):
        model.export_tensors()
