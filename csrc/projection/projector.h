// Text to features: the whole of specification section 1.
//
// A text becomes positions (tags and tokens). What is kept of a position is its seed: for murmur
// the 128-bit fingerprint, from which all features of the whole token follow, and the code words of
// its n-grams; for other hashes the full code.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "projection/ngrams.h"
#include "projection/settings.h"
#include "status.h"
#include "text/distort.h"
#include "text/normalize.h"
#include "text/span.h"

namespace pqrnn {

// Projected texts. Reuse one object per thread: nothing is allocated once its buffers are warm.
struct Projected {
  std::size_t positions = 0;         // bos + tokens + eos, over all appended texts
  std::vector<Span> spans;           // [tokens] byte ranges of the last text; tags have none
  std::vector<std::uint64_t> seeds;  // [positions, seed_words()]
  std::vector<std::uint64_t> codes;  // [positions, words()] 2-bit groups, least significant first;
                                     // written by project() alone
  std::vector<float> extras;         // [positions, extra_count()] values of the extra columns

  void clear();

  // Working space.
  TracedText normalized;
  std::string word;
  NgramRun run;
  struct Seen {
    std::uint64_t seed;
    std::uint32_t times;  // 0: a free place
  };
  std::vector<Seen> seen;  // a hash table of the words of one text
};

// The random streams of one operator. As constructed they are the reference's.
struct RandomStreams {
  Distorter distorter;
  Philox caps;

  // Streams that depend on the seed and the bytes of the text alone, so that neither threads nor
  // batches change a result.
  static RandomStreams for_text(std::uint64_t seed, std::string_view text);
};

// Rows of features without their zeros.
struct Nonzero {
  std::vector<std::int64_t> starts;   // [rows + 1] of each row in the other two
  std::vector<std::int64_t> columns;  // [starts[rows]]
  std::vector<std::int8_t> signs;     // +1 or -1
};

class Projector {
 public:
  // `settings` must have passed validate().
  explicit Projector(ProjectionSettings settings);
  ~Projector();
  Projector(Projector&&) noexcept;
  Projector& operator=(Projector&&) noexcept;

  const ProjectionSettings& settings() const;
  std::size_t words() const;        // ceil(F / 32), 64-bit words of code per position
  std::size_t whole_words() const;  // those of whole tokens; those of n-grams follow
  std::size_t seed_words() const;   // 2 and those of n-grams for murmur

  // Extra features (specification section 6) overwrite columns; their 2-bit groups are 0 in
  // `codes`. Column of extra e < extra_count().
  std::size_t extra_count() const;
  std::size_t extra_column(std::size_t e) const;

  // True when results depend on random streams.
  bool is_random() const;

  // One text, with codes. Deterministic: no distortion, a cap probability above 0 counts as 1.
  // Thread-safe.
  Status project(std::string_view text, Projected& out) const;

  // Codes [count, words()] of `count` seeds, as project() writes them.
  void expand(const std::uint64_t* seeds, std::size_t count, std::uint64_t* codes) const;

  // The same of whole tokens alone, [count, whole_words()], for murmur. The fingerprints stand
  // `stride` words apart.
  void expand_whole(const std::uint64_t* fingerprints, std::size_t stride, std::size_t count,
                    std::uint64_t* codes) const;

  // Adds the positions of one more text, without codes. `random` may be null: as project().
  void append(std::string_view text, RandomStreams* random, Projected& out) const;

  // The same for a text that is split already: each token is folded, distorted, then contracted by
  // normalize_repetition (operator V2). Settings about whole texts play no part.
  void append_tokens(const std::string_view* tokens, std::size_t count, RandomStreams* random,
                     Projected& out) const;

  // Features [count, F] of the positions from `first` on. The int8 form keeps only the
  // sign of an extra; the uint8 form is the on-device coding (section 8.3).
  void features(const Projected& in, std::size_t first, std::size_t count, std::int8_t* out) const;
  void features(const Projected& in, std::size_t first, std::size_t count, std::uint8_t* out) const;
  void features(const Projected& in, std::size_t first, std::size_t count, float* out) const;

  // Numbers of the features of a seed that are +1 and of those that are -1, in any order, without
  // the extra ones; for token_hashes. Appends.
  void signed_features(const std::uint64_t* seed, std::vector<std::uint32_t>& plus,
                       std::vector<std::uint32_t>& minus) const;

  // The features that are not zero, row by row in ascending order, without the extra ones.
  void nonzero(const Projected& in, Nonzero& out) const;

  // The intermediate stages of one text: raw tokens; the words that are hashed, tags included.
  void tokens(std::string_view text, std::vector<std::string>& out) const;
  void spans(std::string_view text, std::vector<Span>& out) const;
  void words(std::string_view text, RandomStreams* random, std::vector<std::string>& out) const;

  // All hash words of `word` as it stands, a run by itself. At least words() of them: some hashes
  // come in pairs.
  void codes(std::string_view word, std::vector<std::uint64_t>& out) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pqrnn
