#include "reward/state_model.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/strings.h"
#include "infer/token_batches.h"

namespace seqmill::reward {
namespace {

using infer::Tokens;
using Tree = StateModel::Tree;

int64_t window_of(const infer::LanguageModel& model, int64_t window) {
  if (window > model.max_positions()) fail_usage("--window {} is more than the {} positions of the model", window, model.max_positions());
  return window > 0 ? window : model.max_positions();
}

int64_t tokens_of(const std::vector<Tree>& trees) {
  size_t tokens = 0;
  for (const Tree& tree : trees) {
    tokens += tree.prompt.size();
    for (const Tokens& ending : tree.endings) tokens += ending.size();
  }
  return static_cast<int64_t>(tokens);
}

size_t states_of(const std::vector<Tree>& trees) {
  size_t states = 0;
  for (const Tree& tree : trees) states += std::max<size_t>(1, tree.endings.size());
  return states;
}

}  // namespace

void name_aspects(std::vector<std::string>& aspects, size_t scores) {
  const bool unnamed = aspects.empty();
  for (size_t i = 0; unnamed && i < scores; ++i) aspects.push_back(scores == 1 ? "score" : fmt::format("score-{}", i + 1));
  if (aspects.size() != scores) fail("the model has {} scores and names for {} (aspects of its configuration): {}", scores, aspects.size(), join(aspects, ", "));
}

StateModel::StateModel(infer::LoadedLanguageModel model, const AskingOptions& options)
    : model_(std::move(model)), window_(window_of(*model_.model, options.window)), options_(options) {}

std::unique_ptr<text::ChatTemplate> StateModel::chat_of(const std::string& name) const {
  return text::make_chat_template(name.empty() ? model_.chat_template : name, *model_.tokenizer);
}

std::vector<Outcome> StateModel::ask(const std::vector<Inquiry>& inquiries, int threads) const {
  std::vector<Outcome> outcomes(inquiries.size());
  const std::vector<std::vector<Tree>> trees = frame_all(inquiries, outcomes, threads);
  std::vector<size_t> sizes;
  for (const Outcome& outcome : outcomes) sizes.push_back(static_cast<size_t>(outcome.tokens));
  infer::for_each_batch(sizes, options_.batch_tokens, threads, [&](size_t begin, size_t end, int each) {
    std::vector<Tree> all;
    for (size_t i = begin; i < end; ++i) all.insert(all.end(), trees[i].begin(), trees[i].end());
    const std::vector<float> states = pooling() == infer::Pooling::kMean ? model_.model->mean_states(all, each) : model_.model->last_states(all, each);
    const float* next = states.data();
    for (size_t i = begin; i < end; ++i) {
      if (!outcomes[i].wrong.empty()) continue;
      const size_t count = states_of(trees[i]);
      add_values(next, count, outcomes[i].values);
      next += static_cast<int64_t>(count) * model_.model->dim();
      check(outcomes[i]);
    }
  });
  return outcomes;
}

std::vector<Tree> StateModel::trees_of(Tokens prompt, std::vector<Tokens> endings) const {
  if (options_.share_prompts && endings.size() > 1) return {{std::move(prompt), std::move(endings)}};
  std::vector<Tree> trees;
  for (Tokens& ending : endings) {
    if (pooling() == infer::Pooling::kMean) {
      trees.push_back({prompt, {std::move(ending)}});
      continue;
    }
    trees.push_back({prompt, {}});
    trees.back().prompt.insert(trees.back().prompt.end(), ending.begin(), ending.end());
  }
  return trees;
}

/// Tokenising takes its time, too.
std::vector<std::vector<Tree>> StateModel::frame_all(const std::vector<Inquiry>& inquiries, std::vector<Outcome>& outcomes, int threads) const {
  constexpr int64_t kBytes = 1 << 14;  // of a worker's turn
  std::vector<std::vector<Tree>> trees(inquiries.size());
  std::vector<size_t> sizes;
  for (const Inquiry& inquiry : inquiries) {
    size_t bytes = 1;
    for (const std::string& answer : inquiry.answers) bytes += answer.size();
    sizes.push_back(bytes * std::max<size_t>(1, inquiry.pairings.size()));
  }
  infer::for_each_batch(sizes, kBytes, threads, [&](size_t begin, size_t end, int) {
    for (size_t i = begin; i < end; ++i) {
      try {
        trees[i] = frame(inquiries[i], outcomes[i]);
        outcomes[i].tokens = tokens_of(trees[i]);
      } catch (const Error& error) {
        if (error.exit_code() != kExitFailure) throw;
        outcomes[i].wrong = error.what();
      }
    }
  });
  return trees;
}

void StateModel::check(Outcome& outcome) const {
  const auto bad = std::find_if(outcome.values.begin(), outcome.values.end(), [](double value) { return !std::isfinite(value); });
  if (bad == outcome.values.end()) return;
  outcome.wrong = fmt::format("{}: the model gives a score of {}: it has diverged or is broken", name_of(static_cast<size_t>(bad - outcome.values.begin())), *bad);
  outcome.values.clear();
}

}  // namespace seqmill::reward
