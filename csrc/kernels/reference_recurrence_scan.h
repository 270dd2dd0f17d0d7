// The scan h[t] = f[t] * h[t-1] + x[t] and its gradient, see body_recurrence_scan.h.

static void scan_forward(const ScanArgs& a, std::int64_t begin, std::int64_t end) {
  const Sequences& q = a.sequences;
  const Element e = a.element;
  const std::int64_t blocks = ceil_div(a.width, kScanBlock);
  for (std::int64_t task = begin; task < end; ++task) {
    const std::int64_t n = task / blocks, steps = sequence_length(q, n);
    const Channels k = channels_of(task % blocks, kScanBlock, a.width);
    for (std::int64_t c = k.first; c < k.first + k.count; ++c) {
      double h = a.h0 ? get(a.h0, e, n * a.width + c) : 0;
      for (std::int64_t i = 0; i < steps; ++i) {
        const std::int64_t t = a.reverse ? steps - 1 - i : i;
        h = get(a.f.data, e, at(a.f, q, n, t) + c) * h + get(a.x.data, e, at(a.x, q, n, t) + c);
        put(a.h.data, e, at(a.h, q, n, t) + c, h);
      }
    }
    clear_padding(a.h, q, e, n, k.first, k.count);
  }
}

static void scan_backward(const ScanArgs& a, std::int64_t begin, std::int64_t end) {
  const Sequences& q = a.sequences;
  const Element e = a.element;
  const std::int64_t blocks = ceil_div(a.width, kScanBlock);
  for (std::int64_t task = begin; task < end; ++task) {
    const std::int64_t n = task / blocks, steps = sequence_length(q, n);
    const Channels k = channels_of(task % blocks, kScanBlock, a.width);
    for (std::int64_t c = k.first; c < k.first + k.count; ++c) {
      double carry = 0;
      for (std::int64_t i = steps - 1; i >= 0; --i) {
        const std::int64_t t = a.reverse ? steps - 1 - i : i;
        const std::int64_t earlier = a.reverse ? t + 1 : t - 1;
        double before = a.h0 ? get(a.h0, e, n * a.width + c) : 0;
        if (i > 0) before = get(a.h.data, e, at(a.h, q, n, earlier) + c);
        const double g = get(a.gh.data, e, at(a.gh, q, n, t) + c) + carry;
        put(a.gx.data, e, at(a.gx, q, n, t) + c, g);
        put(a.gf.data, e, at(a.gf, q, n, t) + c, g * before);
        carry = get(a.f.data, e, at(a.f, q, n, t) + c) * g;
      }
      if (a.gh0) put(a.gh0, e, n * a.width + c, carry);
    }
    clear_padding(a.gf, q, e, n, k.first, k.count);
    clear_padding(a.gx, q, e, n, k.first, k.count);
  }
}
