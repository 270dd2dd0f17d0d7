// Dropout, see body_recurrence_dropout.h.

static void dropout(const DropoutArgs& a, std::int64_t begin, std::int64_t end) {
  for (std::int64_t task = begin; task < end; ++task) {
    for (std::int64_t i = task * kDropoutBlock; i < (task + 1) * kDropoutBlock && i < a.count;
         ++i) {
      const std::int64_t word = i / 64 * 16 + i % 16;
      const bool dropped = is_chosen(a.seed, a.threshold, i, word >> 32, 0, 2);
      put(a.y, a.element, i, dropped ? 0 : get(a.x, a.element, i) * a.scale);
    }
  }
}
