// What every file of kernels starts with: C headers, intrinsics, and how to spell what the language
// does not have.
#pragma once

#include <math.h>
#include <string.h>

#if defined(__SSE2__) || defined(_M_X64)
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 takes the undefined source of unmasked AVX-512 intrinsics for a mistake (its bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#elif defined(__aarch64__) || defined(_M_ARM64)
#include <arm_neon.h>
#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>
#endif
#if defined(_MSC_VER)
#include <intrin.h>
#endif

#if defined(_MSC_VER)
#define PQRNN_RESTRICT __restrict
#define PQRNN_INLINE __forceinline
#else
#define PQRNN_RESTRICT __restrict__
#define PQRNN_INLINE inline __attribute__((always_inline))
#endif
