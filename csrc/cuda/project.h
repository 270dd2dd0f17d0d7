// Token bytes to ternary features, bit for bit as csrc/projection/ and csrc/kernels/expand.h have
// them: the murmur fingerprint of a token, the code words that follow from it, two bits a feature.
#pragma once

#include "cuda/hd.h"
#include "cuda/layout.h"

namespace pqrnn::cuda {

constexpr std::uint64_t kMul1 = 0xc6a4a7935bd1e995, kMul2 = 0x9e3779b97f4a7835;

enum class FeatureType : int { int8 = 0, f16 = 1, bf16 = 2, f32 = 3, packed = 4 };

struct ProjectArgs {
  std::int64_t tokens;
  std::int64_t size;  // F; packed features have ceil(F / 32) words of 64 bits
  FeatureType type;
  const std::uint8_t* bytes;  // of all tokens, one after the other; not read by expand_features
  std::int64_t byte_count;
  const std::int64_t* offsets;  // [tokens + 1]; token i is bytes[offsets[i]:offsets[i + 1]]
  bool is_signed;  // char: bytes from 0x80 on are negative, as the public code has them
  std::uint64_t*
      fingerprints;  // [tokens, 2]; hash_tokens writes, others read unless there are bytes
  void* features;    // [tokens, F], or uint64 [tokens, ceil(F / 32)]
};

struct ProductArgs {
  std::int64_t tokens, size, outputs;  // M, F (a multiple of 16), N (a multiple of 8)
  const std::uint64_t* fingerprints;   // [tokens, 2]
  const void* weight;                  // bfloat16 [N, F]
  void* out;                           // float32 [tokens, N]
};

PQRNN_HD std::uint64_t mix(std::uint64_t v) { return v ^ (v >> 47); }

// What a load through a signed char gives: all ones above the lowest byte from 0x80 on.
PQRNN_HD std::uint64_t smear_sign(std::uint64_t v) {
  const std::uint64_t high_bits = v & 0x8080808080808080;
  if (high_bits == 0) return v;
  const std::uint64_t lowest = high_bits & (~high_bits + 1);
  return v | ~((lowest << 1) - 1);
}

struct Fingerprint {
  std::uint64_t low, high;
};

// Up to eight bytes, the first lowest.
PQRNN_HD std::uint64_t load_bytes(const std::uint8_t* p, std::int64_t count) {
  std::uint64_t v = 0;
  PQRNN_UNROLL
  for (int i = 0; i < 8; ++i) {
    if (i < count) v |= static_cast<std::uint64_t>(p[i]) << (8 * i);
  }
  return v;
}

// Byte i of the text that an empty token is hashed as.
PQRNN_HD std::uint8_t null_word(int i) {
  constexpr std::uint64_t letters = 0x3e6c6c756e3cu;  // "<null>", first byte lowest
  return static_cast<std::uint8_t>(letters >> (8 * i));
}

PQRNN_HD Fingerprint fingerprint_of(const std::uint8_t* token, std::int64_t length,
                                    bool is_signed) {
  std::uint8_t empty[8] = {};
  if (length == 0) {
    length = 6;
    for (int i = 0; i < 6; ++i) empty[i] = null_word(i);
    token = empty;
  }
  std::uint64_t h = static_cast<std::uint64_t>(length) * kMul1, g = 0;
  for (; length > 0; length -= 8, token += 8) {
    std::uint64_t d = load_bytes(token, length);
    if (is_signed) d = smear_sign(d);
    // The 1 to 7 last bytes are not mixed before they enter.
    if (length >= 8) d = mix(d * kMul1) * kMul1;
    h = (h ^ d) * kMul1;
    g ^= h;
  }
  h = mix(h) * kMul1;
  g ^= h;
  return {mix(h), mix(g * kMul2) * kMul2};
}

PQRNN_HD Fingerprint token_fingerprint(const ProjectArgs& a, std::int64_t token) {
  if (!a.bytes) return {a.fingerprints[2 * token], a.fingerprints[2 * token + 1]};
  const std::int64_t begin = clamped(a.offsets[token], 0, a.byte_count);
  const std::int64_t end = clamped(a.offsets[token + 1], begin, a.byte_count);
  return fingerprint_of(a.bytes + begin, end - begin, a.is_signed);
}

// The next pair of code words. Mind the crossing: the new high depends on the old low alone.
PQRNN_HD void next_pair(Fingerprint& f) {
  const std::uint64_t a = mix(f.low) * kMul1;
  f.low = mix((f.high ^ a) * kMul2) * kMul2;
  f.high = mix(a);
}

// Feature of a 2-bit group: 0 and 3 are 0, 1 is +1, 2 is -1.
PQRNN_HD int ternary(std::uint32_t group) {
  return static_cast<int>(group == 1) - static_cast<int>(group == 2);
}

// The bits of one feature in its type.
template <FeatureType type>
PQRNN_HD std::uint32_t feature_bits(std::uint32_t group) {
  const std::uint32_t negative = group >> 1 & 1u, nonzero = (group ^ group >> 1) & 1u;
  if (type == FeatureType::int8) return nonzero * (negative ? 0xFFu : 1u);
  if (type == FeatureType::f16) return nonzero * (0x3C00u | negative << 15);
  if (type == FeatureType::bf16) return nonzero * (0x3F80u | negative << 15);
  return nonzero * (0x3F800000u | negative << 31);
}

template <FeatureType type>
constexpr int kFeatureBytes = type == FeatureType::int8  ? 1
                              : type == FeatureType::f32 ? 4
                                                         : 2;

// Sixteen bytes of neighbouring features from the low bits of `groups`.
struct Vector {
  std::uint32_t word[4];
};

template <FeatureType type>
PQRNN_HD Vector feature_vector(std::uint32_t groups) {
  constexpr int bytes = kFeatureBytes<type>, each = 4 / bytes;
  Vector out;
  PQRNN_UNROLL
  for (int w = 0; w < 4; ++w) {
    out.word[w] = 0;
    PQRNN_UNROLL
    for (int i = 0; i < each; ++i) {
      out.word[w] |= feature_bits<type>(groups >> (2 * (w * each + i)) & 3u)
                     << (8 * bytes % 32 * i);
    }
  }
  return out;
}

// Groups [first, first + 16) of a token's code words.
PQRNN_HD std::uint32_t groups_at(const std::uint64_t* codes, std::int64_t first) {
  const std::uint64_t word = codes[first / 32] >> (2 * (first % 32));
  return static_cast<std::uint32_t>(word);
}

// Two neighbouring features, groups in the low four bits, as two bfloat16: an operand of mma. Group
// 3 is minus zero, which a product does not notice.
PQRNN_HD std::uint32_t bfloat16_pair(std::uint32_t groups) {
  const std::uint32_t nonzero = (groups ^ groups >> 1) & 5u;
  const std::uint32_t ones = ((nonzero | nonzero << 14) & 0x10001u) * 0x3F80u;
  return ones | (groups << 14 & 0x8000u) | (groups << 28 & 0x80000000u);
}

}  // namespace pqrnn::cuda
