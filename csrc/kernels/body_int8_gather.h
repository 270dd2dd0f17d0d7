// The bottleneck over hashed features: the few rows of weights that a token names, added up.
// This header has no include guard on purpose: it belongs to body.h.

// Rows whose sums fit int16, 127 each.
constexpr std::uint32_t kGatherRows = 256;

// Bytes to sums of int16, as many as two vectors of int32 have lanes. Where it is one instruction
// compilers have to be told; elsewhere their vector types do, but not a plain loop, of which GCC 12
// takes two rows at a time, byte by byte.
#if defined(__AVX512BW__)
using GatherSums = __m512i;
inline void gather_add(GatherSums& sums, const std::int8_t* row) {
  const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row));
  sums = _mm512_add_epi16(sums, _mm512_cvtepi8_epi16(bytes));
}
inline void gather_store(std::int16_t* out, GatherSums sums) { _mm512_storeu_si512(out, sums); }
#elif defined(__AVX2__)
using GatherSums = __m256i;
inline void gather_add(GatherSums& sums, const std::int8_t* row) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row));
  sums = _mm256_add_epi16(sums, _mm256_cvtepi8_epi16(bytes));
}
inline void gather_store(std::int16_t* out, GatherSums sums) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), sums);
}
#elif defined(__GNUC__)
typedef std::int8_t GatherBytes __attribute__((vector_size(2 * kLanes), aligned(1), may_alias));
typedef std::int16_t GatherSums __attribute__((vector_size(4 * kLanes)));
inline void gather_add(GatherSums& sums, const std::int8_t* row) {
  sums += __builtin_convertvector(*reinterpret_cast<const GatherBytes*>(row), GatherSums);
}
inline void gather_store(std::int16_t* out, GatherSums sums) { memcpy(out, &sums, sizeof sums); }
#else
struct GatherSums {
  std::int16_t of[2 * kLanes];
};
inline void gather_add(GatherSums& sums, const std::int8_t* row) {
  for (std::size_t j = 0; j < 2 * kLanes; ++j) {
    sums.of[j] = static_cast<std::int16_t>(sums.of[j] + row[j]);
  }
}
inline void gather_store(std::int16_t* out, const GatherSums& sums) {
  memcpy(out, sums.of, sizeof sums.of);
}
#endif

// sums[j] += sign * sum_r weights[rows[r], j], j < kGatherColumns.
static void gather_rows(const std::uint32_t* rows, std::uint32_t count, const std::int8_t* weights,
                        std::size_t stride, std::int32_t sign, std::int32_t* sums) {
  constexpr std::size_t vectors = kGatherColumns / (2 * kLanes);
  while (count > 0) {
    const std::uint32_t part = count < kGatherRows ? count : kGatherRows;
    GatherSums of_part[vectors] = {};
    for (std::uint32_t r = 0; r < part; ++r) {
      const std::int8_t* row = weights + rows[r] * stride;
      PQRNN_UNROLL
      for (std::size_t v = 0; v < vectors; ++v) gather_add(of_part[v], row + v * 2 * kLanes);
    }
    std::int16_t found[kGatherColumns];
    PQRNN_UNROLL
    for (std::size_t v = 0; v < vectors; ++v) gather_store(found + v * 2 * kLanes, of_part[v]);
    for (std::size_t j = 0; j < kGatherColumns; ++j) sums[j] += sign * found[j];
    rows += part;
    count -= part;
  }
}

static void int8_gather(const Int8GatherArgs& args) {
  if (args.codes) return int8_gather_codes(args);
  const std::size_t panels = (args.columns + kGatherColumns - 1) / kGatherColumns;
  const std::size_t stride = panels * kGatherColumns;
  for (std::size_t column = 0; column < args.columns; column += kGatherColumns) {
    const std::size_t rest = args.columns - column;
    const std::size_t width = rest < kGatherColumns ? rest : kGatherColumns;
    for (std::size_t i = 0; i < args.count; ++i) {
      const std::uint32_t* at = args.starts + 2 * i;
      std::int32_t sums[kGatherColumns] = {};
      for (int half = 0; half < 2; ++half) {
        gather_rows(args.rows + at[half], at[half + 1] - at[half], args.weights + column, stride,
                    1 - 2 * half, sums);
      }
      std::uint8_t* out = args.output + i * args.columns + column;
      for (std::size_t j = 0; j < width; j += kLanes) {
        store_relu(vi_load(sums + j), args.multiplier + column + j, args.bias + column + j,
                   out + j);
      }
    }
  }
}
