// The vector of this instruction set: kLanes floats and the dozen operations that the dense
// and Viterbi kernels need. With plain arrays GCC 12 keeps no tile of sums in registers in the
// generic build (10 instead of 45 GFLOP/s, 128 rows). For AVX2 and AVX-512 it does, and on a Zen 5
// they are equally fast (121 and 241 GFLOP/s of 125 and 250), but as our builds fuse no a * b + c
// on their own, CPUs that lack separate adders would lose half.
//
// This header has no include guard on purpose: it belongs to body.h.

#if defined(__AVX512F__)

using V = __m512;
constexpr std::size_t kLanes = 16;
constexpr int kRegisters = 32;
inline V v_load(const float* p) { return _mm512_loadu_ps(p); }
inline void v_store(float* p, V x) { _mm512_storeu_ps(p, x); }
inline V v_set(float x) { return _mm512_set1_ps(x); }
inline V v_add(V a, V b) { return _mm512_add_ps(a, b); }
inline V v_sub(V a, V b) { return _mm512_sub_ps(a, b); }
inline V v_mul(V a, V b) { return _mm512_mul_ps(a, b); }
inline V v_div(V a, V b) { return _mm512_div_ps(a, b); }
inline V v_fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }  // a * b + c
inline V v_min(V a, V b) { return _mm512_min_ps(a, b); }            // b when one is NaN
inline V v_max(V a, V b) { return _mm512_max_ps(a, b); }            // b when one is NaN
inline V v_if_greater(V a, V b, V x, V y) {                         // a > b ? x : y
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), y, x);
}
inline V v_round(V x) { return _mm512_roundscale_ps(x, 0x08); }  // to nearest, no exception
inline V v_exp2(V n) {                                           // n integral, -126..127
  return _mm512_castsi512_ps(
      _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
}

#elif defined(__AVX2__)

using V = __m256;
constexpr std::size_t kLanes = 8;
constexpr int kRegisters = 16;
inline V v_load(const float* p) { return _mm256_loadu_ps(p); }
inline void v_store(float* p, V x) { _mm256_storeu_ps(p, x); }
inline V v_set(float x) { return _mm256_set1_ps(x); }
inline V v_add(V a, V b) { return _mm256_add_ps(a, b); }
inline V v_sub(V a, V b) { return _mm256_sub_ps(a, b); }
inline V v_mul(V a, V b) { return _mm256_mul_ps(a, b); }
inline V v_div(V a, V b) { return _mm256_div_ps(a, b); }
inline V v_fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
inline V v_min(V a, V b) { return _mm256_min_ps(a, b); }
inline V v_max(V a, V b) { return _mm256_max_ps(a, b); }
inline V v_if_greater(V a, V b, V x, V y) {
  return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_GT_OQ));
}
inline V v_round(V x) { return _mm256_round_ps(x, 0x08); }
inline V v_exp2(V n) {
  return _mm256_castsi256_ps(
      _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}

#elif defined(__SSE2__) || defined(_M_X64)

using V = __m128;
constexpr std::size_t kLanes = 4;
constexpr int kRegisters = 14;  // 16, but a product without FMA needs room for itself
inline V v_load(const float* p) { return _mm_loadu_ps(p); }
inline void v_store(float* p, V x) { _mm_storeu_ps(p, x); }
inline V v_set(float x) { return _mm_set1_ps(x); }
inline V v_add(V a, V b) { return _mm_add_ps(a, b); }
inline V v_sub(V a, V b) { return _mm_sub_ps(a, b); }
inline V v_mul(V a, V b) { return _mm_mul_ps(a, b); }
inline V v_div(V a, V b) { return _mm_div_ps(a, b); }
inline V v_fma(V a, V b, V c) { return _mm_add_ps(_mm_mul_ps(a, b), c); }
inline V v_min(V a, V b) { return _mm_min_ps(a, b); }
inline V v_max(V a, V b) { return _mm_max_ps(a, b); }
inline V v_if_greater(V a, V b, V x, V y) {
  const V greater = _mm_cmpgt_ps(a, b);
  return _mm_or_ps(_mm_and_ps(greater, x), _mm_andnot_ps(greater, y));
}
inline V v_round(V x) { return _mm_cvtepi32_ps(_mm_cvtps_epi32(x)); }
inline V v_exp2(V n) {
  return _mm_castsi128_ps(
      _mm_slli_epi32(_mm_add_epi32(_mm_cvtps_epi32(n), _mm_set1_epi32(127)), 23));
}

#elif defined(__aarch64__) || defined(_M_ARM64)

using V = float32x4_t;
constexpr std::size_t kLanes = 4;
constexpr int kRegisters = 32;
inline V v_load(const float* p) { return vld1q_f32(p); }
inline void v_store(float* p, V x) { vst1q_f32(p, x); }
inline V v_set(float x) { return vdupq_n_f32(x); }
inline V v_add(V a, V b) { return vaddq_f32(a, b); }
inline V v_sub(V a, V b) { return vsubq_f32(a, b); }
inline V v_mul(V a, V b) { return vmulq_f32(a, b); }
inline V v_div(V a, V b) { return vdivq_f32(a, b); }
inline V v_fma(V a, V b, V c) { return vfmaq_f32(c, a, b); }
// As on x86, the second operand when one is NaN.
inline V v_min(V a, V b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
inline V v_max(V a, V b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
inline V v_if_greater(V a, V b, V x, V y) { return vbslq_f32(vcgtq_f32(a, b), x, y); }
inline V v_round(V x) { return vrndnq_f32(x); }
inline V v_exp2(V n) {
  return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127)), 23));
}

#elif defined(__wasm_simd128__)

using V = v128_t;
constexpr std::size_t kLanes = 4;
constexpr int kRegisters = 14;  // an engine on x86-64 has 16, and a product without FMA needs room
inline V v_load(const float* p) { return wasm_v128_load(p); }
inline void v_store(float* p, V x) { wasm_v128_store(p, x); }
inline V v_set(float x) { return wasm_f32x4_splat(x); }
inline V v_add(V a, V b) { return wasm_f32x4_add(a, b); }
inline V v_sub(V a, V b) { return wasm_f32x4_sub(a, b); }
inline V v_mul(V a, V b) { return wasm_f32x4_mul(a, b); }
inline V v_div(V a, V b) { return wasm_f32x4_div(a, b); }
inline V v_fma(V a, V b, V c) { return wasm_f32x4_add(wasm_f32x4_mul(a, b), c); }
inline V v_min(V a, V b) { return wasm_f32x4_pmin(b, a); }  // a < b ? a : b
inline V v_max(V a, V b) { return wasm_f32x4_pmax(b, a); }  // a > b ? a : b
inline V v_if_greater(V a, V b, V x, V y) { return wasm_v128_bitselect(x, y, wasm_f32x4_gt(a, b)); }
inline V v_round(V x) { return wasm_f32x4_nearest(x); }
inline V v_exp2(V n) {
  return wasm_i32x4_shl(wasm_i32x4_add(wasm_i32x4_trunc_sat_f32x4(n), wasm_i32x4_splat(127)), 23);
}

#else

// One float at a time, for every other platform.
using V = float;
constexpr std::size_t kLanes = 1;
constexpr int kRegisters = 16;
inline V v_load(const float* p) { return *p; }
inline void v_store(float* p, V x) { *p = x; }
inline V v_set(float x) { return x; }
inline V v_add(V a, V b) { return a + b; }
inline V v_sub(V a, V b) { return a - b; }
inline V v_mul(V a, V b) { return a * b; }
inline V v_div(V a, V b) { return a / b; }
inline V v_fma(V a, V b, V c) { return a * b + c; }
inline V v_min(V a, V b) { return a < b ? a : b; }
inline V v_max(V a, V b) { return a > b ? a : b; }
inline V v_if_greater(V a, V b, V x, V y) { return a > b ? x : y; }
// Adding and taking away 1.5 * 2^23 leaves no room for a fraction; |x| < 2^22.
inline V v_round(V x) { return (x + 12582912.0f) - 12582912.0f; }
inline V v_exp2(V n) {
  union {
    std::int32_t bits;
    float value;
  } scale = {n == n ? (static_cast<std::int32_t>(n) + 127) * (1 << 23) : 0};
  return scale.value;
}

#endif
