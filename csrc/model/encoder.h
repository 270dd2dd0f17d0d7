// A loaded model: texts in, vectors or logits out.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/kernels.h"
#include "model/config.h"
#include "model/engine.h"
#include "model/tags.h"
#include "model/workspace.h"
#include "mutex.h"
#include "parallel.h"
#include "projection/projector.h"
#include "status.h"
#include "text/span.h"

namespace pqrnn {

struct EncodeOptions {
  int threads = 1;
  std::size_t batch_size = 0;  // texts that go through the network together; 0: chosen by length
  // Embedding: scale to length 1. Classification: probabilities instead of logits.
  bool normalize = true;
  Poll poll;
  std::atomic<std::size_t>* done = nullptr;  // counts finished texts
};

// What a parser says about the tokens of consecutive texts.
struct ParsedTexts {
  std::vector<std::size_t> tokens;  // [texts] how many each text has
  std::vector<Span> spans;          // [all tokens] bytes of the text
  FloatBuffer slots;                // [all tokens, config().slots.size()] logits
};

// Immutable after load() but for caches that change no result; safe to share between threads. Uses
// the kernels that were active when it was loaded.
class Model {
 public:
  // Borrows `data` for the duration of the call only.
  static Status load(const void* data, std::size_t size, std::unique_ptr<Model>& model);

  const ModelConfig& config() const { return config_; }
  const std::string& config_json() const { return config_json_; }
  const std::string& info_json() const { return info_json_; }
  const char* isa() const { return kernels_.name; }
  // Columns of an output: of a text, or for parsing of a token.
  std::size_t output_size() const {
    return config_.task == Task::parsing ? config_.slots.size() : config_.head_size();
  }
  std::size_t weight_bytes() const { return engine_->weight_bytes(); }
  // [S, S] what following scores from one slot tag to another; empty without a CRF.
  const std::vector<float>& transitions() const { return engine_->transitions(); }

  // Of a parser: config().slots, read.
  const TagSet& tags() const { return tags_; }

  // Not for parsing. out [count, output_size()]. A text without positions gives a zero vector
  // (embedding) or the head's bias (classification). On an error or a stop the content of `out` is
  // undefined.
  Status encode(const std::string_view* texts, std::size_t count, const EncodeOptions& options,
                float* out) const;

  // States of every token (tags left out) [spans.size(), config().pooled_size()], and the bytes of
  // the text that each token came from.
  Status encode_tokens(std::string_view text, Poll poll, std::vector<float>& states,
                       std::vector<Span>& spans) const;

  // For parsing alone. intents [count, config().intents.size()] are logits, or with
  // options.normalize probabilities; `groups` are those of consecutive texts, together all texts. A
  // text without positions gives the bias of the intents. On an error or a stop the content of both
  // is undefined.
  Status parse(const std::string_view* texts, std::size_t count, const EncodeOptions& options,
               float* intents, std::vector<ParsedTexts>& groups) const;

 private:
  class Lease;

  Model(ModelConfig config, const Kernels& kernels);
  Status read_texts(const std::string_view* texts, std::size_t count, Workspace& work) const;
  Status encode_group(const std::string_view* texts, std::size_t count, bool normalize,
                      Workspace& work, Stop& stop, float* out) const;
  Status parse_group(const std::string_view* texts, std::size_t count, bool normalize,
                     Workspace& work, Stop& stop, float* intents, ParsedTexts& parsed) const;
  void finish(const Workspace& work, bool normalize, float* out) const;

  const ModelConfig config_;
  const Kernels& kernels_;
  const Projector projector_;
  std::unique_ptr<Engine> engine_;
  TagSet tags_;
  std::string config_json_;
  std::string info_json_;

  mutable Mutex mutex_;
  mutable std::vector<std::unique_ptr<Workspace>> idle_;  // under mutex_
};

}  // namespace pqrnn
