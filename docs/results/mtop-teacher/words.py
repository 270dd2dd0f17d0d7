"""Our tokens without the package: a few lines of C++ over its sources, called through ctypes.

The machine that makes teacher outputs has no pqrnn_native, and another Python than ours.
"""

from __future__ import annotations

import argparse
import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt

HERE = Path(__file__).resolve().parent
LIBRARY = HERE / "words.bin"
_SOURCES = ("words.cpp", "utf8.cpp", "unicode.cpp")
_MOST = 1024


def build(path: Path, core: Path) -> None:
    """Compile the library.

    Args:
        path: what to write.
        core: the folder ``csrc`` of the package.
    """
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        raise RuntimeError("there is no C++ compiler")
    flags = ["-O2", "-shared", "-fPIC", "-std=c++17", "-static-libstdc++", "-static-libgcc"]
    sources = [str(HERE / "words.cpp"), *(str(core / "text" / name) for name in _SOURCES)]
    command = [compiler, *flags, f"-I{core}", *sources, "-o", str(path)]
    subprocess.run(command, check=True)


class Words:
    """Character spans of a text's tokens.

    Args:
        path: the library; built by :func:`build`.
    """

    def __init__(self, path: Path = LIBRARY) -> None:
        self._call = ctypes.CDLL(str(path)).teach_words
        self._call.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int64]
        self._call.restype = ctypes.c_int64
        self._room = np.zeros((_MOST, 2), np.int32)

    def __call__(self, text: str) -> npt.NDArray[np.int32]:
        """Start and end of each token, int32 ``[tokens, 2]``."""
        raw = text.encode("utf-8", "replace")
        count = self._call(raw, len(raw), self._room.ctypes.data, _MOST)
        return self._room[: min(count, _MOST)].copy()


def main() -> None:
    """Build the library and try it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--core", type=Path, default=HERE.parent / "csrc")
    parser.add_argument("--out", type=Path, default=LIBRARY)
    options = parser.parse_args()
    build(options.out, options.core)
    text = "l'album de Zoë"
    print([text[start:end] for start, end in Words(options.out)(text)])


if __name__ == "__main__":
    main()
