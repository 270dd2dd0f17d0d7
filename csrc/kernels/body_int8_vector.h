// Integer vectors of this instruction set: kLanes sums of int32, and the step at the heart of 8-bit
// products: four inputs of a row times four weights of each column. All of them are exact.
//
//   VI  kLanes int32        VX  four inputs of one row, for every lane       VW  four weights of
//   each
// vx_opaque() makes compilers believe that the inputs have changed. Where PQRNN_BYTE_PAIRS is
// defined, vi_pairs() makes 2 kLanes sums of int16 of products of inputs two by two, vi_join() adds
// those to sums of int32, and zips put bytes, and pairs of bytes, of two vectors side by side
// within each 16 bytes: see body_int8_ternary.h and body_int8_sparse.h.
//
// This header has no include guard on purpose: it belongs to body.h.

#if defined(__GNUC__)
#define PQRNN_OPAQUE(assembly) assembly
#else
#define PQRNN_OPAQUE(assembly) (void)x;
#endif

#if defined(__AVX512F__)

using VI = __m512i;
inline VI vi_load(const std::int32_t* p) { return _mm512_loadu_si512(p); }
inline void vi_store(std::int32_t* p, VI x) { _mm512_storeu_si512(p, x); }
inline VI vi_add(VI a, VI b) { return _mm512_add_epi32(a, b); }
inline V vi_to_float(VI x) { return _mm512_cvtepi32_ps(x); }
// To nearest even integers plus `offset` as bytes, |x| < 2^22, results in 0..255.
inline void v_store_bytes(std::uint8_t* p, V x, int offset) {
  const VI whole = vi_add(_mm512_cvtps_epi32(x), _mm512_set1_epi32(offset));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(whole));
}

#if defined(__AVX512VNNI__)
using VX = __m512i;
using VW = __m512i;
constexpr int kInputOffset = 0;
constexpr int kWeightRegisters = 1;
constexpr int kInputRegisters = 1;
inline VX vx_set(std::int32_t four) { return _mm512_set1_epi32(four); }
inline VW vw_load(const std::int8_t* p) { return _mm512_loadu_si512(p); }
inline void vx_opaque(VX& x) { PQRNN_OPAQUE(__asm__ __volatile__("" : "+v"(x));) }
inline VI vi_dot(VI sum, VX x, VW w) { return _mm512_dpbusd_epi32(sum, x, w); }
#else
// As 16-bit pairs, because pairs of products do not fit 16 bits: even inputs, odd inputs.
struct VX {
  __m512i even, odd;
};
using VW = VX;
constexpr int kInputOffset = 0;
constexpr int kWeightRegisters = 2;
constexpr int kInputRegisters = 2;
inline VX vx_set(std::int32_t four) {
  const __m512i x = _mm512_set1_epi32(four);
  return {_mm512_and_si512(x, _mm512_set1_epi16(0xff)), _mm512_srli_epi16(x, 8)};
}
inline VW vw_load(const std::int8_t* p) {
  const __m512i w = _mm512_loadu_si512(p);
  return {_mm512_srai_epi16(_mm512_slli_epi16(w, 8), 8), _mm512_srai_epi16(w, 8)};
}
inline void vx_opaque(VX& x) { PQRNN_OPAQUE(__asm__ __volatile__("" : "+v"(x.even), "+v"(x.odd));) }
inline VI vi_dot(VI sum, VX x, VW w) {
  return vi_add(sum, vi_add(_mm512_madd_epi16(x.even, w.even), _mm512_madd_epi16(x.odd, w.odd)));
}
#define PQRNN_BYTE_PAIRS 1
inline VI vi_set(std::int32_t four) { return _mm512_set1_epi32(four); }
inline VI vi_pairs(VI x, VI w) { return _mm512_maddubs_epi16(x, w); }
inline VI vi_add_pairs(VI a, VI b) { return _mm512_add_epi16(a, b); }
inline VI vi_zip_bytes_low(VI a, VI b) { return _mm512_unpacklo_epi8(a, b); }
inline VI vi_zip_bytes_high(VI a, VI b) { return _mm512_unpackhi_epi8(a, b); }
inline VI vi_zip_pairs_low(VI a, VI b) { return _mm512_unpacklo_epi16(a, b); }
inline VI vi_zip_pairs_high(VI a, VI b) { return _mm512_unpackhi_epi16(a, b); }
inline VI vi_join(VI sum, VI pairs) {
  return vi_add(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}
#endif

#elif defined(__AVX2__)

using VI = __m256i;
inline VI vi_load(const std::int32_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
inline void vi_store(std::int32_t* p, VI x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x);
}
inline VI vi_add(VI a, VI b) { return _mm256_add_epi32(a, b); }
inline V vi_to_float(VI x) { return _mm256_cvtepi32_ps(x); }
inline void v_store_bytes(std::uint8_t* p, V x, int offset) {
  const VI whole = vi_add(_mm256_cvtps_epi32(x), _mm256_set1_epi32(offset));
  const __m128i words =
      _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
}
// Both sides signed: then pairs of products fit 16 bits, since no weight is -128. The instruction
// wants one side unsigned, so that weights take over the signs of inputs.
struct VX {
  __m256i whole, size;
};
using VW = __m256i;
constexpr int kInputOffset = 128;
constexpr int kWeightRegisters = 1;
constexpr int kInputRegisters = 4;  // an input, a product, and ones
inline VX vx_set(std::int32_t four) {
  const __m256i x = _mm256_xor_si256(_mm256_set1_epi32(four), _mm256_set1_epi32(-0x7f7f7f80));
  return {x, _mm256_abs_epi8(x)};
}
inline VW vw_load(const std::int8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
inline void vx_opaque(VX& x) {
  PQRNN_OPAQUE(__asm__ __volatile__("" : "+x"(x.whole), "+x"(x.size));)
}
#define PQRNN_BYTE_PAIRS 1
inline VI vi_set(std::int32_t four) { return _mm256_set1_epi32(four); }
inline VI vi_pairs(VI x, VI w) { return _mm256_maddubs_epi16(x, w); }
inline VI vi_add_pairs(VI a, VI b) { return _mm256_add_epi16(a, b); }
inline VI vi_zip_bytes_low(VI a, VI b) { return _mm256_unpacklo_epi8(a, b); }
inline VI vi_zip_bytes_high(VI a, VI b) { return _mm256_unpackhi_epi8(a, b); }
inline VI vi_zip_pairs_low(VI a, VI b) { return _mm256_unpacklo_epi16(a, b); }
inline VI vi_zip_pairs_high(VI a, VI b) { return _mm256_unpackhi_epi16(a, b); }
inline VI vi_join(VI sum, VI pairs) {
  return vi_add(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
inline VI vi_dot(VI sum, VX x, VW w) {
  return vi_join(sum, vi_pairs(x.size, _mm256_sign_epi8(w, x.whole)));
}

#elif defined(__SSE2__) || defined(_M_X64)

using VI = __m128i;
inline VI vi_load(const std::int32_t* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
inline void vi_store(std::int32_t* p, VI x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), x); }
inline VI vi_add(VI a, VI b) { return _mm_add_epi32(a, b); }
inline V vi_to_float(VI x) { return _mm_cvtepi32_ps(x); }
inline void v_store_bytes(std::uint8_t* p, V x, int offset) {
  const VI whole = vi_add(_mm_cvtps_epi32(x), _mm_set1_epi32(offset));
  const __m128i words = _mm_packs_epi32(whole, whole);
  const std::int32_t four = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
  memcpy(p, &four, 4);
}
struct VX {
  __m128i even, odd;
};
using VW = VX;
constexpr int kInputOffset = 0;
constexpr int kWeightRegisters = 2;
constexpr int kInputRegisters = 2;
inline VX vx_set(std::int32_t four) {
  const __m128i x = _mm_set1_epi32(four);
  return {_mm_and_si128(x, _mm_set1_epi16(0xff)), _mm_srli_epi16(x, 8)};
}
inline VW vw_load(const std::int8_t* p) {
  const __m128i w = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm_srai_epi16(_mm_slli_epi16(w, 8), 8), _mm_srai_epi16(w, 8)};
}
inline void vx_opaque(VX& x) { PQRNN_OPAQUE(__asm__ __volatile__("" : "+x"(x.even), "+x"(x.odd));) }
inline VI vi_dot(VI sum, VX x, VW w) {
  return vi_add(sum, vi_add(_mm_madd_epi16(x.even, w.even), _mm_madd_epi16(x.odd, w.odd)));
}

#elif defined(__aarch64__) || defined(_M_ARM64)

using VI = int32x4_t;
inline VI vi_load(const std::int32_t* p) { return vld1q_s32(p); }
inline void vi_store(std::int32_t* p, VI x) { vst1q_s32(p, x); }
inline VI vi_add(VI a, VI b) { return vaddq_s32(a, b); }
inline V vi_to_float(VI x) { return vcvtq_f32_s32(x); }
inline void v_store_bytes(std::uint8_t* p, V x, int offset) {
  const VI whole = vi_add(vcvtnq_s32_f32(x), vdupq_n_s32(offset));
  const int16x4_t words = vqmovn_s32(whole);
  const uint8x8_t bytes = vqmovun_s16(vcombine_s16(words, words));
  const std::uint32_t four = vget_lane_u32(vreinterpret_u32_u8(bytes), 0);
  memcpy(p, &four, 4);
}
// Signed products: inputs lose 128 by turning their highest bit over.
using VX = int8x16_t;
using VW = int8x16_t;
constexpr int kInputOffset = 128;
constexpr int kWeightRegisters = 1;
constexpr int kInputRegisters = 1;
inline VX vx_set(std::int32_t four) {
  return vreinterpretq_s8_s32(veorq_s32(vdupq_n_s32(four), vdupq_n_s32(-0x7f7f7f80)));
}
inline VW vw_load(const std::int8_t* p) { return vld1q_s8(p); }
inline void vx_opaque(VX& x) { PQRNN_OPAQUE(__asm__ __volatile__("" : "+w"(x));) }
inline VI vi_dot(VI sum, VX x, VW w) {
#if defined(__ARM_FEATURE_DOTPROD)
  return vdotq_s32(sum, x, w);
#else
  const int16x8_t low = vmull_s8(vget_low_s8(x), vget_low_s8(w));
  const int16x8_t high = vmull_s8(vget_high_s8(x), vget_high_s8(w));
  return vi_add(sum, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
#endif
}

#elif defined(__wasm_simd128__)

using VI = v128_t;
inline VI vi_load(const std::int32_t* p) { return wasm_v128_load(p); }
inline void vi_store(std::int32_t* p, VI x) { wasm_v128_store(p, x); }
inline VI vi_add(VI a, VI b) { return wasm_i32x4_add(a, b); }
inline V vi_to_float(VI x) { return wasm_f32x4_convert_i32x4(x); }
inline void v_store_bytes(std::uint8_t* p, V x, int offset) {
  const VI whole = vi_add(wasm_i32x4_trunc_sat_f32x4(v_round(x)), wasm_i32x4_splat(offset));
  const v128_t words = wasm_i16x8_narrow_i32x4(whole, whole);
  wasm_v128_store32_lane(p, wasm_u8x16_narrow_i16x8(words, words), 0);
}
struct VX {
  v128_t even, odd;
};
using VW = VX;
constexpr int kInputOffset = 0;
constexpr int kWeightRegisters = 2;
constexpr int kInputRegisters = 2;
inline VX vx_set(std::int32_t four) {
  const v128_t x = wasm_i32x4_splat(four);
  return {wasm_v128_and(x, wasm_i16x8_splat(0xff)), wasm_u16x8_shr(x, 8)};
}
inline VW vw_load(const std::int8_t* p) {
  const v128_t w = wasm_v128_load(p);
  return {wasm_i16x8_shr(wasm_i16x8_shl(w, 8), 8), wasm_i16x8_shr(w, 8)};
}
inline void vx_opaque(VX& x) { PQRNN_OPAQUE(__asm__ __volatile__("" : "+r"(x.even), "+r"(x.odd));) }
inline VI vi_dot(VI sum, VX x, VW w) {
  return vi_add(sum,
                vi_add(wasm_i32x4_dot_i16x8(x.even, w.even), wasm_i32x4_dot_i16x8(x.odd, w.odd)));
}

#else

// One column at a time, for every other platform.
using VI = std::int32_t;
inline VI vi_load(const std::int32_t* p) { return *p; }
inline void vi_store(std::int32_t* p, VI x) { *p = x; }
inline VI vi_add(VI a, VI b) { return a + b; }
inline V vi_to_float(VI x) { return static_cast<float>(x); }
inline void v_store_bytes(std::uint8_t* p, V x, int offset) {
  *p = static_cast<std::uint8_t>(static_cast<std::int32_t>(v_round(x)) + offset);
}
struct VX {
  std::uint8_t of[4];
};
struct VW {
  std::int8_t of[4];
};
constexpr int kInputOffset = 0;
constexpr int kWeightRegisters = 1;
constexpr int kInputRegisters = 1;
inline VX vx_set(std::int32_t four) {
  VX x;
  memcpy(x.of, &four, 4);
  return x;
}
inline VW vw_load(const std::int8_t* p) {
  VW w;
  memcpy(w.of, p, 4);
  return w;
}
inline void vx_opaque(VX& x) { PQRNN_OPAQUE(__asm__ __volatile__("" : "+m"(x));) }
inline VI vi_dot(VI sum, VX x, VW w) {
  for (int j = 0; j < 4; ++j) sum += std::int32_t{x.of[j]} * w.of[j];
  return sum;
}

#endif
