// A small pool of threads. Nothing starts before the first call that wants a second thread; a
// child of fork() gets a fresh pool; idle threads sleep; no OpenMP, so no clash with torch's.
#pragma once

#include <cstddef>

#include "status.h"

namespace pqrnn {

// Asked now and then, on the calling thread only, whether to give up: true means stop.
struct Poll {
  bool (*call)(void* context) = nullptr;
  void* context = nullptr;
};

// What a body asks during long work whether to return early; true stays true for the whole job.
class Stop {
 public:
  virtual bool requested() = 0;

 protected:
  ~Stop() = default;
};

// Never asks anybody.
class NeverStop final : public Stop {
 public:
  bool requested() override { return false; }
};

// PQRNN_NUM_THREADS when it is a number >= 1, else the CPUs this process may run on.
int default_threads();

// One job: body(context, index, worker, stop) for each index.
using ParallelBody = Status (*)(void* context, std::size_t index, int worker, Stop& stop);

// Runs the body for every index < count on at most `threads` threads, the calling one included.
// Indices are handed out in order, one at a time; `worker` < threads differs between bodies that
// run at the same time. The first error (out of memory included) or a poll that says stop ends the
// job early; some indices have then not run. Several threads may call this at once.
Status parallel_for(std::size_t count, int threads, ParallelBody body, void* context,
                    Poll poll = {}) noexcept;

// The same for a callable Status(std::size_t index, int worker, Stop& stop).
template <class Body>
Status parallel_for(std::size_t count, int threads, const Body& body, Poll poll = {}) noexcept {
  return parallel_for(
      count, threads,
      [](void* context, std::size_t index, int worker, Stop& stop) {
        return (*static_cast<const Body*>(context))(index, worker, stop);
      },
      const_cast<Body*>(&body), poll);
}

}  // namespace pqrnn
