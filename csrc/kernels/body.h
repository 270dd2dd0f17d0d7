// The fast kernels, written once and compiled per instruction set. A file <isa>.cpp defines
// PQRNN_ISA_NAMESPACE and PQRNN_ISA_NAME and includes this header, nothing else.
#include <math.h>
#include <string.h>

#include "kernels/int8_math.h"
#include "kernels/kernels.h"

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

namespace pqrnn {
namespace PQRNN_ISA_NAMESPACE {
namespace {

#include "kernels/body_expand.h"
#include "kernels/body_recurrence.h"
#include "kernels/body_dense.h"
#include "kernels/body_viterbi.h"
#include "kernels/body_int8.h"

}  // namespace

extern const Kernels table;
const Kernels table = {PQRNN_ISA_NAME, expand_kernels,  recurrence_kernels,
                       dense_kernels,  viterbi_kernels, int8_kernels};

}  // namespace PQRNN_ISA_NAMESPACE
}  // namespace pqrnn
