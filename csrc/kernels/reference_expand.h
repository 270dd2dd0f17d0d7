// Expand kernels as obvious loops: the oracle for every other build.

static std::uint64_t mix(std::uint64_t v) { return v ^ (v >> 47); }

static void extend(const std::uint64_t* seeds, std::size_t count, std::size_t words,
                   std::uint64_t* codes) {
  for (std::size_t row = 0; row < count; ++row) {
    std::uint64_t low = seeds[2 * row];
    std::uint64_t high = seeds[2 * row + 1];
    for (std::size_t word = 0; word < words; ++word) {
      if (word % 2 == 0) {
        codes[row * words + word] = low;
        continue;
      }
      codes[row * words + word] = high;
      const std::uint64_t a = mix(low) * 0xc6a4a7935bd1e995;
      const std::uint64_t b = high ^ a;
      high = mix(a);
      low = mix(b * 0x9e3779b97f4a7835) * 0x9e3779b97f4a7835;
    }
  }
}

static int ternary(const std::uint64_t* codes, std::size_t feature) {
  const unsigned group = static_cast<unsigned>(codes[feature / 32] >> (2 * (feature % 32))) & 3;
  return group == 1 ? 1 : group == 2 ? -1 : 0;
}

static void to_int8(const std::uint64_t* codes, std::size_t count, std::int8_t* features) {
  for (std::size_t j = 0; j < count; ++j) features[j] = static_cast<std::int8_t>(ternary(codes, j));
}

static void to_float(const std::uint64_t* codes, std::size_t count, float* features) {
  for (std::size_t j = 0; j < count; ++j) features[j] = static_cast<float>(ternary(codes, j));
}

static constexpr ExpandKernels expand_kernels = {extend, to_int8, to_float};
