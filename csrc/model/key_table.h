// Numbers of distinct keys among those of a call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace pqrnn {

class KeyTable {
 public:
  // Empties the table, for at most `keys` keys.
  void reset(std::size_t keys) {
    std::size_t slots = 16;
    while (slots < 2 * keys) slots *= 2;
    slots_.assign(slots, kNone);
  }

  // The number of an equal key, for which same(number) is true; where there is none, the key gets
  // the number `next`.
  template <class Same>
  std::uint32_t number(std::uint64_t hash, std::size_t next, const Same& same) {
    std::size_t slot = hash % slots_.size();
    for (; slots_[slot] != kNone; slot = (slot + 1) % slots_.size()) {
      if (same(slots_[slot])) return slots_[slot];
    }
    return slots_[slot] = static_cast<std::uint32_t>(next);
  }

  std::size_t bytes() const { return slots_.capacity() * sizeof(std::uint32_t); }

 private:
  static constexpr std::uint32_t kNone = 0xffffffff;

  std::vector<std::uint32_t> slots_;  // a power of two, at most half full
};

}  // namespace pqrnn
