// Expand kernels, included once per instruction set inside its own namespace.
// No STL, no external inline function: see cmake/isa.cmake.
// This header has no include guard on purpose: it belongs to body.h.

// The four features of every byte of a code.
struct TernaryTable {
  std::int8_t of[256][4];

  constexpr TernaryTable() : of() {
    for (int byte = 0; byte < 256; ++byte) {
      for (int j = 0; j < 4; ++j) {
        const int group = byte >> (2 * j) & 3;
        of[byte][j] = static_cast<std::int8_t>(group == 1 ? 1 : group == 2 ? -1 : 0);
      }
    }
  }
};

static constexpr TernaryTable ternary_table{};

static inline std::uint64_t mix47(std::uint64_t v) { return v ^ (v >> 47); }

// The chain from pair to pair is 14 cycles long and rows are independent, so that several go side
// by side.
static void extend(const std::uint64_t* PQRNN_RESTRICT seeds, std::size_t count, std::size_t words,
                   std::uint64_t* PQRNN_RESTRICT codes) {
  constexpr std::size_t kRows = 8;
  constexpr std::uint64_t k1 = 0xc6a4a7935bd1e995, k2 = 0x9e3779b97f4a7835;
  for (std::size_t row = 0; row < count; row += kRows) {
    const std::size_t rows = count - row < kRows ? count - row : kRows;
    std::uint64_t low[kRows] = {}, high[kRows] = {};
    for (std::size_t r = 0; r < rows; ++r) {
      low[r] = seeds[2 * (row + r)];
      high[r] = seeds[2 * (row + r) + 1];
    }
    for (std::size_t word = 0; word < words; word += 2) {
      const bool whole = word + 1 < words;
      for (std::size_t r = 0; r < rows; ++r) {
        codes[(row + r) * words + word] = low[r];
        if (whole) codes[(row + r) * words + word + 1] = high[r];
      }
      for (std::size_t r = 0; r < kRows; ++r) {
        const std::uint64_t a = mix47(low[r]) * k1;
        low[r] = mix47((high[r] ^ a) * k2) * k2;
        high[r] = mix47(a);
      }
    }
  }
}

// From feature `from`, a multiple of 32, on: four features at a time by table.
static void expand_bytes(const std::uint64_t* codes, std::size_t from, std::size_t count,
                         std::int8_t* features) {
  std::size_t j = from;
  for (; j + 32 <= count; j += 32) {
    const std::uint64_t word = codes[j / 32];
    for (int byte = 0; byte < 8; ++byte) {
      // memcpy, because as a loop GCC 12 takes this byte by byte: 160 ns, not 26, for 512.
      std::memcpy(features + j + 4 * byte, ternary_table.of[word >> (8 * byte) & 0xff], 4);
    }
  }
  for (; j < count; ++j) features[j] = ternary_table.of[codes[j / 32] >> (2 * (j % 32)) & 3][0];
}

// A register holds each byte of a code four times, once for each of its features; group j % 4 of
// it is tested in place: the low bit of a group adds one, the high bit takes one away.
#if defined(__AVX512BW__)
static std::size_t expand_wide(const std::uint64_t* codes, std::size_t count,
                               std::int8_t* features) {
  // 128-bit lane L of the result takes bytes 4L .. 4L + 3 of a pair of words.
  const __m512i spread =
      _mm512_set_epi32(0x0f0f0f0f, 0x0e0e0e0e, 0x0d0d0d0d, 0x0c0c0c0c, 0x0b0b0b0b, 0x0a0a0a0a,
                       0x09090909, 0x08080808, 0x07070707, 0x06060606, 0x05050505, 0x04040404,
                       0x03030303, 0x02020202, 0x01010101, 0x00000000);
  const __m512i low_bits = _mm512_set1_epi32(0x40100401);
  const __m512i high_bits = _mm512_set1_epi32(static_cast<int>(0x80200802));
  const __m512i one = _mm512_set1_epi8(1);
  std::size_t j = 0;
  for (; j + 64 <= count; j += 64) {
    const __m512i pair =
        _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + j / 32)));
    const __m512i bytes = _mm512_shuffle_epi8(pair, spread);
    const __m512i plus = _mm512_maskz_mov_epi8(_mm512_test_epi8_mask(bytes, low_bits), one);
    const __m512i ternary =
        _mm512_mask_sub_epi8(plus, _mm512_test_epi8_mask(bytes, high_bits), plus, one);
    _mm512_storeu_si512(features + j, ternary);
  }
  return j;
}
#elif defined(__AVX2__)
static std::size_t expand_wide(const std::uint64_t* codes, std::size_t count,
                               std::int8_t* features) {
  // 128-bit lane L of the result takes bytes 4L .. 4L + 3 of a word.
  const __m256i spread = _mm256_set_epi32(0x07070707, 0x06060606, 0x05050505, 0x04040404,
                                          0x03030303, 0x02020202, 0x01010101, 0x00000000);
  const __m256i low_bits = _mm256_set1_epi32(0x40100401);
  const __m256i high_bits = _mm256_set1_epi32(static_cast<int>(0x80200802));
  std::size_t j = 0;
  for (; j + 32 <= count; j += 32) {
    const __m256i word = _mm256_set1_epi64x(static_cast<long long>(codes[j / 32]));
    const __m256i bytes = _mm256_shuffle_epi8(word, spread);
    // Comparisons give -1 where the bit is set.
    const __m256i low = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, low_bits), low_bits);
    const __m256i high = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, high_bits), high_bits);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(features + j), _mm256_sub_epi8(high, low));
  }
  return j;
}
#else
static std::size_t expand_wide(const std::uint64_t*, std::size_t, std::int8_t*) { return 0; }
#endif

static void to_int8(const std::uint64_t* codes, std::size_t count, std::int8_t* features) {
  expand_bytes(codes, expand_wide(codes, count, features), count, features);
}

static void to_float(const std::uint64_t* codes, std::size_t count, float* features) {
  constexpr std::size_t kPart = 256;
  for (std::size_t first = 0; first < count; first += kPart) {
    const std::size_t part = count - first < kPart ? count - first : kPart;
    std::int8_t bytes[kPart];
    to_int8(codes + first / 32, part, bytes);
    for (std::size_t j = 0; j < part; ++j) features[first + j] = bytes[j];
  }
}

static constexpr ExpandKernels expand_kernels = {extend, to_int8, to_float};
