// Ways to damage a model file, each with a purpose of its own.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <utility>

namespace mutations {

class Mutator {
 public:
  explicit Mutator(std::uint64_t seed) : rng_(seed) {}

  // A copy of a sound file with one to three damages.
  std::string damage(const std::string& file) {
    std::string bad = file;
    for (std::size_t rounds = 1 + pick(3); rounds > 0 && bad.size() > 16; --rounds) once(bad);
    return bad;
  }

 private:
  std::size_t pick(std::size_t below) { return below ? rng_() % below : 0; }

  void once(std::string& bad) {
    switch (pick(13)) {
      case 0: bad.resize(pick(bad.size())); break;
      case 1: bad[pick(bad.size())] ^= static_cast<char>(1 << pick(8)); break;
      case 2: bad[in_header(bad)] = static_cast<char>(rng_()); break;
      case 3: bad[in_header(bad)] = "0123456789{}[]\":,-\\ue."[pick(23)]; break;
      case 4: bad.erase(pick(bad.size()), 1 + pick(8)); break;
      case 5: bad.insert(pick(bad.size()), 1 + pick(8), static_cast<char>(rng_())); break;
      case 6: header_length(bad); break;
      case 7: number(bad); break;
      case 8: swap_words(bad); break;
      case 9: copy_part(bad); break;
      case 10: float_value(bad); break;
      case 11: offsets(bad); break;
      case 12: bad.append(pick(16), '\0'); break;
    }
  }

  static std::size_t header_end(const std::string& file) {
    std::uint64_t length = 0;
    for (std::size_t i = 8; i-- > 0;) length = length << 8 | static_cast<unsigned char>(file[i]);
    return static_cast<std::size_t>(std::min<std::uint64_t>(8 + (length & 0xffffff), file.size()));
  }
  std::size_t in_header(const std::string& bad) {
    const std::size_t end = header_end(bad);
    return end > 8 ? 8 + pick(end - 8) : pick(bad.size());
  }

  void header_length(std::string& bad) {
    const std::uint64_t lengths[] = {0,
                                     1,
                                     7,
                                     header_end(bad) - 9,
                                     bad.size(),
                                     bad.size() - 8,
                                     1u << 26,
                                     std::uint64_t{1} << 32,
                                     INT64_MAX,
                                     UINT64_MAX,
                                     UINT64_MAX - 7};
    const std::uint64_t length = lengths[pick(11)];
    for (std::size_t i = 0; i < 8; ++i) bad[i] = static_cast<char>(length >> (8 * i));
  }

  // Another number for one of the header's: sizes, offsets, settings.
  void number(std::string& bad) {
    static const char* const kNumbers[] = {"0",
                                           "1",
                                           "-1",
                                           "2",
                                           "16",
                                           "64",
                                           "4096",
                                           "8192",
                                           "65536",
                                           "65537",
                                           "2147483647",
                                           "2147483648",
                                           "4294967295",
                                           "4294967296",
                                           "4611686018427387904",
                                           "9223372036854775807",
                                           "9223372036854775808",
                                           "18446744073709551615",
                                           "1e3",
                                           "1e308",
                                           "1e999",
                                           "0.5",
                                           "-0",
                                           "01"};
    replace_run(bad, "0123456789.", kNumbers[pick(24)]);
  }

  // dtypes, tensor names, keys and choices that trade places with others.
  void swap_words(std::string& bad) {
    static const char* const kWords[] = {
        "F32",           "F16",         "I8",         "U8",
        "F64",           "bias",        "weight",     "scale",
        "forward",       "backward",    "head",       "slots",
        "intent",        "task",        "embedding",  "classification",
        "parsing",       "int8",        "float32",    "precision",
        "pooling",       "ifo",         "fo",         "skip",
        "true",          "false",       "null",       "crf",
        "bidirectional", "kernel_size", "ngram_size", "labels",
        "intents",       "range",       "O",          "B-x"};
    replace_run(bad, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789-",
                kWords[pick(36)]);
  }

  // Offsets of one tensor for those of another, or nearly.
  void offsets(std::string& bad) {
    const std::string key = "\"data_offsets\":";
    const std::size_t end = header_end(bad);
    const std::size_t from = bad.find(key, in_header(bad)), to = bad.find(key, in_header(bad));
    if (from >= end || to >= end || from == to) return;
    const std::size_t from_end = bad.find(']', from), to_end = bad.find(']', to);
    if (from_end >= end || to_end >= end) return;
    bad.replace(to, to_end - to, bad.substr(from, from_end - from));
  }

  void replace_run(std::string& bad, const char* characters, const char* with) {
    const std::size_t end = header_end(bad);
    const std::size_t first = bad.find_first_of(characters, in_header(bad));
    if (first >= end) return;
    const std::size_t behind = bad.find_first_not_of(characters, first);
    const std::size_t size = std::min(behind, end) - first;
    bad.replace(first, size, with);
    if (pick(4) == 0) return;  // as a careless editor would leave it
    // Otherwise the header's length is right, and white space keeps the data where they were.
    std::size_t length = end + std::strlen(with) - size - 8;
    while (length % 8) bad.insert(8 + length++, 1, ' ');
    for (std::size_t i = 0; i < 8; ++i) {
      bad[i] = static_cast<char>(std::uint64_t{length} >> (8 * i));
    }
  }

  void copy_part(std::string& bad) {
    const std::size_t size = 1 + pick(std::min<std::size_t>(64, bad.size() - 1));
    const std::size_t from = pick(bad.size() - size), to = pick(bad.size() - size);
    bad.replace(to, size, bad.substr(from, size));
  }

  // A float of the data part, of weights, biases, scales or ranges.
  void float_value(std::string& bad) {
    static const std::uint32_t kBits[] = {0x7fc00000, 0x7f800000, 0xff800000, 0xffffffff,
                                          0x7f7fffff, 0xff7fffff, 0x00000001, 0x80000000,
                                          0x00000000, 0x7e000000};
    const std::size_t end = header_end(bad);
    if (bad.size() < end + 8) return;
    const std::size_t place = end + pick((bad.size() - end) / 4) * 4;
    std::memcpy(&bad[place], &kBits[pick(10)], 4);
  }

  std::mt19937_64 rng_;
};

}  // namespace mutations
