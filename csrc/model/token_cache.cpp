#include "model/token_cache.h"

#include <algorithm>

namespace pqrnn {

TokenCache::TokenCache(std::size_t key_words, std::size_t row_bytes, std::size_t rows)
    : key_words_(key_words),
      row_bytes_(row_bytes),
      capacity_(std::min(rows, kMostBytes / (row_bytes + key_words * sizeof(std::uint64_t)))),
      slots_(2 * rows),
      sightings_(8 * rows) {}

TokenCache::~TokenCache() {
  for (std::atomic<Entry*>& slot : slots_) delete slot.load(std::memory_order_relaxed);
}

std::uint64_t TokenCache::hash(const std::uint64_t* key, std::size_t key_words) {
  // Sums of what follows a fingerprint are cheap, and enough where it is n-grams.
  std::uint64_t rest = 0, value = 0;
  for (std::size_t i = 2; i < key_words; ++i) rest += key[i];
  for (const std::uint64_t part : {key[0], key_words > 1 ? key[1] : 0, rest}) {
    value = (value ^ part) * 0x9E3779B97F4A7C15u;
    value ^= value >> 32;
  }
  return value;
}

bool TokenCache::same(const Entry& entry, const std::uint64_t* key) const {
  return std::equal(key, key + key_words_, entry.key.get());
}

const void* TokenCache::find(const std::uint64_t* key, std::uint64_t hash) const {
  for (std::size_t i = 0; i < kProbes; ++i) {
    const Entry* entry = slots_[(hash + i) & (slots_.size() - 1)].load(std::memory_order_acquire);
    if (!entry) return nullptr;
    if (same(*entry, key)) return entry->row.data();
  }
  return nullptr;
}

void TokenCache::offer(const std::uint64_t* key, std::uint64_t hash, const void* row) {
  if (rows_.load(std::memory_order_relaxed) >= capacity_) return;
  const auto tag = static_cast<std::uint32_t>(hash >> 32);
  std::atomic<std::uint32_t>& seen = sightings_[hash & (sightings_.size() - 1)];
  if (seen.exchange(tag, std::memory_order_relaxed) != tag) return;

  if (rows_.fetch_add(1, std::memory_order_relaxed) < capacity_) {
    auto entry = std::make_unique<Entry>();
    entry->key = std::make_unique<std::uint64_t[]>(key_words_);
    std::copy_n(key, key_words_, entry->key.get());
    entry->row.resize(row_bytes_);
    std::copy_n(static_cast<const unsigned char*>(row), row_bytes_, entry->row.data());
    for (std::size_t i = 0; i < kProbes; ++i) {
      std::atomic<Entry*>& slot = slots_[(hash + i) & (slots_.size() - 1)];
      Entry* there = nullptr;
      if (slot.compare_exchange_strong(there, entry.get(), std::memory_order_acq_rel)) {
        entry.release();
        return;
      }
      if (same(*there, key)) break;  // another thread was faster
    }
  }
  rows_.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace pqrnn
