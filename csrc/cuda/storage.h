// Storage types, their packs for wide loads, and the way to and from arithmetic types.
#pragma once

#include <cmath>
#include <cstring>

#include "cuda/hd.h"

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace pqrnn::cuda {

struct Half {
  std::uint16_t bits;
};
struct Bfloat16 {
  std::uint16_t bits;
};

enum class Element : int { f32 = 0, bf16 = 1, f64 = 2, f16 = 3 };  // arithmetic: float but for f64

template <class S>
struct ArithmeticOf {
  using type = float;
};
template <>
struct ArithmeticOf<double> {
  using type = double;
};
template <class S>
using Arithmetic = typename ArithmeticOf<S>::type;

// Channels of one thread: a warp reads 128 neighbouring bytes of a row (256 for double).
template <class S>
constexpr int kChannels = sizeof(S) == 2 ? 2 : 1;

template <class S, int V>
struct alignas(sizeof(S) * V) Pack {
  S lane[V];
};

template <class To, class From>
PQRNN_HD To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof(To));
  return to;
}

PQRNN_HD float widen(float value) { return value; }
PQRNN_HD double widen(double value) { return value; }
PQRNN_HD float widen(Bfloat16 value) {
  return bits_as<float>(static_cast<std::uint32_t>(value.bits) << 16);
}
PQRNN_HD float widen(Half value) {
#if defined(__CUDA_ARCH__)
  return __half2float(bits_as<__half>(value.bits));
#else
  const std::uint32_t sign = static_cast<std::uint32_t>(value.bits & 0x8000u) << 16;
  const std::uint32_t exponent = (value.bits >> 10) & 31u, mantissa = value.bits & 1023u;
  if (exponent == 0) {  // subnormal: mantissa * 2^-24
    const float size = static_cast<float>(mantissa) * 5.9604644775390625e-8f;
    return sign ? -size : size;
  }
  const std::uint32_t wide = exponent == 31 ? 255u : exponent + 112u;
  return bits_as<float>(sign | (wide << 23) | (mantissa << 13));
#endif
}

PQRNN_HD void narrow(float value, float& out) { out = value; }
PQRNN_HD void narrow(double value, double& out) { out = value; }
PQRNN_HD void narrow(float value, Bfloat16& out) {
#if defined(__CUDA_ARCH__)
  out.bits = bits_as<std::uint16_t>(__float2bfloat16_rn(value));
#else
  const std::uint32_t bits = bits_as<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;  // half to even
  out.bits = static_cast<std::uint16_t>(value != value ? 0x7fc0u : rounded);
#endif
}
PQRNN_HD void narrow(float value, Half& out) {
#if defined(__CUDA_ARCH__)
  out.bits = bits_as<std::uint16_t>(__float2half_rn(value));
#else
  const std::uint32_t bits = bits_as<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000u, size = bits & 0x7fffffffu;
  if (size > 0x7f800000u) {
    out.bits = 0x7e00u;
  } else if (size >= 0x477ff000u) {  // rounds to 65536 or more
    out.bits = static_cast<std::uint16_t>(sign | 0x7c00u);
  } else if (size < 0x38800000u) {  // below 2^-14: subnormal, steps of 2^-24
    const float steps = bits_as<float>(size) * 16777216.0f;
    out.bits = static_cast<std::uint16_t>(sign | static_cast<std::uint32_t>(nearbyintf(steps)));
  } else {
    const std::uint32_t rounded = size + 0xfffu + ((size >> 13) & 1u) - 0x38000000u;
    out.bits = static_cast<std::uint16_t>(sign | (rounded >> 13));
  }
#endif
}

template <class S, int V>
PQRNN_HD Pack<S, V> load_pack(const S* from) {
  return *reinterpret_cast<const Pack<S, V>*>(from);
}

template <class S, int V, class A>
PQRNN_HD void store_pack(const A (&values)[V], S* to) {
  Pack<S, V> pack;
  PQRNN_UNROLL
  for (int v = 0; v < V; ++v) narrow(values[v], pack.lane[v]);
  *reinterpret_cast<Pack<S, V>*>(to) = pack;
}

template <class S, int V>
PQRNN_HD void store_zeros(S* to) {
  *reinterpret_cast<Pack<S, V>*>(to) = Pack<S, V>{};
}

}  // namespace pqrnn::cuda
