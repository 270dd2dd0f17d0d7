// What the first layer needs of each token depends on nothing but the token. So it is computed once
// for each distinct token of a stretch of positions, and not at all for tokens in the cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "model/forward.h"
#include "model/token_cache.h"
#include "projection/projector.h"

namespace pqrnn {

// Positions that are resolved together. A group of short texts is one part; a long text takes more,
// so that its tokens' rows stay in the cache.
constexpr std::size_t kPartPositions = 512;

struct Range {
  std::size_t begin;
  std::size_t end;
};

const std::uint64_t* token_seed(const Projector& projector, const Workspace& work,
                                std::size_t position);

// Finds work.token_rows of the positions in the range that are cached, and collects the first
// position of every other distinct token in work.misses; work.miss_of says which one a position
// waits for.
void find_tokens(const Projector& projector, const TokenCache& cache, Workspace& work, Range range);

// Extra columns vary with the place of a token: what is computed of one place is of no use
// elsewhere.
bool depend_on_place(const Projector& projector);

// Codes of the tokens at some positions, [positions, words()], to work.codes.
void expand_tokens(const Projector& projector, const std::vector<std::size_t>& positions,
                   Workspace& work);

// The remaining work.token_rows of the range, from the rows of work.misses, `row_bytes` each.
void place_tokens(Workspace& work, Range range, const void* rows, std::size_t row_bytes);

// Shows these rows to the cache.
void offer_tokens(const Projector& projector, TokenCache& cache, const Workspace& work,
                  const void* rows, std::size_t row_bytes);

// Of several parts, the backward direction comes by once more, from the last to the first. What
// the forward one has computed of the misses of the range is kept for it, `row_bytes` each, where
// work.kept_of has a place for each position; then take_rows() has the rows of all misses that
// find_tokens() says there are.
void keep_rows(Workspace& work, Range range, const void* rows, std::size_t row_bytes);
void take_rows(const Workspace& work, void* rows, std::size_t row_bytes);

}  // namespace pqrnn
