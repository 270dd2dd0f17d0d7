// How many chunks a sequence is cut into.
#pragma once

#include "cuda/pool.h"

namespace pqrnn::cuda {

struct Plan {
  std::int64_t chunks, chunk_steps;
};

// `threads`: those that one chunk a sequence gives; `longest`: no sequence has more steps.
//
// A thread has about a hundred bytes on their way, and memory wants some 20 KiB a multiprocessor:
// from 120 threads on (each multiprocessor) cutting gains less than reading the gates twice costs.
// Below, 512 are two waves of large blocks. Chunks of less than 64 steps would be all overhead.
inline Plan plan_chunks(std::int64_t threads, std::int64_t longest, int multiprocessors) {
  const Plan whole = {1, std::int64_t{1} << 40};
  if (longest < 256 || threads <= 0 || threads >= std::int64_t{multiprocessors} * 120) return whole;
  const std::int64_t wanted = ceil_div(std::int64_t{multiprocessors} * 512, threads);
  const std::int64_t most = longest / 64;
  const std::int64_t chunks = wanted < most ? wanted : most;
  const std::int64_t steps = ceil_div(ceil_div(longest, chunks), kBatch) * kBatch;
  return {ceil_div(longest, steps), steps};
}

}  // namespace pqrnn::cuda
