#pragma once
// What candidates are worth. A reward is a function of texts; each kind is registered, and several are added up with weights.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/registry.h"
#include "io/json.h"
#include "text/chat.h"

namespace seqmill::rl {

/// An input and its candidates, as rewards see them.
struct Question {
  std::string id, place;                ///< place: for messages
  std::string source;                   ///< of translations and the like; else empty
  std::vector<text::Message> messages;  ///< of prompts; of translations empty
  std::vector<std::string> references;
  std::vector<std::string> candidates;
  std::vector<int64_t> lengths;         ///< of candidates, in tokens, what ends them not counted
  std::string rival;                    ///< another output, which a judge compares them with; where needs_rival()
};

/// {id, source or prompt, reference?, references?, hypotheses: [{text, length}]}, as nmt-translate and lm-generate write records.
io::Json record_of(const Question& question);

/// [question][candidate]
using Rewards = std::vector<std::vector<double>>;

class Reward {
 public:
  virtual ~Reward() = default;
  virtual bool needs_references() const { return false; }
  virtual bool needs_rival() const { return false; }
  /// With so many threads. What a candidate gets depends on its question alone. Throws Error for what it cannot give.
  virtual Rewards of(const std::vector<Question>& questions, int threads) = 0;
};

struct RewardType {
  static const char* kind() { return "reward"; }
  std::string summary;
  std::function<std::unique_ptr<Reward>(const std::string& argument, int threads)> make;  ///< argument: what is behind the colon; "" without
};

/// "name  summary" lines for --list-rewards.
std::string list_rewards();

/// Rewards of an update.
struct RewardTotals {
  Rewards sums;                   ///< weighted
  std::vector<std::vector<double>> means;  ///< [question][reward]: of each by itself, without its weight, over candidates
};

class RewardSum {
 public:
  /// Each "NAME", "NAME:ARGUMENT" or "WEIGHT*NAME...". Throws a usage error for unknown names, arguments that are none, and weights that are no numbers.
  RewardSum(const std::vector<std::string>& rewards, int threads);

  bool needs_references() const;
  bool needs_rival() const;
  const std::vector<std::string>& names() const { return names_; }  ///< of the rewards, without weights and arguments; of equal ones numbered
  /// Throws Error naming reward and record for rewards that are not finite, for too few of them, and for a missing reference.
  RewardTotals of(const std::vector<Question>& questions, int threads);

 private:
  struct Part {
    std::string text;  ///< as the user wrote it
    double weight;
    std::unique_ptr<Reward> reward;
  };
  std::vector<Part> parts_;
  std::vector<std::string> names_;
};

/// "NAME:ARGUMENT" needs one, or has none.
void check_argument(const std::string& name, const std::string& argument, const char* wanted);

}  // namespace seqmill::rl
