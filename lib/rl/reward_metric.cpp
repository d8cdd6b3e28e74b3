// Metrics of single sentences, from 0 to 1.

#include <algorithm>

#include "base/threads.h"
#include "metric/bleu.h"
#include "metric/chrf.h"
#include "metric/rouge.h"
#include "rl/reward.h"

namespace seqmill::rl {
namespace {

class MetricReward final : public Reward {
 public:
  MetricReward(std::unique_ptr<metric::Metric> metric, double largest) : metric_(std::move(metric)), largest_(largest) {}

  bool needs_references() const override { return true; }

  Rewards of(const std::vector<Question>& questions, int) override {
    Rewards rewards(questions.size());
    parallel_for(static_cast<int64_t>(questions.size()), 1, [&](int64_t begin, int64_t end) {
      const std::unique_ptr<metric::LineCounter> counter = metric_->counter();
      std::vector<double> statistics(metric_->width());
      for (int64_t q = begin; q < end; ++q) {
        const Question& question = questions[static_cast<size_t>(q)];
        const std::vector<std::string_view> references(question.references.begin(), question.references.end());
        for (const std::string& candidate : question.candidates) {
          counter->count(candidate, references, statistics.data());
          rewards[static_cast<size_t>(q)].push_back(std::min(1.0, metric_->score(statistics.data(), 1) / largest_));  // rounding may exceed it
        }
      }
    });
    return rewards;
  }

 private:
  const std::unique_ptr<metric::Metric> metric_;
  const double largest_;
};

template <typename Make>
RewardType of_metric(const char* name, const char* summary, double largest, Make make) {
  return {summary, [=](const std::string& argument, int) {
            check_argument(name, argument, nullptr);
            return std::make_unique<MetricReward>(make(), largest);
          }};
}

const Registration<RewardType> bleu{"bleu", of_metric("bleu", "sentence BLEU / 100: 13a tokens, exponential smoothing, orders that the candidate has (as sacreBLEU's sentence_bleu)", 100, [] {
                                      metric::BleuOptions options;
                                      options.effective_order = true;
                                      return metric::make_bleu(options);
                                    })};
const Registration<RewardType> chrf{"chrf", of_metric("chrf", "sentence chrF2 / 100", 100, [] { return metric::make_chrf({}); })};
const Registration<RewardType> rouge{"rouge-l", of_metric("rouge-l", "F of the longest common subsequence (ROUGE-L), without stems", 1, [] { return metric::make_rouge("rougeL", {}); })};

}  // namespace
}  // namespace seqmill::rl
