// Kernels of the 8-bit engine, included once per instruction set inside its own namespace.
// No STL, no external inline function: see cmake/isa.cmake.
// This header has no include guard on purpose: it belongs to body.h.

#include "kernels/body_int8_vector.h"
#include "kernels/body_int8_product.h"
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

// A tile as in int8_product() whose weights stay in registers. Inputs are read anew in every round,
// or compilers would take products out of the loop.
static std::int64_t int8_peak(std::int64_t rounds) {
  constexpr int kGroups = 3, kRows = Int8Tile<kGroups>::rows;
  constexpr std::size_t kSize = kGroups * kLanes * 4;
  std::int32_t inputs[kRows];
  for (int r = 0; r < kRows; ++r) inputs[r] = 0x01010101 * ((kInputOffset + 1) & 0xff);
  std::int8_t weights[kSize];
  for (std::size_t j = 0; j < kSize; ++j) weights[j] = static_cast<std::int8_t>(j / 4 % 7);
  const std::int32_t zeros[kLanes] = {};
  VI sum[kRows][kGroups];
  VW w[kGroups];
  PQRNN_UNROLL
  for (int g = 0; g < kGroups; ++g) {
    w[g] = vw_load(weights + g * kLanes * 4);
    PQRNN_UNROLL
    for (int r = 0; r < kRows; ++r) sum[r][g] = vi_load(zeros);
  }
  for (std::int64_t i = 0; i < rounds; ++i) {
#if defined(__GNUC__)
    __asm__ __volatile__("" : : "r"(inputs) : "memory");  // who knows, they may have changed
#endif
    PQRNN_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const VX x = vx_set(inputs[r]);
      PQRNN_UNROLL
      for (int g = 0; g < kGroups; ++g) sum[r][g] = vi_dot(sum[r][g], x, w[g]);
    }
  }
  std::int32_t found[kGroups * kLanes];
  PQRNN_UNROLL
  for (int g = 0; g < kGroups; ++g) {
    VI total = vi_load(zeros);
    PQRNN_UNROLL
    for (int r = 0; r < kRows; ++r) total = vi_add(total, sum[r][g]);
    vi_store(found + g * kLanes, total);
  }
  const std::uint32_t times = kRows * static_cast<std::uint32_t>(rounds);  // modulo 2^32
  for (std::size_t j = 0; j < kGroups * kLanes; ++j) {
    const auto once = static_cast<std::uint32_t>(4 * (j % 7));
    if (static_cast<std::uint32_t>(found[j]) != once * times) return 0;
  }
  return rounds * kRows * static_cast<std::int64_t>(kSize);
}

static constexpr Int8Kernels int8_kernels = {
    kLanes,   kInputOffset,    int8_linear,  int8_relu,    int8_qrnn, int8_taps,
    int8_dot, int8_add_scaled, int8_softmax, int8_sigmoid, int8_peak};
