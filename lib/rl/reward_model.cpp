// What a reward model, a judge or a learned metric thinks.

#include "base/error.h"
#include "reward/answer_scores.h"
#include "rl/reward.h"

namespace seqmill::rl {
namespace {

using reward::Subject;

class Model final : public Reward {
 public:
  Model(const std::string& path, int threads) : path_(path), model_(load(path, threads)), scorer_(*model_, reward::RankBy::kReference, "") {}

  bool needs_references() const override { return model_->subject() == Subject::kReferenced; }
  /// A judge says how probably a candidate is better than the rival.
  bool needs_rival() const override { return model_->is_judge(); }

  Rewards of(const std::vector<Question>& questions, int threads) override {
    std::vector<reward::AnswerSet> sets;
    for (const Question& question : questions) {
      reward::AnswerSet set{question.messages, question.candidates};
      if (set.messages.empty()) set.messages = {{"user", question.source}};
      if (needs_rival()) set.reference = question.rival;
      if (needs_references()) set.reference = question.references.at(0);
      sets.push_back(std::move(set));
    }
    Rewards rewards;
    const std::vector<reward::AnswerScores> scores = scorer_.score(sets, threads);
    for (size_t q = 0; q < questions.size(); ++q) {
      if (!scores[q].wrong.empty()) fail("{}: {}: {}", questions[q].place, path_, scores[q].wrong);
      rewards.push_back(scores[q].rewards);
    }
    return rewards;
  }

 private:
  static std::unique_ptr<reward::RewardModel> load(const std::string& path, int threads) {
    reward::RewardModelOptions options;
    options.models = {path};
    return reward::load_reward_model(options, threads);
  }

  const std::string path_;
  const std::unique_ptr<reward::RewardModel> model_;
  const reward::AnswerScorer scorer_;
};

const Registration<RewardType> registered{"model", {"model:DIRECTORY of a reward model, of a judge (its verdict against a greedy output) or of a learned metric, as rm-train makes them",
                                                    [](const std::string& argument, int threads) {
                                                      check_argument("model", argument, "DIRECTORY");
                                                      return std::make_unique<Model>(argument, threads);
                                                    }}};

}  // namespace
}  // namespace seqmill::rl
