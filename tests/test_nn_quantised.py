"""Training with 8 bits in the loop: grids, straight-through gradients, and what is saved."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import twin
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from test_encode import CONFIGS, TEXTS
from test_parse import CONFIGS as PARSERS

import pqrnn_native as pq
from pqrnn_native import nn
from pqrnn_native.checkpoint import load_tensors, save_model
from pqrnn_native.nn import quantised
from pqrnn_native.nn.exact import rational_tanh

GRAPHS = {
    "embedding": nn.PQRNNForSentenceEmbedding,
    "classification": nn.PQRNNForClassification,
    "parsing": nn.PQRNNForParsing,
}


def rows_of(config: pq.PQRNNConfig, texts: list[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    features, offsets = twin.projection(config).ragged(texts, dtype=np.float32)
    return torch.from_numpy(np.maximum(features, -1)), torch.from_numpy(offsets)


def outputs(graph: Any, config: pq.PQRNNConfig, texts: list[Any]) -> tuple[Any, ...]:
    options = {"normalize": False} if config.task == "embedding" else {}
    out = graph(*rows_of(config, texts), **options)
    return out if isinstance(out, tuple) else (out,)


def trained(config: pq.PQRNNConfig, texts: list[Any], steps: int = 3) -> Any:
    """A graph after some steps on a loss without meaning."""
    graph = GRAPHS[config.task](config)
    optimizer = torch.optim.SGD(graph.parameters(), lr=0.05)
    graph.train()
    for _ in range(steps):
        loss = sum((out * torch.randn_like(out)).sum() for out in outputs(graph, config, texts))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return graph.eval()


def engine(config: pq.PQRNNConfig, graph: Any, folder: Path) -> Any:
    save_model(folder / "whole.safetensors", config, graph.export_tensors())
    return pq.load(folder / "whole.safetensors")


def check_same_bits(config: pq.PQRNNConfig, graph: Any, texts: list[Any], folder: Path) -> None:
    found = [out.detach().numpy() for out in outputs(graph, config, texts)]
    model = engine(config, graph, folder)
    if config.task == "parsing":
        logits = model.logits(texts)
        np.testing.assert_array_equal(logits.intents, found[0])
        marks = int(config.projection.bos), int(config.projection.eos)
        offsets = rows_of(config, texts)[1].tolist()
        for n, slots in enumerate(logits.slots):
            own = found[1][offsets[n] + marks[0] : offsets[n + 1] - marks[1]]
            np.testing.assert_array_equal(slots, own)
    else:
        options = {"batch_size": None, "threads": 1, "out": None, "progress": None}
        np.testing.assert_array_equal(model._run(texts, normalize=False, **options), found[0])


@pytest.mark.parametrize("name", [*CONFIGS, *PARSERS])
def test_evaluation_has_the_bits_of_the_engine(name: str, tmp_path: Path) -> None:
    shape = CONFIGS[name] if name in CONFIGS else PARSERS[name]
    config = dataclasses.replace(shape, precision="int8", zoneout=0.1)
    check_same_bits(config, trained(config, TEXTS), TEXTS, tmp_path)


@hypothesis.given(data=st.data())
@hypothesis.settings(max_examples=25)
def test_evaluation_has_the_bits_of_the_engine_for_any_shape(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    draw = data.draw
    config = pq.PQRNNConfig(
        projection=pq.ProjectionConfig(feature_size=draw(st.integers(1, 100))),
        bottleneck_size=draw(st.integers(1, 40)),
        state_size=draw(st.integers(1, 20)),
        kernel_size=draw(st.integers(1, 4)),
        num_layers=draw(st.integers(1, 3)),
        bidirectional=draw(st.booleans()),
        pooling=draw(st.sampled_from(["f", "fo", "ifo"])),
        skip=draw(st.booleans()),
        output_size=draw(st.integers(1, 20)),
        precision="int8",
    )
    torch.manual_seed(draw(st.integers(0, 2**31)))
    texts = draw(st.lists(st.text(max_size=40), min_size=1, max_size=4))
    graph = trained(config, [*texts, "some words"], steps=2)
    check_same_bits(config, graph, texts, tmp_path_factory.mktemp("qat"))


@pytest.mark.parametrize("name", ["plain", "ifo-skip-heads", "extra-features", "one-direction"])
def test_training_computes_what_evaluation_does(name: str) -> None:
    """With the moments of evaluation, the training graph gives its outputs up to rounding."""
    config = dataclasses.replace(CONFIGS[name], precision="int8")
    graph = trained(config, TEXTS, steps=20)
    exact = outputs(graph, config, TEXTS)[0]
    features, offsets = rows_of(config, TEXTS)
    pooled, _ = graph.encoder(features, offsets)
    loose = graph._dense(graph.head, pooled) * (offsets.diff() > 0).unsqueeze(1)
    # One step more or less where a sum falls between two numbers moves an output a little.
    scale = exact.std()
    assert (exact - loose).abs().mean() < 0.02 * scale
    assert (exact - loose).abs().max() < 0.3 * scale


def test_weights_are_whole_numbers_with_a_scale_for_each_row() -> None:
    weight = torch.tensor([[1.27, -0.5, 0.004], [0.0, 0.0, 0.0]], requires_grad=True)
    whole, scale = quantised.whole_weight(weight, (1,))
    assert whole.tolist() == [[127, -50, 0], [0, 0, 0]]
    torch.testing.assert_close(scale, torch.tensor([[0.01], [1.0]]))
    (whole * scale * torch.tensor([[3.0, 5.0, 7.0], [1.0, 1.0, 1.0]])).sum().backward()
    torch.testing.assert_close(weight.grad, torch.tensor([[3.0, 5.0, 7.0], [1.0, 1.0, 1.0]]))


def test_four_levels_are_those_of_each_row() -> None:
    rows = [[3.0, -1.0, 0.1, -4.0], [0.02, 0.01, -0.03, -0.001], [0.0, 0.0, 0.0, 0.0]] * 2
    weight = torch.tensor(rows, requires_grad=True)
    levels = quantised.four_levels(weight)
    # Root mean squares are sqrt(26.01 / 4) = 2.5500 and sqrt(0.001401 / 4) = 0.018715; steps are
    # 0.9957 of them, 2.5390 and 0.018635; levels are half a step and one and a half.
    expected = torch.tensor(
        [[3.8085, -1.2695, 1.2695, -3.8085], [0.02795, 0.009317, -0.02795, -0.009317]]
    )
    torch.testing.assert_close(
        levels[[0, 1, 3, 4]].detach(), expected.repeat(2, 1), rtol=1e-3, atol=0
    )
    assert (levels[[2, 5]].abs() < 1e-29).all()
    gradient = torch.arange(24.0).reshape(6, 4)
    levels.backward(gradient)
    assert torch.equal(torch.as_tensor(weight.grad), gradient)


def test_grids_pass_gradients_inside_and_none_outside() -> None:
    x = torch.tensor([-0.3, 0.26, 0.74, 1.4], requires_grad=True)
    y = quantised.on_grid(x, 0, 4, 0.25)
    assert y.tolist() == [0.0, 0.25, 0.75, 1.0]
    y.backward(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 2.0, 3.0, 0.0]


def test_tanh_is_near_and_so_is_its_gradient() -> None:
    x = torch.linspace(-6, 6, 1201, requires_grad=True)
    y = quantised._Tanh.apply(x)
    assert (y.double() - x.double().tanh()).abs().max() < 1.7e-4
    assert torch.equal(y, rational_tanh(x))
    y.sum().backward()
    inside = x.detach().abs() < 4.59
    expected = 1 - x.detach().tanh() ** 2
    assert x.grad is not None
    assert (x.grad - expected)[inside].abs().max() < 4e-4
    assert (x.grad[x.detach().abs() > 4.61] == 0).all()


def test_one_gate_by_hand() -> None:
    """One token, one channel: h = o (1 - f) z, each factor on its grid; gradients by the rule."""
    gates = torch.tensor([[0.5, 0.4, -0.6]], requires_grad=True)
    h = quantised.gate_states(gates, torch.tensor([0, 1]), 1, "fo", 1, 0.0)
    z = round(127 * math.tanh(0.5)) / 127
    f = round(127.5 * math.tanh(0.2) + 127.5) / 255
    o = round(127.5 * math.tanh(-0.3) + 127.5) / 255
    assert h.item() == round(127 * o * (1 - f) * z)
    h.backward()
    slopes = [1 - math.tanh(0.5) ** 2, (1 - math.tanh(0.2) ** 2) / 4, (1 - math.tanh(0.3) ** 2) / 4]
    expected = [
        127 * o * (1 - f) * slopes[0], -127 * o * z * slopes[1], 127 * (1 - f) * z * slopes[2],
    ]  # fmt: skip
    assert gates.grad is not None
    np.testing.assert_allclose(gates.grad[0], expected, rtol=1e-3)


def test_ranges_follow_quantiles() -> None:
    grid = quantised.GridRange()
    assert grid.value().item() == pytest.approx(1e-6)
    values = torch.arange(1.0, 20_001.0)
    grid.observe(-values)
    assert grid.end.item() == 19_998  # of 20,000 the two largest are cut
    grid.observe(values / 2)
    assert grid.end.item() == pytest.approx(0.99 * 19_998 + 0.01 * 9_999)


def test_norms_with_negative_scales_are_folded(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIGS["plain"], precision="int8")
    graph = trained(config, TEXTS)
    with torch.no_grad():
        graph.encoder.bottleneck_norm.weight[::2] *= -1
        for layer in graph.encoder.layers:
            layer.scale[::3] *= -1
    before = graph.export_tensors()
    assert (before["layers.0.forward.weight_scale"] < 0).any()
    check_same_bits(config, graph, TEXTS, tmp_path)


@pytest.mark.parametrize("name", ["plain", "ifo-skip-heads"])
def test_a_file_starts_training_where_it_was(name: str, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIGS[name], precision="int8")
    graph = trained(config, TEXTS)
    before = engine(config, graph, tmp_path).encode(TEXTS)
    again = GRAPHS[config.task](config)
    again.load_tensors(load_tensors(tmp_path / "whole.safetensors"))
    exported = again.export_tensors()
    for key, value in graph.export_tensors().items():
        if key.endswith("weight"):
            # Norms that turned a row over are part of the weight now.
            assert np.array_equal(np.abs(exported[key]), np.abs(value)), key
        else:
            np.testing.assert_allclose(np.abs(exported[key]), np.abs(value), rtol=1e-6)
    after = engine(config, again.eval(), tmp_path).encode(TEXTS)
    assert (before * after).sum(1)[[0, 2, 3]].min() > 0.9999
    again.encoder.recentre(*rows_of(config, TEXTS))
    moved = engine(config, again.eval(), tmp_path).encode(TEXTS)
    assert (before * moved).sum(1)[[0, 2, 3]].min() > 0.999
