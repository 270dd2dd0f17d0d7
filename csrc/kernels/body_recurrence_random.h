// Random bits: Philox 4x32-10 (Salmon, Moraes, Dror, Shaw 2011), a function of counter and key.
//
// A Words holds one 32-bit word of kWordLanes counters, each in the lower half of 64 bits, where
// w_product finds it; what the upper halves hold is never used. With plain arrays GCC 12 makes a
// product of 32-bit words of three (AVX2) or of scalars (SSE2): 2.1 and 4.2 ns a word instead of
// 0.9 and 1.5 on a Zen 3.

#if defined(__AVX512F__)

using Words = __m512i;
constexpr int kWordLanes = 8;
inline Words w_set(std::uint32_t x) { return _mm512_set1_epi64(x); }
inline Words w_product(Words a, Words b) { return _mm512_mul_epu32(a, b); }
inline Words w_upper(Words a) { return _mm512_srli_epi64(a, 32); }
inline Words w_xor(Words a, Words b) { return _mm512_xor_si512(a, b); }

#elif defined(__AVX2__)

using Words = __m256i;
constexpr int kWordLanes = 4;
inline Words w_set(std::uint32_t x) { return _mm256_set1_epi64x(x); }
inline Words w_product(Words a, Words b) { return _mm256_mul_epu32(a, b); }
inline Words w_upper(Words a) { return _mm256_srli_epi64(a, 32); }
inline Words w_xor(Words a, Words b) { return _mm256_xor_si256(a, b); }

#elif defined(__SSE2__) || defined(_M_X64)

using Words = __m128i;
constexpr int kWordLanes = 2;
inline Words w_set(std::uint32_t x) { return _mm_set1_epi64x(x); }
inline Words w_product(Words a, Words b) { return _mm_mul_epu32(a, b); }
inline Words w_upper(Words a) { return _mm_srli_epi64(a, 32); }
inline Words w_xor(Words a, Words b) { return _mm_xor_si128(a, b); }

#elif defined(__aarch64__) || defined(_M_ARM64)

using Words = uint64x2_t;
constexpr int kWordLanes = 2;
inline Words w_set(std::uint32_t x) { return vdupq_n_u64(x); }
inline Words w_product(Words a, Words b) { return vmull_u32(vmovn_u64(a), vmovn_u64(b)); }
inline Words w_upper(Words a) { return vshrq_n_u64(a, 32); }
inline Words w_xor(Words a, Words b) { return veorq_u64(a, b); }

#else

using Words = std::uint64_t;
constexpr int kWordLanes = 1;
inline Words w_set(std::uint32_t x) { return x; }
inline Words w_product(Words a, Words b) { return (a & 0xFFFFFFFFu) * (b & 0xFFFFFFFFu); }
inline Words w_upper(Words a) { return a >> 32; }
inline Words w_xor(Words a, Words b) { return a ^ b; }

#endif

struct Philox {
  Words x0, x1, x2, x3;
};

static PQRNN_INLINE Philox philox(const std::uint64_t* x0, std::uint32_t c1, std::uint32_t c2,
                                  std::uint32_t c3) {
  Philox p = {w_set(0), w_set(c1), w_set(c2), w_set(c3)};
  memcpy(&p.x0, x0, sizeof(Words));
  return p;
}

static PQRNN_INLINE Philox philox_round(const Philox& p, Words k0, Words k1) {
  const Words a = w_product(p.x0, w_set(0xD2511F53u)), b = w_product(p.x2, w_set(0xCD9E8D57u));
  return {w_xor(w_xor(w_upper(b), p.x1), k0), b, w_xor(w_xor(w_upper(a), p.x3), k1), a};
}

// Rows of 16 words each.
static PQRNN_INLINE void store_words(const Philox& p, std::uint64_t* out) {
  memcpy(out, &p.x0, sizeof(Words));
  memcpy(out + 16, &p.x1, sizeof(Words));
  memcpy(out + 32, &p.x2, sizeof(Words));
  memcpy(out + 48, &p.x3, sizeof(Words));
}

// chosen[j] = 1 where the random word of channel `first + j` is below the threshold, j < count;
// first and the capacity of chosen are multiples of 64.
// With key = seed and counter = (index, c1, c2, c3), channel c takes output (c / 16) % 4 of index
// 16 * (c / 64) + c % 16, so that 16 counters run side by side and each output fills 16
// neighbouring channels.
static void random_mask(std::uint64_t seed, std::uint32_t threshold, std::uint32_t c1,
                        std::uint32_t c2, std::uint32_t c3, std::int64_t first, std::int64_t count,
                        std::uint32_t* chosen) {
  for (std::int64_t block = 0; block < count; block += 64) {
    std::uint64_t words[64];
    for (int j = 0; j < 16; ++j) words[j] = static_cast<std::uint64_t>((first + block) / 4 + j);
    // Two at a time: one alone would wait for its products, and more need too many registers.
    for (int j = 0; j < 16; j += 2 * kWordLanes) {
      Philox p = philox(words + j, c1, c2, c3), q = philox(words + j + kWordLanes, c1, c2, c3);
      std::uint32_t k0 = static_cast<std::uint32_t>(seed),
                    k1 = static_cast<std::uint32_t>(seed >> 32);
      for (int round = 0; round < 10; ++round) {
        p = philox_round(p, w_set(k0), w_set(k1));
        q = philox_round(q, w_set(k0), w_set(k1));
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
      }
      store_words(p, words + j);
      store_words(q, words + j + kWordLanes);
    }
    for (int j = 0; j < 64; ++j) {
      chosen[block + j] = static_cast<std::uint32_t>(words[j]) < threshold;
    }
  }
}
