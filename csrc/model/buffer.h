// Floats for kernels: aligned to a cache line, grown without keeping the content, never filled.
#pragma once

#include <cstddef>
#include <new>
#include <utility>

namespace pqrnn {

class FloatBuffer {
 public:
  FloatBuffer() = default;
  explicit FloatBuffer(std::size_t size) { resize(size); }
  FloatBuffer(const FloatBuffer&) = delete;
  FloatBuffer& operator=(const FloatBuffer&) = delete;
  FloatBuffer(FloatBuffer&& other) noexcept { swap(other); }
  FloatBuffer& operator=(FloatBuffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~FloatBuffer() { release(); }

  // At least `size` floats of unknown content. Throws std::bad_alloc as a container would.
  void resize(std::size_t size) {
    if (size > capacity_) {
      release();
      if (size > static_cast<std::size_t>(-1) / 2 / sizeof(float)) throw std::bad_alloc();
      data_ = static_cast<float*>(::operator new(size * sizeof(float), kAlignment));
      capacity_ = size;
    }
    size_ = size;
  }
  void release() {
    if (data_) ::operator delete(data_, kAlignment);
    data_ = nullptr;
    size_ = capacity_ = 0;
  }

  float* data() { return data_; }
  const float* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::size_t capacity() const { return capacity_; }
  float& operator[](std::size_t i) { return data_[i]; }
  float operator[](std::size_t i) const { return data_[i]; }

 private:
  static constexpr std::align_val_t kAlignment{64};

  void swap(FloatBuffer& other) {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
  }

  float* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

}  // namespace pqrnn
