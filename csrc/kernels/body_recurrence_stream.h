// Rows between memory and L1 scratch: widened loads, narrowed stores, stores around the cache,
// prefetch. Scratch rows are of arithmetic type; everything vectorises.

template <class S>
static inline S* at(const View& view, const Sequences& q, std::int64_t sequence,
                    std::int64_t step) {
  const std::int64_t row = (q.offsets ? q.offsets[sequence] : 0) + step;
  return static_cast<S*>(view.data) + sequence * view.sequence + row * view.step;
}

template <class S, class A>
static inline void load_row(const void* base, std::int64_t offset, std::int64_t count,
                            A* PQRNN_RESTRICT out) {
  const S* PQRNN_RESTRICT row = static_cast<const S*>(base) + offset;
  for (std::int64_t j = 0; j < count; ++j) out[j] = widen(row[j]);
}

template <class S, class A>
static inline void store_row(const A* PQRNN_RESTRICT row, void* base, std::int64_t offset,
                             std::int64_t count) {
  S* PQRNN_RESTRICT out = static_cast<S*>(base) + offset;
  for (std::int64_t j = 0; j < count; ++j) narrow(row[j], out[j]);
}

template <class A>
static inline void clear(A* row, std::int64_t count) {
  for (std::int64_t j = 0; j < count; ++j) row[j] = 0;
}

template <class S>
static void zero_rows(const View& view, const Sequences& q, std::int64_t sequence,
                      std::int64_t first, std::int64_t count) {
  if (q.offsets || !view.data) return;
  for (std::int64_t t = sequence_length(q, sequence); t < q.steps; ++t) {
    S* row = at<S>(view, q, sequence, t) + first;
    for (std::int64_t j = 0; j < count; ++j) row[j] = S{};
  }
}

// kStreamBytes go around the cache to an address that is a multiple of as many.
#if defined(__AVX512F__)
constexpr std::size_t kStreamBytes = 64;
static inline void stream_vector(const char* from, char* to) {
  _mm512_stream_si512(reinterpret_cast<__m512i*>(to), _mm512_loadu_si512(from));
}
#elif defined(__AVX2__)
constexpr std::size_t kStreamBytes = 32;
static inline void stream_vector(const char* from, char* to) {
  _mm256_stream_si256(reinterpret_cast<__m256i*>(to),
                      _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}
#elif defined(__SSE2__) || defined(_M_X64)
constexpr std::size_t kStreamBytes = 16;
static inline void stream_vector(const char* from, char* to) {
  _mm_stream_si128(reinterpret_cast<__m128i*>(to),
                   _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
#else
constexpr std::size_t kStreamBytes = 0;  // no such store, or none worth having
static inline void stream_vector(const char*, char*) {}
#endif

// Streamed stores become visible to other threads in no order without this.
static inline void finish_streams() {
#if defined(__SSE2__) || defined(_M_X64)
  _mm_sfence();
#endif
}

// Writes around the cache: no line is read before it is overwritten, so a scan of 3N bytes moves 3N
// instead of 4N. Measured on a Zen 5, (64, 128, 512): forward 1.4, backward 1.5 times as fast.
// Streamed lines go straight to memory, so outputs that fit into the cache are better stored
// plainly.
static inline void stream_bytes(const char* from, char* to, std::size_t bytes) {
  std::size_t j = 0;
  if (kStreamBytes &&
      reinterpret_cast<std::uintptr_t>(to) % (kStreamBytes ? kStreamBytes : 1) == 0) {
    for (; j + kStreamBytes <= bytes; j += kStreamBytes) stream_vector(from + j, to + j);
  }
  memcpy(to + j, from + j, bytes - j);
}

// A row of at most kScanBlock channels to `base` + offset.
template <class S, class A>
static inline void emit_row(const A* row, void* base, std::int64_t offset, std::int64_t count,
                            bool stream) {
  if (!stream) return store_row<S>(row, base, offset, count);
  char* to = reinterpret_cast<char*>(static_cast<S*>(base) + offset);
  const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(S);
  if constexpr (sizeof(S) == sizeof(A)) {
    stream_bytes(reinterpret_cast<const char*>(row), to, bytes);
  } else {
    S packed[kScanBlock];
    store_row<S>(row, packed, 0, count);
    stream_bytes(reinterpret_cast<const char*>(packed), to, bytes);
  }
}

static inline void prefetch(const void* address) {
#if defined(_MSC_VER) && defined(_M_X64)
  _mm_prefetch(static_cast<const char*>(address), _MM_HINT_T0);
#elif defined(_MSC_VER)
  __prefetch(address);
#else
  __builtin_prefetch(address);
#endif
}

template <class S>
static inline void prefetch_row(const S* row, std::int64_t count) {
  constexpr std::int64_t line = 64 / sizeof(S);
  for (std::int64_t j = 0; j < count; j += line) prefetch(row + j);
}

// Asks for the rows that will be wanted in a page's worth of work. Hardware prefetchers follow one
// direction within a page; time running backwards over rows that run forwards defeats them:
// backward scan 1.45 times as fast with this, (64, 128, 512) on a Zen 5.
template <class S>
static inline std::int64_t rows_ahead(std::int64_t count) {
  const std::int64_t bytes = count * static_cast<std::int64_t>(sizeof(S));
  return bytes >= 4096 ? 1 : 4096 / bytes;
}
