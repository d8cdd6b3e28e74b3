#include "align/answer_logprobs.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/team.h"
#include "base/threads.h"
#include "infer/progress.h"
#include "loss/cross_entropy.h"
#include "tensor/runtime.h"

namespace seqmill::align {
namespace {

/// A batch, and the table that its log-probabilities belong in.
struct Asked {
  const std::vector<data::PromptTree>* trees;
  std::vector<int64_t> items;
  double* table;  ///< rows of as many numbers as a tree has endings
};

/// Shows how far this rank is. For several threads.
class Counter {
 public:
  Counter(int64_t all, bool progress) : all_(all), line_(progress), progress_(progress ? infer::ProgressStyle::kRewritten : infer::ProgressStyle::kMessages) {}
  ~Counter() {
    if (line_) log::status_line("");
  }
  Counter(const Counter&) = delete;
  Counter& operator=(const Counter&) = delete;

  void add(int64_t trees) {
    const std::lock_guard<std::mutex> lock(mutex_);
    done_ += trees;
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
    if (!progress_.is_due(seconds)) return;
    progress_.show(fmt::format("reference log-probabilities: {} of {} prompts, {:.1f} prompts/s", done_, all_, static_cast<double>(done_) / seconds));
  }

 private:
  std::mutex mutex_;
  int64_t all_, done_ = 0;
  bool line_;
  infer::Progress progress_;
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

void answer(const model::Lm& model, const Asked& asked) {
  const data::TreeBatch batch = batch_of(*asked.trees, asked.items, data::LastTokens::kPredicted, data::Prompts::kShared, model.output_layer().weight.device());
  const at::Tensor found = ending_logprobs(model, batch, nullptr).cpu();
  if (!at::isfinite(found).all().item<bool>()) fail("the reference model gives answers log-probabilities that are not finite");
  const auto endings = static_cast<int64_t>(asked.trees->front().endings.size());
  const double* from = found.data_ptr<double>();
  for (const int64_t item : asked.items) {
    std::copy_n(from, endings, asked.table + item * endings);
    from += endings;
  }
}

/// By the way of a training's workers: batches side by side, a thread each, where there are enough of them.
void answer_all(const model::Lm& model, const std::vector<Asked>& batches, Counter& counter) {
  const bool on_cpu = model.output_layer().weight.device().is_cpu();
  Team team(on_cpu ? team_size(static_cast<int64_t>(batches.size()), threads()) : 1, tensor::limit_thread_to_itself);
  std::atomic<bool> failed{false};
  team.run([&](int64_t member) {
    at::NoGradGuard no_grad;
    const auto step = static_cast<size_t>(team.size());
    try {
      for (auto i = static_cast<size_t>(member); i < batches.size() && !failed; i += step) {
        answer(model, batches[i]);
        counter.add(static_cast<int64_t>(batches[i].items.size()));
      }
    } catch (...) {
      failed = true;
      throw;
    }
  });
}

/// Each rank has zeros where the others have numbers.
void add_up(at::Tensor& table, train::Ranks& ranks) {
  if (ranks.count() == 1) return;
  double* numbers = table.data_ptr<double>();
  const std::vector<double> sums = ranks.sum({numbers, numbers + table.numel()});
  std::copy(sums.begin(), sums.end(), numbers);
}

}  // namespace

at::Tensor ending_logprobs(const model::Lm& model, const data::TreeBatch& batch, tensor::DropoutStream* stream) {
  const at::Tensor hidden = model.features(batch.input, stream).index_select(0, batch.rows);
  const model::OutputLayer output = model.output_layer();
  const at::Tensor tokens = loss::token_logprobs(hidden, output.weight, output.bias, batch.targets).to(at::kDouble);
  const at::Tensor ending = at::repeat_interleave(at::tensor(batch.lengths, at::kLong)).to(tokens.device());
  return at::zeros({batch.endings()}, tokens.options().requires_grad(false)).index_add(0, ending, tokens);
}

TreeLogprobs empty_logprobs(const TreeSets& sets) {
  TreeLogprobs logprobs;
  for (const auto& [name, trees] : sets) {
    logprobs[name] = at::empty({static_cast<int64_t>(trees->size()), static_cast<int64_t>(trees->front().endings.size())}, at::kDouble);
  }
  return logprobs;
}

TreeLogprobs all_logprobs(const model::Lm& model, const TreeSets& sets, int64_t batch_tokens, bool progress, train::Ranks& ranks) {
  TreeLogprobs logprobs = empty_logprobs(sets);
  std::vector<Asked> mine;
  int64_t number = 0, count = 0;
  for (const auto& [name, trees] : sets) {
    double* table = logprobs[name].zero_().data_ptr<double>();
    for (std::vector<int64_t>& items : plan_in_order(trees, batch_tokens)) {
      if (number++ % ranks.count() != ranks.rank()) continue;
      count += static_cast<int64_t>(items.size());
      mine.push_back({trees.get(), std::move(items), table});
    }
  }
  Counter counter(count, progress);
  answer_all(model, mine, counter);
  for (auto& [name, table] : logprobs) add_up(table, ranks);
  return logprobs;
}

}  // namespace seqmill::align
