#include "parallel.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <new>
#include <thread>

#include "guard.h"

#if defined(__linux__)
#include <sched.h>
#endif
#if !defined(_WIN32)
#include <pthread.h>
#include <signal.h>
#include <unistd.h>
#endif

namespace pqrnn {
namespace {

constexpr int kMaxThreads = 1024;
constexpr std::chrono::milliseconds kPollInterval{50};

long current_process() {
#if defined(_WIN32)
  return 0;  // no fork()
#else
  return static_cast<long>(::getpid());
#endif
}

// The state of one parallel_for, on the stack of its caller.
struct Job {
  std::size_t count;
  int threads;
  ParallelBody body;
  void* context;
  std::atomic<std::size_t> next{0};
  std::atomic<bool> stopped{false};

  std::mutex error_mutex;
  Status error;  // the first one

  // Only under the pool's mutex:
  int joined = 1;  // threads that ever worked on it; the caller is worker 0
  int active = 0;  // workers of the pool inside it now
  Job* following = nullptr;

  bool wants_workers() const { return joined < threads && next.load() < count && !stopped.load(); }
};

class WorkerStop final : public Stop {
 public:
  explicit WorkerStop(Job& job) : job_(job) {}
  bool requested() override { return job_.stopped.load(std::memory_order_relaxed); }

 private:
  Job& job_;
};

class CallerStop final : public Stop {
 public:
  CallerStop(Job& job, Poll poll) : job_(job), poll_(poll) {}

  bool requested() override {
    if (job_.stopped.load(std::memory_order_relaxed)) return true;
    if (!poll_.call) return false;
    const auto now = std::chrono::steady_clock::now();
    if (now < next_poll_) return false;
    next_poll_ = now + kPollInterval;
    if (!poll_.call(poll_.context)) return false;
    cancelled_ = true;
    job_.stopped.store(true);
    return true;
  }

  bool cancelled() const { return cancelled_; }

 private:
  Job& job_;
  const Poll poll_;
  bool cancelled_ = false;
  std::chrono::steady_clock::time_point next_poll_ =
      std::chrono::steady_clock::now() + kPollInterval;
};

void work(Job& job, int worker, Stop& stop) {
  while (!stop.requested()) {
    const std::size_t index = job.next.fetch_add(1, std::memory_order_relaxed);
    if (index >= job.count) return;
    Status status = guarded([&] { return job.body(job.context, index, worker, stop); });
    if (!status.ok()) {
      job.stopped.store(true);
      const std::lock_guard<std::mutex> lock(job.error_mutex);
      if (job.error.ok()) job.error = std::move(status);
    }
  }
}

class Pool {
 public:
  const long process = current_process();

  void run(Job& job, CallerStop& stop);

 private:
  void add_workers(int wanted);
  void work_forever();
  Job* open_job();

  std::mutex mutex_;
  std::condition_variable wake_;      // workers: a job was added
  std::condition_variable finished_;  // callers: a worker left a job
  Job* jobs_ = nullptr;               // oldest first
  int workers_ = 0;
};

Job* Pool::open_job() {
  Job* job = jobs_;
  while (job && !job->wants_workers()) job = job->following;
  return job;
}

void Pool::work_forever() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    Job* job = open_job();
    if (!job) {
      wake_.wait(lock);
      continue;
    }
    const int worker = job->joined++;
    ++job->active;
    lock.unlock();
    WorkerStop stop(*job);
    work(*job, worker, stop);
    lock.lock();
    if (--job->active == 0) finished_.notify_all();
  }
}

void Pool::add_workers(int wanted) {
#if !defined(_WIN32)
  // Signals are for the threads of the program, which may be waiting to be interrupted by one.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
#endif
  // When no more threads are to be had, the job runs on those there are.
  (void)guarded([&]() -> Status {
    for (; workers_ < wanted; ++workers_) std::thread([this] { work_forever(); }).detach();
    return {};
  });
#if !defined(_WIN32)
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
#endif
}

void Pool::run(Job& job, CallerStop& stop) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    add_workers(job.threads - 1);
    Job** last = &jobs_;
    while (*last) last = &(*last)->following;
    *last = &job;
  }
  for (int i = 1; i < job.threads; ++i) wake_.notify_one();
  work(job, 0, stop);

  std::unique_lock<std::mutex> lock(mutex_);
  Job** link = &jobs_;
  while (*link != &job) link = &(*link)->following;
  *link = job.following;  // no worker can join from here on
  while (job.active > 0) {
    finished_.wait_for(lock, kPollInterval);
    lock.unlock();
    stop.requested();
    lock.lock();
  }
}

Pool* shared_pool() {
  static std::atomic<Pool*> shared{nullptr};
  Pool* pool = shared.load(std::memory_order_acquire);
  if (pool && pool->process == current_process()) return pool;
  Pool* fresh = new (std::nothrow) Pool;
  if (!fresh) return nullptr;
  // A pool of the parent process stays where it is: its threads are not here, and its mutex may
  // have been locked in the moment of the fork.
  if (shared.compare_exchange_strong(pool, fresh, std::memory_order_acq_rel)) return fresh;
  delete fresh;
  return pool;
}

}  // namespace

int default_threads() {
  if (const char* text = std::getenv("PQRNN_NUM_THREADS")) {
    char* end = nullptr;
    const long value = std::strtol(text, &end, 10);
    if (end != text && *end == '\0' && value >= 1) {
      return static_cast<int>(std::min<long>(value, kMaxThreads));
    }
  }
#if defined(__linux__)
  cpu_set_t cpus;
  if (sched_getaffinity(0, sizeof cpus, &cpus) == 0) {
    return std::min(std::max(CPU_COUNT(&cpus), 1), kMaxThreads);
  }
#endif
  const int all = static_cast<int>(std::thread::hardware_concurrency());
  return std::min(std::max(all, 1), kMaxThreads);
}

Status parallel_for(std::size_t count, int threads, ParallelBody body, void* context,
                    Poll poll) noexcept {
  Job job;
  job.count = count;
  job.threads = std::min(std::max(threads, 1), kMaxThreads);
  if (count < static_cast<std::size_t>(job.threads)) job.threads = static_cast<int>(count);
  job.body = body;
  job.context = context;
  CallerStop stop(job, poll);
  Pool* pool = job.threads > 1 ? shared_pool() : nullptr;
  if (pool) {
    pool->run(job, stop);
  } else {
    work(job, 0, stop);
  }
  if (stop.cancelled()) return {Code::cancelled, {}};
  return std::move(job.error);
}

}  // namespace pqrnn
