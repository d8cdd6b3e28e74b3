#include "infer/translation_model.h"

namespace seqmill::infer {

std::vector<double> TranslationModel::score(const std::vector<Tokens>& sources, const std::vector<Tokens>& targets) const {
  const std::unique_ptr<search::StepDecoder> decoder = start(sources);
  std::vector<size_t> offsets;
  size_t total = 0;
  for (const Tokens& target : targets) {
    offsets.push_back(total);
    total += target.size() - 1;
  }
  std::vector<double> logprobs(total);
  // Row i is that of target live[i]; targets leave when they end.
  std::vector<int32_t> live;
  for (size_t i = 0; i < targets.size(); ++i) live.push_back(static_cast<int32_t>(i));
  std::vector<int32_t> parents = live;
  for (size_t step = 0; !live.empty(); ++step) {
    std::vector<int32_t> tokens;
    for (const int32_t target : live) tokens.push_back(targets[static_cast<size_t>(target)][step]);
    const float* rows = decoder->advance(parents, tokens);
    std::vector<int32_t> left;
    parents.clear();
    for (size_t row = 0; row < live.size(); ++row) {
      const auto target = static_cast<size_t>(live[row]);
      const auto size = static_cast<size_t>(decoder->vocabulary_size());
      logprobs[offsets[target] + step] = static_cast<double>(rows[row * size + static_cast<size_t>(targets[target][step + 1])]);
      if (step + 2 == targets[target].size()) continue;
      left.push_back(live[row]);
      parents.push_back(static_cast<int32_t>(row));
    }
    live = std::move(left);
  }
  return logprobs;
}

}  // namespace seqmill::infer
