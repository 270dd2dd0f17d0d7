#include "model/encoder.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "guard.h"
#include "model/safetensors.h"
#include "model/tensors.h"

namespace pqrnn {
namespace {

constexpr const char* kFormat = "pqrnn";
constexpr const char* kFormatVersion = "1";

// Texts are grouped up to this many bytes, about 200 tokens: enough that weights are read from
// memory once for many tokens, few enough that the group's states stay in the second-level cache.
constexpr std::size_t kGroupBytes = 1024;
// With several threads, groups may shrink to this for the sake of an even share.
constexpr std::size_t kSmallestGroupBytes = 128;
// Working memory beyond this (a very long text) is given back at once.
constexpr std::size_t kKeptWorkspaceBytes = std::size_t{32} << 20;

// First index of each group, and `count` at the end.
std::vector<std::size_t> make_groups(const std::string_view* texts, std::size_t count,
                                     const EncodeOptions& options) {
  std::vector<std::size_t> starts = {0};
  std::size_t total = 0;
  for (std::size_t i = 0; i < count; ++i) total += texts[i].size();
  const std::size_t share = total / (4 * static_cast<std::size_t>(std::max(options.threads, 1)));
  const std::size_t limit = options.threads > 1
                                ? std::min(std::max(share, kSmallestGroupBytes), kGroupBytes)
                                : kGroupBytes;
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t size = i - starts.back();
    const bool full = options.batch_size ? size == options.batch_size
                                         : size > 0 && bytes + texts[i].size() > limit;
    if (full) {
      starts.push_back(i);
      bytes = 0;
    }
    bytes += texts[i].size() + 1;  // even empty texts are work
  }
  if (count) starts.push_back(count);
  return starts;
}

void scale_to_length_one(float* x, std::size_t count) {
  double sum = 0.0;
  for (std::size_t j = 0; j < count; ++j) sum += static_cast<double>(x[j]) * x[j];
  if (sum == 0.0) return;
  const double scale = 1.0 / std::sqrt(sum);
  for (std::size_t j = 0; j < count; ++j) x[j] = static_cast<float>(x[j] * scale);
}

}  // namespace

// A workspace for the length of a call: an idle one of the model, or a new one.
class Model::Lease {
 public:
  explicit Lease(const Model& model) : model_(model) {
    {
      const Lock lock(model_.mutex_);
      if (!model_.idle_.empty()) {
        work_ = std::move(model_.idle_.back());
        model_.idle_.pop_back();
      }
    }
    if (!work_) work_ = std::make_unique<Workspace>();
  }
  ~Lease() {
    if (work_->bytes() > kKeptWorkspaceBytes) return;
    const Lock lock(model_.mutex_);
    // When there is no memory to remember it, it is freed.
    (void)guarded([&]() -> Status {
      model_.idle_.push_back(std::move(work_));
      return {};
    });
  }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  Workspace& work() { return *work_; }

 private:
  const Model& model_;
  std::unique_ptr<Workspace> work_;
};

Model::Model(ModelConfig config, const Kernels& kernels)
    : config_(std::move(config)), kernels_(kernels), projector_(config_.projection) {}

Status Model::load(const void* data, std::size_t size, std::unique_ptr<Model>& model) {
  SafetensorsFile file;
  PQRNN_TRY(parse_safetensors(data, size, file));
  const std::string* format = file.metadata_value("format");
  const std::string* version = file.metadata_value("format_version");
  const std::string* config_json = file.metadata_value("config");
  const std::string* info_json = file.metadata_value("info");
  if (!format || *format != kFormat || !version || !config_json) {
    return Status::error(Code::corrupt_file, "this safetensors file is not a pqrnn model");
  }
  if (*version != kFormatVersion) {
    return Status::error(Code::corrupt_file, "model file has format version '" +
                                                 version->substr(0, 20) +
                                                 "', this program reads version " + kFormatVersion +
                                                 "; it may need a newer pqrnn-native");
  }
  ModelConfig config;
  PQRNN_TRY(parse_config(*config_json, config));
  TagSet tags;
  if (config.task == Task::parsing) PQRNN_TRY(tags.read(config.slots));
  PQRNN_TRY(check_tensors(file, config));
  std::unique_ptr<Model> loaded(new Model(std::move(config), pqrnn::kernels()));
  loaded->tags_ = std::move(tags);
  loaded->config_json_ = *config_json;
  loaded->info_json_ = info_json ? *info_json : "{}";
  const auto load_engine =
      loaded->config_.precision == Precision::int8 ? load_int8_engine : load_float_engine;
  loaded->engine_ = load_engine(file, loaded->config_, loaded->projector_, loaded->kernels_);
  model = std::move(loaded);
  return {};
}

void Model::finish(const Workspace& work, bool normalize, float* out) const {
  const std::size_t size = config_.head_size();
  if (size == 0) return;  // a parser without intents
  for (std::size_t i = 0; i < work.texts.size(); ++i, out += size) {
    const float* row = work.outputs.data() + i * work.output_stride;
    if (config_.task == Task::embedding && work.texts[i].positions == 0) {
      std::fill_n(out, size, 0.0f);
      continue;
    }
    std::copy_n(row, size, out);
    if (!normalize) continue;
    if (config_.task == Task::embedding) {
      scale_to_length_one(out, size);
    } else if (config_.multi_label) {
      engine_->sigmoid(out, size);
    } else {
      engine_->softmax(out, size);
    }
  }
}

Status Model::read_texts(const std::string_view* texts, std::size_t count, Workspace& work) const {
  clear_group(work);
  for (std::size_t i = 0; i < count; ++i) {
    PQRNN_TRY(append_text(projector_, config_.kernel_size, texts[i], work));
  }
  return {};
}

Status Model::encode_group(const std::string_view* texts, std::size_t count, bool normalize,
                           Workspace& work, Stop& stop, float* out) const {
  PQRNN_TRY(read_texts(texts, count, work));
  if (!engine_->run_layers(work, stop)) return {};
  engine_->run_head(work);
  finish(work, normalize, out);
  return {};
}

Status Model::encode(const std::string_view* texts, std::size_t count, const EncodeOptions& options,
                     float* out) const {
  if (config_.task == Task::parsing) {
    return Status::error(Code::invalid_argument,
                         "a model for task 'parsing' has no vector of a text");
  }
  const std::vector<std::size_t> groups = make_groups(texts, count, options);
  const auto body = [&](std::size_t index, int, Stop& stop) -> Status {
    Lease lease(*this);
    const std::size_t first = groups[index], size = groups[index + 1] - first;
    PQRNN_TRY(encode_group(texts + first, size, options.normalize, lease.work(), stop,
                           out + first * output_size()));
    if (options.done) options.done->fetch_add(size, std::memory_order_relaxed);
    return {};
  };
  return parallel_for(groups.size() - 1, options.threads, body, options.poll);
}

Status Model::parse_group(const std::string_view* texts, std::size_t count, bool normalize,
                          Workspace& work, Stop& stop, float* intents, ParsedTexts& parsed) const {
  clear_group(work);
  parsed.tokens.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    PQRNN_TRY(append_text(projector_, config_.kernel_size, texts[i], work));
    const std::vector<Span>& spans = work.projected.spans;
    parsed.tokens.push_back(spans.size());
    parsed.spans.insert(parsed.spans.end(), spans.begin(), spans.end());
  }
  if (!engine_->run_layers(work, stop)) return {};
  engine_->run_head(work);
  finish(work, normalize, intents);
  parsed.slots.resize(parsed.spans.size() * config_.slots.size());
  engine_->run_slots(work, stop, parsed.slots.data());
  return {};
}

Status Model::parse(const std::string_view* texts, std::size_t count, const EncodeOptions& options,
                    float* intents, std::vector<ParsedTexts>& parsed) const {
  if (config_.task != Task::parsing) {
    return Status::error(Code::invalid_argument, "only a model for task 'parsing' has slots");
  }
  const std::vector<std::size_t> groups = make_groups(texts, count, options);
  parsed.clear();
  parsed.resize(groups.size() - 1);
  const auto body = [&](std::size_t index, int, Stop& stop) -> Status {
    Lease lease(*this);
    const std::size_t first = groups[index], size = groups[index + 1] - first;
    PQRNN_TRY(parse_group(texts + first, size, options.normalize, lease.work(), stop,
                          intents + first * config_.intents.size(), parsed[index]));
    if (options.done) options.done->fetch_add(size, std::memory_order_relaxed);
    return {};
  };
  return parallel_for(groups.size() - 1, options.threads, body, options.poll);
}

Status Model::encode_tokens(std::string_view text, Poll poll, std::vector<float>& states,
                            std::vector<Span>& spans) const {
  const auto body = [&](std::size_t, int, Stop& stop) -> Status {
    Lease lease(*this);
    Workspace& work = lease.work();
    PQRNN_TRY(read_texts(&text, 1, work));
    if (!engine_->run_layers(work, stop)) return {};
    const std::size_t width = config_.pooled_size();
    spans = work.projected.spans;
    states.resize(work.texts[0].positions * width);
    engine_->copy_states(work, 0, states.data());
    if (config_.projection.bos && !states.empty()) {
      states.erase(states.begin(), states.begin() + static_cast<std::ptrdiff_t>(width));
    }
    states.resize(spans.size() * width);  // without the tag at the end
    return {};
  };
  return parallel_for(1, 1, body, poll);
}

}  // namespace pqrnn
