#include "rl/reward.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/strings.h"

namespace seqmill::rl {

std::string list_rewards() {
  std::string lines;
  for (const std::string& name : Registry<RewardType>::instance().names()) lines += fmt::format("{:<14} {}\n", name, Registry<RewardType>::instance().get(name).summary);
  return lines;
}

io::Json record_of(const Question& question) {
  io::Json record = io::Json::object();
  record.set("id", question.id);
  if (question.messages.empty()) {
    record.set("source", question.source);
  } else if (question.messages.size() == 1 && question.messages[0].role == "user") {
    record.set("prompt", question.messages[0].content);
  } else {
    io::Json messages = io::Json::array();
    for (const text::Message& message : question.messages) {
      io::Json json = io::Json::object();
      json.set("role", message.role);
      json.set("content", message.content);
      messages.push_back(std::move(json));
    }
    record.set("prompt", std::move(messages));
  }
  if (!question.references.empty()) record.set("reference", question.references[0]);
  if (question.references.size() > 1) record.set("references", io::Json::list(question.references));
  io::Json hypotheses = io::Json::array();
  for (size_t i = 0; i < question.candidates.size(); ++i) {
    io::Json hypothesis = io::Json::object();
    hypothesis.set("text", question.candidates[i]);
    hypothesis.set("length", question.lengths[i]);
    hypotheses.push_back(std::move(hypothesis));
  }
  record.set("hypotheses", std::move(hypotheses));
  return record;
}

void check_argument(const std::string& name, const std::string& argument, const char* wanted) {
  if (wanted && argument.empty()) fail_usage("--reward {}: expected {}:{}", name, name, wanted);
  if (!wanted && !argument.empty()) fail_usage("--reward {}:{}: {} takes nothing behind a colon", name, argument, name);
}

RewardSum::RewardSum(const std::vector<std::string>& rewards, int threads) {
  if (rewards.empty()) fail_usage("--reward: expected at least one; --list-rewards names them");
  for (const std::string& text : rewards) {
    std::string rest = text;
    double weight = 1;
    // A star may stand in a command, too.
    const size_t star = text.find('*');
    if (star != std::string::npos && star < text.find(':')) {
      rest = text.substr(star + 1);
      if (!parse_double(std::string(trim(text.substr(0, star))), weight) || !std::isfinite(weight)) fail_usage("--reward {}: '{}' is no weight", text, text.substr(0, star));
    }
    const size_t colon = rest.find(':');
    const std::string name(trim(rest.substr(0, colon))), argument = colon == std::string::npos ? "" : rest.substr(colon + 1);
    parts_.push_back({text, weight, Registry<RewardType>::instance().get(name).make(argument, threads)});
    const auto alike = std::count_if(names_.begin(), names_.end(), [&](const std::string& other) { return other == name || starts_with(other, name + "-"); });
    names_.push_back(alike > 0 ? fmt::format("{}-{}", name, alike + 1) : name);
  }
}

bool RewardSum::needs_references() const {
  return std::any_of(parts_.begin(), parts_.end(), [](const Part& part) { return part.reward->needs_references(); });
}

bool RewardSum::needs_rival() const {
  return std::any_of(parts_.begin(), parts_.end(), [](const Part& part) { return part.reward->needs_rival(); });
}

RewardTotals RewardSum::of(const std::vector<Question>& questions, int threads) {
  RewardTotals totals;
  for (const Question& question : questions) {
    if (needs_references() && question.references.empty()) fail("{}: it has no reference, which a reward compares with", question.place);
    totals.sums.emplace_back(question.candidates.size());
    totals.means.emplace_back();
  }
  for (const Part& part : parts_) {
    const Rewards rewards = part.reward->of(questions, threads);
    if (rewards.size() != questions.size()) fail("--reward {}: {} answers for {} inputs", part.text, rewards.size(), questions.size());
    for (size_t q = 0; q < questions.size(); ++q) {
      if (rewards[q].size() != questions[q].candidates.size()) {
        fail("--reward {}: {}: {} rewards for {} candidates", part.text, questions[q].place, rewards[q].size(), questions[q].candidates.size());
      }
      for (size_t i = 0; i < rewards[q].size(); ++i) {
        if (!std::isfinite(rewards[q][i])) fail("--reward {}: {}: candidate {} gets {}, expected a finite number", part.text, questions[q].place, i + 1, rewards[q][i]);
        totals.sums[q][i] += part.weight * rewards[q][i];
      }
      totals.means[q].push_back(rewards[q].empty() ? 0 : std::accumulate(rewards[q].begin(), rewards[q].end(), 0.0) / static_cast<double>(rewards[q].size()));
    }
  }
  return totals;
}

}  // namespace seqmill::rl
