// The thread pool: every index once, errors, stops, many callers, a forked child.
#include <atomic>
#include <chrono>
#include <new>
#include <thread>
#include <vector>

#include "check.h"
#include "parallel.h"

#if defined(__unix__) && !defined(__SANITIZE_THREAD__) && !defined(PQRNN_TEST_NO_FORK)
#include <sys/wait.h>
#include <unistd.h>
#define PQRNN_TEST_FORK 1
#endif

using namespace pqrnn;

namespace {

bool each_index_once(std::size_t count, int threads) {
  std::vector<std::atomic<int>> runs(count);
  std::atomic<int> busy[64] = {};
  std::atomic<bool> good{true};
  const Status status = parallel_for(count, threads, [&](std::size_t index, int worker, Stop&) {
    if (worker < 0 || worker >= threads || busy[worker].exchange(1) != 0) good = false;
    ++runs[index];
    busy[worker] = 0;
    return Status{};
  });
  for (const auto& run : runs) good = good && run == 1;
  return status.ok() && good;
}

}  // namespace

int main() {
  for (int threads : {1, 2, 4, 9}) {
    for (std::size_t count : {0, 1, 2, 3, 1000}) CHECK(each_index_once(count, threads));
  }

  std::vector<std::thread> callers;
  std::atomic<int> bad{0};
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&bad, i] {
      for (int repeat = 0; repeat < 50; ++repeat)
        bad += !each_index_once(100, 1 + (i + repeat) % 5);
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK_EQ(bad.load(), 0);

  for (int threads : {1, 3}) {
    Status status = parallel_for(100, threads, [](std::size_t index, int, Stop&) {
      return index == 40 ? Status::error(Code::io_error, "forty") : Status{};
    });
    CHECK(status.code == Code::io_error && status.message == "forty");
    status = parallel_for(100, threads, [](std::size_t index, int, Stop&) -> Status {
      if (index == 7) throw std::bad_alloc();
      return {};
    });
    CHECK(status.code == Code::out_of_memory);

    // A stop reaches every worker, also in the middle of a body.
    std::atomic<int> polls{0};
    const Poll poll = {
        [](void* context) { return ++*static_cast<std::atomic<int>*>(context) == 2; }, &polls};
    status = parallel_for(
        1000000, threads,
        [](std::size_t, int, Stop& stop) {
          while (!stop.requested()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
          return Status{};
        },
        poll);
    CHECK(status.code == Code::cancelled);
    CHECK_EQ(polls.load(), 2);
  }

#if defined(PQRNN_TEST_FORK)
  const pid_t child = fork();
  if (child == 0) _exit(each_index_once(1000, 4) ? 0 : 1);
  int result = -1;
  waitpid(child, &result, 0);
  CHECK_EQ(result, 0);
  CHECK(each_index_once(1000, 4));
#endif
  return check::report();
}
