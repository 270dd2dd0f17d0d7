// What was computed for frequent tokens, exactly as it was computed. The first layer's input
// depends on nothing but the token, and in running text most tokens are old acquaintances.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "model/buffer.h"

namespace pqrnn {

// Bounded, lock-free, insert-only: a row stays where it is as long as the cache lives. Once full,
// it keeps what it has. A token enters when it is seen for the second time.
class TokenCache {
 public:
  static constexpr std::size_t kMostRows = 1024;
  static constexpr std::size_t kMostBytes = std::size_t{8} << 20;

  // At most `rows` of them, a power of two.
  TokenCache(std::size_t key_words, std::size_t row_bytes, std::size_t rows = kMostRows);
  ~TokenCache();
  TokenCache(const TokenCache&) = delete;
  TokenCache& operator=(const TokenCache&) = delete;

  // The row [row_bytes] of a key [key_words], aligned to a cache line, or nullptr.
  const void* find(const std::uint64_t* key, std::uint64_t hash) const;
  void offer(const std::uint64_t* key, std::uint64_t hash, const void* row);

  static std::uint64_t hash(const std::uint64_t* key, std::size_t key_words);

 private:
  static constexpr std::size_t kProbes = 8;

  struct Entry {
    std::unique_ptr<std::uint64_t[]> key;
    Buffer<unsigned char> row;
  };

  bool same(const Entry& entry, const std::uint64_t* key) const;

  const std::size_t key_words_;
  const std::size_t row_bytes_;
  const std::size_t capacity_;
  std::atomic<std::size_t> rows_{0};
  std::vector<std::atomic<Entry*>> slots_;             // a power of two, at most half full
  std::vector<std::atomic<std::uint32_t>> sightings_;  // upper half of the hash last seen there
};

}  // namespace pqrnn
