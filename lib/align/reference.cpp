#include "align/reference.h"

#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "data/token_file.h"
#include "infer/model_config.h"
#include "io/directory.h"
#include "io/json.h"
#include "io/output.h"
#include "io/run_dir.h"
#include "io/safetensors.h"
#include "io/yaml.h"
#include "tensor/weights.h"

namespace seqmill::align {
namespace {

namespace fs = std::filesystem;

std::string hex(const data::Fingerprint& fingerprint) { return fmt::format("{:016x}", fingerprint.value()); }

void add_options(data::Fingerprint& fingerprint, const infer::ModelConfig& config) {
  for (const io::ConfigEntry& entry : config.entries) {
    fingerprint.add(std::string_view(entry.key));
    for (const std::string& value : entry.values) fingerprint.add(std::string_view(value));
  }
}

/// Of the weights and of what says how they are meant, wherever these lie and whenever they were written.
std::string fingerprint_of_model(const std::string& path) {
  const io::ModelFiles files = io::find_model(path);
  data::Fingerprint fingerprint;
  add_options(fingerprint, infer::read_model_config(files.config));
  const io::WeightFiles weights(files.weights);
  std::map<std::string, const io::TensorRecord*> by_name;
  for (const io::TensorRecord& tensor : weights.tensors()) by_name[tensor.name] = &tensor;
  for (const auto& [name, tensor] : by_name) {
    fingerprint.add(std::string_view(name)).add(std::string_view(io::name_of(tensor->dtype)));
    for (const int64_t size : tensor->shape) fingerprint.add(static_cast<uint64_t>(size));
    fingerprint.add_bytes(tensor->data, static_cast<size_t>(tensor->bytes()));
    io::release_pages(*tensor);
  }
  return hex(fingerprint);
}

std::string options_of(const std::string& config_yaml) {
  data::Fingerprint fingerprint;
  add_options(fingerprint, infer::model_config_of(io::parse_yaml(config_yaml, "configuration"), "configuration"));
  return hex(fingerprint);
}

/// Of the numbers themselves: what a disk has damaged is made anew.
std::string checksum(const TreeLogprobs& logprobs) {
  data::Fingerprint fingerprint;
  for (const auto& [name, table] : logprobs) fingerprint.add_bytes(table.data_ptr<double>(), static_cast<size_t>(table.numel()) * sizeof(double));
  return hex(fingerprint);
}

/// The file of what was computed.
class Cache {
 public:
  using Facts = std::map<std::string, std::string>;

  Cache(std::string path, const TreeSets& sets) : path_(std::move(path)), sets_(sets) {
    data::Fingerprint fingerprint;
    for (const auto& [name, trees] : sets) fingerprint.add(std::string_view(name)).add(fingerprint_of(*trees));
    data_ = hex(fingerprint);
  }

  const std::string& path() const { return path_; }

  /// False when there is none, or it is damaged, or of other data, or something else than `facts` is true of it.
  bool read(Facts facts, TreeLogprobs& logprobs) const {
    if (!fs::exists(path_)) return false;
    facts["data"] = data_;
    try {
      const Facts about = io::SafetensorsFile(path_).metadata();
      const auto holds = [&](const std::string& key, const std::string& value) {
        const auto found = about.find(key);
        return found != about.end() && found->second == value;
      };
      for (const auto& [key, value] : facts) {
        if (!holds(key, value)) return false;
      }
      logprobs = empty_logprobs(sets_);
      tensor::load_into(path_, {logprobs.begin(), logprobs.end()});
      if (holds("checksum", checksum(logprobs))) return true;
      log::warn("{} is damaged and made anew", path_);
    } catch (const Error& error) {
      log::warn("{}; it is made anew", error.what());
    }
    return false;
  }

  void write(Facts facts, const TreeLogprobs& logprobs) const {
    io::make_directory(fs::path(path_).parent_path().string());
    facts["data"] = data_;
    facts["checksum"] = checksum(logprobs);
    // The run is ours, so nobody else writes there.
    const std::string unfinished = path_ + ".tmp";
    tensor::save_tensors(unfinished, {logprobs.begin(), logprobs.end()}, facts);
    io::rename_checked(unfinished, path_);
  }

 private:
  std::string path_, data_;
  const TreeSets& sets_;
};

void share_weights(model::Lm& model, train::Ranks& ranks) {
  if (ranks.count() == 1) return;
  for (const nn::Parameter& parameter : model.parameters().all()) ranks.broadcast(parameter.value.detach());
}

}  // namespace

Reference::Reference(ReferenceModel model, std::string run, const train::Ranks& ranks) : model_(std::move(model)), run_(std::move(run)) {
  if (!ranks.first()) return;
  const std::string record = run_ + "/reference.json";
  if (!model_.resumes) {
    began_with_ = fingerprint_of_model(model_.source);
    io::Json json = io::Json::object();
    json.set("model", model_.source);
    json.set("fingerprint", began_with_);
    io::write_file(record, json.dump() + "\n");
  } else if (fs::exists(record)) {
    try {
      began_with_ = io::read_json(record).at("fingerprint").as_string();
    } catch (const Error& error) {
      fail("{}: {}", record, error.what());
    }
  }
}

TreeLogprobs Reference::logprobs(model::Lm& policy, const std::function<std::unique_ptr<model::Lm>()>& copy, const TreeSets& sets, int64_t batch_tokens, bool progress,
                                 train::Ranks& ranks) const {
  const Cache cache(run_ + "/cache/reference.safetensors", sets);
  TreeLogprobs logprobs;
  const Cache::Facts source = began_with_.empty() ? Cache::Facts() : Cache::Facts{{"model", began_with_}};
  Cache::Facts facts = source;
  facts["options"] = options_of(model_.config_yaml);
  // What of the options may change in the course of a run changes nothing here.
  const bool is_kept = ranks.first() && cache.read(model_.resumes ? source : facts, logprobs);
  if (ranks.from_first(is_kept ? 1 : 0) > 0) {
    if (!ranks.first() && !cache.read({}, logprobs)) data::fail_not_shared(cache.path());
    return logprobs;
  }
  const std::unique_ptr<model::Lm> again = model_.resumes ? make_again(copy, policy.output_layer().weight.device(), cache.path(), ranks) : nullptr;
  model::Lm& reference = again ? *again : policy;
  share_weights(reference, ranks);
  logprobs = all_logprobs(reference, sets, batch_tokens, progress, ranks);
  if (ranks.first()) cache.write(facts, logprobs);
  return logprobs;
}

std::unique_ptr<model::Lm> Reference::make_again(const std::function<std::unique_ptr<model::Lm>()>& copy, at::Device device, const std::string& cache, const train::Ranks& ranks) const {
  if (ranks.first()) {
    const std::string found = fingerprint_of_model(model_.source);
    if (began_with_.empty()) {
      log::warn("{}/reference.json is gone: nothing tells whether {} is still what this run began with, and it is taken for that", run_, model_.source);
    } else if (found != began_with_) {
      fail("{} does not hold what the reference says of this data, and {} is not the model any more that this run began with (its fingerprint is {}, that of {}/reference.json {}): give that by "
           "--model, or another --run to begin anew",
           cache, model_.source, found, run_, began_with_);
    }
  }
  std::unique_ptr<model::Lm> model = ranks.first() ? model_.begun() : copy();
  model->parameters().to(device);
  return model;
}

}  // namespace seqmill::align
