// Numbers for kernels: aligned to a cache line, grown without keeping the content, never filled.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

namespace pqrnn {

template <class Number>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t size) { resize(size); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Buffer() { release(); }

  // At least `size` numbers of unknown content. Throws std::bad_alloc as a container would.
  void resize(std::size_t size) {
    if (size > capacity_) {
      release();
      // More than the address space has is more than operator new has.
      constexpr std::size_t kMost = static_cast<std::size_t>(-1) / 2;
      const std::size_t bytes = size < kMost / sizeof(Number) ? size * sizeof(Number) : kMost;
      data_ = static_cast<Number*>(::operator new(bytes, kAlignment));
      capacity_ = size;
    }
    size_ = size;
  }
  void release() {
    if (data_) ::operator delete(data_, kAlignment);
    data_ = nullptr;
    size_ = capacity_ = 0;
  }

  Number* data() { return data_; }
  const Number* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::size_t capacity() const { return capacity_; }
  Number& operator[](std::size_t i) { return data_[i]; }
  Number operator[](std::size_t i) const { return data_[i]; }

 private:
  static constexpr std::align_val_t kAlignment{64};

  void swap(Buffer& other) {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
  }

  Number* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

using FloatBuffer = Buffer<float>;

constexpr std::size_t round_up(std::size_t value, std::size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace pqrnn
