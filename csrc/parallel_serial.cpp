// parallel.h where there are no threads: the caller does it all.
#include <chrono>
#include <utility>

#include "guard.h"
#include "parallel.h"

namespace pqrnn {
namespace {

constexpr std::chrono::milliseconds kPollInterval{50};

class CallerStop final : public Stop {
 public:
  explicit CallerStop(Poll poll) : poll_(poll) {}

  bool requested() override {
    if (cancelled_ || !poll_.call) return cancelled_;
    const auto now = std::chrono::steady_clock::now();
    if (now < next_poll_) return false;
    next_poll_ = now + kPollInterval;
    cancelled_ = poll_.call(poll_.context);
    return cancelled_;
  }

 private:
  const Poll poll_;
  bool cancelled_ = false;
  std::chrono::steady_clock::time_point next_poll_ =
      std::chrono::steady_clock::now() + kPollInterval;
};

}  // namespace

int default_threads() { return 1; }

Status parallel_for(std::size_t count, int, ParallelBody body, void* context, Poll poll) noexcept {
  CallerStop stop(poll);
  for (std::size_t index = 0; index < count && !stop.requested(); ++index) {
    Status status = guarded([&] { return body(context, index, 0, stop); });
    if (!status.ok()) return status;
  }
  if (stop.requested()) return {Code::cancelled, {}};
  return {};
}

}  // namespace pqrnn
