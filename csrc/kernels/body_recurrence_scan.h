// The scan h[t] = f[t] * h[t-1] + x[t] and its gradient, one pass over memory each.
//
// A task is one sequence times kScanBlock channels; the running state is a row in L1, so that the
// big tensors are walked from end to end and nothing is read twice.
//
// A row is worked through in chunks: prefetch, compute into scratch, store. Bursts of prefetches or
// stores longer than a chunk stall: 32 channels are twice as fast as 512 (backward, Zen 5).
constexpr std::int64_t kChunk = 32;

template <class S>
static void scan_forward_as(const ScanArgs& a, std::int64_t begin, std::int64_t end) {
  using A = Arithmetic<S>;
  const Sequences& q = a.sequences;
  const std::int64_t blocks = ceil_div(a.width, kScanBlock);
  A row[kScanBlock];
  for (std::int64_t task = begin; task < end; ++task) {
    const std::int64_t n = task / blocks, first = task % blocks * kScanBlock;
    const std::int64_t count = a.width - first < kScanBlock ? a.width - first : kScanBlock;
    const std::int64_t steps = sequence_length(q, n);
    if (a.h0)
      load_row<S>(a.h0, n * a.width + first, count, row);
    else
      clear(row, count);
    const std::int64_t ahead = (a.reverse ? -1 : 1) * rows_ahead<S>(count);
    for (std::int64_t k = 0; k < steps; ++k) {
      const std::int64_t t = a.reverse ? steps - 1 - k : k;
      const S* f_row = at<S>(a.f, q, n, t) + first;
      const S* x_row = at<S>(a.x, q, n, t) + first;
      S* h_row = at<S>(a.h, q, n, t) + first;
      for (std::int64_t c = 0; c < count; c += kChunk) {
        const std::int64_t size = count - c < kChunk ? count - c : kChunk;
        const S* PQRNN_RESTRICT f = f_row + c;
        const S* PQRNN_RESTRICT x = x_row + c;
        A* PQRNN_RESTRICT state = row + c;
        prefetch_row(f + ahead * a.f.step, size);
        prefetch_row(x + ahead * a.x.step, size);
        for (std::int64_t j = 0; j < size; ++j) state[j] = widen(f[j]) * state[j] + widen(x[j]);
        emit_row<S, A>(state, h_row, c, size, a.stream);
      }
    }
    zero_rows<S>(a.h, q, n, first, count);
  }
  if (a.stream) finish_streams();
}

// With g[t] the gradient of h[t] including its way through later steps:
//   g[t] = gh[t] + f[t+1] * g[t+1]     gx = g     gf[t] = g[t] * h[t-1]     gh0 = f[0] * g[0]
template <class S>
static void scan_backward_as(const ScanArgs& a, std::int64_t begin, std::int64_t end) {
  using A = Arithmetic<S>;
  const Sequences& q = a.sequences;
  const std::int64_t blocks = ceil_div(a.width, kScanBlock);
  const S zeros[kScanBlock] = {};
  A row[kScanBlock], gf[kChunk], gx[kChunk];
  for (std::int64_t task = begin; task < end; ++task) {
    const std::int64_t n = task / blocks, first = task % blocks * kScanBlock;
    const std::int64_t count = a.width - first < kScanBlock ? a.width - first : kScanBlock;
    const std::int64_t steps = sequence_length(q, n);
    const S* start = a.h0 ? static_cast<const S*>(a.h0) + n * a.width + first : zeros;
    clear(row, count);
    const std::int64_t ahead = (a.reverse ? 1 : -1) * rows_ahead<S>(count);
    for (std::int64_t k = steps - 1; k >= 0; --k) {
      const std::int64_t t = a.reverse ? steps - 1 - k : k;
      const S* gh_row = at<S>(a.gh, q, n, t) + first;
      const S* f_row = at<S>(a.f, q, n, t) + first;
      const S* before_row = k ? at<S>(a.h, q, n, a.reverse ? t + 1 : t - 1) + first : start;
      for (std::int64_t c = 0; c < count; c += kChunk) {
        const std::int64_t size = count - c < kChunk ? count - c : kChunk;
        const S* PQRNN_RESTRICT gh = gh_row + c;
        const S* PQRNN_RESTRICT f = f_row + c;
        const S* PQRNN_RESTRICT before = before_row + c;
        A* PQRNN_RESTRICT carry = row + c;
        prefetch_row(gh + ahead * a.gh.step, size);
        prefetch_row(f + ahead * a.f.step, size);
        prefetch_row(before + ahead * a.h.step, size);
        for (std::int64_t j = 0; j < size; ++j) {
          const A g = widen(gh[j]) + carry[j];
          gx[j] = g;
          gf[j] = g * widen(before[j]);
          carry[j] = widen(f[j]) * g;
        }
        emit_row<S, A>(gf, at<S>(a.gf, q, n, t), first + c, size, a.stream);
        emit_row<S, A>(gx, at<S>(a.gx, q, n, t), first + c, size, a.stream);
      }
    }
    if (a.gh0) store_row<S>(row, a.gh0, n * a.width + first, count);
    zero_rows<S>(a.gf, q, n, first, count);
    zero_rows<S>(a.gx, q, n, first, count);
  }
  if (a.stream) finish_streams();
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
