"""Model files: safetensors with the configuration in the metadata. No pickle.

``__metadata__`` holds ``format`` ("pqrnn"), ``format_version`` ("1"), ``config`` (JSON of
:class:`PQRNNConfig`) and ``info`` (free JSON: accuracy, teacher, command). Tensors are named by
:meth:`PQRNNConfig.tensor_shapes`, batch norm folded in. Weights are F32, F16, or whole numbers
with one F32 scale per output row in ``<name>_scale``: I8, or U8 with neighbours of the last axis
in a byte, the earliest one in the lowest bits. Of two such neighbours each has 4 bits, -8 to 7 in
two's complement; of four each has 2 bits, 0 to 3 for -3, -1, 1 and 3. Biases and, with
``precision="int8"``, the ranges of activations are F32.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, cast, get_args

import numpy as np
import numpy.typing as npt

from .config import PQRNNConfig

__all__ = ["Metadata", "load_tensors", "read_metadata", "save_model"]

StorageType = Literal["float32", "float16", "int8", "int4", "int2"]
FloatArray = npt.NDArray[np.float32]

EMBEDDED = ("default", "multilingual")  # models that come with the package, by name
FORMAT = "pqrnn"
FORMAT_VERSION = "1"

_DTYPES: dict[str, type[np.generic]] = {
    "F32": np.float32,
    "F16": np.float16,
    "I8": np.int8,
    "U8": np.uint8,
}
_CODES = {np.dtype(dtype).name: code for code, dtype in _DTYPES.items()}
_PACKED = "bottleneck.weight"  # what "int4" and "int2" keep in so few bits
_PACKED_BITS: dict[str, Literal[2, 4]] = {"int4": 4, "int2": 2}
# Where a grid of few bits is tried to end, as shares of a row's largest magnitude.
_CLIPS = np.linspace(0.2, 1, 33, dtype=np.float32)


class Metadata(NamedTuple):
    """What a model file says about itself."""

    config: PQRNNConfig
    info: Any
    file_bytes: int


def save_model(
    path: str | os.PathLike[str],
    config: PQRNNConfig,
    tensors: Mapping[str, npt.ArrayLike],
    info: Any = None,
    dtype: StorageType | None = None,
) -> None:
    """Write a model file; on any error, or a crash, the old file (or none) is there.

    Args:
        path: File to write or replace.
        config: The model's configuration.
        tensors: Exactly the tensors of ``config.tensor_shapes()``, convertible to float32. A weight
            may also come as int8 with its float32 scales [rows] as ``<name>_scale``.
        info: Anything JSON can hold; by default an empty object.
        dtype: How weights are stored; biases and ranges stay float32. ``"int8"`` is symmetric, with
            one scale per output row. ``"int4"`` and ``"int2"`` are the same but for the
            bottleneck's weights, two or four of which share a byte: a sum over many random features
            forgives rounding. None: ``"int8"`` with ``precision="int8"``, which takes no floats,
            else ``"float16"``.

    Raises:
        ValueError: A tensor is missing, unknown, of a wrong shape, not finite, too large for
            float16, or a range is not positive; or ``dtype`` is unknown or not for this precision,
            or ``feature_size`` does not fill whole bytes.
        TypeError: ``info`` is not JSON.
        OSError: The file cannot be written.
    """
    if dtype is None:
        dtype = "int8" if config.precision == "int8" else "float16"
    if dtype not in get_args(StorageType):
        allowed = ", ".join(repr(name) for name in get_args(StorageType))
        raise ValueError(f"dtype must be one of {allowed}, got {dtype!r}")
    bits = _PACKED_BITS.get(dtype)
    if config.precision == "int8" and dtype != "int8" and not bits:
        raise ValueError(
            f"dtype must be 'int8', 'int4' or 'int2' for precision='int8', got {dtype!r}"
        )
    if bits and config.projection.feature_size % (8 // bits):
        raise ValueError(
            f"dtype {dtype!r} needs a feature_size that is a multiple of {8 // bits}, "
            f"got {config.projection.feature_size}"
        )
    shapes = config.tensor_shapes()
    whole = [name for name in shapes if name in tensors and _is_int8(tensors[name])]
    shapes |= {f"{name}_scale": shapes[name][:1] for name in whole}
    for name in [*shapes, *tensors]:
        if name not in tensors:
            raise ValueError(f"tensor {name!r} is missing")
        if name not in shapes:
            raise ValueError(f"tensor {name!r} is not part of this configuration")
    stored: dict[str, npt.NDArray[Any]] = {}
    for name, shape in shapes.items():
        kind = np.int8 if name in whole else np.float32
        value: npt.NDArray[Any] = np.asarray(tensors[name], dtype=kind)
        if value.shape != shape:
            raise ValueError(f"tensor {name!r} must have shape {shape}, got {value.shape}")
        if not np.isfinite(value).all():
            raise ValueError(f"tensor {name!r} holds a value that is not finite")
        if name.endswith(".range") and value.min() <= 0:
            raise ValueError(f"tensor {name!r} must be positive, got {value.tolist()}")
        if name in whole or name.endswith((".bias", ".range", "_scale")):
            stored[name] = value
        else:
            stored.update(_store(name, value, dtype))
    if bits and _PACKED in whole:
        floats = stored[_PACKED] * stored[f"{_PACKED}_scale"][:, None]
        stored.update(_store(_PACKED, floats, dtype))
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "config": config.to_json(),
        "info": json.dumps({} if info is None else info, allow_nan=False),
    }
    write_whole(path, _serialise(stored, metadata))


def load_tensors(path: str | os.PathLike[str]) -> dict[str, FloatArray]:
    """The tensors of a model file as float32, by the names of ``PQRNNConfig.tensor_shapes()``.

    Args:
        path: A model file, or the name of an embedded model.

    Raises:
        ValueError: The file is damaged or not a model.
        OSError: It cannot be read.
    """
    from . import _core as native

    data = read_model(path)
    native.Model(data)  # the strict reader: everything is checked from here on
    header, start = _header(data)
    config = PQRNNConfig.from_json(header["__metadata__"]["config"])

    def tensor(name: str) -> npt.NDArray[Any]:
        entry = header[name]
        begin, end = entry["data_offsets"]
        raw = data[start + begin : start + end]
        return np.frombuffer(raw, _DTYPES[entry["dtype"]]).reshape(entry["shape"])

    tensors: dict[str, FloatArray] = {}
    for name, shape in config.tensor_shapes().items():
        stored = tensor(name)
        if stored.dtype == np.uint8:
            stored = unpack(stored, 2 if stored.shape[-1] * 4 == shape[-1] else 4)
        value = stored.astype(np.float32)
        if f"{name}_scale" in header:
            value *= tensor(f"{name}_scale").reshape(-1, *[1] * (len(shape) - 1))
        tensors[name] = value
    return tensors


def read_metadata(path: str | os.PathLike[str]) -> Metadata:
    """Configuration, info and size of a model file, or of an embedded model by its name.

    Raises:
        ValueError: The file is damaged or not a model.
        OSError: It cannot be read.
    """
    from . import _core as native

    data = read_model(path)
    model = native.Model(data)
    return Metadata(
        PQRNNConfig.from_json(model.config_json), json.loads(model.info_json), len(data)
    )


def read_model(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a model file; the names of `EMBEDDED` are those that come with the package."""
    if path not in EMBEDDED:
        with open(path, "rb") as file:
            return file.read()
    # importlib.resources would import tempfile, shutil and more: 8 ms instead of 0.6.
    from pkgutil import get_data

    try:
        data = get_data(__package__, f"models/{path}.safetensors")
    except FileNotFoundError:
        data = None
    if data is None:
        raise FileNotFoundError(
            f"this installation has no {path} model (pqrnn_native/models/{path}.safetensors); "
            "give the path of a model file"
        )
    return data


def quantise_weight(value: FloatArray) -> tuple[npt.NDArray[np.int8], FloatArray]:
    """int8 [rows, ..] and scales [rows] of a weight: ``weight ~ int8 * scale`` in each row."""
    rows = value.reshape(len(value), -1)
    scale = np.abs(rows).max(axis=1) / np.float32(127)
    scale[scale == 0] = 1
    whole = np.clip(np.rint(rows / scale[:, None]), -127, 127).astype(np.int8)
    return whole.reshape(value.shape), scale


def pack_weight(value: FloatArray, bits: Literal[2, 4]) -> tuple[npt.NDArray[np.uint8], FloatArray]:
    """Packed uint8 [rows, columns * bits / 8] and scales [rows] of a weight [rows, columns].

    The scale of a row is the one, of those that cut its largest weights by various shares, that
    leaves the smallest squared error.
    """
    largest = np.abs(value).max(axis=1)
    rows = value / np.maximum(largest, np.float32(1e-38))[:, None]  # squares are not denormal
    most = np.float32(_whole_ends(bits)[1])
    step = np.empty_like(largest)
    least = np.full(len(value), np.inf)
    for clip in _CLIPS:
        tried = clip / most
        error = np.square(_whole(rows, tried, bits) * tried - rows).sum(axis=1)
        step = np.where(error < least, tried, step)
        least = np.minimum(error, least)
    whole, scale = _whole(rows, step[:, None], bits), step * largest
    codes = (whole + 3) / 2 if bits == 2 else whole % 16
    packed = np.zeros((len(value), value.shape[1] * bits // 8), np.uint8)
    for place in range(8 // bits):
        packed |= codes[:, place :: 8 // bits].astype(np.uint8) << np.uint8(bits * place)
    return packed, scale


def unpack(packed: npt.NDArray[np.uint8], bits: Literal[2, 4]) -> npt.NDArray[np.int8]:
    """int8 [.., n * 8 / bits] of packed uint8 [.., n]."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes = (packed[..., None] >> shifts & np.uint8(2**bits - 1)).astype(np.int8)
    whole = 2 * codes - np.int8(3) if bits == 2 else (codes ^ 8) - np.int8(8)
    return whole.reshape(*packed.shape[:-1], -1)


def write_whole(path: str | os.PathLike[str], chunks: Iterable[bytes | memoryview]) -> None:
    """Write a file under a temporary name beside its own, then rename it."""
    target = os.fspath(path)
    temporary = f"{target}.{os.urandom(6).hex()}.tmp"
    try:
        with open(temporary, "xb") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def _whole(value: FloatArray, step: FloatArray | np.float32, bits: Literal[2, 4]) -> FloatArray:
    """What is nearest to value over step: -8 to 7, or with 2 bits -3, -1, 1 or 3."""
    steps = value / step
    nearest = 2 * np.floor(steps / 2) + 1 if bits == 2 else np.rint(steps)
    low, high = _whole_ends(bits)
    clipped: FloatArray = np.clip(nearest, low, high)
    return clipped


def _whole_ends(bits: Literal[2, 4]) -> tuple[int, int]:
    return (-3, 3) if bits == 2 else (-8, 7)


def _is_int8(value: npt.ArrayLike) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.int8


def _store(name: str, value: FloatArray, dtype: StorageType) -> dict[str, npt.NDArray[Any]]:
    if dtype == "float32":
        return {name: value}
    if dtype == "float16":
        with np.errstate(over="ignore"):
            half = value.astype(np.float16)
        if not np.isfinite(half).all():
            largest = float(np.abs(value).max())
            raise ValueError(
                f"tensor {name!r} does not fit float16, its largest value is {largest}"
            )
        return {name: half}
    bits = _PACKED_BITS.get(dtype) if name == _PACKED else None
    whole, scale = pack_weight(value, bits) if bits else quantise_weight(value)
    return {name: whole, f"{name}_scale": scale}


def _serialise(
    tensors: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str]
) -> list[bytes | memoryview]:
    # Wide types first, so that every tensor is aligned to its own size.
    order = sorted(tensors, key=lambda name: -tensors[name].itemsize)
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    at = 0
    for name in order:
        value = tensors[name]
        end = at + value.itemsize * math.prod(value.shape)
        header[name] = {
            "dtype": _CODES[value.dtype.name],
            "shape": list(value.shape),
            "data_offsets": [at, end],
        }
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    little = [tensors[name].astype(tensors[name].dtype.newbyteorder("<")) for name in order]
    return [len(text).to_bytes(8, "little"), text, *[value.tobytes() for value in little]]


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    start = 8 + int.from_bytes(data[:8], "little")
    return cast("dict[str, Any]", json.loads(data[8:start])), start
