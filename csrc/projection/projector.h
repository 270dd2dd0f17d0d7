// Text to ternary codes: the whole of specification section 1 up to the features.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "projection/settings.h"
#include "status.h"
#include "text/span.h"

namespace pqrnn {

// One projected text. Reuse one object per thread: nothing is allocated once its buffers are warm.
struct Projected {
  std::size_t positions = 0;          // bos + tokens + eos
  std::vector<Span> spans;            // [tokens] byte ranges of the input; tags have none
  std::vector<std::uint64_t> codes;   // [positions, words()] 2-bit groups, least significant first
  std::vector<float> extras;          // [positions, extra_count()] values of the extra columns
};

class Projector {
 public:
  // `settings` must have passed validate().
  explicit Projector(ProjectionSettings settings);
  ~Projector();
  Projector(Projector&&) noexcept;
  Projector& operator=(Projector&&) noexcept;

  const ProjectionSettings& settings() const;
  std::size_t words() const;  // ceil(F / 32), 64-bit words of code per position

  // Extra features (specification section 6) overwrite columns; their 2-bit groups are 0 in `codes`.
  // Column of extra e < extra_count().
  std::size_t extra_count() const;
  std::size_t extra_column(std::size_t e) const;

  // Deterministic: no distortion, cap probabilities of 0 or 1. Thread-safe.
  Status project(std::string_view text, Projected& out) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pqrnn
