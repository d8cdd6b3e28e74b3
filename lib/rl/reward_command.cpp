// Whatever a program says, which is kept running.

#include "base/child_process.h"
#include "base/error.h"
#include "io/json.h"
#include "rl/reward.h"

namespace seqmill::rl {
namespace {

class Command final : public Reward {
 public:
  explicit Command(const std::string& command) : command_(command), program_(command) {}

  Rewards of(const std::vector<Question>& questions, int) override {
    std::vector<std::string> lines;
    for (const Question& question : questions) lines.push_back(record_of(question).dump());
    const std::vector<std::string> answers = program_.ask(lines);
    Rewards rewards;
    for (size_t q = 0; q < questions.size(); ++q) rewards.push_back(read(answers[q], questions[q]));
    return rewards;
  }

 private:
  /// {"rewards": [...]}, or {"hypotheses": [{"scores": {"reward": x}}]} as rm-score --serve answers.
  std::vector<double> read(const std::string& line, const Question& question) const {
    const std::string where = fmt::format("{}: '{}' answered", question.place, command_);
    const io::Json answer = io::parse_json(line, where);
    try {
      std::vector<double> rewards;
      if (const io::Json* error = answer.find("error")) fail("an error: {}", error->is_string() ? error->as_string() : error->dump());
      const auto number_of = [&](const io::Json& value) {
        // JSON has no NaN; what a program means by null is one.
        if (!value.is_number()) fail("{} for candidate {}, expected a number", value.is_null() ? "null" : value.type_name(), rewards.size() + 1);
        return value.as_double();
      };
      if (const io::Json* list = answer.find("rewards")) {
        for (const io::Json& value : list->as_array()) rewards.push_back(number_of(value));
        return rewards;
      }
      for (const io::Json& hypothesis : answer.at("hypotheses").as_array()) rewards.push_back(number_of(hypothesis.at("scores").at("reward")));
      return rewards;
    } catch (const Error& error) {
      throw Error(fmt::format("{} {}", where, error.what()), error.exit_code());
    }
  }

  const std::string command_;
  ChildProcess program_;
};

const Registration<RewardType> registered{
    "command", {"command:PROGRAM is kept running and answers JSON lines {id, source|prompt, hypotheses: [{text}]} with {rewards: [...]}, or as rm-score --serve does", [](const std::string& argument, int) {
                  check_argument("command", argument, "PROGRAM");
                  return std::make_unique<Command>(argument);
                }}};

}  // namespace
}  // namespace seqmill::rl
