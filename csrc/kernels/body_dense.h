// Dense kernels, included once per instruction set inside its own namespace.
// No STL, no external inline function: see cmake/isa.cmake.
// This header has no include guard on purpose: it belongs to body.h.

#include "kernels/body_vector.h"
#include "kernels/body_activation.h"
#include "kernels/body_product.h"
#include "kernels/body_qrnn.h"
#include "kernels/body_ternary.h"

static float dot(const float* a, const float* b, std::size_t count) {
  V sum = v_set(0.0f);
  for (std::size_t j = 0; j < count; j += kLanes) sum = v_fma(v_load(a + j), v_load(b + j), sum);
  float lanes[kLanes];
  v_store(lanes, sum);
  for (std::size_t half = kLanes / 2; half > 0; half /= 2) {
    for (std::size_t j = 0; j < half; ++j) lanes[j] += lanes[j + half];
  }
  return lanes[0];
}

static void add_scaled(float scale, const float* x, float* y, std::size_t count) {
  for (std::size_t j = 0; j < count; ++j) y[j] += scale * x[j];
}

static constexpr DenseKernels dense_kernels = {
    kLanes,        ternary,         qrnn, taps, linear, dot, add_scaled, sigmoid_in_place,
    tanh_in_place, softmax_in_place};
