#include "projection/projector.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/kernels.h"
#include "projection/hash.h"
#include "text/lower.h"
#include "text/split.h"
#include "text/words.h"

namespace pqrnn {
namespace {

constexpr std::string_view kBos = "<BOS>";
constexpr std::string_view kEos = "<EOS>";

enum class Extra { novelty, doc_size, first_cap, all_caps };

std::string_view slice(std::string_view text, Span span) {
  return text.substr(span.begin, span.end - span.begin);
}

// A flag with probability p, from its random stream or, without one, always.
float cap_value(float p, bool flag, RandomStreams* random) {
  if (random && random->caps.uniform() > p) return 0.0f;
  return flag ? 1.0f : -1.0f;
}

}  // namespace

struct Projector::Impl {
  ProjectionSettings settings;
  FoldRules fold;
  NormalizeRules normalize;
  std::vector<std::pair<Extra, std::size_t>> extras;  // with their columns
  std::size_t words;
  std::size_t emitted;     // 64-bit words the hash gives
  std::size_t seed_words;  // of them kept
  bool plain;              // nothing but lower-casing and murmur, unless words get distorted

  explicit Impl(ProjectionSettings s);

  std::string_view segment(std::string_view text, Projected& out) const;
  void trace_spans(Projected& out) const;
  void hash(std::string_view word, std::uint64_t* seed) const;
  CapFlags make_word(std::string_view token, RandomStreams* random, std::string& word) const;
  void contract_word(std::string& word, TracedText& scratch) const;
  void append_position(std::string_view word, CapFlags flags, RandomStreams* random,
                       Projected& out) const;
  void append_plain(std::string_view source, Projected& out) const;
  void append_all(std::string_view source, RandomStreams* random, Projected& out) const;
  void fill_text_extras(std::size_t first, std::size_t tokens, Projected& out) const;
};

Projector::Impl::Impl(ProjectionSettings s) : settings(std::move(s)) {
  fold.lower = settings.lower;
  fold.alphabetic_only = settings.alphabetic_only;
  fold.replace_ill_formed = settings.split == Split::words;
  fold.vocabulary = parse_vocabulary(settings.vocabulary);
  normalize.repetition = settings.normalize_repetition;
  normalize.spaces = settings.normalize_spaces;
  normalize.separators = settings.separators;
  normalize.repair = settings.split == Split::words;

  const std::size_t width = settings.feature_size;
  if (settings.novelty_bits > 0) extras.emplace_back(Extra::novelty, width - 1);
  if (settings.doc_size_levels > 0) extras.emplace_back(Extra::doc_size, width - 2);
  if (settings.first_cap > 0) extras.emplace_back(Extra::first_cap, width - 3);
  if (settings.all_caps > 0) extras.emplace_back(Extra::all_caps, width - 4);

  words = (width + 31) / 32;
  emitted = emitted_words(settings.hash, width);
  const bool murmur = settings.hash == Hash::murmur;
  seed_words = murmur ? 2 : emitted;
  plain = murmur && fold.vocabulary.empty() && !fold.alphabetic_only && settings.first_cap == 0 &&
          settings.all_caps == 0;
}

// The text the spans refer to: `text` itself or its normalised form.
std::string_view Projector::Impl::segment(std::string_view text, Projected& out) const {
  out.spans.clear();
  if (normalize.any()) {
    pqrnn::normalize(text, normalize, out.normalized);
    text = out.normalized.bytes;
  }
  switch (settings.split) {
    case Split::words: {
      split_words(text, out.spans);
      const std::size_t limit = static_cast<std::size_t>(std::max(settings.max_tokens, 0LL));
      if (limit > 0 && out.spans.size() > limit) out.spans.resize(limit);
      break;
    }
    case Split::space: split_space(text, settings.max_tokens, out.spans); break;
    case Split::codepoints: split_codepoints(text, settings.max_tokens, out.spans); break;
  }
  return text;
}

// Spans of the normalised text to spans of the original.
void Projector::Impl::trace_spans(Projected& out) const {
  for (Span& span : out.spans) {
    span = {out.normalized.origin[span.begin], out.normalized.origin[span.end]};
  }
}

void Projector::Impl::hash(std::string_view word, std::uint64_t* seed) const {
  if (settings.hash != Hash::murmur) {
    return hash_word(settings.hash, settings.char_mode, word, settings.feature_size, seed);
  }
  const Fingerprint f = murmur_fingerprint(word.empty() ? kNullWord : word, settings.char_mode);
  seed[0] = f.low;
  seed[1] = f.high;
}

CapFlags Projector::Impl::make_word(std::string_view token, RandomStreams* random,
                                    std::string& word) const {
  const CapFlags flags = fold_token(token, fold, word);
  if (random && settings.distortion > 0) random->distorter.distort(settings.distortion, word);
  return flags;
}

void Projector::Impl::contract_word(std::string& word, TracedText& scratch) const {
  if (!settings.normalize_repetition) return;
  trace(word, scratch);
  contract_repetition(normalize.repair, scratch);
  word = scratch.bytes;
}

void Projector::Impl::append_position(std::string_view word, CapFlags flags,
                                      RandomStreams* random, Projected& out) const {
  out.seeds.resize(out.seeds.size() + seed_words);
  hash(word, out.seeds.data() + out.seeds.size() - seed_words);
  ++out.positions;
  for (const auto& [extra, column] : extras) {
    float value = 0.0f;  // of the whole text's extras, filled in later
    if (extra == Extra::first_cap) value = cap_value(settings.first_cap, flags.first_cap, random);
    if (extra == Extra::all_caps) value = cap_value(settings.all_caps, flags.all_caps, random);
    out.extras.push_back(value);
  }
}

// The usual settings: ASCII tokens are hashed where they stand.
void Projector::Impl::append_plain(std::string_view source, Projected& out) const {
  const bool lower = settings.lower;
  out.seeds.resize(out.seeds.size() + 2 * out.spans.size());
  std::uint64_t* seed = out.seeds.data() + out.seeds.size() - 2 * out.spans.size();
  for (const Span span : out.spans) {
    const std::string_view token = slice(source, span);
    Fingerprint f;
    if (ascii_lower_fingerprint(token, source, lower, f)) {
      seed[0] = f.low;
      seed[1] = f.high;
    } else {
      fold_token(token, fold, out.word);
      hash(out.word, seed);
    }
    seed += 2;
  }
  out.positions += out.spans.size();
  out.extras.resize(out.positions * extras.size());
}

void Projector::Impl::append_all(std::string_view source, RandomStreams* random,
                                 Projected& out) const {
  for (const Span span : out.spans) {
    const CapFlags flags = make_word(slice(source, span), random, out.word);
    append_position(out.word, flags, random, out);
  }
}

void Projector::Impl::fill_text_extras(std::size_t first, std::size_t tokens,
                                       Projected& out) const {
  const std::size_t count = extras.size();
  float* const values = out.extras.data();
  for (std::size_t e = 0; e < count; ++e) {
    if (extras[e].first == Extra::doc_size) {
      // log2(0) is minus infinity, as in the reference.
      const float size = std::log2(static_cast<float>(tokens)) /
                         static_cast<float>(settings.doc_size_levels);
      for (std::size_t p = first; p < out.positions; ++p) {
        values[p * count + e] = std::min(size, 1.0f) * 2.0f - 1.0f;
      }
    }
    if (extras[e].first == Extra::novelty) {
      out.seen.clear();
      const float full = static_cast<float>(1u << settings.novelty_bits);
      for (std::size_t p = first; p < out.positions; ++p) {
        const unsigned before = out.seen[out.seeds[p * seed_words]]++;
        values[p * count + e] = std::min(static_cast<float>(before) / full, 1.0f) * 2.0f - 1.0f;
      }
    }
  }
}

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
  if (settings().bos) impl_->append_position(kBos, {}, random, out);
  if (impl_->plain && !(random && settings().distortion > 0)) {
    impl_->append_plain(source, out);
  } else {
    impl_->append_all(source, random, out);
  }
  if (settings().eos) impl_->append_position(kEos, {}, random, out);
  if (!impl_->extras.empty()) impl_->fill_text_extras(first, out.spans.size(), out);
  if (impl_->normalize.any()) impl_->trace_spans(out);
}

void Projector::append_tokens(const std::string_view* tokens, std::size_t count,
                              RandomStreams* random, Projected& out) const {
  out.spans.clear();
  if (settings().bos) impl_->append_position(kBos, {}, random, out);
  for (std::size_t t = 0; t < count; ++t) {
    const CapFlags flags = impl_->make_word(tokens[t], random, out.word);
    impl_->contract_word(out.word, out.normalized);
    impl_->append_position(out.word, flags, random, out);
  }
  if (settings().eos) impl_->append_position(kEos, {}, random, out);
}

Status Projector::project(std::string_view text, Projected& out) const {
  out.clear();
  append(text, nullptr, out);
  out.codes.resize(out.positions * impl_->words);
  expand(out.seeds.data(), out.positions, out.codes.data());
  return {};
}

void Projector::expand(const std::uint64_t* seeds, std::size_t count,
                       std::uint64_t* codes) const {
  const std::size_t width = impl_->words;
  if (settings().hash == Hash::murmur) {
    kernels().expand.extend(seeds, count, width, codes);
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

}  // namespace pqrnn
