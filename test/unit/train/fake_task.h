#pragma once
// A task whose every number is known: rows x, one batch after another, with the loss |a + b - x|^2 / 2 of each row.

#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>

#include "base/log.h"
#include "base/threads.h"
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

  int64_t parts() const override { return part_count; }

  std::vector<nn::Parameters*> workers(int64_t count) override {
    std::vector<nn::Parameters*> all{&parameters_};
    for (; static_cast<int64_t>(all.size()) < count; all.push_back(&copies_.back()->parameters)) {
      copies_.push_back(std::make_unique<Copy>());
      copies_.back()->parameters.share(parameters_);
    }
    return all;
  }

  /// Rows one after another in at most part_count parts, as even as they can be. Troubles are in the last part.
  std::vector<Part> next() override {
    if (before_next) before_next();
    const int64_t number = epoch_ * static_cast<int64_t>(sizes.size()) + batch_;
    values.push_back(flat());
    const int64_t size = sizes[static_cast<size_t>(batch_)];
    const int64_t first = begin(), count = std::min(part_count, size);
    skip(1);
    std::vector<Part> parts;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t from = size * i / count, to = size * (i + 1) / count;
      parts.push_back([this, number, last = i + 1 == count, rows = data.narrow(0, first + from, to - from)](
                          int64_t worker, tensor::DropoutStream& dropout) {
        const uint64_t key = dropout.next(0.5).key;
        const at::Tensor target = noisy ? rows + static_cast<double>(key % 1000) / 1000 : rows;
        const Copy* copy = worker == 0 ? nullptr : copies_[static_cast<size_t>(worker - 1)].get();
        const at::Tensor sum = copy ? copy->a + copy->b : a + b;
        StepLoss loss{(sum - target).pow(2).sum() / 2, 0, rows.size(0), 10 * rows.size(0)};
        loss.nll_sum = loss.sum.item<double>() / 2;
        {
          const std::lock_guard<std::mutex> lock(mutex_);
          keys.push_back(key);
          busy.insert(worker);
        }
        const auto found = troubles.find(number);
        if (last && found != troubles.end()) apply(found->second, loss);
        return loss;
      });
    }
    return parts;
  }

  void skip(int64_t batches) override {
    batch_ += batches;
    epoch_ += batch_ / static_cast<int64_t>(sizes.size());
    batch_ %= static_cast<int64_t>(sizes.size());
  }

  int64_t epoch() const override { return epoch_; }
  int64_t epoch_batches() const override { return static_cast<int64_t>(sizes.size()); }
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
  std::vector<uint64_t> keys;              ///< what every part drew for dropout
  int64_t part_count = 1;                  ///< of a batch
  std::set<int64_t> busy;                  ///< workers that have had a part

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

  struct Copy {
    nn::Parameters parameters{std::nullopt};
    at::Tensor a = nn::Scope(parameters).matrix("a", 1, kDim), b = nn::Scope(parameters).parameter("b", {kDim}, nn::Init::constant(0.5));
  };

  nn::Parameters parameters_{1};
  std::vector<std::unique_ptr<Copy>> copies_;
  std::mutex mutex_;
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
