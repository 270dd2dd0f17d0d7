"""Run a WASI program: ``python run_wasm.py PROGRAM ARGUMENT...``.

It sees the working folder and the folders and files that arguments name, and may change nothing.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import wasmtime


def main() -> int:
    """Return the program's exit status."""
    engine = wasmtime.Engine()
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    store = wasmtime.Store(engine)
    settings = wasmtime.WasiConfig()
    settings.argv = sys.argv[1:]
    settings.env = list(os.environ.items())
    settings.inherit_stdin()
    settings.inherit_stdout()
    settings.inherit_stderr()
    paths = [Path(argument) for argument in sys.argv[2:] if Path(argument).exists()]
    for folder in {".", *(str(path if path.is_dir() else path.parent) for path in paths)}:
        settings.preopen_dir(folder, folder, fs_mutable=False)
    store.set_wasi(settings)
    program = linker.instantiate(store, wasmtime.Module.from_file(engine, sys.argv[1]))
    try:
        program.exports(store)["_start"](store)
    except wasmtime.ExitTrap as end:
        return end.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
