// Large blocks of memory that are used again instead of being given back to the system.
//
// The first write to a fresh 4 KiB page costs about 3 microseconds on a virtual machine, twenty
// times what a scan takes to fill it, and malloc fetches every block beyond 32 MiB afresh: for
// outputs of that size the scan itself is the smaller part. Blocks here lie on huge pages where
// the system has them on request (Linux), and a freed block serves the next request of its size.
#pragma once

#include <cstddef>

namespace pqrnn {

constexpr std::size_t kBlockUnit = std::size_t{2} << 20;  // alignment, a huge page
constexpr std::size_t kMaxCachedBytes = std::size_t{256}
                                        << 20;  // free blocks kept, oldest go first

// Memory of at least `bytes`, aligned to kBlockUnit, with unspecified content; nullptr when there
// is none. Any thread may call any of these.
void* take_block(std::size_t bytes);

// Gives back what take_block(bytes) returned.
void give_block(void* block, std::size_t bytes);

// Returns all free blocks to the system.
void drop_free_blocks();

// Bytes in free blocks.
std::size_t free_block_bytes();

}  // namespace pqrnn
