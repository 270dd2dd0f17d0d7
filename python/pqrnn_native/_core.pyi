import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

__version__: str

# Instruction sets (src/bind_cpu.cpp)

def available_isas() -> list[str]: ...
def isa() -> str: ...
def set_isa(name: str) -> None: ...

class _Bound(type): ...  # the metaclass of bound classes

# Text and projection (src/bind_text.cpp)

class ProjectedBatch(metaclass=_Bound):
    def __init__(self, *args: object, **kwargs: object) -> None: ...  # made by Projector alone
    @property
    def offsets(self) -> npt.NDArray[np.int64]: ...
    @property
    def positions(self) -> int: ...
    def unique(self) -> tuple[ProjectedBatch, npt.NDArray[np.int64]]: ...
    def nonzero(
        self,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int8]]: ...
    def write_ragged(self, out: npt.NDArray[Any]) -> None: ...
    def write_padded(self, out: npt.NDArray[np.float32], steps: int) -> None: ...

class Projector(metaclass=_Bound):
    def __init__(
        self,
        *,
        feature_size: int,
        split: str,
        hash: str,
        char: str,
        lower: bool,
        bos: bool,
        eos: bool,
        max_tokens: int,
        vocabulary: str,
        alphabetic_only: bool,
        normalize_repetition: bool,
        normalize_spaces: bool,
        separators: str,
        first_cap: float,
        all_caps: float,
        novelty_bits: int,
        doc_size_levels: int,
        distortion: float,
        split_apostrophes: bool,
        ngram_size: int,
        ngram_min: int,
        ngram_max: int,
        ngram_runs: bool,
        token_hashes: int,
        ngram_hashes: int,
    ) -> None: ...
    def project(self, texts: object, random: bool, seed: int | None) -> ProjectedBatch: ...
    def project_tokens(
        self, token_lists: list[Any], random: bool, seed: int | None
    ) -> ProjectedBatch: ...
    def tokens(self, text: object) -> list[bytes]: ...
    def words(self, text: object, seed: int | None) -> list[bytes]: ...
    def spans(self, text: object) -> list[tuple[int, int]]: ...
    def codes(self, word: object) -> list[int]: ...

def english_tokens(
    text: object, separators: str, max_input: int, max_tokens: int
) -> list[bytes]: ...

# Unicode (src/bind_unicode.cpp). Spans are (begin, end) offsets: of bytes in, and out of
# split_words; of characters out of to_char_spans.

def unicode_version() -> str: ...
def simple_lower(code_point: int) -> int: ...
def is_alphabetic(code_point: int) -> bool: ...
def is_uppercase(code_point: int) -> bool: ...
def is_whitespace(code_point: int) -> bool: ...
def segmentation_classes(code_point: int) -> tuple[str, str, bool]: ...
def split_words(text: bytes, split_apostrophes: bool = False) -> list[tuple[int, int]]: ...
def to_char_spans(text: bytes, spans: list[tuple[int, int]]) -> list[tuple[int, int]]: ...

# Recurrence on raw addresses (src/bind_ops.cpp)
# A view is (address, stride of a sequence, stride of a step) in elements, address 0 when absent;
# sequences are (count, steps, rows, address of offsets, address of lengths).

_View: TypeAlias = tuple[int, int, int]
_Sequences: TypeAlias = tuple[int, int, int, int, int]
_Gates: TypeAlias = tuple[_View, ...]  # four: z, f, o, i

SEQUENCE_GROUP: int

class Block(metaclass=_Bound):
    def __init__(self, bytes: int) -> None: ...
    if sys.version_info >= (3, 12):
        def __buffer__(self, flags: int, /) -> memoryview: ...
        def __release_buffer__(self, buffer: memoryview, /) -> None: ...

def drop_free_blocks() -> None: ...
def free_block_bytes() -> int: ...

class PoolShape(metaclass=_Bound):
    def __init__(
        self,
        sequences: _Sequences,
        width: int,
        direction: str,
        pooling: int,
        taps: int,
        element: int,
        zoneout: int,
        seed: int,
        threads: int,
    ) -> None: ...

def scan_forward(
    sequences: _Sequences,
    width: int,
    element: int,
    reverse: bool,
    threads: int,
    f: _View,
    x: _View,
    h0: int,
    h: _View,
) -> None: ...
def scan_backward(
    sequences: _Sequences,
    width: int,
    element: int,
    reverse: bool,
    threads: int,
    gh: _View,
    f: _View,
    h: _View,
    h0: int,
    gf: _View,
    gx: _View,
    gh0: int,
) -> None: ...
def pool_forward(
    shape: PoolShape,
    gates: _Gates,
    h0: int,
    h: _View,
    c: _View,
    last: int,
) -> None: ...
def pool_backward(
    shape: PoolShape,
    gates: _Gates,
    gh: _View,
    gc: _View,
    glast: int,
    h0: int,
    states: _View,
    gradients: _Gates,
    gh0: int,
) -> None: ...
def gate_pool_forward(
    shape: PoolShape,
    gates: _View,
    coefficients: int,
    h0: int,
    h: _View,
    c: _View,
    last: int,
) -> None: ...
def gate_pool_backward(
    shape: PoolShape,
    gates: _View,
    coefficients: int,
    gh: _View,
    gc: _View,
    glast: int,
    h0: int,
    states: _View,
    gradient: _View,
    gh0: int,
    sums: int,
) -> None: ...
def gate_moments(
    shape: PoolShape,
    gates_width: int,
    gates: _View,
    sum: _View,
    moments: int,
) -> None: ...
def gate_norm_backward(
    shape: PoolShape,
    gates_width: int,
    sum: _View,
    dy: _View,
    coefficients: int,
    gradient: _View,
) -> None: ...
def attend_forward(
    sequences: _Sequences,
    width: int,
    heads: int,
    element: int,
    threads: int,
    states: _View,
    logits: _View,
    weights: _View,
    pooled: int,
) -> None: ...
def attend_backward(
    sequences: _Sequences,
    width: int,
    heads: int,
    element: int,
    threads: int,
    gpooled: int,
    states: _View,
    weights: _View,
    gstates: _View,
    glogits: _View,
) -> None: ...
def dropout(
    count: int,
    element: int,
    threshold: int,
    seed: int,
    scale: float,
    threads: int,
    x: int,
    y: int,
) -> None: ...

# Inference (src/bind_model.cpp)

class Texts(metaclass=_Bound):
    def __init__(self, texts: object) -> None: ...
    def __len__(self) -> int: ...

class Model(metaclass=_Bound):
    def __init__(self, data: Buffer) -> None: ...
    def encode(
        self,
        texts: Texts,
        out: npt.NDArray[np.float32],
        threads: int,
        batch_size: int,
        normalize: bool,
        progress: Callable[[int, int], object] | None,
    ) -> None: ...
    def encode_tokens(
        self, text: object
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]: ...
    def parse(
        self, texts: tuple[object, ...], threads: int, batch_size: int, normalize: bool
    ) -> tuple[
        npt.NDArray[np.float32],
        npt.NDArray[np.int64],
        npt.NDArray[np.int64],
        npt.NDArray[np.float32],
    ]: ...
    @property
    def config_json(self) -> str: ...
    @property
    def info_json(self) -> str: ...
    @property
    def isa(self) -> str: ...
    @property
    def output_size(self) -> int: ...
    @property
    def transitions(self) -> npt.NDArray[np.float32] | None: ...
    @property
    def weight_bytes(self) -> int: ...

def best_tags(
    logits: npt.NDArray[np.float32],
    offsets: npt.NDArray[np.int64],
    transitions: npt.NDArray[np.float32],
    starts: npt.NDArray[np.float32],
) -> npt.NDArray[np.int64]: ...
def default_threads() -> int: ...

# One 8-bit product, packed for the active instruction set, and its peak (src/bind_int8.cpp)

class Int8Product(metaclass=_Bound):
    def __init__(self, weights: npt.NDArray[np.int8]) -> None: ...
    def __call__(self, inputs: npt.NDArray[np.uint8], out: npt.NDArray[np.int32]) -> None: ...

def int8_peak(rounds: int) -> int: ...
