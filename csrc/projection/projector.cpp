#include "projection/projector.h"

#include <algorithm>
#include <utility>

#include "kernels/kernels.h"
#include "projection/hash.h"
#include "projection/pipeline.h"

namespace pqrnn {

void Projected::clear() {
  positions = 0;
  spans.clear();
  seeds.clear();
  codes.clear();
  extras.clear();
}

RandomStreams RandomStreams::for_text(std::uint64_t seed, std::string_view text) {
  const Fingerprint f = murmur_fingerprint(text, CharMode::unsigned_char);
  // The seed goes through the same mixing as the text, so that seeds 0, 1, 2 are far apart.
  char bytes[16];
  for (int i = 0; i < 8; ++i) {
    bytes[i] = static_cast<char>(seed >> (8 * i));
    bytes[8 + i] = static_cast<char>((f.low ^ f.high) >> (8 * i));
  }
  const Fingerprint keys = murmur_fingerprint({bytes, 16}, CharMode::unsigned_char);
  return {Distorter(keys.low), Philox(keys.high)};
}

Projector::Projector(ProjectionSettings settings)
    : impl_(std::make_unique<Impl>(std::move(settings))) {}
Projector::~Projector() = default;
Projector::Projector(Projector&&) noexcept = default;
Projector& Projector::operator=(Projector&&) noexcept = default;

const ProjectionSettings& Projector::settings() const { return impl_->settings; }
std::size_t Projector::words() const { return impl_->words; }
std::size_t Projector::whole_words() const { return impl_->whole_words; }
std::size_t Projector::seed_words() const { return impl_->seed_words; }
std::size_t Projector::extra_count() const { return impl_->extras.size(); }
std::size_t Projector::extra_column(std::size_t e) const { return impl_->extras[e].second; }

bool Projector::is_random() const {
  const auto uncertain = [](float p) { return p > 0 && p < 1; };
  return settings().distortion > 0 || uncertain(settings().first_cap) ||
         uncertain(settings().all_caps);
}

void Projector::append(std::string_view text, RandomStreams* random, Projected& out) const {
  const std::string_view source = impl_->segment(text, out);
  const std::size_t first = out.positions;
  if (settings().bos) impl_->append_alone(kBos, {}, random, out);
  if (impl_->plain && !(random && settings().distortion > 0)) {
    if (impl_->ngrams.words() > 0) {
      impl_->append_plain<true>(source, out);
    } else {
      impl_->append_plain<false>(source, out);
    }
  } else {
    impl_->append_all(source, random, out);
  }
  if (settings().eos) impl_->append_alone(kEos, {}, random, out);
  if (!impl_->extras.empty()) impl_->fill_text_extras(first, out.spans.size(), out);
  if (impl_->normalize.any()) impl_->trace_spans(out);
}

void Projector::append_tokens(const std::string_view* tokens, std::size_t count,
                              RandomStreams* random, Projected& out) const {
  out.spans.clear();
  const std::size_t first = out.positions;
  if (settings().bos) impl_->append_alone(kBos, {}, random, out);
  for (std::size_t t = 0; t < count; ++t) {
    const CapFlags flags = impl_->make_word(tokens[t], random, out.word);
    impl_->contract_word(out.word, out.normalized);
    impl_->append_alone(out.word, flags, random, out);
  }
  if (settings().eos) impl_->append_alone(kEos, {}, random, out);
  if (!impl_->extras.empty()) impl_->fill_text_extras(first, count, out);
}

Status Projector::project(std::string_view text, Projected& out) const {
  out.clear();
  append(text, nullptr, out);
  out.codes.resize(out.positions * impl_->words);
  expand(out.seeds.data(), out.positions, out.codes.data());
  return {};
}

void Projector::expand(const std::uint64_t* seeds, std::size_t count, std::uint64_t* codes) const {
  const std::size_t width = impl_->words;
  const std::size_t ngram_words = impl_->ngrams.words();
  if (ngram_words > 0) {
    for (std::size_t p = 0; p < count; ++p) {
      const std::uint64_t* const seed = seeds + p * impl_->seed_words;
      expand_whole(seed, impl_->seed_words, 1, codes + p * width);
      std::copy_n(seed + 2, ngram_words, codes + p * width + impl_->whole_words);
    }
  } else if (settings().hash == Hash::murmur) {
    expand_whole(seeds, impl_->seed_words, count, codes);
  } else {
    for (std::size_t p = 0; p < count; ++p) {
      std::copy_n(seeds + p * impl_->seed_words, width, codes + p * width);
    }
  }
  for (const auto& [extra, column] : impl_->extras) {
    for (std::size_t p = 0; p < count; ++p) {
      codes[p * width + column / 32] &= ~(std::uint64_t{3} << (2 * (column % 32)));
    }
  }
}

void Projector::expand_whole(const std::uint64_t* fingerprints, std::size_t stride,
                             std::size_t count, std::uint64_t* codes) const {
  const std::size_t width = impl_->whole_words;
  if (impl_->hashed.hashes() > 0) {
    std::fill_n(codes, count * width, 0);
    for (std::size_t i = 0; i < count; ++i) {
      write_features(impl_->hashed, fingerprints[i * stride], codes + i * width);
    }
  } else if (stride == 2) {
    kernels().expand.extend(fingerprints, count, width, codes);
  } else {
    // Gathered, because the kernel takes several rows side by side.
    constexpr std::size_t kRows = 64;
    std::uint64_t gathered[2 * kRows];
    for (std::size_t row = 0; row < count; row += kRows) {
      const std::size_t rows = std::min(kRows, count - row);
      for (std::size_t r = 0; r < rows; ++r) {
        std::copy_n(fingerprints + (row + r) * stride, 2, gathered + 2 * r);
      }
      kernels().expand.extend(gathered, rows, width, codes + row * width);
    }
  }
}

void Projector::tokens(std::string_view text, std::vector<std::string>& out) const {
  Projected scratch;
  const std::string_view source = impl_->segment(text, scratch);
  for (const Span span : scratch.spans) out.emplace_back(slice(source, span));
}

void Projector::spans(std::string_view text, std::vector<Span>& out) const {
  Projected scratch;
  impl_->segment(text, scratch);
  if (impl_->normalize.any()) impl_->trace_spans(scratch);
  out.insert(out.end(), scratch.spans.begin(), scratch.spans.end());
}

void Projector::words(std::string_view text, RandomStreams* random,
                      std::vector<std::string>& out) const {
  Projected scratch;
  const std::string_view source = impl_->segment(text, scratch);
  if (settings().bos) out.emplace_back(kBos);
  for (const Span span : scratch.spans) {
    impl_->make_word(slice(source, span), random, scratch.word);
    out.push_back(scratch.word);
  }
  if (settings().eos) out.emplace_back(kEos);
}

void Projector::codes(std::string_view word, std::vector<std::uint64_t>& out) const {
  const ProjectionSettings& s = settings();
  out.assign(emitted_words(s.hash, s.feature_size), 0);
  hash_word(s.hash, s.char_mode, word, s.feature_size, out.data());
  if (s.token_hashes > 0) {
    const std::uint64_t fingerprint[] = {out[0], out[1]};
    out.resize(impl_->words);
    expand_whole(fingerprint, 2, 1, out.data());
  }
  if (s.ngram_size == 0) return;
  out.resize(impl_->whole_words);
  out.resize(impl_->words, 0);
  NgramRun run;
  run.add(word);
  impl_->ngrams.finish(run, out.data() + impl_->whole_words, 0);
}

}  // namespace pqrnn
