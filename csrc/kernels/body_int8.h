// Kernels of the 8-bit engine, included once per instruction set inside its own namespace.
// No STL, no external inline function: see cmake/isa.cmake.
// This header has no include guard on purpose: it belongs to body.h.

#include "kernels/body_int8_vector.h"
#include "kernels/body_int8_product.h"
#include "kernels/body_int8_sparse.h"
#include "kernels/body_int8_ternary.h"
#include "kernels/body_int8_gather_codes.h"
#include "kernels/body_int8_gather.h"
#include "kernels/body_int8_qrnn.h"

static void int8_add_scaled(float scale, const std::uint8_t* x, int zero, float* y,
                            std::size_t count) {
  for (std::size_t j = 0; j < count; ++j) {
    y[j] = y[j] + scale * static_cast<float>(static_cast<int>(x[j]) - zero);
  }
}

inline V int8_exp(V x) {
  using namespace int8_math;
  x = v_max(x, v_set(kExpLeast));
  const V n = v_round(v_mul(x, v_set(kLog2E)));
  const V r = v_sub(v_sub(x, v_mul(n, v_set(kLog2High))), v_mul(n, v_set(kLog2Low)));
  V p = v_set(kExpP[0]);
  for (int k = 1; k < 5; ++k) p = v_add(v_mul(p, r), v_set(kExpP[k]));
  p = v_add(v_add(v_mul(p, v_mul(r, r)), r), v_set(1.0f));
  return v_mul(p, v_exp2(n));
}

static void int8_softmax(float* x, std::size_t count) {
  float largest = x[0];
  for (std::size_t j = 1; j < count; ++j) largest = x[j] > largest ? x[j] : largest;
  for (std::size_t j = 0; j < count; ++j) x[j] = x[j] - largest;
  map_in_place<int8_exp>(x, count);
  float sum = 0.0f;
  for (std::size_t j = 0; j < count; ++j) sum = sum + x[j];
  for (std::size_t j = 0; j < count; ++j) x[j] = x[j] / sum;
}

inline V int8_logistic(V x) {
  const V zero = v_set(0.0f), one = v_set(1.0f);
  const V e = int8_exp(v_sub(zero, v_max(x, v_sub(zero, x))));
  return v_div(v_if_greater(zero, x, e, one), v_add(one, e));
}

static void int8_sigmoid(float* x, std::size_t count) { map_in_place<int8_logistic>(x, count); }

// Independent products of registers; to the compiler each has another input, so that none is
// spared.
static std::int64_t int8_peak(std::int64_t rounds) {
  constexpr int kChains = kRegisters / 2 - 1;
  std::int8_t weights[4 * kLanes];
  for (std::size_t j = 0; j < 4 * kLanes; ++j) weights[j] = static_cast<std::int8_t>(j / 4 % 7);
  const std::int32_t zeros[kLanes] = {};
  const VW w = vw_load(weights);
  VX x = vx_set(static_cast<std::int32_t>(0x01010101u * ((kInputOffset + 1) & 0xff)));
  VI sum[kChains];
  PQRNN_UNROLL
  for (int k = 0; k < kChains; ++k) sum[k] = vi_load(zeros);
  for (std::int64_t i = 0; i < rounds; ++i) {
    PQRNN_UNROLL
    for (int k = 0; k < kChains; ++k) {
      vx_opaque(x);
      sum[k] = vi_dot(sum[k], x, w);
    }
  }
  VI total = vi_load(zeros);
  PQRNN_UNROLL
  for (int k = 0; k < kChains; ++k) total = vi_add(total, sum[k]);
  std::int32_t found[kLanes];
  vi_store(found, total);
  const std::uint32_t times = kChains * static_cast<std::uint32_t>(rounds);  // modulo 2^32
  for (std::size_t j = 0; j < kLanes; ++j) {
    const auto once = static_cast<std::uint32_t>(4 * (j % 7));
    if (static_cast<std::uint32_t>(found[j]) != once * times) return 0;
  }
  return rounds * kChains * static_cast<std::int64_t>(4 * kLanes);
}

static constexpr Int8Kernels int8_kernels = {
    kLanes,          kInputOffset, kTernaryOffset, kSparse,   int8_linear,
    int8_relu,       int8_gather,  int8_qrnn,      int8_taps, int8_dot,
    int8_add_scaled, int8_softmax, int8_sigmoid,   int8_peak};
