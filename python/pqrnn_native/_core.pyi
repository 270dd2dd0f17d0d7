from typing import Any

import numpy as np
import numpy.typing as npt

__version__: str

# Instruction sets (src/bind_cpu.cpp)

def available_isas() -> list[str]: ...
def isa() -> str: ...
def set_isa(name: str) -> None: ...

# Text and projection (src/bind_text.cpp)

class ProjectedBatch:
    @property
    def offsets(self) -> npt.NDArray[np.int64]: ...
    def write_ragged(self, out: npt.NDArray[Any]) -> None: ...
    def write_padded(self, out: npt.NDArray[np.float32], steps: int) -> None: ...

class Projector:
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

# Recurrence on raw addresses (src/bind_ops.cpp)

# Inference (src/bind_model.cpp)
