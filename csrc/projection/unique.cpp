#include "projection/unique.h"

#include <cstring>

namespace pqrnn {

void unique_positions(const Projector& projector, const Projected& in, Projected& out,
                      std::int64_t* index) {
  const std::size_t seeds = projector.seed_words();
  const std::size_t extras = projector.extra_count();
  out.clear();

  // Open addressing at most half full; a slot holds a row of `out` plus one, 0 is free.
  std::size_t slots = 16;
  while (slots < 2 * in.positions) slots *= 2;
  std::vector<std::uint64_t> table(slots, 0);

  for (std::size_t position = 0; position < in.positions; ++position) {
    const std::uint64_t* const seed = in.seeds.data() + position * seeds;
    const float* const extra = in.extras.data() + position * extras;
    // Short prefix hashes leave the low bits weak, so the words are mixed (golden-ratio
    // multiplier).
    std::uint64_t mixed = 0;
    for (std::size_t w = 0; w < seeds; ++w) mixed = (mixed ^ seed[w]) * 0x9E3779B97F4A7C15u;
    std::size_t slot = static_cast<std::size_t>(mixed >> 32) & (slots - 1);
    for (;; slot = (slot + 1) & (slots - 1)) {
      if (table[slot] == 0) {
        out.seeds.insert(out.seeds.end(), seed, seed + seeds);
        out.extras.insert(out.extras.end(), extra, extra + extras);
        table[slot] = ++out.positions;
        break;
      }
      const std::size_t row = static_cast<std::size_t>(table[slot] - 1);
      if (std::memcmp(out.seeds.data() + row * seeds, seed, seeds * sizeof *seed) == 0 &&
          (extras == 0 ||
           std::memcmp(out.extras.data() + row * extras, extra, extras * sizeof *extra) == 0)) {
        break;
      }
    }
    index[position] = static_cast<std::int64_t>(table[slot] - 1);
  }
}

}  // namespace pqrnn
