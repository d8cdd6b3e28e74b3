#pragma once
// Trained language models from disk, and to it.

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "infer/model_config.h"
#include "io/run_dir.h"
#include "model/lm.h"
#include "text/tokenizer.h"

namespace seqmill::model {

struct LoadedLm {
  std::unique_ptr<Lm> model;
  std::shared_ptr<const text::Tokenizer> tokenizer;
  infer::ModelConfig config;
  at::Tensor score_head;   ///< [heads, dim]: of a reward model ("score.weight"); undefined for others
  std::vector<std::pair<std::string, at::Tensor>> estimator;  ///< of a learned metric (infer/estimator_head.h) the tensors of its head; empty for others
  bool has_output = true;  ///< false for a reward model that was stored without its output layer, whose numbers are zeros then
};

/// `path`: model directory, checkpoint, run, or a directory as Hugging Face has it. `average` > 0: the mean of that many newest checkpoints of a run instead of one.
LoadedLm load_lm(const std::string& path, int64_t average = 0);

/// The model that a configuration describes, its weights unset, for a tokeniser of so many tokens.
std::unique_ptr<Lm> build_lm(const infer::ModelConfig& config, int64_t tokens);

/// Gives `model` the weights of the trained model at `path`. Those of another tokeniser are left where they stand for its tokens. All that is missing in the file must be
/// adapters, which begin as they are; adapters of the file that the model has not are merged into its weights. Throws Error that names what does not fit. `option`: where the path comes from, for messages.
void initialise_lm_from(const std::string& path, Lm& model, const text::Tokenizer& tokenizer, const std::string& option = "--init-from");

}  // namespace seqmill::model
