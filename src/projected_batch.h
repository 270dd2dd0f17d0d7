// What the Python classes Projector and ProjectedBatch hold.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "projection/projector.h"

template <typename T>
using Array = pybind11::array_t<T, pybind11::array::c_style>;

// What projecting depends on: nothing random, the operator's own streams, or a seed.
struct Draws {
  bool random;
  std::optional<std::uint64_t> seed;
};

template <typename T>
Array<T> array_of(const std::vector<T>& values) {
  Array<T> array(static_cast<pybind11::ssize_t>(values.size()));
  std::copy(values.begin(), values.end(), array.mutable_data());
  return array;
}

class Operator {
 public:
  explicit Operator(pqrnn::ProjectionSettings settings) : projector(std::move(settings)) {}

  // Calls use(streams, text) for one text after the other; streams is null when nothing is random.
  template <typename Use>
  void for_each(const std::vector<std::string_view>& texts, Draws draws, const Use& use) {
    if (!draws.random || !projector.is_random()) {
      for (const std::string_view text : texts) use(nullptr, text);
    } else if (draws.seed) {
      for (const std::string_view text : texts) {
        pqrnn::RandomStreams streams = pqrnn::RandomStreams::for_text(*draws.seed, text);
        use(&streams, text);
      }
    } else {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (const std::string_view text : texts) use(&streams_, text);
    }
  }

  const pqrnn::Projector projector;

 private:
  std::mutex mutex_;
  pqrnn::RandomStreams streams_;
};

struct Batch {
  std::shared_ptr<const Operator> owner;
  pqrnn::Projected projected;
  std::vector<std::size_t> offsets{0};  // of each text's first position, and the end

  std::size_t width() const { return owner->projector.settings().feature_size; }

  Array<std::int64_t> offsets_array() const {
    Array<std::int64_t> array(static_cast<pybind11::ssize_t>(offsets.size()));
    std::copy(offsets.begin(), offsets.end(), array.mutable_data());
    return array;
  }

  template <typename T>
  void write_ragged(Array<T>& out) const {
    if (out.size() != static_cast<pybind11::ssize_t>(projected.positions * width())) {
      throw pybind11::value_error("out must hold positions x feature_size elements");
    }
    T* const data = out.mutable_data();
    const pybind11::gil_scoped_release release;
    owner->projector.features(projected, 0, projected.positions, data);
  }

  // Starts of the rows, columns and signs of the features that are not zero.
  pybind11::tuple nonzero() const {
    pqrnn::Nonzero found;
    {
      const pybind11::gil_scoped_release release;
      owner->projector.nonzero(projected, found);
    }
    return pybind11::make_tuple(array_of(found.starts), array_of(found.columns),
                                array_of(found.signs));
  }

  // out [texts, steps, F], zero past each text's end.
  void write_padded(Array<float>& out, std::size_t steps) const {
    const std::size_t row = steps * width();
    if (out.size() != static_cast<pybind11::ssize_t>((offsets.size() - 1) * row)) {
      throw pybind11::value_error("out must hold texts x steps x feature_size elements");
    }
    float* data = out.mutable_data();
    const pybind11::gil_scoped_release release;
    for (std::size_t text = 0; text + 1 < offsets.size(); ++text, data += row) {
      const std::size_t length = std::min(offsets[text + 1] - offsets[text], steps);
      owner->projector.features(projected, offsets[text], length, data);
      std::fill(data + length * width(), data + row, 0.0f);
    }
  }
};
