#include "model/workspace.h"

#include <limits>
#include <string>

namespace pqrnn {
namespace {

template <class Container>
std::size_t held(const Container& container) {
  return container.capacity() * sizeof(*container.data());
}

}  // namespace

std::size_t Workspace::bytes() const {
  return held(projected.seeds) + held(projected.spans) + held(projected.extras) + held(texts) +
         held(rows) + held(token_rows) + held(miss_of) + table.bytes() + held(misses) +
         held(miss_hashes) + held(codes) + held(kept) + held(kept_of) + held(carry) +
         held(attention) + held(pooled) + held(outputs) + held(context) + held(text_of) +
         held(real.products) + held(real.extras) + held(real.numbers) +
         held(real.token_bottleneck) + held(real.token_products) + held(real.bottleneck) +
         held(real.layers[0]) + held(real.layers[1]) + held(real.token_row) +
         held(real.token_states) + held(real.token_slots) + held(whole.products) +
         held(whole.fresh) + held(whole.rows) + held(whole.minus) + held(whole.starts) +
         held(whole.known) + held(whole.word_of) + held(whole.words) + held(whole.word_hashes) +
         held(whole.word_sums) + held(whole.sums) + held(whole.ternary) + held(whole.features) +
         held(whole.fresh_bottleneck) + held(whole.token_bottleneck) + held(whole.token_products) +
         held(whole.bottleneck) + held(whole.layers[0]) + held(whole.layers[1]) +
         held(whole.pooled) + held(whole.low) + held(whole.high);
}

void clear_group(Workspace& work) {
  work.projected.clear();
  work.texts.clear();
  work.rows.clear();
  work.height = 0;
}

Status append_text(const Projector& projector, std::size_t kernel_size, std::string_view text,
                   Workspace& work) {
  const std::size_t before = work.projected.positions;
  projector.append(text, nullptr, work.projected);
  const std::size_t positions = work.projected.positions - before;
  const std::size_t gap = gap_rows(kernel_size);
  if (work.height == 0) work.height = gap;
  if (positions + gap > std::numeric_limits<std::uint32_t>::max() - work.height) {
    return Status::error(Code::invalid_argument,
                         "text of " + std::to_string(text.size()) + " bytes is too long");
  }
  work.texts.push_back({work.height, positions, work.projected.spans.size()});
  for (std::size_t t = 0; t < positions; ++t) {
    work.rows.push_back(static_cast<std::uint32_t>(work.height + t));
  }
  work.height += positions + gap;
  return {};
}

}  // namespace pqrnn
