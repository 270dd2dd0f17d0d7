"""Model files: whole round trips, and every kind of damage."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import twin

import pqrnn_native as pq
from pqrnn_native.checkpoint import (
    load_tensors,
    pack_weight,
    read_metadata,
    save_model,
    unpack,
)

CONFIG = pq.PQRNNConfig(
    projection=pq.ProjectionConfig(feature_size=40),
    bottleneck_size=9,
    state_size=5,
    num_layers=1,
    output_size=6,
)
Header = dict[str, Any]


@pytest.fixture
def tensors(rng: np.random.Generator) -> twin.Tensors:
    return twin.random_tensors(CONFIG, rng)


@pytest.fixture(params=["float32", "float16", "int8", "int4", "int2"])
def data(request: pytest.FixtureRequest, tensors: twin.Tensors, tmp_path: Path) -> bytes:
    save_model(tmp_path / "m", CONFIG, tensors, {"note": "é"}, request.param)
    return (tmp_path / "m").read_bytes()


def split(data: bytes) -> tuple[Header, bytes]:
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def join(header: Header | str, body: bytes) -> bytes:
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return len(text).to_bytes(8, "little") + text + body


def test_round_trip(tensors: twin.Tensors, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_model(path, CONFIG, tensors, {"accuracy": [1, 2.5], "name": "é"}, "float32")
    for name, value in load_tensors(path).items():
        np.testing.assert_array_equal(value, tensors[name], err_msg=name)
    metadata = read_metadata(path)
    assert metadata.config == CONFIG
    assert metadata.info == {"accuracy": [1, 2.5], "name": "é"}
    assert metadata.file_bytes == path.stat().st_size
    save_model(path, CONFIG, tensors)
    assert read_metadata(path).info == {}
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_the_public_reader_agrees(data: bytes, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors")
    numpy_files = pytest.importorskip("safetensors.numpy")
    loaded = numpy_files.load(data)
    header, body = split(data)
    assert loaded.keys() == header.keys() - {"__metadata__"}
    for name, value in loaded.items():
        begin, end = header[name]["data_offsets"]
        assert value.tobytes() == body[begin:end]
    with safetensors.safe_open(tmp_path / "m", "numpy") as file:
        assert file.metadata()["format"] == "pqrnn"
        assert pq.PQRNNConfig.from_json(file.metadata()["config"]) == CONFIG
    # And the other way: what the public writer writes, we read.
    path = tmp_path / "theirs"
    numpy_files.save_file(loaded, path, metadata=header["__metadata__"])
    np.testing.assert_array_equal(pq.load(path)._run(  # any output will do
        ["a b"], batch_size=None, threads=1, normalize=False, out=None, progress=None,
    ), pq.Encoder(data).encode(["a b"], normalize=False))  # fmt: skip


def test_the_file_starts_its_data_aligned(data: bytes) -> None:
    header, _ = split(data)
    assert int.from_bytes(data[:8], "little") % 8 == 0
    for name, entry in header.items():
        if name != "__metadata__":
            size = {"F32": 4, "F16": 2, "I8": 1, "U8": 1}[entry["dtype"]]
            assert entry["data_offsets"][0] % size == 0


def test_unaligned_data_are_fine(data: bytes) -> None:
    expected = pq.Encoder(data).encode(["a b c", "d"])
    header, body = split(data)
    for spaces in range(1, 4):
        shifted = join(json.dumps(header) + " " * spaces, body)
        np.testing.assert_array_equal(pq.Encoder(shifted).encode(["a b c", "d"]), expected)


def test_int8_rows_have_their_own_scale(tensors: twin.Tensors, tmp_path: Path) -> None:
    tensors["head.weight"][2] = 0
    tensors["head.weight"][3] *= 1000
    save_model(tmp_path / "m", CONFIG, tensors, dtype="int8")
    header, body = split((tmp_path / "m").read_bytes())
    begin, end = header["head.weight"]["data_offsets"]
    stored = np.frombuffer(body[begin:end], np.int8).reshape(6, -1)
    assert stored.min() >= -127  # symmetric: -128 is never used
    largest = np.abs(stored.astype(int)).max(axis=1)
    assert largest[2] == 0
    assert (np.delete(largest, 2) == 127).all()


def test_two_weights_of_4_bits_share_a_byte(tensors: twin.Tensors, tmp_path: Path) -> None:
    whole = np.array([[-8, 7, 0, 1, -1, 5, -6, 2, 3, -4] * 4] * 9)
    whole[4] = 0
    scales = np.ldexp(np.float32(1), np.arange(-9, 0))  # products are exact
    tensors["bottleneck.weight"] = (whole * scales[:, None]).astype(np.float32)
    save_model(tmp_path / "m", CONFIG, tensors, dtype="int4")
    data = (tmp_path / "m").read_bytes()
    header, body = split(data)
    stored = header["bottleneck.weight"]
    assert (stored["dtype"], stored["shape"]) == ("U8", [9, 20])
    begin, _ = stored["data_offsets"]
    # -8 is 0b1000 and 7 is 0b0111, the earlier weight in the low half: 0x78, and so on.
    assert body[begin : begin + 10] == bytes.fromhex("78105f2ac3") * 2
    assert body[begin + 80 : begin + 100] == bytes(20)
    assert header["layers.0.forward.weight"]["dtype"] == "I8"
    loaded = load_tensors(tmp_path / "m")
    np.testing.assert_allclose(loaded["bottleneck.weight"], whole * scales[:, None], rtol=1e-6)
    check_the_engine_reads(data, loaded, tmp_path)


def test_four_weights_of_2_bits_share_a_byte(tensors: twin.Tensors, tmp_path: Path) -> None:
    whole = np.array([[-3, -1, 1, 3, 3, 1, -1, -3, 1, 1] * 4] * 9)
    scales = np.ldexp(np.float32(1), np.arange(-9, 0))  # products are exact
    scales[4] = 0
    tensors["bottleneck.weight"] = (whole * scales[:, None]).astype(np.float32)
    save_model(tmp_path / "m", CONFIG, tensors, dtype="int2")
    data = (tmp_path / "m").read_bytes()
    header, body = split(data)
    stored = header["bottleneck.weight"]
    assert (stored["dtype"], stored["shape"]) == ("U8", [9, 10])
    begin, _ = stored["data_offsets"]
    # -3, -1, 1 and 3 are 0b00, 0b01, 0b10 and 0b11, the earliest weight lowest: 0b11100100 first.
    assert body[begin : begin + 10] == bytes.fromhex("e41b4abea1e41b4abea1")
    assert header["layers.0.forward.weight"]["dtype"] == "I8"
    loaded = load_tensors(tmp_path / "m")
    np.testing.assert_allclose(loaded["bottleneck.weight"], whole * scales[:, None], rtol=1e-6)
    check_the_engine_reads(data, loaded, tmp_path)


def check_the_engine_reads(data: bytes, loaded: twin.Tensors, folder: Path) -> None:
    """Packed weights as it reads the same numbers in float32."""
    save_model(folder / "floats", CONFIG, loaded, dtype="float32")
    np.testing.assert_array_equal(
        pq.Encoder(data).encode(["a b c", "d"]),
        pq.Encoder((folder / "floats").read_bytes()).encode(["a b c", "d"]),
    )


# The errors of 16 and of 4 equal steps around a normal variable are at best 0.0115 and 0.1188
# (Max 1960, table II); that grids end at one of 33 places costs a little.
@pytest.mark.parametrize(("bits", "most"), [(4, 0.0135), (2, 0.123)])
def test_few_bits_of_normal_weights_are_near_the_best_grid(
    bits: Literal[2, 4], most: float, rng: np.random.Generator
) -> None:
    rows = rng.normal(size=(8, 20_000)).astype(np.float32)
    rows[1] *= 1e-20
    rows[2] *= 1e15
    packed, scales = pack_weight(rows, bits)
    error = np.square(unpack(packed, bits) * scales[:, None].astype(np.float64) - rows).sum(1)
    assert (error / np.square(rows.astype(np.float64)).sum(1) < most).all()


@pytest.mark.parametrize(
    ("dtype", "size", "multiple", "shape"), [("int4", 33, 2, [20, 9]), ("int2", 42, 4, [10, 9])]
)
def test_packed_rows_fill_whole_bytes(
    dtype: Any, size: int, multiple: int, shape: list[int], tensors: twin.Tensors, tmp_path: Path
) -> None:
    config = dataclasses.replace(CONFIG, projection=pq.ProjectionConfig(feature_size=size))
    message = f"dtype '{dtype}' needs a feature_size that is a multiple of {multiple}, got {size}"
    with pytest.raises(ValueError, match=message):
        save_model(tmp_path / "m", config, tensors, dtype=dtype)
    save_model(tmp_path / "m", CONFIG, tensors, dtype=dtype)
    header, body = split((tmp_path / "m").read_bytes())
    header["bottleneck.weight"]["shape"] = shape
    message = rf"has shape \[{shape[0]}, 18\], its configuration says \[9, 40\]"
    with pytest.raises(ValueError, match=message):
        pq.Encoder(join(header, body))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("head.bias"), "tensor 'head.bias' is missing"),
        (lambda t: t.update(extra=np.zeros(1)), "tensor 'extra' is not part"),
        (lambda t: t.update({"head.bias": np.zeros(5)}), r"must have shape \(6,\), got \(5,\)"),
        (lambda t: t["head.weight"].fill(np.nan), "'head.weight' holds a value that is not finite"),
        (lambda t: t["head.bias"].fill(np.inf), "'head.bias' holds a value that is not finite"),
        (lambda t: t["head.weight"].fill(1e5), "does not fit float16, its largest value is 100000"),
    ],
)
def test_save_refuses_and_keeps_the_old_file(
    change: Any, message: str, tensors: twin.Tensors, tmp_path: Path
) -> None:
    path = tmp_path / "m"
    path.write_bytes(b"old")
    change(tensors)
    with pytest.raises(ValueError, match=message):
        save_model(path, CONFIG, tensors, dtype="float16")
    with pytest.raises(ValueError, match="dtype must be one of .* got 'bfloat16'"):
        save_model(path, CONFIG, tensors, dtype="bfloat16")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_a_failed_write_leaves_the_old_file(
    tensors: twin.Tensors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m"
    path.write_bytes(b"old")

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            with pytest.raises(OSError, match="disk full"):
                save_model(path, CONFIG, tensors)
        assert path.read_bytes() == b"old"
        assert [p.name for p in tmp_path.iterdir()] == ["m"]
    with pytest.raises(FileNotFoundError):
        save_model(tmp_path / "absent" / "m", CONFIG, tensors)


def test_every_truncation_is_refused(data: bytes) -> None:
    header_end = 8 + int.from_bytes(data[:8], "little")
    lengths = {*range(20), header_end - 1, header_end, header_end + 1, len(data) - 1}
    lengths |= set(range(20, len(data), 61))
    for length in sorted(lengths):
        with pytest.raises(ValueError, match="model file"):
            pq.Encoder(data[:length])
    for tail in (b"\0", b" " * 8, data):
        with pytest.raises(ValueError, match="unused bytes after the tensors"):
            pq.Encoder(data + tail)


HEADER_LENGTHS = [0, 1, 7, 2**31, 2**32 + 8, 2**63 - 1, 2**63, 2**64 - 1, 2**64 - 8]


@pytest.mark.parametrize("length", HEADER_LENGTHS)
def test_bad_header_lengths_are_refused(length: int, data: bytes) -> None:
    with pytest.raises(ValueError, match="model file"):
        pq.Encoder(length.to_bytes(8, "little") + data[8:])


def entry(name: str, **change: Any) -> Any:
    def apply(header: Header) -> None:
        header[name].update(change)

    return apply


def metadata(**change: Any) -> Any:
    def apply(header: Header) -> None:
        header["__metadata__"].update(change)

    return apply


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (entry("head.bias", dtype="BF16"), "dtype 'BF16'"),
        (entry("head.bias", dtype="F64"), "dtype 'F64'"),
        (entry("head.bias", dtype=3), "dtype"),
        (entry("head.bias", dtype="F16"), "does not match its shape"),
        (entry("head.bias", shape=[7]), "does not match its shape"),
        (entry("head.bias", shape=[2, 3]), r"has shape \[2, 3\], its configuration says \[6\]"),
        (entry("head.bias", shape=[6, -1]), "bad shape"),
        (entry("head.bias", shape=[2**63]), "bad shape"),
        (entry("head.bias", shape=[2**62, 2**62]), "does not match its shape"),
        (entry("head.bias", shape=[2**32, 2**32]), "does not match its shape"),
        (entry("head.bias", shape=[1] * 9), "bad shape"),
        (entry("head.bias", shape=6), "no array"),
        (entry("head.bias", shape=[6.0]), "bad shape"),
        (entry("head.bias", data_offsets=[0, 24]), "overlap|unused"),
        (entry("head.bias", data_offsets=[2**63 - 25, 2**63 - 1]), "outside the file"),
        (entry("head.bias", data_offsets=[24, 0]), "outside the file"),
        (entry("head.bias", data_offsets=[-24, 0]), "bad offsets"),
        (entry("head.bias", data_offsets=[0, 24, 48]), "bad offsets"),
        (entry("head.bias", data_offsets=[0]), "bad offsets"),
        (entry("head.bias", more=1), "unknown or repeated key 'more'"),
        (lambda h: h["head.bias"].pop("shape"), "lacks dtype, shape or data_offsets"),
        (lambda h: h.update({"head.bias": 3}), "no object"),
        (lambda h: h.update({"head.bia\n": h.pop("head.bias")}), "'head.bias' is missing"),
        (lambda h: h.pop("__metadata__"), "not a pqrnn model"),
        (lambda h: h["__metadata__"].pop("format"), "not a pqrnn model"),
        (lambda h: h["__metadata__"].pop("config"), "not a pqrnn model"),
        (metadata(format="gguf"), "not a pqrnn model"),
        (metadata(format=1), "no string"),
        (metadata(format_version="2"), "format version '2', this program reads version 1"),
        (metadata(format_version=""), "format version ''"),
        (metadata(config="{}"), "its configuration says"),
        (metadata(config='{"task":"parsing","slots":["O"]}'), "its configuration says"),
        (metadata(**{f"k{i}": "" for i in range(65)}), "too much metadata"),
        (lambda h: h.update({f"t{i}": {"dtype": "I8", "shape": [0], "data_offsets": [0, 0]}
                             for i in range(4096)}), "too many tensors"),
    ],
)  # fmt: skip
def test_damaged_headers_are_refused(
    change: Any, message: str, tensors: twin.Tensors, tmp_path: Path
) -> None:
    save_model(tmp_path / "m", CONFIG, tensors, dtype="float32")
    header, body = split((tmp_path / "m").read_bytes())
    pq.Encoder(join(header, body))
    change(header)
    with pytest.raises(ValueError, match=message):
        pq.Encoder(join(header, body))


def test_repeated_names_and_nesting_are_refused(data: bytes) -> None:
    header, body = split(data)
    text = json.dumps(header)
    for twice in ('"head.bias": {}, ', '"__metadata__": {"a": "b"}, '):
        with pytest.raises(ValueError, match="model file"):
            pq.Encoder(join("{" + twice + text[1:], body))
    again = f'{{"head.bias": {json.dumps(header["head.bias"])}, ' + text[1:]
    with pytest.raises(ValueError, match="overlap"):
        pq.Encoder(join(again, body))
    zero = '{"z": {"dtype":"I8","shape":[0],"data_offsets":[0,0]}, '
    with pytest.raises(ValueError, match="'z' occurs twice"):
        pq.Encoder(join(zero + zero[1:] + text[1:], body))
    with pytest.raises(ValueError, match="1 tensors that its configuration does not know"):
        pq.Encoder(join(zero + text[1:], body))
    with pytest.raises(ValueError, match="model file"):
        pq.Encoder(join('{"__metadata__": {"format": "a", "format": "b"}, ' + text[1:], body))
    for hostile in (
        "[" * 10**6,
        '{"a":' * 10**6,
        '{"' + "a" * 10**6,
        '{"a": {"shape": [' + "1," * 10**6,
    ):
        with pytest.raises(ValueError, match="damaged model file"):
            pq.Encoder(join(hostile, b""))


@pytest.mark.parametrize(
    "bad", [b"\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\0", b"\n", b"\\ud800", b"\\x"]
)
def test_bad_strings_are_refused(bad: bytes, data: bytes) -> None:
    header, body = split(data)
    text = (
        json.dumps(header).encode().replace(b'"format": "pqrnn"', b'"format": "pqrnn' + bad + b'"')
    )
    with pytest.raises(ValueError, match="damaged model file"):
        pq.Encoder(len(text).to_bytes(8, "little") + text + body)


def refilled(data: bytes, name: str, value: npt.ArrayLike) -> bytes:
    header, body = split(data)
    dtype = {"F32": np.float32, "F16": np.float16, "I8": np.int8}[header[name]["dtype"]]
    begin, end = header[name]["data_offsets"]
    array = np.frombuffer(body[begin:end], dtype).copy()
    array[-1] = value
    return join(header, body[:begin] + array.tobytes() + body[end:])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(data: bytes, value: float) -> None:
    header, _ = split(data)
    for name, stored in header.items():
        if name == "__metadata__" or stored["dtype"] in ("I8", "U8"):
            continue
        blamed = name.removesuffix("_scale") if "_scale" not in name else name
        with pytest.raises(ValueError, match=f"'{blamed}' holds a value that is not finite"):
            pq.Encoder(refilled(data, name, value))


def test_a_scale_that_overflows_is_refused(tensors: twin.Tensors, tmp_path: Path) -> None:
    save_model(tmp_path / "m", CONFIG, tensors, dtype="int8")
    data = (tmp_path / "m").read_bytes()
    with pytest.raises(ValueError, match="'head.weight' holds a value that is not finite"):
        pq.Encoder(refilled(data, "head.weight_scale", 3e38))


def test_every_half_is_read_exactly(isa: str, tmp_path: Path) -> None:
    """All 63,488 finite float16 values, subnormals included, as the weights of a head.

    The bottleneck is the constant 1 and the state 0, so the output is a column of the head.
    """
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)].astype(np.float32)
    config = pq.PQRNNConfig(
        projection=pq.ProjectionConfig(feature_size=8), bottleneck_size=1, state_size=1,
        num_layers=1, bidirectional=False, skip=True, output_size=len(halves),
    )  # fmt: skip
    tensors = {name: np.zeros(shape) for name, shape in config.tensor_shapes().items()}
    tensors["bottleneck.bias"][0] = 1
    tensors["head.weight"][:, 0] = halves
    save_model(tmp_path / "m", config, tensors, dtype="float16")
    model = pq.load(tmp_path / "m")
    assert isinstance(model, pq.Encoder)
    assert model.isa == isa
    np.testing.assert_array_equal(model.encode("word", normalize=False), halves)


def test_random_damage_never_passes_for_something_else(
    data: bytes, rng: np.random.Generator
) -> None:
    """2,000 mutations for each storage type: a ValueError, or a model that still works."""
    loaded = 0
    header_end = 8 + int.from_bytes(data[:8], "little")
    for _ in range(2000):
        bad = bytearray(data)
        # Half of them in the header, where they do the most.
        limit = header_end if rng.random() < 0.5 else len(bad)
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(limit))
            kind = rng.integers(4)
            if kind == 0:
                bad[at] ^= 1 << int(rng.integers(8))
            elif kind == 1:
                bad[at] = int(rng.integers(256))
            elif kind == 2:
                del bad[at : at + int(rng.integers(1, 9))]
            else:
                bad[at:at] = rng.bytes(int(rng.integers(1, 9)))
            limit = min(limit, len(bad))
        try:
            model = pq.Encoder(bytes(bad))
        except ValueError:
            continue
        loaded += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert model.encode(["a b", ""]).shape == (2, model.dim)
    assert loaded > 50  # bits of weights: the test reaches beyond the header


def test_a_hostile_file_costs_no_memory() -> None:
    """Loading in a process whose memory is limited: an exception, not the end."""
    resource = pytest.importorskip("resource")
    del resource
    code = """
import resource, sys, json
import pqrnn_native as pq
limit = 64 << 20
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + limit, -1))
config = {"bottleneck_size": 8192, "state_size": 8192, "num_layers": 64, "kernel_size": 64,
          "projection": {"feature_size": 4096}, "output_size": 65536}
def file(tensors, body=b""):
    header = {"__metadata__": {"format": "pqrnn", "format_version": "1",
                               "config": json.dumps(config)}, **tensors}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body
huge = {"dtype": "F32", "shape": [8192, 4096], "data_offsets": [0, 8192 * 4096 * 4]}
for data in (file({}), file({"bottleneck.weight": huge}),
             b"\\xff" * 7 + b"\\x00" + b"x" * 100, b'\\xff\\xff\\xff\\x7f' + b"\\0" * 1000):
    try:
        pq.Encoder(data)
    except ValueError as error:
        print(error)
    else:
        sys.exit("accepted")
"""
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc to know the memory in use")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 4


def test_load_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "not-a-model"
    path.write_bytes(b"hello")
    with pytest.raises(ValueError, match=r"cannot load .*not-a-model': damaged model file"):
        pq.load(path)
    with pytest.raises(ValueError, match="damaged model file"):
        read_metadata(path)
    with pytest.raises(ValueError, match="damaged model file"):
        load_tensors(path)
    with pytest.raises(IsADirectoryError):
        pq.load(tmp_path)
    with pytest.raises(TypeError):
        pq.load(None)  # type: ignore[arg-type]


def test_an_installation_without_default_model_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import pkgutil

    def absent(*_: Any) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(pkgutil, "get_data", absent)
    with pytest.raises(FileNotFoundError, match="this installation has no default model"):
        pq.load("default")
