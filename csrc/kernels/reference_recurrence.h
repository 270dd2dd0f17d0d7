// Recurrence kernels as obvious loops, one channel at a time, accumulating in double: the oracle
// for every other build.

static double get(const void* data, Element element, std::int64_t index) {
  if (element == Element::f64) return static_cast<const double*>(data)[index];
  if (element == Element::f32) return static_cast<const float*>(data)[index];
  const std::uint32_t bits =
      static_cast<std::uint32_t>(static_cast<const std::uint16_t*>(data)[index]) << 16;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

static void put(void* data, Element element, std::int64_t index, double value) {
  if (element == Element::f64) {
    static_cast<double*>(data)[index] = value;
    return;
  }
  const float rounded = static_cast<float>(value);
  if (element == Element::f32) {
    static_cast<float*>(data)[index] = rounded;
    return;
  }
  std::uint32_t bits;
  memcpy(&bits, &rounded, 4);
  bits += 0x7fffu + ((bits >> 16) & 1u);  // half to even
  static_cast<std::uint16_t*>(data)[index] =
      static_cast<std::uint16_t>(value != value ? 0x7fc0u : bits >> 16);
}

// mean, scale, shift and sums are stored in the arithmetic type.
static Element arithmetic(Element e) { return e == Element::f64 ? Element::f64 : Element::f32; }

static std::int64_t at(const View& view, const Sequences& q, std::int64_t n, std::int64_t t) {
  return n * view.sequence + ((q.offsets ? q.offsets[n] : 0) + t) * view.step;
}

static void clear_padding(const View& view, const Sequences& q, Element e, std::int64_t n,
                          std::int64_t first, std::int64_t count) {
  if (q.offsets || !view.data) return;
  for (std::int64_t t = sequence_length(q, n); t < q.steps; ++t) {
    for (std::int64_t c = first; c < first + count; ++c)
      put(view.data, e, at(view, q, n, t) + c, 0);
  }
}

struct Channels {
  std::int64_t first, count;
};

static Channels channels_of(std::int64_t block, std::int64_t size, std::int64_t width) {
  const std::int64_t first = block * size;
  return {first, width - first < size ? width - first : size};
}

// Philox 4x32-10: is the random word of channel c below the threshold? See
// body_recurrence_random.h.
static bool is_chosen(std::uint64_t seed, std::uint32_t threshold, std::int64_t c, std::int64_t c1,
                      std::int64_t c2, std::int64_t c3) {
  std::uint32_t x[4] = {static_cast<std::uint32_t>(c / 64 * 16 + c % 16),
                        static_cast<std::uint32_t>(c1), static_cast<std::uint32_t>(c2),
                        static_cast<std::uint32_t>(c3)};
  std::uint32_t key[2] = {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)};
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * x[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * x[2];
    const std::uint32_t next[4] = {
        static_cast<std::uint32_t>(p1 >> 32) ^ x[1] ^ key[0], static_cast<std::uint32_t>(p1),
        static_cast<std::uint32_t>(p0 >> 32) ^ x[3] ^ key[1], static_cast<std::uint32_t>(p0)};
    memcpy(x, next, sizeof next);
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return x[c / 16 % 4] < threshold;
}

#include "kernels/reference_recurrence_scan.h"
#include "kernels/reference_recurrence_pool.h"
#include "kernels/reference_recurrence_norm.h"
#include "kernels/reference_recurrence_dropout.h"

static constexpr RecurrenceKernels recurrence_kernels = {
    scan_forward,  scan_backward,  pool_forward,    pool_backward, norm_forward,
    norm_backward, attend_forward, attend_backward, dropout};
