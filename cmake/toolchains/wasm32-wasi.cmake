# WebAssembly with WASI, run by wasmtime (python -m pip install wasmtime). One thread, no exceptions.
set(CMAKE_SYSTEM_NAME WASI)
set(CMAKE_SYSTEM_PROCESSOR wasm32)
set(ZIG_TARGET wasm32-wasi)
include("${CMAKE_CURRENT_LIST_DIR}/zig.cmake")
set(CMAKE_CROSSCOMPILING_EMULATOR python3 "${CMAKE_CURRENT_LIST_DIR}/run_wasm.py")
set(PQRNN_THREADS OFF CACHE BOOL "" FORCE)
set(PQRNN_TRAINING OFF CACHE BOOL "" FORCE)
set(PQRNN_EXCEPTIONS OFF CACHE BOOL "" FORCE)
