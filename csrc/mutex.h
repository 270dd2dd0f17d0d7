// std::mutex, or nothing at all where the program has one thread (PQRNN_THREADS=OFF).
#pragma once

#include <mutex>

namespace pqrnn {

#if defined(PQRNN_NO_THREADS)
class Mutex {
 public:
  void lock() {}
  void unlock() {}
};
#else
using Mutex = std::mutex;
#endif

using Lock = std::lock_guard<Mutex>;

}  // namespace pqrnn
