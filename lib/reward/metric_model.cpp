// A learned metric: each text by itself becomes the mean of its states, and an estimator makes scores of those.

#include <algorithm>

#include "base/error.h"
#include "reward/state_model.h"
#include "text/fitting.h"

namespace seqmill::reward {
namespace {

class MetricModel final : public StateModel {
 public:
  MetricModel(infer::LoadedLanguageModel model, std::vector<std::string> aspects, const AskingOptions& options) : StateModel(std::move(model), options), aspects_(std::move(aspects)) {
    if (model_.estimator.empty()) fail("the model has no head of a metric ({})", infer::estimator_weight(0));
    name_aspects(aspects_, static_cast<size_t>(model_.estimator.scores()));
  }

  Subject subject() const override { return model_.estimator.takes_reference() ? Subject::kReferenced : Subject::kTranslations; }
  const std::vector<std::string>& aspects() const override { return aspects_; }

 protected:
  infer::Pooling pooling() const override { return infer::Pooling::kMean; }

  /// The source, the reference if there is one, and the hypotheses.
  std::vector<Tree> frame(const Inquiry& inquiry, Outcome& outcome) const override {
    if (inquiry.messages.size() != 1) fail("a prompt of {} messages; a metric compares with one text, the source", inquiry.messages.size());
    std::vector<std::string> texts{inquiry.messages[0].content};
    if (model_.estimator.takes_reference()) {
      if (!inquiry.reference) fail("it has no reference, which this metric compares with");
      texts.push_back(*inquiry.reference);
    }
    const size_t fixed = texts.size();
    texts.insert(texts.end(), inquiry.answers.begin(), inquiry.answers.end());
    text::FramedAnswers framed = text::frame_texts(*model_.tokenizer, texts, window_);
    const auto first = framed.cut_answers.begin() + static_cast<std::ptrdiff_t>(fixed);
    outcome.cut_prompts = std::count(framed.cut_answers.begin(), first, true);
    outcome.cut_answers = std::count(first, framed.cut_answers.end(), true);
    return trees_of(std::move(framed.prompt), std::move(framed.answers));
  }

  void add_values(const float* states, size_t count, std::vector<double>& values) const override {
    const int64_t dim = model_.model->dim();
    const bool referenced = model_.estimator.takes_reference();
    for (size_t i = referenced ? 2 : 1; i < count; ++i) {
      const std::vector<double> scores = model_.estimator.score({states, states + static_cast<int64_t>(i) * dim, referenced ? states + dim : nullptr});
      values.insert(values.end(), scores.begin(), scores.end());
    }
  }

  std::string name_of(size_t value) const override { return fmt::format("hypothesis {}", value / aspects_.size() + 1); }

 private:
  std::vector<std::string> aspects_;
};

}  // namespace

std::unique_ptr<RewardModel> make_metric_model(infer::LoadedLanguageModel model, std::vector<std::string> aspects, const AskingOptions& options) {
  return std::make_unique<MetricModel>(std::move(model), std::move(aspects), options);
}

}  // namespace seqmill::reward
