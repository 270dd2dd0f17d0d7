#include "blocks.h"

#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#elif defined(_WIN32)
#include <malloc.h>
#endif

namespace pqrnn {
namespace {

struct Block {
  void* data;
  std::size_t bytes;
};

struct Cache {
  std::mutex mutex;
  std::vector<Block> free;  // oldest first
  std::size_t bytes = 0;
};

// Never destroyed: tensors may outlive static destructors.
Cache& cache() {
  static Cache* value = new Cache;
  return *value;
}

// Eight sizes per power of two, so that batches of nearly the same size share blocks. What rounding
// adds at the end is never touched.
std::size_t rounded(std::size_t bytes) {
  std::size_t unit = kBlockUnit;
  while (unit < bytes / 16) unit *= 2;
  return (bytes + unit - 1) / unit * unit;
}

void* allocate(std::size_t bytes) {
#if defined(_WIN32)
  return _aligned_malloc(bytes, kBlockUnit);
#else
  void* data = nullptr;
  if (posix_memalign(&data, kBlockUnit, bytes) != 0) return nullptr;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  // A refusal changes nothing but speed.
  (void)madvise(data, bytes, MADV_HUGEPAGE);
#endif
  return data;
#endif
}

void release(void* data) {
#if defined(_WIN32)
  _aligned_free(data);
#else
  std::free(data);
#endif
}

}  // namespace

void* take_block(std::size_t bytes) {
  bytes = rounded(bytes);
  {
    Cache& c = cache();
    const std::lock_guard<std::mutex> lock(c.mutex);
    // The youngest first: it may still be in the CPU's cache.
    for (std::size_t i = c.free.size(); i-- > 0;) {
      if (c.free[i].bytes != bytes) continue;
      void* data = c.free[i].data;
      c.free.erase(c.free.begin() + static_cast<std::ptrdiff_t>(i));
      c.bytes -= bytes;
      return data;
    }
  }
  if (void* data = allocate(bytes)) return data;
  drop_free_blocks();
  return allocate(bytes);
}

void give_block(void* block, std::size_t bytes) {
  bytes = rounded(bytes);
  if (bytes > kMaxCachedBytes) return release(block);
  Cache& c = cache();
  const std::lock_guard<std::mutex> lock(c.mutex);
  while (c.bytes + bytes > kMaxCachedBytes) {
    release(c.free.front().data);
    c.bytes -= c.free.front().bytes;
    c.free.erase(c.free.begin());
  }
  try {
    c.free.push_back({block, bytes});
    c.bytes += bytes;
  } catch (const std::bad_alloc&) {
    release(block);
  }
}

void drop_free_blocks() {
  Cache& c = cache();
  const std::lock_guard<std::mutex> lock(c.mutex);
  for (const Block& block : c.free) release(block.data);
  c.free.clear();
  c.bytes = 0;
}

std::size_t free_block_bytes() {
  Cache& c = cache();
  const std::lock_guard<std::mutex> lock(c.mutex);
  return c.bytes;
}

}  // namespace pqrnn
