// The bottleneck over hashed features whose weights have 2 bits: 256 columns of a row are a cache
// line, and as many codes are added up with a few operations as int8 weights with sixteen.
// This header has no include guard on purpose: it belongs to body.h.

// Rows whose codes fit a byte when they are added up, 3 each.
constexpr std::uint32_t kCodeRows = 85;

// Four codes to each byte of a vector: the sums of one of them in each byte.
#if defined(__GNUC__)
typedef std::uint32_t CodeWords __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
inline CodeWords codes_load(const std::uint8_t* codes) {
  return *reinterpret_cast<const CodeWords*>(codes);
}
inline void codes_add(CodeWords& sums, CodeWords codes, int shift) {
  sums += codes >> shift & 0x03030303u;
}
#else
struct CodeWords {
  std::uint32_t of[kLanes];
};
inline CodeWords codes_load(const std::uint8_t* codes) {
  CodeWords words;
  memcpy(&words, codes, sizeof words);
  return words;
}
inline void codes_add(CodeWords& sums, const CodeWords& codes, int shift) {
  for (std::size_t j = 0; j < kLanes; ++j) sums.of[j] += codes.of[j] >> shift & 0x03030303u;
}
#endif

// sums[j] += sign * sum_r codes[rows[r], j] in a block of columns.
static void gather_codes(const std::uint32_t* rows, std::uint32_t count, const std::uint8_t* codes,
                         std::size_t stride, std::int32_t sign, std::int32_t* sums) {
  constexpr std::size_t vector = 4 * kLanes;  // bytes
  while (count > 0) {
    const std::uint32_t part = count < kCodeRows ? count : kCodeRows;
    std::uint8_t found[4][kCodeBlock / 4];
    for (std::size_t at = 0; at < kCodeBlock / 4; at += vector) {
      CodeWords of_part[4] = {};
      for (std::uint32_t r = 0; r < part; ++r) {
        const CodeWords row = codes_load(codes + rows[r] * stride + at);
        PQRNN_UNROLL
        for (int p = 0; p < 4; ++p) codes_add(of_part[p], row, 2 * p);
      }
      for (int p = 0; p < 4; ++p) memcpy(found[p] + at, &of_part[p], vector);
    }
    const std::uint8_t* const bytes = found[0];
    for (std::size_t j = 0; j < kCodeBlock; ++j) sums[j] += sign * bytes[j];
    rows += part;
    count -= part;
  }
}

static void int8_gather_codes(const Int8GatherArgs& args) {
  const std::size_t blocks = (args.columns + kCodeBlock - 1) / kCodeBlock;
  const std::size_t stride = blocks * kCodeBlock / 4;
  for (std::size_t i = 0; i < args.count; ++i) {
    const std::uint32_t* at = args.starts + 2 * i;
    const std::uint32_t plus = at[1] - at[0], minus = at[2] - at[1];
    const std::int32_t zeros =
        3 * (static_cast<std::int32_t>(plus) - static_cast<std::int32_t>(minus));
    for (std::size_t block = 0; block < blocks; ++block) {
      const std::uint8_t* codes = args.codes + block * kCodeBlock / 4;
      std::int32_t sums[kCodeBlock] = {};
      for (int half = 0; half < 2; ++half) {
        const std::uint32_t count = at[half + 1] - at[half];
        gather_codes(args.rows + at[half], count, codes, stride, 1 - 2 * half, sums);
      }
      const std::size_t first = block * kCodeBlock, rest = args.columns - first;
      const std::size_t width = rest < kCodeBlock ? rest : kCodeBlock;
      std::uint8_t* out = args.output + i * args.columns + first;
      for (std::size_t j = 0; j < width; ++j) sums[j] = 2 * sums[j] - zeros;
      for (std::size_t j = 0; j < width; j += kLanes) {
        store_relu(vi_load(sums + j), args.multiplier + first + j, args.bias + first + j, out + j);
      }
    }
  }
}
