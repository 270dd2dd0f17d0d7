// The C interface over Model and Parser: checks arguments, turns a Status into a code and a
// message, and lets nothing be thrown through.
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "guard.h"
#include "model/encoder.h"
#include "model/parser.h"
#include "parallel.h"
#include "pqrnn/pqrnn.h"
#include "status.h"

struct pqrnn_model {
  std::unique_ptr<pqrnn::Model> model;
  std::unique_ptr<pqrnn::Parser> parser;  // for parsing only
};

namespace {

using pqrnn::Code;
using pqrnn::Status;
using pqrnn::Task;

// Not a std::string: an error must be told without memory too.
constexpr std::size_t kMessageBytes = 256;
thread_local char message[kMessageBytes] = "";

void keep_message(std::string_view text) {
  std::size_t size = text.size() < kMessageBytes ? text.size() : kMessageBytes - 1;
  // Not within a character.
  while (size < text.size() && size > 0 &&
         (static_cast<unsigned char>(text[size]) & 0xC0) == 0x80) {
    --size;
  }
  std::memcpy(message, text.data(), size);
  message[size] = '\0';
}

pqrnn_status fail(pqrnn_status status, std::string_view text) {
  keep_message(text);
  return status;
}

pqrnn_status finish(const Status& status) {
  switch (status.code) {
    case Code::ok: return PQRNN_OK;
    case Code::corrupt_file: return fail(PQRNN_CORRUPT_FILE, status.message);
    case Code::out_of_memory: return fail(PQRNN_OUT_OF_MEMORY, "out of memory");
    default: return fail(PQRNN_INVALID_ARGUMENT, status.message);
  }
}

// Both pqrnn_encode() and pqrnn_classify().
pqrnn_status run(const pqrnn_model* model, const pqrnn_text* texts, std::size_t count, int threads,
                 float* out) {
  if (count == 0) return PQRNN_OK;
  if (!texts) return fail(PQRNN_INVALID_ARGUMENT, "texts is null");
  if (!out) return fail(PQRNN_INVALID_ARGUMENT, "the output is null");
  if (threads < 0) return fail(PQRNN_INVALID_ARGUMENT, "threads is negative");
  return finish(pqrnn::guarded([&] {
    std::vector<std::string_view> views;
    views.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      if (!texts[i].data && texts[i].size > 0) {
        return Status::error(Code::invalid_argument,
                             "texts[" + std::to_string(i) + "].data is null");
      }
      views.emplace_back(texts[i].data, texts[i].size);
    }
    pqrnn::EncodeOptions options;
    options.threads = threads > 0 ? threads : pqrnn::default_threads();
    return model->model->encode(views.data(), count, options, out);
  }));
}

const std::vector<std::string>* names(const pqrnn_model& model) {
  const pqrnn::ModelConfig& config = model.model->config();
  switch (config.task) {
    case Task::classification: return &config.labels;
    case Task::parsing: return &config.intents;
    case Task::embedding: break;
  }
  return nullptr;
}

}  // namespace

const char* pqrnn_version(void) { return PQRNN_VERSION; }

const char* pqrnn_error(void) { return message; }

pqrnn_status pqrnn_load(const void* data, size_t size, pqrnn_model** model) {
  if (!model) return fail(PQRNN_INVALID_ARGUMENT, "model is null");
  *model = nullptr;
  if (!data) return fail(PQRNN_INVALID_ARGUMENT, "data is null");
  Status status = pqrnn::guarded([&]() -> Status {
    auto loaded = std::make_unique<pqrnn_model>();
    PQRNN_TRY(pqrnn::Model::load(data, size, loaded->model));
    if (loaded->model->config().task == Task::parsing) {
      loaded->parser = std::make_unique<pqrnn::Parser>(*loaded->model);
    }
    *model = loaded.release();
    return {};
  });
  // A setting that is none: whoever wrote the file is to blame, not whoever called this.
  if (status.code == Code::invalid_argument) status.code = Code::corrupt_file;
  return finish(status);
}

void pqrnn_free(pqrnn_model* model) { delete model; }

pqrnn_task pqrnn_get_task(const pqrnn_model* model) {
  switch (model->model->config().task) {
    case Task::classification: return PQRNN_CLASSIFICATION;
    case Task::parsing: return PQRNN_PARSING;
    case Task::embedding: break;
  }
  return PQRNN_EMBEDDING;
}

const char* pqrnn_isa(const pqrnn_model* model) { return model->model->isa(); }

size_t pqrnn_dim(const pqrnn_model* model) { return model->model->config().head_size(); }

const char* pqrnn_label(const pqrnn_model* model, size_t index) {
  const std::vector<std::string>* const all = names(*model);
  return all && index < all->size() ? (*all)[index].c_str() : nullptr;
}

pqrnn_status pqrnn_encode(const pqrnn_model* model, const pqrnn_text* texts, size_t count,
                          int threads, float* vectors) {
  if (!model) return fail(PQRNN_INVALID_ARGUMENT, "model is null");
  if (pqrnn_get_task(model) != PQRNN_EMBEDDING) {
    return fail(PQRNN_WRONG_TASK, "pqrnn_encode() needs a model for task 'embedding'");
  }
  return run(model, texts, count, threads, vectors);
}

pqrnn_status pqrnn_classify(const pqrnn_model* model, const pqrnn_text* texts, size_t count,
                            int threads, float* probabilities) {
  if (!model) return fail(PQRNN_INVALID_ARGUMENT, "model is null");
  if (pqrnn_get_task(model) != PQRNN_CLASSIFICATION) {
    return fail(PQRNN_WRONG_TASK, "pqrnn_classify() needs a model for task 'classification'");
  }
  return run(model, texts, count, threads, probabilities);
}

pqrnn_status pqrnn_parse(const pqrnn_model* model, pqrnn_text text, pqrnn_parse_result* result,
                         pqrnn_slot* slots, size_t capacity) {
  if (!model) return fail(PQRNN_INVALID_ARGUMENT, "model is null");
  if (!model->parser) {
    return fail(PQRNN_WRONG_TASK, "pqrnn_parse() needs a model for task 'parsing'");
  }
  if (!text.data && text.size > 0) return fail(PQRNN_INVALID_ARGUMENT, "text.data is null");
  if (!result) return fail(PQRNN_INVALID_ARGUMENT, "result is null");
  if (!slots && capacity > 0) return fail(PQRNN_INVALID_ARGUMENT, "slots is null");
  return finish(pqrnn::guarded([&]() -> Status {
    pqrnn::Parse parse;
    PQRNN_TRY(model->parser->parse({text.data, text.size}, parse));
    const std::vector<std::string>& intents = model->model->config().intents;
    result->intent = intents.empty() ? "" : intents[parse.intent].c_str();
    result->score = parse.score;
    result->slot_count = parse.slots.size();
    for (std::size_t i = 0; i < parse.slots.size() && i < capacity; ++i) {
      const pqrnn::LabelledSpan& slot = parse.slots[i];
      slots[i] = {slot.span.begin, slot.span.end,
                  model->model->tags().labels()[slot.label].c_str()};
    }
    return {};
  }));
}
