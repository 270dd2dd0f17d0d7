// Which rows belong together. As on the CPU, element (s, t, c) of a tensor lies at
//   data + s * sequence + (offsets ? offsets[s] : 0) * step + t * step + c
// Lengths and offsets are read by the kernels alone, so the host cannot check them: they are
// clamped to the memory that there is.
#pragma once

#include "cuda/hd.h"

namespace pqrnn::cuda {

struct Sequences {
  std::int64_t count;           // n
  std::int64_t steps;           // T of padded layouts; unused with offsets
  std::int64_t rows;            // of ragged tensors; unused without offsets
  const std::int64_t* offsets;  // [n + 1] of a ragged layout, or nullptr
  const std::int64_t* lengths;  // [n], or nullptr: all are T
};

struct View {
  void* data;
  std::int64_t sequence;  // strides in elements; channels are contiguous
  std::int64_t step;
};

PQRNN_HD std::int64_t clamped(std::int64_t value, std::int64_t low, std::int64_t high) {
  return value < low ? low : value > high ? high : value;
}

PQRNN_HD std::int64_t sequence_begin(const Sequences& q, std::int64_t n) {
  return q.offsets ? clamped(q.offsets[n], 0, q.rows) : 0;
}

PQRNN_HD std::int64_t sequence_length(const Sequences& q, std::int64_t n) {
  if (q.offsets) {
    const std::int64_t begin = sequence_begin(q, n);
    return clamped(q.offsets[n + 1], begin, q.rows) - begin;
  }
  return q.lengths ? clamped(q.lengths[n], 0, q.steps) : q.steps;
}

// Rows that a tensor holds for sequence n: those past its length are padding.
PQRNN_HD std::int64_t sequence_room(const Sequences& q, std::int64_t length) {
  return q.offsets ? length : q.steps;
}

template <class S>
PQRNN_HD S* row_at(const View& view, std::int64_t n, std::int64_t begin, std::int64_t step) {
  return static_cast<S*>(view.data) + n * view.sequence + (begin + step) * view.step;
}

// All rows of a tensor one after the other, padding included.
struct RowCursor {
  std::int64_t n, begin, length, t;  // row t of sequence n
};

PQRNN_HD constexpr std::int64_t total_rows(const Sequences& q) {
  return q.offsets && q.count > 0 ? q.rows : q.count * q.steps;
}

// Row `row` in [0, total_rows).
PQRNN_HD RowCursor find_row(const Sequences& q, std::int64_t row) {
  if (!q.offsets) {
    const std::int64_t n = row / q.steps;
    return {n, 0, sequence_length(q, n), row - n * q.steps};
  }
  std::int64_t low = 0, high = q.count - 1;  // the last sequence that begins at or before the row
  while (low < high) {
    const std::int64_t middle = (low + high + 1) / 2;
    if (sequence_begin(q, middle) <= row) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  const std::int64_t begin = sequence_begin(q, low);
  return {low, begin, sequence_length(q, low), row - begin};
}

PQRNN_HD void next_row(const Sequences& q, RowCursor& cursor) {
  ++cursor.t;
  while (cursor.n + 1 < q.count && cursor.t >= sequence_room(q, cursor.length)) {
    ++cursor.n;
    cursor.t = 0;
    cursor.begin = sequence_begin(q, cursor.n);
    cursor.length = sequence_length(q, cursor.n);
  }
}

}  // namespace pqrnn::cuda
