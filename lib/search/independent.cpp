#include <cmath>

#include "search/length.h"
#include "search/strategy.h"

namespace seqmill::search {
namespace {

class IndependentSearch {
 public:
  IndependentSearch(const Task& task, const std::vector<int64_t>& copies, const Choose& choose)
      : task_(task), choose_(choose), penalty_(task.options), vocabulary_(task.decoder.vocabulary_size()),
        results_(task.inputs.size()) {
    for (size_t s = 0; s < task.inputs.size(); ++s) {
      limits_.emplace_back(task.options, task.inputs[s]);
      results_[s].resize(static_cast<size_t>(copies[s]));
      for (int64_t copy = 0; copy < copies[s]; ++copy) rows_.push_back({static_cast<int64_t>(s), copy});
    }
  }

  Results run() {
    std::vector<int32_t> parents, tokens;
    for (const Row& row : rows_) {
      parents.push_back(static_cast<int32_t>(row.sentence));
      tokens.push_back(task_.bos);
    }
    for (int64_t step = 0; !rows_.empty(); ++step) {
      float* logprobs = task_.decoder.advance(parents, tokens);
      parents.clear();
      tokens.clear();
      std::vector<Row> alive;
      for (size_t slot = 0; slot < rows_.size(); ++slot) {
        const int32_t token = extend(rows_[slot], step, logprobs + static_cast<int64_t>(slot) * vocabulary_);
        if (token < 0) continue;
        parents.push_back(static_cast<int32_t>(slot));
        tokens.push_back(token);
        alive.push_back(rows_[slot]);
      }
      rows_ = std::move(alive);
    }
    return std::move(results_);
  }

 private:
  struct Row {
    int64_t sentence;
    int64_t copy;
  };

  // The token the row goes on with, or kImpossible when it has ended.
  int32_t extend(const Row& row, int64_t step, float* logprobs) {
    const SentenceInput& input = task_.inputs[static_cast<size_t>(row.sentence)];
    const LengthLimits& limits = limits_[static_cast<size_t>(row.sentence)];
    Hypothesis& hypothesis = results_[static_cast<size_t>(row.sentence)][static_cast<size_t>(row.copy)];
    if (task_.options.observe) hypothesis.observed.add(logprobs, vocabulary_);
    const bool forced = step < static_cast<int64_t>(input.prefix.size());
    if (!forced && step < limits.min) logprobs[task_.eos] = -INFINITY;
    const auto [token, drawn] = forced ? Choice{input.prefix[static_cast<size_t>(step)]} : choose_(row.sentence, row.copy, logprobs);
    if (token == kNotFinite) fail_not_finite(input, step);
    if (token == kImpossible) return end(hypothesis, false);
    const double logprob = logprobs[token];
    if (!(logprob < INFINITY)) fail_not_finite(input, step);
    if (token != task_.eos && step >= limits.max) return end(hypothesis, false);
    hypothesis.logprob += logprob;
    hypothesis.drawn_logprob += drawn;
    if (token == task_.eos) return end(hypothesis, true);
    hypothesis.tokens.push_back(token);
    return token;
  }

  int32_t end(Hypothesis& hypothesis, bool finished) const {
    hypothesis.finished = finished;
    const int64_t length = static_cast<int64_t>(hypothesis.tokens.size()) + (finished ? 1 : 0);
    hypothesis.score = penalty_.score(hypothesis.logprob, length);
    return kImpossible;
  }

  const Task& task_;
  const Choose& choose_;
  const LengthPenalty penalty_;
  const int64_t vocabulary_;
  std::vector<LengthLimits> limits_;
  std::vector<Row> rows_;
  Results results_;
};

}  // namespace

Results independent_search(const Task& task, const std::vector<int64_t>& copies, const Choose& choose) {
  return IndependentSearch(task, copies, choose).run();
}

}  // namespace seqmill::search
