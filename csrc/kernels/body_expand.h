// Expand kernels, included once per instruction set inside its own namespace.
// No STL, no external inline function: see cmake/isa.cmake.
// This header has no include guard on purpose: it belongs to body.h.

// The four features of every byte of a code.
template <typename T>
struct TernaryTable {
  T of[256][4];

  constexpr TernaryTable() : of() {
    for (int byte = 0; byte < 256; ++byte) {
      for (int j = 0; j < 4; ++j) {
        const int group = byte >> (2 * j) & 3;
        of[byte][j] = group == 1 ? T(1) : group == 2 ? T(-1) : T(0);
      }
    }
  }
};

static constexpr TernaryTable<std::int8_t> ternary_int8{};
static constexpr TernaryTable<float> ternary_float{};

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

template <typename T>
static void expand(const std::uint64_t* PQRNN_RESTRICT codes, std::size_t count,
                   T* PQRNN_RESTRICT features, const T (&table)[256][4]) {
  std::size_t j = 0;
  for (; j + 32 <= count; j += 32) {
    const std::uint64_t word = codes[j / 32];
    for (int byte = 0; byte < 8; ++byte) {
      const T* const four = table[word >> (8 * byte) & 0xff];
      for (int i = 0; i < 4; ++i) features[j + 4 * byte + i] = four[i];
    }
  }
  for (; j < count; ++j) {
    features[j] = table[codes[j / 32] >> (2 * (j % 32)) & 3][0];
  }
}

static void to_int8(const std::uint64_t* codes, std::size_t count, std::int8_t* features) {
  expand(codes, count, features, ternary_int8.of);
}

static void to_float(const std::uint64_t* codes, std::size_t count, float* features) {
  expand(codes, count, features, ternary_float.of);
}

static constexpr ExpandKernels expand_kernels = {extend, to_int8, to_float};
