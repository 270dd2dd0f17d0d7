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
  work.table.reset(range.end - range.begin);
  for (std::size_t i = range.begin; i < range.end; ++i) {
    const std::uint64_t* seed = token_seed(projector, work, i);
    const std::uint64_t hash = TokenCache::hash(seed, words);
    const std::size_t next = work.misses.size();
    work.miss_of[i] = kNone;
    if (distinct) {
      work.miss_of[i] = static_cast<std::uint32_t>(next);
    } else {
      work.token_rows[i] = cache.find(seed, hash);
      if (work.token_rows[i]) continue;
      work.miss_of[i] = work.table.number(hash, next, [&](std::size_t miss) {
        return std::equal(seed, seed + words, token_seed(projector, work, work.misses[miss]));
      });
    }
    if (work.miss_of[i] == next) {
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

void place_tokens(Workspace& work, Range range, const void* rows, std::size_t row_bytes) {
  const auto* first = static_cast<const unsigned char*>(rows);
  for (std::size_t i = range.begin; i < range.end; ++i) {
    if (work.miss_of[i] != kNone) work.token_rows[i] = first + work.miss_of[i] * row_bytes;
  }
}

void offer_tokens(const Projector& projector, TokenCache& cache, const Workspace& work,
                  const void* rows, std::size_t row_bytes) {
  if (depend_on_place(projector)) return;
  const auto* first = static_cast<const unsigned char*>(rows);
  for (std::size_t m = 0; m < work.misses.size(); ++m) {
    cache.offer(token_seed(projector, work, work.misses[m]), work.miss_hashes[m],
                first + m * row_bytes);
  }
}

void keep_rows(Workspace& work, Range range, const void* rows, std::size_t row_bytes) {
  if (work.kept_of.empty()) return;
  const auto* first = static_cast<const unsigned char*>(rows);
  const std::size_t before = work.kept.size() / row_bytes;
  work.kept.insert(work.kept.end(), first, first + work.misses.size() * row_bytes);
  for (std::size_t i = range.begin; i < range.end; ++i) {
    if (work.miss_of[i] != kNone) {
      work.kept_of[i] = static_cast<std::uint32_t>(before) + work.miss_of[i];
    }
  }
}

void take_rows(const Workspace& work, void* rows, std::size_t row_bytes) {
  auto* out = static_cast<unsigned char*>(rows);
  for (const std::size_t position : work.misses) {
    std::copy_n(work.kept.data() + work.kept_of[position] * row_bytes, row_bytes, out);
    out += row_bytes;
  }
}

}  // namespace pqrnn
