// Dropout: elements are kept and scaled, or zero, by random words that nothing stores. Element i is
// channel i of random_mask with the counter words (high half of the word's number, 0, 2); zoneout
// ends in 0 or 1, a direction, so that one seed serves both without a word drawn twice.

template <class S>
static void dropout_as(const DropoutArgs& a, std::int64_t begin, std::int64_t end) {
  using A = Arithmetic<S>;
  const A scale = static_cast<A>(a.scale);
  std::uint32_t dropped[kDropoutBlock];
  for (std::int64_t task = begin; task < end; ++task) {
    const std::int64_t first = task * kDropoutBlock;
    const std::int64_t count = a.count - first < kDropoutBlock ? a.count - first : kDropoutBlock;
    // A task has kDropoutBlock / 4 words and starts at a multiple of that: one high half for all.
    random_mask(a.seed, a.threshold, static_cast<std::uint32_t>(first / 4 >> 32), 0, 2, first,
                count, dropped);
    const S* PQRNN_RESTRICT x = static_cast<const S*>(a.x) + first;
    S* PQRNN_RESTRICT y = static_cast<S*>(a.y) + first;
    for (std::int64_t j = 0; j < count; ++j) {
      const A scaled = widen(x[j]) * scale;
      narrow(dropped[j] ? A{0} : scaled, y[j]);
    }
  }
}

static void dropout(const DropoutArgs& a, std::int64_t begin, std::int64_t end) {
  if (a.element == Element::f64) return dropout_as<double>(a, begin, end);
  if (a.element == Element::f32) return dropout_as<float>(a, begin, end);
  dropout_as<bf16>(a, begin, end);
}
