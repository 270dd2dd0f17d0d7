// exp, sigmoid, tanh and softmax. The coefficients are minimax fits of the relative error (weighted
// least squares, iterated) made for this file. Every element gets the same operations wherever it
// stands.
// This header has no include guard on purpose: it belongs to body.h.

// exp(x) = 2^n exp(r), r = x - n log(2) in [-log(2)/2, log(2)/2]; log(2) in two parts, the first
// with so few bits that n times it is exact. x is clamped to [-87.3, 88]; NaN stays NaN.
inline V v_exp(V x) {
  x = v_max(v_set(-87.3f), v_min(v_set(88.0f), x));
  const V n = v_round(v_mul(x, v_set(1.44269504f)));
  V r = v_fma(n, v_set(-0.693145752f), x);
  r = v_fma(n, v_set(-1.42860677e-6f), r);
  V p = v_set(0.001381459878757596f);
  p = v_fma(p, r, v_set(0.008368716575205326f));
  p = v_fma(p, r, v_set(0.04166838899254799f));
  p = v_fma(p, r, v_set(0.1666652113199234f));
  p = v_fma(p, r, v_set(0.4999999403953552f));
  p = v_fma(p, v_mul(r, r), r);
  return v_mul(v_add(p, v_set(1.0f)), v_exp2(n));
}

inline V v_sigmoid(V x) {
  const V one = v_set(1.0f);
  return v_div(one, v_add(one, v_exp(v_sub(v_set(0.0f), x))));
}

// x P(x^2) / Q(x^2) on [-9.02, 9.02], where float tanh has reached 1.
inline V v_tanh(V x) {
  x = v_max(v_set(-9.02f), v_min(v_set(9.02f), x));
  const V u = v_mul(x, x);
  V p = v_set(1.3318768310455198e-08f);
  V q = v_set(7.76189324369625e-07f);
  p = v_fma(p, u, v_set(2.058325662801508e-05f));
  q = v_fma(q, u, v_set(0.00032830704003572464f));
  p = v_fma(p, u, v_set(0.0034940207842737436f));
  q = v_fma(q, u, v_set(0.025871021673083305f));
  p = v_fma(p, u, v_set(0.1337970644235611f));
  q = v_fma(q, u, v_set(0.46713021397590637f));
  p = v_fma(p, u, v_set(1.0f));
  q = v_fma(q, u, v_set(1.0f));
  const V t = v_div(v_mul(x, p), q);
  return v_max(v_set(-1.0f), v_min(v_set(1.0f), t));
}

template <V (*function)(V)>
inline void map_in_place(float* x, std::size_t count) {
  std::size_t j = 0;
  for (; j + kLanes <= count; j += kLanes) v_store(x + j, function(v_load(x + j)));
  if (j == count) return;
  float tail[kLanes] = {};
  for (std::size_t i = j; i < count; ++i) tail[i - j] = x[i];
  v_store(tail, function(v_load(tail)));
  for (std::size_t i = j; i < count; ++i) x[i] = tail[i - j];
}

static void sigmoid_in_place(float* x, std::size_t count) { map_in_place<v_sigmoid>(x, count); }

static void tanh_in_place(float* x, std::size_t count) { map_in_place<v_tanh>(x, count); }

static void softmax_in_place(float* x, std::size_t count) {
  float largest = x[0];
  for (std::size_t j = 1; j < count; ++j) largest = x[j] > largest ? x[j] : largest;
  for (std::size_t j = 0; j < count; ++j) x[j] -= largest;
  map_in_place<v_exp>(x, count);
  double sum = 0.0;
  for (std::size_t j = 0; j < count; ++j) sum += x[j];
  const float scale = static_cast<float>(1.0 / sum);
  for (std::size_t j = 0; j < count; ++j) x[j] *= scale;
}
