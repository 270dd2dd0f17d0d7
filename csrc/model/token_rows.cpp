#include "model/token_rows.h"

#include <algorithm>

namespace pqrnn {
namespace {

constexpr std::uint32_t kNone = 0xffffffff;

}  // namespace

bool depend_on_place(const Projector& projector) { return projector.extra_count() > 0; }

const std::uint64_t* token_seed(const Projector& projector, const Workspace& work,
                                std::size_t position) {
  return work.projected.seeds.data() + position * projector.seed_words();
}

void find_tokens(const Projector& projector, const TokenCache& cache, Workspace& work,
                 Range range) {
  const std::size_t words = projector.seed_words();
  const bool distinct = depend_on_place(projector);
  work.misses.clear();
  work.miss_hashes.clear();
  std::size_t slots = 16;
  while (slots < 2 * (range.end - range.begin)) slots *= 2;
  work.table.assign(slots, kNone);
  for (std::size_t i = range.begin; i < range.end; ++i) {
    const std::uint64_t* seed = token_seed(projector, work, i);
    const std::uint64_t hash = TokenCache::hash(seed, words);
    work.miss_of[i] = kNone;
    std::size_t slot = hash % slots;
    if (!distinct) {
      work.token_rows[i] = cache.find(seed, hash);
      if (work.token_rows[i]) continue;
      while (work.table[slot] != kNone) {
        const std::uint32_t miss = work.table[slot];
        if (std::equal(seed, seed + words, token_seed(projector, work, work.misses[miss]))) {
          work.miss_of[i] = miss;
          break;
        }
        slot = (slot + 1) % slots;
      }
    }
    if (work.miss_of[i] == kNone) {
      work.miss_of[i] = static_cast<std::uint32_t>(work.misses.size());
      if (!distinct) work.table[slot] = work.miss_of[i];
      work.misses.push_back(i);
      work.miss_hashes.push_back(hash);
    }
  }
}

void expand_tokens(const Projector& projector, const std::vector<std::size_t>& positions,
                   Workspace& work) {
  const std::size_t words = projector.words();
  work.codes.resize(positions.size() * words);
  for (std::size_t i = 0; i < positions.size(); ++i) {
    projector.expand(token_seed(projector, work, positions[i]), 1, &work.codes[i * words]);
  }
}

void place_tokens(const Projector& projector, TokenCache& cache, Workspace& work, Range range,
                  const void* rows, std::size_t row_bytes) {
  const auto* first = static_cast<const unsigned char*>(rows);
  for (std::size_t i = range.begin; i < range.end; ++i) {
    if (work.miss_of[i] != kNone) work.token_rows[i] = first + work.miss_of[i] * row_bytes;
  }
  if (depend_on_place(projector)) return;
  for (std::size_t m = 0; m < work.misses.size(); ++m) {
    cache.offer(token_seed(projector, work, work.misses[m]), work.miss_hashes[m],
                first + m * row_bytes);
  }
}

}  // namespace pqrnn
