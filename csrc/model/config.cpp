#include "model/config.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "model/json.h"

namespace pqrnn {
namespace {

constexpr std::size_t kMaxNames = 65536;

Status invalid(const std::string& message) {
  return Status::error(Code::invalid_argument, message);
}

template <class Enum>
using Names = std::vector<std::pair<const char*, Enum>>;

const Names<Task>& task_names() {
  static const Names<Task> names = {{"embedding", Task::embedding},
                                    {"classification", Task::classification},
                                    {"parsing", Task::parsing}};
  return names;
}

const Names<Precision>& precision_names() {
  static const Names<Precision> names = {{"float32", Precision::float32},
                                         {"int8", Precision::int8}};
  return names;
}

const Names<Pooling>& pooling_names() {
  static const Names<Pooling> names = {
      {"f", Pooling::f}, {"fo", Pooling::fo}, {"ifo", Pooling::ifo}};
  return names;
}

const Names<Split>& split_names() {
  static const Names<Split> names = {
      {"words", Split::words}, {"space", Split::space}, {"codepoints", Split::codepoints}};
  return names;
}

const Names<Hash>& hash_names() {
  static const Names<Hash> names = {{"murmur", Hash::murmur},
                                    {"xfixhash8", Hash::xfixhash8},
                                    {"xfixhash16", Hash::xfixhash16},
                                    {"xfixhash32", Hash::xfixhash32},
                                    {"unicodehash8", Hash::unicodehash8},
                                    {"unicodehash16", Hash::unicodehash16}};
  return names;
}

const Names<CharMode>& char_names() {
  static const Names<CharMode> names = {{"unsigned", CharMode::unsigned_char},
                                        {"signed", CharMode::signed_char}};
  return names;
}

// One pass over an object. Each `on_*` takes the value if the current key is `name`.
class Fields {
 public:
  Fields(JsonReader& json, const char* owner) : json_(json), owner_(owner) {}

  // The next key of the object, or the end, or an error.
  bool next() {
    if (!status_.ok() || !json_.next_key(key_)) return false;
    if (std::find(seen_.begin(), seen_.end(), key_) != seen_.end()) {
      status_ = invalid("key '" + key_ + "' occurs twice in " + owner_);
      return false;
    }
    taken_ = false;
    return true;
  }

  bool is(const char* name) {
    if (taken_ || key_ != name) return false;
    taken_ = true;
    seen_.push_back(key_);
    return true;
  }

  void on_bool(const char* name, bool& value) {
    if (is(name) && !json_.read_bool(value)) mismatch("a boolean");
  }
  void on_number(const char* name, double& value) {
    if (is(name) && !json_.read_number(value)) mismatch("a number");
  }
  void on_number(const char* name, float& value) {
    double number = 0.0;
    if (is(name) && !json_.read_number(number)) mismatch("a number");
    if (key_ == name) value = static_cast<float>(number);
  }
  template <class Integer>
  void on_integer(const char* name, Integer& value) {
    std::int64_t number = 0;
    if (!is(name)) return;
    if (!json_.read_integer(number)) return mismatch("an integer");
    if (number < 0 && Integer(-1) > Integer(0)) {
      return wrong("must not be negative, got " + std::to_string(number));
    }
    value = static_cast<Integer>(number);
    if (static_cast<std::int64_t>(value) != number) {
      wrong("is out of range, got " + std::to_string(number));
    }
  }
  void on_string(const char* name, std::string& value) {
    if (is(name) && !json_.read_string(value)) mismatch("a string");
  }
  void on_strings(const char* name, std::vector<std::string>& values) {
    if (!is(name)) return;
    const std::size_t count = count_items();
    if (count > kMaxNames) return wrong("must hold at most 65536 names");
    values.reserve(count);
    if (!json_.begin_array()) return mismatch("an array of strings");
    while (json_.next_item()) {
      values.emplace_back();
      if (!json_.read_string(values.back())) return mismatch("an array of strings");
    }
  }
  void on_rows(const char* name, std::vector<std::vector<std::uint32_t>>& rows) {
    if (!is(name)) return;
    const char* const wanted = "an array of arrays of numbers of slots";
    const std::size_t count = count_items();
    if (count > kMaxNames) return wrong("must hold at most 65536 rows");
    rows.reserve(count);
    if (!json_.begin_array()) return mismatch(wanted);
    while (json_.next_item()) {
      rows.emplace_back();
      if (!json_.begin_array()) return mismatch(wanted);
      while (json_.next_item()) {
        std::int64_t number = 0;
        if (!json_.read_integer(number)) return mismatch(wanted);
        const bool ascends = rows.back().empty() || number > rows.back().back();
        if (number < 0 || number >= static_cast<std::int64_t>(kMaxNames) || !ascends) {
          return wrong("must hold ascending numbers of slots, got " + std::to_string(number));
        }
        rows.back().push_back(static_cast<std::uint32_t>(number));
      }
    }
  }
  template <class Enum>
  void on_choice(const char* name, Enum& value, const Names<Enum>& names) {
    std::string text;
    if (!is(name)) return;
    if (!json_.read_string(text)) return mismatch("a string");
    for (const auto& entry : names) {
      if (text == entry.first) {
        value = entry.second;
        return;
      }
    }
    std::string known;
    for (const auto& entry : names) {
      known += std::string(known.empty() ? "'" : ", '") + entry.first + "'";
    }
    wrong("must be one of " + known + ", got '" + text.substr(0, 60) + "'");
  }

  // After the `on_*` calls for one key.
  void finish_key() {
    if (taken_ || !status_.ok()) return;
    status_ = invalid("unknown key '" + key_.substr(0, 60) + "' in " + owner_ +
                      "; the file may come from a newer version");
  }
  void fail(Status status) {
    if (status_.ok()) status_ = std::move(status);
  }

  Status status() const { return status_.ok() ? json_.status() : status_; }

 private:
  // Of the array that comes next, as far as it is one: no vector of many grows by copies.
  std::size_t count_items() const {
    JsonReader ahead = json_;
    std::size_t count = 0;
    if (!ahead.begin_array()) return 0;
    while (ahead.next_item() && ahead.skip_value()) ++count;
    return count;
  }
  void wrong(const std::string& what) { fail(invalid(key_ + " " + what)); }
  void mismatch(const char* wanted) { wrong(std::string("must be ") + wanted); }

  JsonReader& json_;
  const char* owner_;
  std::string key_;
  std::vector<std::string> seen_;
  bool taken_ = false;
  Status status_;
};

Status read_projection(JsonReader& json, ProjectionSettings& settings) {
  if (!json.begin_object()) return invalid("projection must be an object");
  Fields fields(json, "ProjectionConfig");
  while (fields.next()) {
    fields.on_integer("feature_size", settings.feature_size);
    fields.on_choice("split", settings.split, split_names());
    fields.on_choice("hash", settings.hash, hash_names());
    fields.on_choice("char", settings.char_mode, char_names());
    fields.on_bool("lower", settings.lower);
    fields.on_bool("bos", settings.bos);
    fields.on_bool("eos", settings.eos);
    fields.on_integer("max_tokens", settings.max_tokens);
    fields.on_string("vocabulary", settings.vocabulary);
    fields.on_bool("alphabetic_only", settings.alphabetic_only);
    fields.on_bool("normalize_repetition", settings.normalize_repetition);
    fields.on_bool("normalize_spaces", settings.normalize_spaces);
    fields.on_string("separators", settings.separators);
    fields.on_number("first_cap", settings.first_cap);
    fields.on_number("all_caps", settings.all_caps);
    fields.on_integer("novelty_bits", settings.novelty_bits);
    fields.on_integer("doc_size_levels", settings.doc_size_levels);
    fields.on_number("distortion", settings.distortion);
    fields.on_bool("split_apostrophes", settings.split_apostrophes);
    fields.on_integer("ngram_size", settings.ngram_size);
    fields.on_integer("ngram_min", settings.ngram_min);
    fields.on_integer("ngram_max", settings.ngram_max);
    fields.on_bool("ngram_runs", settings.ngram_runs);
    fields.on_integer("token_hashes", settings.token_hashes);
    fields.on_integer("ngram_hashes", settings.ngram_hashes);
    fields.finish_key();
  }
  return fields.status();
}

Status check_range(const char* name, std::size_t value, std::size_t low, std::size_t high) {
  if (value >= low && value <= high) return {};
  return invalid(std::string(name) + " must be in [" + std::to_string(low) + ", " +
                 std::to_string(high) + "], got " + std::to_string(value));
}

enum class Use { forbidden, optional, required };

Status check_names(const char* name, const std::vector<std::string>& names, Use use) {
  if (use == (names.empty() ? Use::required : Use::forbidden)) {
    return invalid(std::string(name) + (names.empty() ? " must not be empty" : " must be empty") +
                   " for this task, got " + std::to_string(names.size()) + " names");
  }
  std::vector<const std::string*> sorted;  // copies would take more memory than the file
  sorted.reserve(names.size());
  for (const std::string& each : names) sorted.push_back(&each);
  std::sort(sorted.begin(), sorted.end(),
            [](const std::string* a, const std::string* b) { return *a < *b; });
  const auto twice =
      std::adjacent_find(sorted.begin(), sorted.end(),
                         [](const std::string* a, const std::string* b) { return *a == *b; });
  if (twice == sorted.end()) return {};
  return invalid(std::string(name) + " must be distinct, got '" + (*twice)->substr(0, 60) +
                 "' twice");
}

Status check_intent_tags(const ModelConfig& config) {
  if (config.intent_tags.empty()) return {};
  if (config.intent_tags.size() != config.intents.size()) {
    return invalid("intent_tags must be empty or have a row for each of " +
                   std::to_string(config.intents.size()) + " intents, got " +
                   std::to_string(config.intent_tags.size()));
  }
  const auto outside = std::find(config.slots.begin(), config.slots.end(), "O");
  const auto needed = static_cast<std::uint32_t>(outside - config.slots.begin());
  for (const std::vector<std::uint32_t>& row : config.intent_tags) {
    if (row.empty()) continue;
    if (row.back() >= config.slots.size()) {
      return invalid("intent_tags must hold ascending numbers of the " +
                     std::to_string(config.slots.size()) + " slots");
    }
    if (outside != config.slots.end() && !std::binary_search(row.begin(), row.end(), needed)) {
      return invalid("intent_tags must hold the tag 'O' in each row that is not empty");
    }
  }
  return {};
}

}  // namespace

std::size_t ModelConfig::gates() const {
  switch (pooling) {
    case Pooling::f: return 2;
    case Pooling::fo: return 3;
    case Pooling::ifo: break;
  }
  return 4;
}

std::size_t ModelConfig::head_size() const {
  switch (task) {
    case Task::embedding: return output_size;
    case Task::classification: return labels.size();
    case Task::parsing: break;
  }
  return intents.size();
}

Status ModelConfig::validate() const {
  PQRNN_TRY(projection.validate());
  PQRNN_TRY(check_range("bottleneck_size", bottleneck_size, 1, 8192));
  PQRNN_TRY(check_range("state_size", state_size, 1, 8192));
  PQRNN_TRY(check_range("kernel_size", kernel_size, 1, 64));
  PQRNN_TRY(check_range("num_layers", num_layers, 1, 64));
  PQRNN_TRY(check_range("output_size", output_size, 1, 65536));
  if (!(zoneout >= 0.0 && zoneout < 1.0)) {
    return invalid("zoneout must be in [0, 1), got " + std::to_string(zoneout));
  }
  if (attention_heads < 1 || pooled_size() % attention_heads != 0) {
    return invalid("attention_heads must be a divisor of the pooled width " +
                   std::to_string(pooled_size()) + ", got " + std::to_string(attention_heads));
  }
  const bool parsing = task == Task::parsing;
  PQRNN_TRY(
      check_names("labels", labels, task == Task::classification ? Use::required : Use::forbidden));
  PQRNN_TRY(check_names("intents", intents, parsing ? Use::optional : Use::forbidden));
  PQRNN_TRY(check_names("slots", slots, parsing ? Use::required : Use::forbidden));
  if (multi_label && task != Task::classification) {
    return invalid("multi_label=True needs task 'classification'");
  }
  if (slot_context && !parsing) return invalid("slot_context=True needs task 'parsing'");
  if (crf && !parsing) return invalid("crf=True needs task 'parsing'");
  return check_intent_tags(*this);
}

Status parse_config(std::string_view text, ModelConfig& config) {
  config = {};
  JsonReader json(text);
  if (!json.begin_object()) return json.status();
  Fields fields(json, "PQRNNConfig");
  while (fields.next()) {
    fields.on_choice("task", config.task, task_names());
    if (fields.is("projection")) fields.fail(read_projection(json, config.projection));
    fields.on_integer("bottleneck_size", config.bottleneck_size);
    fields.on_integer("state_size", config.state_size);
    fields.on_integer("kernel_size", config.kernel_size);
    fields.on_integer("num_layers", config.num_layers);
    fields.on_bool("bidirectional", config.bidirectional);
    fields.on_choice("pooling", config.pooling, pooling_names());
    fields.on_number("zoneout", config.zoneout);
    fields.on_integer("attention_heads", config.attention_heads);
    fields.on_bool("skip", config.skip);
    fields.on_integer("output_size", config.output_size);
    fields.on_strings("labels", config.labels);
    fields.on_strings("intents", config.intents);
    fields.on_strings("slots", config.slots);
    fields.on_bool("multi_label", config.multi_label);
    fields.on_bool("slot_context", config.slot_context);
    fields.on_bool("crf", config.crf);
    fields.on_rows("intent_tags", config.intent_tags);
    fields.on_choice("precision", config.precision, precision_names());
    fields.finish_key();
  }
  PQRNN_TRY(fields.status());
  if (!json.end()) return json.status();
  return config.validate();
}

}  // namespace pqrnn
