"""Training steps of the two-million-weight parser to time: as they are, in parts, with other scans.

python benchmarks/bench_training.py        # where a step's time goes, as a Markdown table
"""

from __future__ import annotations

import functools
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest import mock

import bench_tools
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils._python_dispatch import TorchDispatchMode

from pqrnn_native import nn as pqrnn_nn
from pqrnn_native.config import PQRNNConfig
from pqrnn_native.nn.encoder import NormalizedQRNNLayer
from pqrnn_native.train import Example, Examples, TrainSettings, read_examples, supervised
from pqrnn_native.train.batches import endless
from pqrnn_native.train.devices import bfloat16_pays
from pqrnn_native.train.fitting import data_config
from pqrnn_native.train.inputs import ProjectedInputs
from pqrnn_native.train.learner import Learner
from pqrnn_native.train.processes import Processes
from pqrnn_native.train.rows import RowSource

BATCH = 128
CALLED = 4  # steps of one timed call, each with a batch of its own
_ROWS = 4096  # that batches are drawn from

# What MTOP's English part has, for made-up data: the CRF's work grows with the square of the tags.
_INTENTS, _SLOTS = 113, 74


@functools.cache
def examples() -> tuple[Examples, str]:
    """English MTOP where the outside data are, else sentences with random intents and slots."""
    folder = bench_tools.shared() / "data" / "mtop"
    if folder.is_dir():
        return read_examples(f"mtop:{folder}", "train", ["en"]), "mtop"
    texts, source = bench_tools.sentences(_ROWS, tokens=(4, 16))
    rng = random.Random(11)
    rows = []
    for text in texts:
        words = [match.span() for match in re.finditer(r"\w+", text)]
        first = rng.randrange(len(words))
        last = min(len(words) - 1, first + rng.randrange(3))
        slot = words[first][0], words[last][1], f"SL:{rng.randrange(_SLOTS)}"
        rows.append(Example(text, "en", f"IN:{rng.randrange(_INTENTS)}", (slot,)))
    return Examples("parse", rows), f"{source}, random labels"


@functools.cache
def parser_config() -> PQRNNConfig:
    """The shape that ``pqrnn-native train --task parse`` trains by default."""
    return data_config(examples()[0], {})


class Steps:
    """Whole training steps; a call makes :data:`CALLED` of them, the same batches at each call.

    Args:
        bfloat16: matrix products in bfloat16.
        layer: what to use instead of the encoder's layers.

    Attributes:
        tokens: of the batches of a call.
        parts: the losses of the last call's batches.
    """

    def __init__(
        self, *, bfloat16: bool = False, layer: type[NormalizedQRNNLayer] | None = None
    ) -> None:
        config, (data, _) = parser_config(), examples()
        settings = TrainSettings(batch_size=BATCH, bfloat16=bfloat16).resolve(len(data))
        torch.manual_seed(0)
        model = pqrnn_nn.build(config, dropout=settings.dropout or 0.0)
        if layer is not None:
            layers = model.get_submodule("encoder").layers
            for index, ours in enumerate(layers):
                layers[index] = like(ours, layer)
        self.processes = Processes()
        self.learner = Learner(
            model, ProjectedInputs(config.projection, settings), config, settings,
            self.processes, torch.device("cpu"),
        )  # fmt: skip
        self.source = RowSource(data.rows[:_ROWS], config, settings.max_tokens)
        lengths = self.source.rows.lengths
        self.batches = [rows for _, rows in endless(lengths, BATCH, 0, 0, CALLED)]
        self.tokens = int(sum(lengths[rows].sum() for rows in self.batches))
        self.step = 0
        self.parts: list[dict[str, float]] = []

    def __call__(self) -> None:
        self.parts = []
        for rows in self.batches:
            self.parts.append(
                supervised.train_step(self.learner, self.source, rows, self.step, self.processes)
            )
            self.step += 1

    def loss(self) -> float:
        """Mean over the last call's batches."""
        return sum(sum(parts.values()) for parts in self.parts) / len(self.parts)

    def weights(self) -> int:
        return sum(value.numel() for value in self.learner.averaged.model.parameters())

    @torch.no_grad()
    def logits(self) -> tuple[Tensor, ...]:
        """What the model says to its first batch, without dropout and in float32."""
        model = self.learner.averaged.model
        model.eval()
        rows = self.source.rows.take(self.batches[0])
        inputs = self.learner.featurizer(rows.texts)
        return model(inputs.features, inputs.offsets, index=inputs.index)


def like(ours: NormalizedQRNNLayer, kind: type[NormalizedQRNNLayer]) -> NormalizedQRNNLayer:
    other = kind(
        ours.weight.shape[3], ours.hidden_size, ours.kernel_size, ours.pooling,
        ours.direction == "both", ours.zoneout,
    )  # fmt: skip
    other.load_state_dict(ours.state_dict())
    return other


def loop(keep: Tensor, add: Tensor) -> Tensor:
    """``c[t] = keep[t] * c[t - 1] + add[t]`` along the first dimension: one torch call a step."""
    state, states = torch.zeros_like(add[0]), []
    for keep_t, add_t in zip(keep.unbind(0), add.unbind(0), strict=True):
        state = torch.addcmul(add_t, keep_t, state)
        states.append(state)
    return torch.stack(states)


class LoopLayer(NormalizedQRNNLayer):
    """The encoder's layer as one writes it without a kernel: padded sequences and a loop over time.

    The gates' product, their batch norm and their activations see valid rows only; the second
    direction is stored from its end, so that one loop serves both. fo pooling without zoneout.
    """

    def forward(self, rows: Tensor, offsets: Tensor) -> Tensor:
        assert (self.pooling, self.zoneout) == ("fo", 0.0)
        directions, taps, width, _ = self.weight.shape
        lengths = offsets.diff()
        texts = torch.repeat_interleave(lengths, output_size=len(rows))
        place = torch.arange(len(rows)) - offsets[:-1][texts]
        places = place, lengths[texts] - 1 - place
        box = int(lengths.max()) + taps - 1, len(lengths)
        products = nn.functional.linear(rows, self.weight.flatten(0, 2)).float()
        parts = products.view(len(rows), directions, taps, width)

        summed = []
        for direction in range(directions):
            # Steps before a sequence's first are zero, and padding behind its last is not read.
            at = places[direction] + taps - 1, texts
            tap = parts[:, direction].flip(1) if direction else parts[:, direction]
            padded = parts.new_zeros(*box, taps, width).index_put(at, tap)
            total = sum(padded[j : box[0] - taps + 1 + j, :, j] for j in range(taps))
            summed.append(total[places[direction], texts])
        gates = nn.functional.batch_norm(
            torch.cat(summed, 1), self.running_mean, self.running_var, self.scale, self.shift,
            self.training, eps=1e-5,
        )  # fmt: skip
        z, f, o = gates.view(len(rows), directions, 3, self.hidden_size).unbind(2)
        keep, out = f.sigmoid(), o.sigmoid()
        add = (1 - keep) * z.tanh()

        at = torch.stack(places[:directions], 1), texts[:, None], torch.arange(directions)
        steps = add.new_zeros(box[0] - taps + 1, box[1], directions, self.hidden_size)
        states = loop(steps.index_put(at, keep), steps.index_put(at, add))[at]
        return (out * states).flatten(1).to(rows.dtype)


class Product(NamedTuple):
    """One matrix product: shape, strides and type of both sides."""

    left: tuple[torch.Size, tuple[int, ...], torch.dtype]
    right: tuple[torch.Size, tuple[int, ...], torch.dtype]

    @property
    def flops(self) -> int:
        return 2 * self.left[0].numel() * self.right[0][-1]


# And where the left side stands.
_PRODUCTS = {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1, "_int_mm": 0}


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.products: list[Product] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = function.name().removeprefix("aten::").partition(".")[0]
        if name in _PRODUCTS:
            sides = args[_PRODUCTS[name] :][:2]
            self.products.append(
                Product(*((side.shape, side.stride(), side.dtype) for side in sides))
            )
        return function(*args, **(kwargs or {}))


def products_of(function: Callable[[], object]) -> list[Product]:
    """Every matrix product that a call makes, backward passes included."""
    with _Recorder() as recorder:
        function()
    return recorder.products


def alone(products: list[Product]) -> Callable[[], None]:
    """A function that makes those products and nothing else."""
    made: dict[Any, Tensor] = {}
    for side in (side for product in products for side in product):
        if side not in made:
            shape, strides, dtype = side
            size = 1 + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
            made[side] = (4 * torch.randn(size)).to(dtype).as_strided(shape, strides)
    pairs = [(made[product.left], made[product.right]) for product in products]

    def run() -> None:
        for left, right in pairs:
            if left.dtype == torch.int8:
                torch._int_mm(left, right)
            else:
                torch.matmul(left, right)

    return run


PARTS = (
    "matrix products", "gates and recurrence", "CRF", "projection", "dropout",
    "optimiser and averaging", "rest",
)  # fmt: skip


@contextmanager
def _named(steps: Steps) -> Iterator[None]:
    """The profiler sees which calls are the projection's, the CRF's and the optimiser's."""
    learner = steps.learner
    with ExitStack() as stack:
        for part, owner, name in (
            ("projection", steps.source, "batch"),
            ("projection", learner.featurizer, "training"),
            ("CRF", supervised, "crf_loss"),
            ("optimiser and averaging", learner.averaged, "update"),
            ("optimiser and averaging", nn.utils, "clip_grad_norm_"),
        ):
            inner = getattr(owner, name)
            stack.enter_context(mock.patch.object(owner, name, record_function(part)(inner)))
        yield


def _own_part(name: str) -> str | None:
    """The part that an operator's name tells."""
    plain = name.removeprefix("autograd::engine::evaluate_function: ")
    if name in PARTS:
        return name
    if plain == "_LossBackward":
        return "CRF"
    if plain.removeprefix("aten::") in _PRODUCTS:
        return "matrix products"
    if "gate_pool" in plain:
        return "gates and recurrence"
    if "dropout" in plain:
        return "dropout"
    if plain.startswith("Optimizer."):
        return "optimiser and averaging"
    return None


def breakdown(steps: Steps) -> dict[str, float]:
    """Share of each part in the time of a call, in percent.

    A part has the operators under it, the CRF its matrix products as well. A backward operator
    counts as its forward one does.
    """
    with (
        _named(steps),
        profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiler,
        record_function("rest"),
    ):
        steps()
    events = sorted(profiler.events(), key=lambda event: event.time_range.start)
    part_of: dict[int, str] = {}
    forward: dict[int, str] = {}  # by autograd's number, which forward and backward share
    spent: Counter[str] = Counter()
    for event in events:  # parents come before their children
        parent = part_of.get(id(event.cpu_parent))
        if event.cpu_parent is None and event.name != "rest":
            continue  # before or after the call
        part = parent or "rest"
        if part in ("rest", "dropout"):
            part = _own_part(event.name) or part
        if event.sequence_nr >= 0:
            if "Backward" not in event.name:
                forward[event.sequence_nr] = part
            elif part == "rest":
                part = forward.get(event.sequence_nr, part)
        part_of[id(event)] = part
        spent[part] += event.self_cpu_time_total
    total = sum(spent.values())
    return {part: 100 * spent[part] / total for part in PARTS}


def main() -> None:
    """Print where the time of a step goes."""
    threads = bench_tools.TRAINING_THREADS
    torch.set_num_threads(threads)
    steps = Steps(bfloat16=bfloat16_pays(torch.device("cpu")))
    steps()
    rounds = [bench_tools.timed(steps) / CALLED for _ in range(bench_tools.rounds_wanted(5))]
    shares = [breakdown(steps) for _ in rounds]
    print("| part of a training step | share |\n|---|---:|")
    for part in PARTS:
        middle = sorted(share[part] for share in shares)[len(shares) // 2]
        print(f"| {part} | {middle:.1f} % |")
    kind = "bfloat16" if steps.learner.settings.bfloat16 else "float32"
    print(
        f"\n{steps.weights():,} weights, batches of {BATCH} sentences ({examples()[1]}), "
        f"{1e3 * min(rounds):.0f} ms a step and {steps.tokens / CALLED / min(rounds):,.0f} tokens "
        f"a second at best; products in {kind}, threads: {threads}, torch {torch.__version__}, "
        f"{bench_tools.machine()['isa']}"
    )


if __name__ == "__main__":
    main()
