// Sigmoid and tanh of the recurrence, within a few units in the last place of the storage type, NaN
// passed on.
#pragma once

#include <cmath>

#include "cuda/hd.h"

namespace pqrnn::cuda {

// exp and 1 / x as the special function unit has them: 2 ulp each, more for |x| > 10 in exp, where
// a gate is saturated.
PQRNN_HD float fast_exp(float x) {
#if defined(__CUDA_ARCH__)
  return __expf(x);
#else
  return std::exp(x);
#endif
}
PQRNN_HD double fast_exp(double x) { return exp(x); }

PQRNN_HD float fast_quotient(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fdividef(a, b);
#else
  return a / b;
#endif
}
PQRNN_HD double fast_quotient(double a, double b) { return a / b; }

// An infinite exp gives 0, as it should.
template <class A>
PQRNN_HD A sigmoid(A x) {
  return fast_quotient(A(1), A(1) + fast_exp(-x));
}

PQRNN_HD double hyperbolic_tangent(double x) { return tanh(x); }

// 1 - 2 / (exp(2x) + 1) cancels near 0; below 0.2 the Taylor sum to x^7 is exact to 6e-8 of x.
PQRNN_HD float hyperbolic_tangent(float x) {
  const float square = x * x;
  const float near =
      x + x * square * (-0.33333333f + square * (0.13333333f + square * -0.053968254f));
  const float far = 1.0f - fast_quotient(2.0f, fast_exp(2.0f * x) + 1.0f);
  return square < 0.04f ? near : far;
}

// As the special function unit has it, in one instruction: within 2^-11 of the value, a quarter of
// a step of bfloat16, for which it is. exp and a quotient would be two, and bfloat16 moves so few
// bytes that the unit would be the limit.
PQRNN_HD float coarse_tangent(float x) {
#if defined(__CUDA_ARCH__)
  float y;
  asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return std::tanh(x);
#endif
}
PQRNN_HD double coarse_tangent(double x) { return tanh(x); }

}  // namespace pqrnn::cuda
