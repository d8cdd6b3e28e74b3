#pragma once
// A task whose every number is known: rows x, one batch after another, with the loss |a + b - x|^2 / 2 of each row.

#include <cmath>
#include <functional>
#include <map>
#include <stdexcept>

#include "base/log.h"
#include "io/json.h"
#include "io/line_reader.h"
#include "support/files.h"
#include "tensor/runtime.h"
#include "train/trainer.h"
#include "unit/tensor/tensors.h"

namespace seqmill::train {

inline const bool kRuntimeIsReady = (tensor::set_up_runtime(1), log::set_level(log::Level::kOff), true);

/// What can go wrong with a micro-batch.
enum class Trouble { kNanLoss, kInfiniteLoss, kNanGradient, kKilled };

class FakeTask final : public Task {
 public:
  static constexpr int64_t kDim = 3;

  explicit FakeTask(std::vector<int64_t> batch_sizes = {2, 2, 2}) : sizes(std::move(batch_sizes)) {
    int64_t rows = 0;
    for (const int64_t size : sizes) rows += size;
    data = test::normals({rows, kDim}, 77) + 1;
    const nn::Scope root(parameters_);
    a = root.matrix("a", 1, kDim);
    b = root.parameter("b", {kDim}, nn::Init::constant(0.5));
  }

  nn::Parameters& parameters() override { return parameters_; }

  StepLoss next(tensor::DropoutStream& dropout) override {
    if (before_next) before_next();
    const int64_t number = epoch_ * static_cast<int64_t>(sizes.size()) + batch_;
    values.push_back(flat());
    keys.push_back(dropout.next(0.5).key);
    const int64_t size = sizes[static_cast<size_t>(batch_)];
    at::Tensor target = data.narrow(0, begin(), size);
    if (noisy) target = target + static_cast<double>(keys.back() % 1000) / 1000;
    StepLoss loss{(a + b - target).pow(2).sum() / 2, 0, size, 10 * size};
    loss.nll_sum = loss.sum.item<double>() / 2;
    const auto found = troubles.find(number);
    if (found != troubles.end()) apply(found->second, loss);
    skip(1);
    return loss;
  }

  void skip(int64_t batches) override {
    batch_ += batches;
    epoch_ += batch_ / static_cast<int64_t>(sizes.size());
    batch_ %= static_cast<int64_t>(sizes.size());
  }

  int64_t epoch() const override { return epoch_; }
  double epoch_progress() const override { return static_cast<double>(batch_) / static_cast<double>(sizes.size()); }

  Scores validate(Ranks&) override {
    validated.push_back(flat());
    const size_t number = validated.size() - 1;
    if (static_cast<int64_t>(number) == killed_in_validation) throw std::runtime_error("killed");
    at::NoGradGuard no_grad;
    Scores scores{{"loss", losses.empty() ? (a + b - data).pow(2).sum().item<double>() : losses.at(number)}};
    if (!bleus.empty()) scores.emplace_back("bleu", bleus.at(number));
    return scores;
  }

  io::Json cursor() const override {
    io::Json json = io::Json::object();
    json.set("epoch", epoch_);
    json.set("batch", batch_);
    return json;
  }
  void set_cursor(const io::Json& json) override {
    epoch_ = json.at("epoch").as_int();
    batch_ = json.at("batch").as_int();
  }

  at::Tensor flat() const { return at::cat({a.detach().view({-1}), b.detach()}).clone(); }

  std::vector<int64_t> sizes;
  at::Tensor data, a, b;
  bool noisy = false;                      ///< the targets move with the dropout stream
  std::function<void()> before_next;
  std::map<int64_t, Trouble> troubles;     ///< by the number of the micro-batch, from 0
  int64_t killed_in_validation = -1;
  std::vector<double> losses, bleus;       ///< given scores of the validations
  std::vector<at::Tensor> values;          ///< the parameters before every micro-batch
  std::vector<at::Tensor> validated;       ///< and at every validation
  std::vector<uint64_t> keys;              ///< what every micro-batch drew for dropout

 private:
  int64_t begin() const {
    int64_t row = 0;
    for (int64_t i = 0; i < batch_; ++i) row += sizes[static_cast<size_t>(i)];
    return row;
  }

  void apply(Trouble trouble, StepLoss& loss) const {
    switch (trouble) {
      case Trouble::kNanLoss: loss.sum = loss.sum * NAN; break;
      case Trouble::kInfiniteLoss: loss.sum = loss.sum * INFINITY; break;
      case Trouble::kNanGradient: loss.sum = loss.sum + (a * 0).sqrt().sum(); break;  // 0, whose slope is infinite
      case Trouble::kKilled: throw std::runtime_error("killed");
    }
  }

  nn::Parameters parameters_{1};
  int64_t epoch_ = 0, batch_ = 0;
};

/// Constant rate, no clipping, no checkpoints but the last and those of validations.
inline TrainerOptions plain_options(int64_t max_updates) {
  TrainerOptions options;
  options.max_updates = max_updates;
  options.clip = 0;
  options.save_every = 0;
  options.log_every = 1;
  options.schedule.kind = "constant";
  options.schedule.rate = 0.05;
  options.schedule.warmup = 0;
  return options;
}

inline void train_in(const std::string& directory, Task& task, const TrainerOptions& options, uint64_t seed = 1) {
  io::RunDir run(directory);
  Ranks alone;
  train(task, run, options, seed, false, alone);
}

/// The events of a run whose split is `split`, or all.
inline std::vector<io::Json> events_of(const std::string& run, const std::string& split = "") {
  std::vector<io::Json> events;
  for (const std::string& line : io::read_lines(run + "/metrics.jsonl")) {
    const io::Json event = io::parse_json(line, "metrics");
    if (split.empty() || event.at("split").as_string() == split) events.push_back(event);
  }
  return events;
}

inline Progress progress_of(const std::string& checkpoint) {
  return Progress::from_json(io::read_json(checkpoint + "/state.json"), "state");
}

/// The tensors "a" and "b" of a file of weights, as FakeTask::flat.
inline at::Tensor weights_in(const std::string& file, const std::string& suffix = "") {
  std::map<std::string, at::Tensor> found;
  for (const auto& [name, value] : tensor::load_tensors(file)) found[name] = value;
  return at::cat({found.at("a" + suffix).view({-1}), found.at("b" + suffix)});
}

/// Adam and AdamW as their papers write them, in double, one number after another.
struct ReferenceAdam {
  OptimizerOptions options;
  std::vector<double> m, v;
  int64_t steps = 0;

  void step(std::vector<double>& values, const std::vector<double>& gradients, const std::vector<bool>& decays, double rate) {
    m.resize(values.size());
    v.resize(values.size());
    ++steps;
    for (size_t i = 0; i < values.size(); ++i) {
      const double decay = decays[i] ? options.weight_decay : 0;
      const bool decoupled = options.kind == "adamw";
      const double g = gradients[i] + (decoupled ? 0 : decay * values[i]);
      m[i] = options.beta1 * m[i] + (1 - options.beta1) * g;
      v[i] = options.beta2 * v[i] + (1 - options.beta2) * g * g;
      const double mean = m[i] / (1 - std::pow(options.beta1, steps)), square = v[i] / (1 - std::pow(options.beta2, steps));
      values[i] -= rate * (mean / (std::sqrt(square) + options.epsilon) + (decoupled ? decay * values[i] : 0));
    }
  }
};

inline std::vector<double> doubles(const at::Tensor& tensor) {
  const at::Tensor values = tensor.detach().to(at::kDouble).contiguous();
  return {values.data_ptr<double>(), values.data_ptr<double>() + values.numel()};
}

}  // namespace seqmill::train
