// Storage types, exp, tanh and sigmoid for the recurrence, as branch-free code that compilers
// vectorise.

using bf16 = std::uint16_t;  // the upper half of a float32

static inline float widen(float value) { return value; }
static inline double widen(double value) { return value; }
static inline float widen(bf16 value) {
  const std::uint32_t bits = static_cast<std::uint32_t>(value) << 16;
  float out;
  memcpy(&out, &bits, 4);
  return out;
}

static inline void narrow(float value, float& out) { out = value; }
static inline void narrow(double value, double& out) { out = value; }
static inline void narrow(float value, bf16& out) {
  std::uint32_t bits;
  memcpy(&bits, &value, 4);
  // Round half to even; a NaN must not be rounded up to infinity.
  const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  out = static_cast<bf16>(value != value ? 0x7fc0u : rounded);
}

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

// a * b + c, in one step where the CPU has one (our builds contract nothing on their own).
#if defined(__FMA__) || defined(__aarch64__)
static PQRNN_INLINE float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static PQRNN_INLINE double fused(double a, double b, double c) { return __builtin_fma(a, b, c); }
#else
static PQRNN_INLINE float fused(float a, float b, float c) { return a * b + c; }
static PQRNN_INLINE double fused(double a, double b, double c) { return a * b + c; }
#endif

// exp(x) = 2^n * (1 + p), p = exp(r) - 1, n = round(x / ln 2), r = x - n ln 2, |r| <= 0.347.
// p is its Taylor sum; the first term left out is below 2^-25 (float) or 2^-55 (double) of r.
// x must lie in [-87, 88] (float) or [-700, 700] (double), or be NaN.
struct Split32 {
  float p, power;  // power = 2^n
};
struct Split64 {
  double p, power;
};

static PQRNN_INLINE Split32 split_exp(float x) {
  constexpr float round_magic =
      12582912.0f;  // 1.5 * 2^23: adding it leaves an integer in the low bits
  const float shifted = fused(x, 1.44269504f, round_magic);
  const float n = shifted - round_magic;
  const float r = fused(n, 2.12194440e-4f, fused(n, -0.693359375f, x));
  float p = 1.0f / 5040;
  p = fused(p, r, 1.0f / 720);
  p = fused(p, r, 1.0f / 120);
  p = fused(p, r, 1.0f / 24);
  p = fused(p, r, 1.0f / 6);
  p = fused(p, r, 0.5f);
  p = fused(p * r, r, r);
  std::uint32_t bits;
  memcpy(&bits, &shifted, 4);
  bits = (bits + 127u) << 23;  // the magic number's own bits are shifted out
  float power;
  memcpy(&power, &bits, 4);
  return {p, power};
}

static PQRNN_INLINE Split64 split_exp(double x) {
  constexpr double round_magic = 6755399441055744.0;  // 1.5 * 2^52
  const double shifted = fused(x, 1.4426950408889634, round_magic);
  const double n = shifted - round_magic;
  const double r = fused(n, -1.9082149292705877e-10, fused(n, -0.6931471803691238, x));
  double p = 1.0 / 6227020800;  // 1 / 13!
  p = fused(p, r, 1.0 / 479001600);
  p = fused(p, r, 1.0 / 39916800);
  p = fused(p, r, 1.0 / 3628800);
  p = fused(p, r, 1.0 / 362880);
  p = fused(p, r, 1.0 / 40320);
  p = fused(p, r, 1.0 / 5040);
  p = fused(p, r, 1.0 / 720);
  p = fused(p, r, 1.0 / 120);
  p = fused(p, r, 1.0 / 24);
  p = fused(p, r, 1.0 / 6);
  p = fused(p, r, 0.5);
  p = fused(p * r, r, r);
  std::uint64_t bits;
  memcpy(&bits, &shifted, 8);
  bits = (bits + 1023u) << 52;
  double power;
  memcpy(&power, &bits, 8);
  return {p, power};
}

// Comparisons are written so that a NaN passes through.
template <class A>
static PQRNN_INLINE A clamp(A x, A low, A high) {
  x = x < low ? low : x;
  return x > high ? high : x;
}

template <class A>
static PQRNN_INLINE A sigmoid(A x) {
  const auto e = split_exp(clamp<A>(-x, -87, 87));
  return 1 / (1 + fused(e.power, e.p, e.power));
}

// tanh(x) = m / (m + 2), m = exp(2x) - 1: no cancellation near 0. Beyond 20 it is 1 in double.
template <class A>
static PQRNN_INLINE A hyperbolic_tangent(A x) {
  const auto e = split_exp(clamp<A>(2 * x, -40, 40));
  const A m = fused(e.power, e.p, e.power - 1);
  return m / (m + 2);
}
