#include "projection/pipeline.h"

#include <algorithm>
#include <cmath>

#include "projection/hash.h"
#include "text/split.h"
#include "text/words.h"

namespace pqrnn {
namespace {

// A flag with probability p, from its random stream or, without one, always.
float cap_value(float p, bool flag, RandomStreams* random) {
  if (random && random->caps.uniform() > p) return 0.0f;
  return flag ? 1.0f : -1.0f;
}

}  // namespace

Projector::Impl::Impl(ProjectionSettings s)
    : settings(std::move(s)),
      ngrams(settings),
      hashed(settings.feature_size - settings.ngram_size, settings.token_hashes) {
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
  whole_words = words - ngrams.words();
  const bool murmur = settings.hash == Hash::murmur;
  seed_words = murmur ? 2 + ngrams.words() : emitted_words(settings.hash, width);
  plain = murmur && fold.vocabulary.empty() && !fold.alphabetic_only && settings.first_cap == 0 &&
          settings.all_caps == 0;
}

std::string_view Projector::Impl::segment(std::string_view text, Projected& out) const {
  out.spans.clear();
  if (normalize.any()) {
    pqrnn::normalize(text, normalize, out.normalized);
    text = out.normalized.bytes;
  }
  switch (settings.split) {
    case Split::words: {
      split_words(text, settings.split_apostrophes, out.spans);
      const std::size_t limit = static_cast<std::size_t>(std::max(settings.max_tokens, 0LL));
      if (limit > 0 && out.spans.size() > limit) out.spans.resize(limit);
      break;
    }
    case Split::space: split_space(text, settings.max_tokens, out.spans); break;
    case Split::codepoints: split_codepoints(text, settings.max_tokens, out.spans); break;
  }
  return text;
}

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

void Projector::Impl::append_position(std::string_view word, CapFlags flags, RandomStreams* random,
                                      Projected& out) const {
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

void Projector::Impl::append_alone(std::string_view word, CapFlags flags, RandomStreams* random,
                                   Projected& out) const {
  append_position(word, flags, random, out);
  if (ngrams.words() == 0) return;
  out.run.add(word);
  finish_run(out);
}

void Projector::Impl::finish_run(Projected& out) const {
  const std::size_t count = out.run.tokens();
  if (count == 0) return;
  std::uint64_t* const first = out.seeds.data() + out.seeds.size() - count * seed_words;
  ngrams.finish(out.run, first + 2, seed_words);
}

template <bool kNgrams>
void Projector::Impl::append_plain(std::string_view source, Projected& out) const {
  const bool lower = settings.lower;
  const std::size_t stride = kNgrams ? seed_words : 2;
  out.seeds.resize(out.seeds.size() + stride * out.spans.size());
  std::uint64_t* seed = out.seeds.data() + out.seeds.size() - stride * out.spans.size();
  std::uint64_t* run_seed = seed;
  std::size_t run_end = 0;
  for (const Span span : out.spans) {
    const std::string_view token = slice(source, span);
    if (kNgrams && starts_run(span, run_end) && out.run.tokens() > 0) {
      ngrams.finish(out.run, run_seed + 2, stride);
      run_seed = seed;
    }
    Fingerprint f;
    const bool ascii =
        kNgrams ? ascii_lower_fingerprint(token, source, lower, f, out.run.room(token.size()))
                : ascii_lower_fingerprint(token, source, lower, f);
    if (ascii) {
      seed[0] = f.low;
      seed[1] = f.high;
      if (kNgrams) out.run.close_token(token.size());
    } else {
      fold_token(token, fold, out.word);
      hash(out.word, seed);
      if (kNgrams) out.run.add(out.word);
    }
    seed += stride;
    run_end = span.end;
  }
  if (kNgrams && out.run.tokens() > 0) ngrams.finish(out.run, run_seed + 2, stride);
  out.positions += out.spans.size();
  out.extras.resize(out.positions * extras.size());
}

template void Projector::Impl::append_plain<false>(std::string_view, Projected&) const;
template void Projector::Impl::append_plain<true>(std::string_view, Projected&) const;

void Projector::Impl::append_all(std::string_view source, RandomStreams* random,
                                 Projected& out) const {
  std::size_t run_end = 0;
  for (const Span span : out.spans) {
    if (starts_run(span, run_end)) finish_run(out);
    const CapFlags flags = make_word(slice(source, span), random, out.word);
    append_position(out.word, flags, random, out);
    if (ngrams.words() > 0) out.run.add(out.word);
    run_end = span.end;
  }
  finish_run(out);
}

// How often a seed has been here, to be counted up. Half of the places or more are free.
static std::uint32_t& times_seen(std::uint64_t seed, std::vector<Projected::Seen>& seen) {
  std::size_t place = static_cast<std::size_t>((seed * 0x9E3779B97F4A7C15u) >> 32) % seen.size();
  while (seen[place].times > 0 && seen[place].seed != seed) place = (place + 1) % seen.size();
  seen[place].seed = seed;
  return seen[place].times;
}

void Projector::Impl::fill_text_extras(std::size_t first, std::size_t tokens,
                                       Projected& out) const {
  const std::size_t count = extras.size();
  float* const values = out.extras.data();
  for (std::size_t e = 0; e < count; ++e) {
    if (extras[e].first == Extra::doc_size) {
      // log2(0) is minus infinity, as in the reference.
      const float size =
          std::log2(static_cast<float>(tokens)) / static_cast<float>(settings.doc_size_levels);
      for (std::size_t p = first; p < out.positions; ++p) {
        values[p * count + e] = std::min(size, 1.0f) * 2.0f - 1.0f;
      }
    }
    if (extras[e].first == Extra::novelty) {
      std::size_t places = 16;
      while (places < 2 * (out.positions - first)) places *= 2;
      out.seen.assign(places, {0, 0});
      const float full = static_cast<float>(1u << settings.novelty_bits);
      for (std::size_t p = first; p < out.positions; ++p) {
        const std::uint32_t before = times_seen(out.seeds[p * seed_words], out.seen)++;
        values[p * count + e] = std::min(static_cast<float>(before) / full, 1.0f) * 2.0f - 1.0f;
      }
    }
  }
}

}  // namespace pqrnn
