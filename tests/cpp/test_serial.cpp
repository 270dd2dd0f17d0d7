// parallel.h without threads: the object of this test stands in for the one of the library.
#include <vector>

#include "check.h"
#include "parallel.h"

using namespace pqrnn;

int main() {
  CHECK_EQ(default_threads(), 1);
  for (const int threads : {1, 8}) {
    std::vector<std::size_t> seen;
    Status status = parallel_for(5, threads, [&](std::size_t index, int worker, Stop& stop) {
      CHECK(worker == 0 && !stop.requested());
      seen.push_back(index);
      return Status{};
    });
    CHECK(status.ok());
    CHECK((seen == std::vector<std::size_t>{0, 1, 2, 3, 4}));

    seen.clear();
    status = parallel_for(5, threads, [&](std::size_t index, int, Stop&) {
      seen.push_back(index);
      return index == 2 ? Status::error(Code::io_error, "two") : Status{};
    });
    CHECK(status.code == Code::io_error && status.message == "two");
    CHECK_EQ(seen.size(), 3u);
    CHECK(parallel_for(0, threads, [&](std::size_t, int, Stop&) -> Status { return {}; }).ok());

    // A poll that says stop ends the body that asks, and no other index runs.
    int polls = 0, runs = 0;
    const Poll poll = {[](void* context) { return ++*static_cast<int*>(context) == 2; }, &polls};
    status = parallel_for(
        5, threads,
        [&](std::size_t, int, Stop& stop) {
          ++runs;
          while (!stop.requested()) {
          }
          CHECK(stop.requested());
          return Status{};
        },
        poll);
    CHECK(status.code == Code::cancelled);
    CHECK_EQ(polls, 2);
    CHECK_EQ(runs, 1);
  }
  return check::report();
}
