#include "align/answer_logprobs.h"

#include <chrono>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "data/batches.h"
#include "data/token_file.h"
#include "infer/progress.h"
#include "io/directory.h"
#include "io/run_dir.h"
#include "io/safetensors.h"
#include "loss/cross_entropy.h"
#include "model/lm_load.h"
#include "tensor/weights.h"

namespace seqmill::align {
namespace {

namespace fs = std::filesystem;

std::string hex(const data::Fingerprint& fingerprint) { return fmt::format("{:016x}", fingerprint.value()); }

/// Of the numbers themselves: a file that a disk has damaged is made anew.
std::string checksum(const ReferenceLogprobs& logprobs) {
  data::Fingerprint fingerprint;
  for (const auto& [name, tensor] : logprobs) {
    const double* numbers = tensor.data_ptr<double>();
    for (int64_t i = 0; i < tensor.numel(); ++i) fingerprint.add(numbers[i]);
  }
  return hex(fingerprint);
}

at::Tensor empty_logprobs(const std::vector<data::PromptTree>& trees) {
  return at::empty({static_cast<int64_t>(trees.size()), static_cast<int64_t>(trees.front().endings.size())}, at::kDouble);
}

/// Shows how far the reference is.
class Counter {
 public:
  Counter(int64_t all, bool progress) : all_(all), line_(progress), progress_(progress ? infer::ProgressStyle::kRewritten : infer::ProgressStyle::kMessages) {}
  ~Counter() {
    if (line_) log::status_line("");
  }
  Counter(const Counter&) = delete;
  Counter& operator=(const Counter&) = delete;

  void add(int64_t trees) {
    done_ += trees;
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
    if (!progress_.is_due(seconds)) return;
    progress_.show(fmt::format("reference log-probabilities: {} of {} prompts, {:.1f} prompts/s", done_, all_, static_cast<double>(done_) / seconds));
  }

 private:
  int64_t all_, done_ = 0;
  bool line_;
  infer::Progress progress_;
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

at::Tensor compute(const model::Lm& model, at::Device device, const Trees& trees, int64_t batch_tokens, Counter& counter) {
  at::NoGradGuard no_grad;
  at::Tensor logprobs = empty_logprobs(*trees);
  for (const std::vector<int64_t>& items : plan_in_order(trees, batch_tokens)) {
    const at::Tensor found = ending_logprobs(model, batch_of(*trees, items, data::LastTokens::kPredicted, true, device), nullptr).cpu();
    if (!at::isfinite(found).all().item<bool>()) fail("the reference model gives answers log-probabilities that are not finite");
    logprobs.index_copy_(0, at::tensor(items, at::kLong), found.view({static_cast<int64_t>(items.size()), -1}));
    counter.add(static_cast<int64_t>(items.size()));
  }
  return logprobs;
}

/// The file of what was computed.
class Cache {
 public:
  Cache(std::string path, const TreeSets& sets) : path_(std::move(path)), sets_(sets) {
    data::Fingerprint fingerprint;
    for (const auto& [name, trees] : sets) fingerprint.add(std::string_view(name)).add(fingerprint_of(*trees));
    data_ = hex(fingerprint);
  }

  /// False when there is none, or it is damaged or of something else. `model` empty: of whatever model.
  bool read(const std::string& model, ReferenceLogprobs& logprobs) const {
    if (!fs::exists(path_)) return false;
    try {
      const std::map<std::string, std::string> about = io::SafetensorsFile(path_).metadata();
      const auto says = [&](const char* key, const std::string& value) {
        const auto found = about.find(key);
        return found != about.end() && found->second == value;
      };
      if (!says("data", data_) || !(model.empty() || says("model", model))) return false;
      for (const auto& [name, trees] : sets_) logprobs[name] = empty_logprobs(*trees);
      tensor::load_into(path_, {logprobs.begin(), logprobs.end()});
      if (says("checksum", checksum(logprobs))) return true;
      log::warn("{} is damaged and made anew", path_);
    } catch (const Error& error) {
      log::warn("{}; it is made anew", error.what());
    }
    return false;
  }

  void write(const std::string& model, const ReferenceLogprobs& logprobs) const {
    // The run is ours, so nobody else writes there.
    const std::string unfinished = path_ + ".tmp";
    tensor::save_tensors(unfinished, {logprobs.begin(), logprobs.end()}, {{"data", data_}, {"model", model}, {"checksum", checksum(logprobs)}});
    io::rename_checked(unfinished, path_);
  }

 private:
  std::string path_, data_;
  const TreeSets& sets_;
};

std::string fingerprint_of(const ReferenceModel& model) {
  const io::ModelFiles files = io::find_model(model.path);
  return hex(data::Fingerprint().add_file(files.weights).add_file(files.config));
}

}  // namespace

at::Tensor ending_logprobs(const model::Lm& model, const data::TreeBatch& batch, tensor::DropoutStream* stream) {
  const at::Tensor hidden = model.features(batch.input, stream).index_select(0, batch.rows);
  const model::OutputLayer output = model.output_layer();
  const at::Tensor tokens = loss::token_logprobs(hidden, output.weight, output.bias, batch.targets).to(at::kDouble);
  const at::Tensor ending = at::repeat_interleave(at::tensor(batch.lengths, at::kLong)).to(tokens.device());
  return at::zeros({batch.endings()}, tokens.options().requires_grad(false)).index_add(0, ending, tokens);
}

ReferenceLogprobs reference_logprobs(const ReferenceModel& model, const TreeSets& sets, int64_t batch_tokens, const std::string& cache,
                                     bool progress, train::Ranks& ranks) {
  const Cache kept(cache, sets);
  ReferenceLogprobs logprobs;
  const auto compute_all = [&] {
    const std::string made_by = fingerprint_of(model);
    const model::LoadedLm reference = model::load_lm(model.path);
    reference.model->parameters().to(model.device);
    int64_t all = 0;
    for (const auto& [name, trees] : sets) all += static_cast<int64_t>(trees->size());
    Counter counter(all, progress);
    for (const auto& [name, trees] : sets) logprobs[name] = compute(*reference.model, model.device, trees, batch_tokens, counter);
    kept.write(made_by, logprobs);
  };
  ranks.first_then_others(
      [&] {
        if (!kept.read(model.resumes ? "" : fingerprint_of(model), logprobs)) compute_all();
      },
      [&] {
        if (!kept.read("", logprobs)) data::fail_not_shared(cache);
      });
  return logprobs;
}

}  // namespace seqmill::align
