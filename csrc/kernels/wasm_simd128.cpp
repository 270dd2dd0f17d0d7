// Kernels for WebAssembly with 128-bit SIMD.
#define PQRNN_ISA_NAMESPACE isa_wasm_simd128
#define PQRNN_ISA_NAME "wasm_simd128"
#include "kernels/body.h"
