#pragma once
// What language models that score have alike: texts become states, of which numbers are made.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "infer/language_model.h"
#include "reward/reward_model.h"

namespace seqmill::reward {

/// Names for so many scores where there are none: "score", or "score-1", "score-2" ... Throws Error when there are more or fewer.
void name_aspects(std::vector<std::string>& aspects, size_t scores);

class StateModel : public RewardModel {
 public:
  using Tree = infer::LanguageModel::Tree;

  StateModel(infer::LoadedLanguageModel model, const AskingOptions& options);

  std::vector<Outcome> ask(const std::vector<Inquiry>& inquiries, int threads) const override;

 protected:
  /// The texts whose states are needed, in order, cut ones counted. Throws Error for what cannot be asked.
  virtual std::vector<Tree> frame(const Inquiry& inquiry, Outcome& outcome) const = 0;
  virtual infer::Pooling pooling() const { return infer::Pooling::kLast; }
  /// Appends what the states [count, dim] of an inquiry say.
  virtual void add_values(const float* states, size_t count, std::vector<double>& values) const = 0;
  /// What values[i] is of: "answer 2".
  virtual std::string name_of(size_t value) const = 0;

  /// A template of this name; "": that of the model.
  std::unique_ptr<text::ChatTemplate> chat_of(const std::string& name) const;
  /// Texts as they go on what they have in common, each with a token at least; without sharing each by itself.
  std::vector<Tree> trees_of(infer::Tokens prompt, std::vector<infer::Tokens> endings) const;

  const infer::LoadedLanguageModel model_;
  const int64_t window_;

 private:
  std::vector<std::vector<Tree>> frame_all(const std::vector<Inquiry>& inquiries, std::vector<Outcome>& outcomes, int threads) const;
  void check(Outcome& outcome) const;

  const AskingOptions options_;
};

}  // namespace seqmill::reward
