// Rewards that were found before, as of candidates that are replayed.

#include <map>

#include "base/error.h"
#include "base/strings.h"
#include "rl/reward.h"
#include "text/records.h"

namespace seqmill::rl {
namespace {

class File final : public Reward {
 public:
  explicit File(const std::string& path) : path_(path) {
    text::RecordReader reader(path);
    text::Record record;
    while (reader.next(record)) {
      try {
        for (const io::Json& hypothesis : record.json.at("hypotheses").as_array()) {
          rewards_[{record.id, hypothesis.at("text").as_string()}] = hypothesis.at("scores").at("reward").as_double();
        }
      } catch (const Error& error) {
        fail("{}: {}; expected {{id, hypotheses: [{{text, scores: {{reward}}}}]}}", record.place, error.what());
      }
    }
    if (rewards_.empty()) fail("{}: it holds no rewards", path);
  }

  Rewards of(const std::vector<Question>& questions, int) override {
    Rewards rewards;
    for (const Question& question : questions) {
      rewards.emplace_back();
      for (const std::string& candidate : question.candidates) {
        const auto found = rewards_.find({question.id, candidate});
        if (found == rewards_.end()) fail("{}: {} has no reward for the candidate '{}'", question.place, path_, excerpt(candidate, 60));
        rewards.back().push_back(found->second);
      }
    }
    return rewards;
  }

 private:
  const std::string path_;
  std::map<std::pair<std::string, std::string>, double> rewards_;
};

const Registration<RewardType> registered{"file", {"file:FILE of JSON lines {id, hypotheses: [{text, scores: {reward}}]} holds the reward of every candidate: for those that are replayed",
                                                   [](const std::string& argument, int) {
                                                     check_argument("file", argument, "FILE");
                                                     return std::make_unique<File>(argument);
                                                   }}};

}  // namespace
}  // namespace seqmill::rl
