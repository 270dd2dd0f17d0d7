// Attention pooling over the tokens of each sequence; a task is one sequence.

// Sums in 16 lanes, so that the compiler may vectorise without reordering a sum on its own.
template <class S, class A>
static A dot_row(const A* PQRNN_RESTRICT a, const S* PQRNN_RESTRICT b, std::int64_t count) {
  A lanes[16] = {};
  std::int64_t c = 0;
  for (; c + 16 <= count; c += 16) {
    for (int j = 0; j < 16; ++j) lanes[j] += a[c + j] * widen(b[c + j]);
  }
  for (int j = 0; c < count; ++c, ++j) lanes[j] += a[c] * widen(b[c]);
  A sum = 0;
  for (int j = 0; j < 16; ++j) sum += lanes[j];
  return sum;
}

// w[t] = exp(logit[t] - largest) / sum
template <class S>
static void softmax_over_time(const AttendArgs& a, std::int64_t n, std::int64_t head,
                              std::int64_t steps) {
  using A = Arithmetic<S>;
  const Sequences& q = a.sequences;
  A largest = 0;
  for (std::int64_t t = 0; t < steps; ++t) {
    const A logit = widen(at<S>(a.weights, q, n, t)[head]);
    largest = t == 0 || logit > largest ? logit : largest;
  }
  A total = 0;
  for (std::int64_t t = 0; t < steps; ++t) {
    const auto e = split_exp(clamp<A>(widen(at<S>(a.weights, q, n, t)[head]) - largest, -87, 0));
    total += e.power + e.power * e.p;
  }
  for (std::int64_t t = 0; t < steps; ++t) {
    const auto e = split_exp(clamp<A>(widen(at<S>(a.weights, q, n, t)[head]) - largest, -87, 0));
    narrow((e.power + e.power * e.p) / total, at<S>(a.out_weights, q, n, t)[head]);
  }
}

template <class S>
static void attend_forward_as(const AttendArgs& a, std::int64_t begin, std::int64_t end) {
  using A = Arithmetic<S>;
  const Sequences& q = a.sequences;
  const std::int64_t size = a.width / a.heads;
  A sum[kPoolBlock];
  for (std::int64_t n = begin; n < end; ++n) {
    const std::int64_t steps = sequence_length(q, n);
    for (std::int64_t head = 0; head < a.heads; ++head) {
      softmax_over_time<S>(a, n, head, steps);
      for (std::int64_t first = head * size; first < (head + 1) * size; first += kPoolBlock) {
        const std::int64_t left = (head + 1) * size - first;
        const std::int64_t count = left < kPoolBlock ? left : kPoolBlock;
        clear(sum, count);
        for (std::int64_t t = 0; t < steps; ++t) {
          const A w = widen(at<S>(a.out_weights, q, n, t)[head]);
          const S* PQRNN_RESTRICT row = at<S>(a.states, q, n, t) + first;
          for (std::int64_t c = 0; c < count; ++c) sum[c] += w * widen(row[c]);
        }
        store_row<S>(sum, a.pooled, n * a.width + first, count);
      }
    }
    zero_rows<S>(a.out_weights, q, n, 0, a.heads);
  }
}

// gs[t] = w[t] * gv      gw[t] = <gv, s[t]>      glogit[t] = w[t] * (gw[t] - sum_u w[u] * gw[u])
template <class S>
static void attend_backward_as(const AttendArgs& a, std::int64_t begin, std::int64_t end) {
  using A = Arithmetic<S>;
  const Sequences& q = a.sequences;
  const std::int64_t size = a.width / a.heads;
  A gv[kPoolBlock];
  for (std::int64_t n = begin; n < end; ++n) {
    const std::int64_t steps = sequence_length(q, n);
    for (std::int64_t head = 0; head < a.heads; ++head) {
      for (std::int64_t first = head * size; first < (head + 1) * size; first += kPoolBlock) {
        const std::int64_t left = (head + 1) * size - first;
        const std::int64_t count = left < kPoolBlock ? left : kPoolBlock;
        load_row<S>(a.gpooled, n * a.width + first, count, gv);
        for (std::int64_t t = 0; t < steps; ++t) {
          const A w = widen(at<S>(a.out_weights, q, n, t)[head]);
          const S* row = at<S>(a.states, q, n, t) + first;
          S* PQRNN_RESTRICT gs = at<S>(a.gstates, q, n, t) + first;
          for (std::int64_t c = 0; c < count; ++c) narrow(w * gv[c], gs[c]);
          S& gw = at<S>(a.glogits, q, n, t)[head];
          const A before = first == head * size ? A{0} : A{widen(gw)};
          narrow(before + dot_row<S, A>(gv, row, count), gw);
        }
      }
      A mean = 0;
      for (std::int64_t t = 0; t < steps; ++t) {
        mean += widen(at<S>(a.out_weights, q, n, t)[head]) * widen(at<S>(a.glogits, q, n, t)[head]);
      }
      for (std::int64_t t = 0; t < steps; ++t) {
        S& g = at<S>(a.glogits, q, n, t)[head];
        narrow(widen(at<S>(a.out_weights, q, n, t)[head]) * (widen(g) - mean), g);
      }
    }
    zero_rows<S>(a.gstates, q, n, 0, a.width);
    zero_rows<S>(a.glogits, q, n, 0, a.heads);
  }
}

static void attend_forward(const AttendArgs& args, std::int64_t begin, std::int64_t end) {
  switch (args.element) {
    case Element::f32: return attend_forward_as<float>(args, begin, end);
    case Element::bf16: return attend_forward_as<bf16>(args, begin, end);
    case Element::f64: return attend_forward_as<double>(args, begin, end);
  }
}

static void attend_backward(const AttendArgs& args, std::int64_t begin, std::int64_t end) {
  switch (args.element) {
    case Element::f32: return attend_backward_as<float>(args, begin, end);
    case Element::bf16: return attend_backward_as<bf16>(args, begin, end);
    case Element::f64: return attend_backward_as<double>(args, begin, end);
  }
}
