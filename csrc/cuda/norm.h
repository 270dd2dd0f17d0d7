// Batch norm of gates [rows, D * k * G * H] over the valid rows, and what taps have to do with it.
//
// The pre-activation of step t sums tap j of row t - k + 1 + j (forward) or t + j (backward):
//   p[t] = sum_j g_j[t + j - (k - 1)]   or   sum_j g_j[t + j]
#pragma once

#include "cuda/layout.h"
#include "cuda/storage.h"

namespace pqrnn::cuda {

struct NormArgs {
  Sequences sequences;
  std::int64_t width;  // G * H
  int directions;
  bool reverse[2];
  int taps;
  Element element;
  View gates;  // taps of direction d at (d * taps + j) * width
  View sum;    // [.., D * width]: the sum over taps; data may be nullptr if taps == 1

  // moments
  std::int64_t row_blocks;
  void* partial;              // [row_blocks, 3, D * width] of arithmetic type: count, mean, M2
  void* moments;              // [2, D * width]: mean and variance; nullptr: only sum the taps
  void* coefficients_out;     // [3, D * width]: mean, weight / sqrt(variance + eps), bias
  const void *weight, *bias;  // [D * width]
  double eps;

  // gradient: dy + offset + (p - mean) * slope, to every tap that fed the step
  View dy, gradient;
  const void* coefficients;  // [3, D * width]: mean, offset, slope; nullptr: dy alone
};

PQRNN_HD std::int64_t tap_row(bool reverse, int taps, std::int64_t t, int j) {
  return reverse ? t + j : t + j - (taps - 1);
}
// The step whose pre-activation reads tap j of row t.
PQRNN_HD std::int64_t tap_reader(bool reverse, int taps, std::int64_t t, int j) {
  return reverse ? t - j : t - j + (taps - 1);
}

template <class A>
struct Moments {
  A count, mean, square;  // square: the sum of squared deviations
};

// Chan, Golub and LeVeque (1979).
template <class A>
PQRNN_HD Moments<A> merged(const Moments<A>& a, const Moments<A>& b) {
  const A count = a.count + b.count;
  if (count == 0) return a;
  const A delta = b.mean - a.mean, share = b.count / count;
  return {count, a.mean + delta * share, a.square + b.square + delta * delta * a.count * share};
}

constexpr int kRowsAtOnce = 4;  // whose loads are on their way together

// Sums of taps of neighbouring rows, channels [channel, channel + V) of D * width; zeros in
// padding.
template <class S, int V, class A>
PQRNN_HD void sum_taps(const NormArgs& a, const RowCursor (&rows)[kRowsAtOnce], int count,
                       std::int64_t channel, A (&out)[kRowsAtOnce][V]) {
  const std::int64_t direction = channel / a.width, inside = channel - direction * a.width;
  const bool reverse = a.reverse[direction];
  PQRNN_UNROLL
  for (int i = 0; i < kRowsAtOnce; ++i) {
    PQRNN_UNROLL
    for (int v = 0; v < V; ++v) out[i][v] = 0;
  }
  for (int j = 0; j < a.taps; ++j) {
    const std::int64_t offset = (direction * a.taps + j) * a.width + inside;
    Pack<S, V> pack[kRowsAtOnce];
    PQRNN_UNROLL
    for (int i = 0; i < kRowsAtOnce; ++i) {
      const RowCursor& row = rows[i];
      const std::int64_t source = tap_row(reverse, a.taps, row.t, j);
      pack[i] = {};
      if (i < count && row.t < row.length && source >= 0 && source < row.length) {
        pack[i] = load_pack<S, V>(row_at<S>(a.gates, row.n, row.begin, source) + offset);
      }
    }
    PQRNN_UNROLL
    for (int i = 0; i < kRowsAtOnce; ++i) {
      PQRNN_UNROLL
      for (int v = 0; v < V; ++v) out[i][v] += widen(pack[i].lane[v]);
    }
  }
}

// A thread's rows [first, last) and channels: sums of taps go out, moments come back.
template <class S, int V, class A>
PQRNN_HD void sum_rows(const NormArgs& a, std::int64_t first, std::int64_t last,
                       std::int64_t channel, Moments<A> (&out)[V]) {
  A pivot[V], sum[V], square[V], count = 0;
  PQRNN_UNROLL
  for (int v = 0; v < V; ++v) pivot[v] = sum[v] = square[v] = 0;
  RowCursor row = {};
  if (first < last) row = find_row(a.sequences, first);
  for (std::int64_t r = first; r < last; r += kRowsAtOnce) {
    const int here = static_cast<int>(smaller<std::int64_t>(kRowsAtOnce, last - r));
    RowCursor rows[kRowsAtOnce];
    PQRNN_UNROLL
    for (int i = 0; i < kRowsAtOnce; ++i) {
      rows[i] = row;
      next_row(a.sequences, row);
    }
    A p[kRowsAtOnce][V];
    sum_taps<S>(a, rows, here, channel, p);
    PQRNN_UNROLL
    for (int i = 0; i < kRowsAtOnce; ++i) {
      if (i >= here) continue;
      if (a.sum.data) {
        store_pack<S, V>(p[i], row_at<S>(a.sum, rows[i].n, rows[i].begin, rows[i].t) + channel);
      }
      if (rows[i].t >= rows[i].length) continue;
      // About the first row, which keeps the subtraction below harmless.
      PQRNN_UNROLL
      for (int v = 0; v < V; ++v) {
        if (count == 0) pivot[v] = p[i][v];
        const A d = p[i][v] - pivot[v];
        sum[v] += d;
        square[v] += d * d;
      }
      count += 1;
    }
  }
  PQRNN_UNROLL
  for (int v = 0; v < V; ++v) {
    const A shift = count == 0 ? A(0) : sum[v] / count;
    out[v] = {count, pivot[v] + shift, square[v] - sum[v] * shift};
  }
}

// One channel's moments of row blocks first, first + stride, ..., in double.
template <class A>
PQRNN_HD Moments<double> merge_blocks(const NormArgs& a, std::int64_t channel, std::int64_t first,
                                      std::int64_t stride) {
  const std::int64_t channels = a.directions * a.width;
  Moments<double> out = {0, 0, 0};
  for (std::int64_t block = first; block < a.row_blocks; block += stride) {
    const A* at = static_cast<const A*>(a.partial) + block * 3 * channels + channel;
    out = merged(out, {at[0], at[channels], at[2 * channels]});
  }
  return out;
}

template <class A>
PQRNN_HD void finish_moments(const NormArgs& a, std::int64_t channel, const Moments<double>& m) {
  const std::int64_t channels = a.directions * a.width;
  const double variance = m.count > 0 ? m.square / m.count : 0;
  A* moments = static_cast<A*>(a.moments);
  moments[channel] = static_cast<A>(m.mean);
  moments[channels + channel] = static_cast<A>(variance);
  A* out = static_cast<A*>(a.coefficients_out);
  out[channel] = static_cast<A>(m.mean);
  out[channels + channel] =
      static_cast<A>(static_cast<const A*>(a.weight)[channel] / sqrt(variance + a.eps));
  out[2 * channels + channel] = static_cast<const A*>(a.bias)[channel];
}

// Row r and channels [channel, channel + V): the gradient of every tap of the row.
template <class S, int V>
PQRNN_HD void spread_row(const NormArgs& a, std::int64_t r, std::int64_t channel) {
  using A = Arithmetic<S>;
  const std::int64_t direction = channel / a.width, inside = channel - direction * a.width;
  const std::int64_t channels = a.directions * a.width;
  const RowCursor row = find_row(a.sequences, r);
  S* const to = row_at<S>(a.gradient, row.n, row.begin, row.t) + inside;
  for (int j = 0; j < a.taps; ++j) {
    const std::int64_t reader = tap_reader(a.reverse[direction], a.taps, row.t, j);
    A d[V];
    PQRNN_UNROLL
    for (int v = 0; v < V; ++v) d[v] = 0;
    if (row.t < row.length && reader >= 0 && reader < row.length) {
      const Pack<S, V> dy =
          load_pack<S, V>(row_at<const S>(a.dy, row.n, row.begin, reader) + channel);
      PQRNN_UNROLL
      for (int v = 0; v < V; ++v) d[v] = widen(dy.lane[v]);
      if (a.coefficients) {
        const Pack<S, V> p =
            load_pack<S, V>(row_at<const S>(a.sum, row.n, row.begin, reader) + channel);
        const A* c = static_cast<const A*>(a.coefficients) + channel;
        PQRNN_UNROLL
        for (int v = 0; v < V; ++v) {
          d[v] += c[channels + v] + (widen(p.lane[v]) - c[v]) * c[2 * channels + v];
        }
      }
    }
    store_pack<S, V>(d, to + (direction * a.taps + j) * a.width);
  }
}

}  // namespace pqrnn::cuda
