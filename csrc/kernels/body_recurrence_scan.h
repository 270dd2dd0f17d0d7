// The scan h[t] = f[t] * h[t-1] + x[t] and its gradient, one pass over memory each.
//
// A task is one sequence times kScanBlock channels; the running state is a row in L1, so that the
// big tensors are walked front to back and nothing is read twice.

template <class S>
static inline S* at(const View& view, const Sequences& q, std::int64_t sequence, std::int64_t step) {
  const std::int64_t row = (q.offsets ? q.offsets[sequence] : 0) + step;
  return static_cast<S*>(view.data) + sequence * view.sequence + row * view.step;
}

template <class S>
static void zero_rows(const View& view, const Sequences& q, std::int64_t sequence,
                      std::int64_t first, std::int64_t count) {
  if (q.offsets || !view.data) return;
  for (std::int64_t t = sequence_length(q, sequence); t < q.steps; ++t) {
    S* row = at<S>(view, q, sequence, t) + first;
    for (std::int64_t j = 0; j < count; ++j) row[j] = S{};
  }
}

template <class S, class A>
static void load_row(const void* base, std::int64_t offset, std::int64_t count,
                     A* PQRNN_RESTRICT out) {
  const S* PQRNN_RESTRICT row = static_cast<const S*>(base) + offset;
  for (std::int64_t j = 0; j < count; ++j) out[j] = widen(row[j]);
}

template <class S, class A>
static void store_row(const A* PQRNN_RESTRICT row, void* base, std::int64_t offset,
                      std::int64_t count) {
  S* PQRNN_RESTRICT out = static_cast<S*>(base) + offset;
  for (std::int64_t j = 0; j < count; ++j) narrow(row[j], out[j]);
}

template <class A>
static void clear(A* row, std::int64_t count) {
  for (std::int64_t j = 0; j < count; ++j) row[j] = 0;
}

template <class S>
static void scan_forward_as(const ScanArgs& a, std::int64_t begin, std::int64_t end) {
  using A = Arithmetic<S>;
  const Sequences& q = a.sequences;
  const std::int64_t blocks = ceil_div(a.width, kScanBlock);
  A state[kScanBlock];
  for (std::int64_t task = begin; task < end; ++task) {
    const std::int64_t n = task / blocks, first = task % blocks * kScanBlock;
    const std::int64_t count = a.width - first < kScanBlock ? a.width - first : kScanBlock;
    const std::int64_t steps = sequence_length(q, n);
    if (a.h0) load_row<S>(a.h0, n * a.width + first, count, state);
    else clear(state, count);
    for (std::int64_t k = 0; k < steps; ++k) {
      const std::int64_t t = a.reverse ? steps - 1 - k : k;
      const S* PQRNN_RESTRICT f = at<S>(a.f, q, n, t) + first;
      const S* PQRNN_RESTRICT x = at<S>(a.x, q, n, t) + first;
      S* PQRNN_RESTRICT h = at<S>(a.h, q, n, t) + first;
      for (std::int64_t j = 0; j < count; ++j) {
        state[j] = widen(f[j]) * state[j] + widen(x[j]);
        narrow(state[j], h[j]);
      }
    }
    zero_rows<S>(a.h, q, n, first, count);
  }
}

// With g[t] the gradient of h[t] including its way through later steps:
//   g[t] = gh[t] + f[t+1] * g[t+1]     gx = g     gf[t] = g[t] * h[t-1]     gh0 = f[0] * g[0]
template <class S>
static void scan_backward_as(const ScanArgs& a, std::int64_t begin, std::int64_t end) {
  using A = Arithmetic<S>;
  const Sequences& q = a.sequences;
  const std::int64_t blocks = ceil_div(a.width, kScanBlock);
  A carry[kScanBlock];
  S zeros[kScanBlock];
  for (std::int64_t j = 0; j < kScanBlock; ++j) zeros[j] = S{};
  for (std::int64_t task = begin; task < end; ++task) {
    const std::int64_t n = task / blocks, first = task % blocks * kScanBlock;
    const std::int64_t count = a.width - first < kScanBlock ? a.width - first : kScanBlock;
    const std::int64_t steps = sequence_length(q, n);
    const S* start = a.h0 ? static_cast<const S*>(a.h0) + n * a.width + first : zeros;
    clear(carry, count);
    for (std::int64_t k = steps - 1; k >= 0; --k) {
      const std::int64_t t = a.reverse ? steps - 1 - k : k;
      const S* PQRNN_RESTRICT f = at<S>(a.f, q, n, t) + first;
      const S* PQRNN_RESTRICT gh = at<S>(a.gh, q, n, t) + first;
      const S* PQRNN_RESTRICT before =
          k ? at<S>(a.h, q, n, a.reverse ? t + 1 : t - 1) + first : start;
      S* PQRNN_RESTRICT gf = at<S>(a.gf, q, n, t) + first;
      S* PQRNN_RESTRICT gx = at<S>(a.gx, q, n, t) + first;
      for (std::int64_t j = 0; j < count; ++j) {
        const A g = widen(gh[j]) + carry[j];
        narrow(g, gx[j]);
        narrow(g * widen(before[j]), gf[j]);
        carry[j] = widen(f[j]) * g;
      }
    }
    if (a.gh0) store_row<S>(carry, a.gh0, n * a.width + first, count);
    zero_rows<S>(a.gf, q, n, first, count);
    zero_rows<S>(a.gx, q, n, first, count);
  }
}

static void scan_forward(const ScanArgs& args, std::int64_t begin, std::int64_t end) {
  switch (args.element) {
    case Element::f32: return scan_forward_as<float>(args, begin, end);
    case Element::bf16: return scan_forward_as<bf16>(args, begin, end);
    case Element::f64: return scan_forward_as<double>(args, begin, end);
  }
}

static void scan_backward(const ScanArgs& args, std::int64_t begin, std::int64_t end) {
  switch (args.element) {
    case Element::f32: return scan_backward_as<float>(args, begin, end);
    case Element::bf16: return scan_backward_as<bf16>(args, begin, end);
    case Element::f64: return scan_backward_as<double>(args, begin, end);
  }
}
