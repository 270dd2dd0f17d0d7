// Batch norm of gates over the valid rows of each direction: moments on the way forward, the exact
// gradient on the way back. Tasks are those of the pooling, over all G * H channels.

// Per group of sequences the mean and the sum of squared deviations, both about the group's first
// row, which keeps the subtraction harmless: callers merge groups in double.
template <class S>
static void norm_forward_as(const NormArgs& a, std::int64_t begin, std::int64_t end) {
  using A = Arithmetic<S>;
  const Sequences& q = a.sequences;
  const std::int64_t channels = a.directions * a.width;
  A pivot[kPoolBlock], row[kPoolBlock], sum[kPoolBlock], square[kPoolBlock];
  for (std::int64_t task = begin; task < end; ++task) {
    const PoolTask k = pool_task(task, q.count, a.directions, a.width, a.reverse);
    const std::int64_t ahead = rows_ahead<S>(k.count);
    std::int64_t rows = 0;
    clear(pivot, k.count);
    clear(sum, k.count);
    clear(square, k.count);
    for (std::int64_t n = k.begin; n < k.end; ++n) {
      const std::int64_t steps = sequence_length(q, n);
      for (std::int64_t t = 0; t < steps; ++t) {
        sum_taps<S, A>(a.gates, q, k, n, t, steps, a.taps, k.direction * a.taps * a.width, a.width,
                       ahead * a.gates.step, row);
        if (a.sum.data) {
          emit_row<S, A>(row, at<S>(a.sum, q, n, t), k.direction * a.width + k.first, k.count,
                         a.stream);
        }
        if (rows++ == 0) load_row<A>(row, 0, k.count, pivot);
        for (std::int64_t c = 0; c < k.count; ++c) {
          const A d = row[c] - pivot[c];
          sum[c] += d;
          square[c] += d * d;
        }
      }
      if (a.sum.data) zero_rows<S>(a.sum, q, n, k.direction * a.width + k.first, k.count);
    }
    double* mean = a.moments + k.begin / kGroup * 2 * channels + k.direction * a.width + k.first;
    double* deviation = mean + channels;
    const double inverse = rows ? 1.0 / static_cast<double>(rows) : 0.0;
    for (std::int64_t c = 0; c < k.count; ++c) {
      const double shift = sum[c] * inverse;
      mean[c] = pivot[c] + shift;
      deviation[c] = square[c] - sum[c] * shift;
    }
  }
  if (a.stream) finish_streams();
}

// d[t] = dy[t] + offset + (p[t] - mean) * slope, to every tap that fed step t.
template <class S>
static void norm_backward_as(const NormArgs& a, std::int64_t begin, std::int64_t end) {
  using A = Arithmetic<S>;
  const Sequences& q = a.sequences;
  A p[kPoolBlock], d[kPoolBlock];
  for (std::int64_t task = begin; task < end; ++task) {
    const PoolTask k = pool_task(task, q.count, a.directions, a.width, a.reverse);
    const std::int64_t channel = k.direction * a.width + k.first;
    const std::int64_t ahead = rows_ahead<S>(k.count);
    const std::int64_t first_tap = k.direction * a.taps * a.width;
    const A* PQRNN_RESTRICT mean = static_cast<const A*>(a.mean) + channel;
    const A* PQRNN_RESTRICT offset = static_cast<const A*>(a.offset) + channel;
    const A* PQRNN_RESTRICT slope = static_cast<const A*>(a.slope) + channel;
    for (std::int64_t n = k.begin; n < k.end; ++n) {
      const std::int64_t steps = sequence_length(q, n);
      for (std::int64_t t = 0; t < steps; ++t) {
        prefetch_row(at<S>(a.sum, q, n, t + ahead) + channel, k.count);
        prefetch_row(at<S>(a.dy, q, n, t + ahead) + channel, k.count);
        load_row<S>(at<S>(a.sum, q, n, t), channel, k.count, p);
        load_row<S>(at<S>(a.dy, q, n, t), channel, k.count, d);
        for (std::int64_t c = 0; c < k.count; ++c) {
          d[c] += offset[c] + (p[c] - mean[c]) * slope[c];
        }
        spread_taps<S, A>(a.gradient, q, k, n, t, steps, a.taps, first_tap, a.width, a.stream, d);
      }
      for (int j = 0; j < a.taps; ++j) {
        zero_rows<S>(a.gradient, q, n, first_tap + j * a.width + k.first, k.count);
      }
    }
  }
  if (a.stream) finish_streams();
}

static void norm_forward(const NormArgs& args, std::int64_t begin, std::int64_t end) {
  switch (args.element) {
    case Element::f32: return norm_forward_as<float>(args, begin, end);
    case Element::bf16: return norm_forward_as<bf16>(args, begin, end);
    case Element::f64: return norm_forward_as<double>(args, begin, end);
  }
}

static void norm_backward(const NormArgs& args, std::int64_t begin, std::int64_t end) {
  switch (args.element) {
    case Element::f32: return norm_backward_as<float>(args, begin, end);
    case Element::bf16: return norm_backward_as<bf16>(args, begin, end);
    case Element::f64: return norm_backward_as<double>(args, begin, end);
  }
}
