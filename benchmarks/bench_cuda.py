"""CUDA kernels against what the card's memory can do, and against other ways to compute the same.

python benchmarks/bench_cuda.py [--seconds N] [--out FOLDER]     # a Markdown table, cuda.json

Every time is the median of replays of a CUDA graph that goes through several sets of inputs in
turn, so that neither Python nor the L2 cache is measured. Sections that would start after
``--seconds`` are left out, rivals last. Each section first checks its results.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

import pqrnn_native as pq
from pqrnn_native.nn import PQRNNEncoder, functional, ops, portable, projection

DEVICE = torch.device("cuda")
SHAPES = ((64, 512, 1024), (256, 64, 512), (1, 65536, 512))
POOL_SHARE = {(1, 65536, 512): (0.6, 0.6)}  # of copy bandwidth; else 0.85 and 0.8

Step = Callable[[], Any]


class Table:
    """Rows of the result, printed as Markdown at the end."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, what: str, seconds: float, measure: str, value: float, target: str = "") -> None:
        """One result: how long, and the figure that matters."""
        row = {
            "what": what, "us": round(seconds * 1e6, 2), "measure": measure,
            "value": round(value, 3), "to reach": target,
        }  # fmt: skip
        self.rows.append(row)
        print(row, flush=True)

    def markdown(self) -> str:
        """The table."""
        lines = ["| what | µs | measure | value | to reach |", "|---|---:|---|---:|---:|"]
        for row in self.rows:
            lines.append("| " + " | ".join(str(v) for v in row.values()) + " |")
        return "\n".join(lines)


def graph_of(steps: list[Step]) -> Any:
    """A CUDA graph of the steps, one after the other."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for step in steps * 2:
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    kept = []
    with torch.cuda.graph(graph):
        for step in steps:
            kept.append(step())
    del kept
    return graph


def timed(run: Step, calls: int = 1, rounds: int = 30, budget: float = 1.0) -> float:
    """Seconds of one of the ``calls`` of a run: the median of events."""
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < rounds and (len(times) < 5 or time.perf_counter() - begin < budget):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) * 1e-3 / calls)
    return median(times)


def replayed(steps: list[Step], repeat: int = 1) -> float:
    """Seconds of one step within a graph of all."""
    graph = graph_of(steps * repeat)
    return timed(graph.replay, len(steps) * repeat)


def near(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    """Raise unless the norm of the difference is small."""
    actual, expected = actual.detach().double(), expected.detach().double()
    error = (actual - expected).norm() / expected.norm()
    assert float(error) < tolerance, f"off by {float(error)}"


def copy_bandwidth() -> float:
    """Bytes per second that a large copy on the device reads and writes."""
    source = torch.randn(1 << 28, device=DEVICE)
    target = torch.empty_like(source)
    return 2 * source.numel() * 4 / timed(lambda: target.copy_(source))


# --- Pooling --------------------------------------------------------------------------------------


def pooling(table: Table, shape: tuple[int, int, int], dtype: Any, bandwidth: float) -> None:
    """fo-pooling of raw gates, forward, and forward and backward."""
    batch, steps, width = shape
    size = batch * steps * width * dtype.itemsize
    sets = max(2, min(4, (256 << 20) // size))  # more than the L2 cache holds
    coefficients = torch.stack(
        (torch.zeros(3 * width), torch.ones(3 * width), torch.zeros(3 * width))
    ).to(DEVICE)
    inputs = [
        torch.randn(batch, steps, 3 * width, device=DEVICE, dtype=dtype).requires_grad_()
        for _ in range(sets)
    ]
    gh = torch.randn(batch, steps, width, device=DEVICE, dtype=dtype)

    def forward(gates: Tensor) -> Any:
        args = (gates, coefficients, None, None, None, None, width, 1, "fo", "forward", 0.0)
        return ops.gate_pool(*args)[0]

    def both(gates: Tensor) -> Any:
        return torch.autograd.grad(forward(gates), gates, gh)

    check_pooling(inputs[0], forward, both, gh, width)
    name = f"{shape} {str(dtype).removeprefix('torch.')}"
    shares = POOL_SHARE.get(shape, (0.85, 0.8))
    with torch.no_grad():
        seconds = replayed([lambda g=g: forward(g) for g in inputs])
    share = 4 * size / seconds / bandwidth
    table.add(f"fo forward {name}", seconds, "of copy bandwidth", share, f"{shares[0]}")
    seconds = replayed([lambda g=g: both(g) for g in inputs])
    share = 11 * size / seconds / bandwidth
    table.add(f"fo forward+backward {name}", seconds, "of copy bandwidth", share, f"{shares[1]}")


def check_pooling(gates: Tensor, forward: Any, both: Any, gh: Tensor, width: int) -> None:
    """Some channels against the CPU's float64 operators."""
    some = torch.arange(0, width, max(1, width // 8))
    columns = torch.cat([some + part * width for part in range(3)]).to(DEVICE)
    count = len(some)
    few = gates[:1].detach()[..., columns].double().cpu().requires_grad_()
    z, f, o = few.split(count, -1)
    expected = functional.qrnn_pool(z.tanh(), f.sigmoid(), o.sigmoid())
    tolerance = 1e-4 if gates.dtype == torch.float32 else 2e-2
    near(forward(gates)[:1, :, some.to(DEVICE)].cpu(), expected, tolerance)
    picked = gh[:1, :, some.to(DEVICE)].double().cpu()
    (gradient,) = torch.autograd.grad(expected, few, picked)
    near(both(gates)[0][:1][..., columns].cpu(), gradient, tolerance)


def small(table: Table) -> None:
    """A batch whose work is nothing: what remains is the launch."""
    one = torch.zeros(1, device=DEVICE)
    launch = replayed([lambda: one.add_(1)], 50)
    f, x = (torch.rand(8, 32, 256, device=DEVICE) for _ in range(2))
    coefficients = torch.ones(3, 768, device=DEVICE)
    gates = torch.randn(8, 32, 768, device=DEVICE)
    near(functional.forget_mult(f, x).cpu(), functional.forget_mult(f.cpu(), x.cpu()), 1e-5)
    args = (gates, coefficients, None, None, None, None, 256, 1, "fo", "forward", 0.0)
    for name, call in (
        ("scan", lambda: functional.forget_mult(f, x)),
        ("fo of raw gates", lambda: ops.gate_pool(*args)),
    ):
        with torch.no_grad():
            seconds = replayed([call], 50)
        table.add(f"{name} (8, 32, 256)", seconds, "launches of a graph", seconds / launch, "2")


# --- Projection -----------------------------------------------------------------------------------


def project(table: Table) -> None:
    """Token bytes to bfloat16 features, and the product that needs none."""
    count, size, width = 1 << 16, 1024, 256
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, 12, (count,), generator=generator)
    offsets = torch.cat((torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)))
    data = torch.randint(97, 123, (int(offsets[-1]),), generator=generator, dtype=torch.uint8)
    few = (data[: int(offsets[64])], offsets[:65])
    expected = projection.ternary_features(few, size, dtype=torch.bfloat16)
    tokens = (data.to(DEVICE), offsets.to(DEVICE))
    found = projection.ternary_features(tokens, size, dtype=torch.bfloat16)
    assert torch.equal(found[:64].cpu(), expected)
    blank = torch.empty_like(found)
    write = replayed([blank.zero_], 8)
    seconds = replayed([lambda: projection.ternary_features(tokens, size, dtype=torch.bfloat16)], 8)
    table.add(
        f"{count} tokens to {size} bf16", seconds, "of writing speed", write / seconds, "0.85"
    )
    fingerprints = projection.hash_tokens(*tokens)
    weight = torch.randn(width, size, device=DEVICE, dtype=torch.bfloat16)
    near(
        projection.ternary_linear(fingerprints, weight).cpu(),
        (found.float() @ weight.float().T).cpu(),
        1e-3,
    )
    fused = replayed([lambda: projection.ternary_linear(fingerprints, weight)], 8)

    def apart() -> Tensor:
        return projection.ternary_features(fingerprints, size, dtype=torch.bfloat16) @ weight.T

    seconds = replayed([apart], 8)
    table.add("their product with [256, 1024]", fused, "times features and cuBLAS", seconds / fused)


# --- A training step ------------------------------------------------------------------------------


def batch_of(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Features, lengths and labels of made-up texts of 4 to 28 tokens."""
    generator = torch.Generator().manual_seed(2)
    lengths = torch.randint(4, 29, (count,), generator=generator)
    rows = torch.randint(-1, 2, (int(lengths.sum()), 1024), generator=generator)
    labels = torch.randint(0, 50, (count,), generator=generator)
    return rows.to(DEVICE, torch.bfloat16), lengths, labels.to(DEVICE)


class Recurrent(nn.Module):
    """The encoder with an LSTM of as many weights in place of its layers."""

    def __init__(self, encoder: PQRNNEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.lstm = nn.LSTM(256, 128, 4, batch_first=True, bidirectional=True)

    def forward(self, rows: Tensor, lengths: Tensor, offsets: Tensor) -> Tensor:
        rows = torch.relu(self.encoder.bottleneck_norm(self.encoder.bottleneck(rows)))
        parts = nn.utils.rnn.pad_sequence(rows.split(lengths.tolist()), batch_first=True)
        packed = nn.utils.rnn.pack_padded_sequence(
            parts, lengths, batch_first=True, enforce_sorted=False
        )
        out, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        valid = torch.arange(out.shape[1], device=DEVICE) < lengths.to(DEVICE).unsqueeze(1)
        states = out[valid]
        return portable.attend(states, self.encoder.attention(states).to(states.dtype), offsets)


def training_step(kind: str) -> tuple[Step, nn.Module]:
    """A step of the two-million-weight model: ours, in plain torch, or with an LSTM."""
    torch.manual_seed(4)
    config = pq.PQRNNConfig(
        projection=pq.ProjectionConfig(feature_size=1024), bottleneck_size=256, state_size=128,
        num_layers=4, kernel_size=2, attention_heads=1, zoneout=0.0, skip=False,
    )  # fmt: skip
    encoder: nn.Module = PQRNNEncoder(config)
    if kind == "lstm":
        encoder = Recurrent(encoder)
    head = nn.Linear(256, 50)
    model = nn.ModuleList([encoder, head]).to(DEVICE)
    rows, lengths, labels = batch_of(1024)
    offsets = torch.cat((torch.zeros(1, dtype=torch.int64), lengths.cumsum(0))).to(DEVICE)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, 1e-3, fused=True, capturable=True)

    def step() -> Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            if kind == "lstm":
                pooled = encoder(rows, lengths, offsets)
            else:
                pooled = encoder(rows, offsets)[0]
            logits = head(pooled)
        loss = nn.functional.cross_entropy(logits.float(), labels)
        optimizer.zero_grad(set_to_none=False)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step, model


def ours_trained(table: Table) -> float:
    """Steps as Python issues them, and as a CUDA graph."""
    step, _ = training_step("ours")
    first = float(step())
    eager = timed(step)
    last = float(step())
    assert last < first, (first, last)
    table.add("training step, batch 1024", eager, "steps a second", 1 / eager)
    step, _ = training_step("ours")  # another one: its gradients belong to the graph's stream
    graph = graph_of([step])
    seconds = timed(graph.replay)
    table.add("the same in a CUDA graph", seconds, "steps a second", 1 / seconds)
    return eager


def lstm_trained(table: Table, ours: float) -> None:
    step, _ = training_step("lstm")
    first = float(step())
    seconds = timed(step)
    assert float(step()) < first
    table.add("with a cuDNN LSTM", seconds, "times ours", seconds / ours, "2")


def _loop(keep: Tensor, add: Tensor) -> Tensor:
    state, out = torch.zeros_like(add[:, 0]), []
    for t in range(add.shape[1]):
        state = keep[:, t] * state + add[:, t]
        out.append(state)
    return torch.stack(out, 1)


def loop_trained(table: Table, ours: float) -> None:
    """Everything in plain torch, the time loop compiled."""
    compiled = torch.compile(_loop)

    def scan(keep: Tensor, add: Tensor, reverse: bool) -> Tensor:
        if reverse:
            return scan(keep.flip(1), add.flip(1), False).flip(1)
        return compiled(keep, add)

    with (
        mock.patch.object(portable, "_scan", scan),
        mock.patch.object(ops, "has_kernels", lambda device: device.type == "cpu"),
    ):
        step, _ = training_step("plain")
        first = float(step())
        seconds = timed(step)
        assert float(step()) < first
    table.add("with a torch-compiled time loop", seconds, "times ours", seconds / ours, "5")


# --- Rivals at the scan ---------------------------------------------------------------------------


def scan_rivals(table: Table, shape: tuple[int, int, int]) -> None:
    """The plain scan, which is what the others compute: forward, and with gradients."""
    f, x, gh = (torch.rand(shape, device=DEVICE) for _ in range(3))

    def forward(scan: Any) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return (scan(f, x),)

    def both(scan: Any) -> tuple[Tensor, ...]:
        # Leaves of the stream of the moment: a graph's capture allows no others.
        leaves = [each.detach().requires_grad_() for each in (f, x)]
        h = scan(*leaves)
        return h, *torch.autograd.grad(h, leaves, gh)

    rivals = found_rivals(shape[1])
    for what, run in (("forward", forward), ("forward+backward", both)):
        expected = run(functional.forget_mult)
        ours = replayed([lambda r=run: r(functional.forget_mult)])
        table.add(f"scan {what} {shape} float32", ours, "per second", 1 / ours)
        for name, scan in rivals.items():
            try:
                for a, b in zip(run(scan), expected, strict=True):
                    near(a, b, 1e-2)
                seconds = timed(lambda r=run, s=scan: r(s))
                table.add(f"  {name}", seconds, "times ours", seconds / ours, "1")
            except Exception:
                print(f"{name} failed:\n{traceback.format_exc(limit=1)[-1500:]}", flush=True)


def found_rivals(steps: int) -> dict[str, Any]:
    """Those that can be imported here."""
    rivals: dict[str, Any] = {}

    def combine(a: Any, b: Any) -> Any:
        return a[0] * b[0], b[0] * a[1] + b[1]

    try:
        from torch._higher_order_ops.associative_scan import associative_scan

        def tree(f: Tensor, x: Tensor) -> Tensor:
            return associative_scan(combine, (f, x), 1, combine_mode="generic")[1]

        rivals["associative_scan, compiled"] = torch.compile(tree)
    except ImportError:
        pass
    if importlib.util.find_spec("fla"):
        from fla.ops.hgrn import chunk_hgrn, fused_recurrent_hgrn

        rivals["fla fused_recurrent_hgrn"] = lambda f, x: fused_recurrent_hgrn(x, f.log())[0]
        rivals["fla chunk_hgrn"] = lambda f, x: chunk_hgrn(x, f.log())[0]
    if importlib.util.find_spec("accelerated_scan") and steps & (steps - 1) == 0:
        from accelerated_scan.warp import scan as warp_scan

        def warp(f: Tensor, x: Tensor) -> Tensor:
            return warp_scan(f.mT.contiguous(), x.mT.contiguous()).mT

        rivals["accelerated_scan warp"] = warp
    return rivals


def save(folder: Path, heading: str, table: Table, failed: list[str]) -> None:
    """Write cuda.json and cuda.md."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": heading, "failed": failed, "rows": table.rows}, indent=1)
    (folder / "cuda.json").write_text(text + "\n", encoding="utf-8")
    (folder / "cuda.md").write_text(f"{heading}\n\n{table.markdown()}\n", encoding="utf-8")


def main() -> int:
    """Run what fits into the time."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=300, help="start nothing after so many")
    parser.add_argument("--out", type=Path, help="folder for cuda.json and cuda.md")
    options = parser.parse_args()
    begin = time.perf_counter()
    table = Table()
    failed: list[str] = []

    def section(name: str, run: Callable[[], Any]) -> Any:
        if time.perf_counter() - begin > options.seconds:
            print(f"left out for lack of time: {name}", flush=True)
            return None
        try:
            return run()
        except Exception:
            failed.append(name)
            print(f"{name} failed:\n{traceback.format_exc(limit=4)}", flush=True)
            return None
        finally:
            torch.cuda.empty_cache()
            if options.out:  # after each section, in case there is no time for the next
                save(options.out, heading, table, failed)

    card = torch.cuda.get_device_name()
    bandwidth = copy_bandwidth()
    heading = f"{card}, torch {torch.__version__}, copy {bandwidth / 1e9:.0f} GB/s"
    print(heading, flush=True)
    torch.cuda.empty_cache()
    for shape in SHAPES:
        for dtype in (torch.bfloat16, torch.float32):
            section(
                f"pooling {shape} {dtype}", lambda s=shape, d=dtype: pooling(table, s, d, bandwidth)
            )
    section("small", lambda: small(table))
    section("projection", lambda: project(table))
    ours = section("training", lambda: ours_trained(table))
    if ours:
        section("LSTM", lambda: lstm_trained(table, ours))
    for shape in ((1, 65536, 512), (64, 512, 1024)):
        section(f"rivals {shape}", lambda s=shape: scan_rivals(table, s))
    if ours:
        section("compiled loop", lambda: loop_trained(table, ours))
    print(f"\n{heading}\n\n{table.markdown()}", flush=True)
    return len(failed) > 0


if __name__ == "__main__":
    sys.exit(main())
