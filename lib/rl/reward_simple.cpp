// Rewards that look at nothing, or at lengths.

#include "base/error.h"
#include "base/strings.h"
#include "rl/reward.h"

namespace seqmill::rl {
namespace {

class Constant final : public Reward {
 public:
  explicit Constant(double value) : value_(value) {}
  Rewards of(const std::vector<Question>& questions, int) override {
    Rewards rewards;
    for (const Question& question : questions) rewards.emplace_back(question.candidates.size(), value_);
    return rewards;
  }

 private:
  const double value_;
};

class Length final : public Reward {
 public:
  Rewards of(const std::vector<Question>& questions, int) override {
    Rewards rewards;
    for (const Question& question : questions) rewards.emplace_back(question.lengths.begin(), question.lengths.end());
    return rewards;
  }
};

const Registration<RewardType> constant{"constant", {"the same for all, 1 or constant:X: the control, which shows what sharpening does without any reward", [](const std::string& argument, int) {
                                                       double value = 1;
                                                       if (!argument.empty() && !parse_double(argument, value)) fail_usage("--reward constant:{}: expected a number", argument);
                                                       return std::make_unique<Constant>(value);
                                                     }}};
const Registration<RewardType> length{"length", {"tokens of the candidate: with a weight, as -0.01*length, what a token costs", [](const std::string& argument, int) {
                                                   check_argument("length", argument, nullptr);
                                                   return std::make_unique<Length>();
                                                 }}};

}  // namespace
}  // namespace seqmill::rl
