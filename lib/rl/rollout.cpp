#include "rl/rollout.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/time_spent.h"
#include "infer/token_batches.h"
#include "rl/returns.h"
#include "tensor/runtime.h"

namespace seqmill::rl {
namespace {

constexpr int64_t kScoringTokens = 2048;  // of inputs and candidates that a worker scores at a time

std::vector<double> to_vector(const at::Tensor& tensor) {
  const at::Tensor values = tensor.detach().to(at::kCPU, at::kDouble).contiguous();
  return {values.data_ptr<double>(), values.data_ptr<double>() + values.numel()};
}

/// `count` values from `first` on; of none, none.
std::vector<double> part_of(const std::vector<double>& values, size_t first, size_t count) {
  const auto begin = values.begin() + static_cast<std::ptrdiff_t>(values.empty() ? 0 : first);
  return values.empty() ? values : std::vector<double>(begin, begin + static_cast<std::ptrdiff_t>(count));
}

double mean(const std::vector<double>& values) { return values.empty() ? 0 : std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size()); }

/// Sums over the tokens of each candidate.
std::vector<double> sums_by_candidate(const std::vector<double>& tokens, const Candidates& candidates) {
  std::vector<double> sums;
  auto next = tokens.begin();
  for (const data::Tokens& ending : candidates.endings) {
    const auto end = next + static_cast<std::ptrdiff_t>(ending.size());
    sums.push_back(std::accumulate(next, end, 0.0));
    next = end;
  }
  return sums;
}

template <typename Numbers>
Numbers numbers_of(const io::Json& json, const char* key) {
  Numbers numbers;
  for (const io::Json& value : json.at(key).as_array()) {
    if constexpr (std::is_same_v<typename Numbers::value_type, double>) numbers.push_back(value.as_double());
    else numbers.push_back(static_cast<typename Numbers::value_type>(value.as_int()));
  }
  return numbers;
}

io::Json tokens_json(const data::Tokens& tokens) { return io::Json::list(std::vector<int64_t>(tokens.begin(), tokens.end())); }

}  // namespace

void RolloutOptions::declare(Options& options) {
  options.add("candidates", candidates, "Candidates of an input, unless their number follows of the model's capability (--dynamic.size)").range(1);
  options.add("temperature", temperature, "Temperature that they are drawn at, unless it follows of that (--dynamic.temperature)").range(0.001);
  dynamic.declare(options);
  advantage.declare(options);
  options.add("eliminate", eliminate, "Share of the inputs of an update that is left out, before anything is drawn for them").range(0, 1);
  options.add("eliminate-by", eliminate_by, "Which: those of the highest capability, or, as a control, any").one_of({"capability", "random"});
  options.add("kl.weight", kl_weight, "What a candidate pays for each nat by which it has become more probable than under the model that the training began with").range(0);
  options.add("kl.one-sided", kl_one_sided, "What has become less probable gains nothing");
  options.add("gae.gamma", gamma, "With a value head: what a reward of the next token counts").range(0, 1);
  options.add("gae.lambda", lambda, "With a value head: between the next value (0) and the rewards to come (1)").range(0, 1);
}

void RolloutOptions::check() const {
  dynamic.check();
  advantage.check();
  if (eliminate > 0 && eliminate_by == "capability" && !dynamic.is_on()) fail_usage("--eliminate {}: by capability, which --dynamic.capability none does not know", eliminate);
}

io::Json RolledOut::to_json() const {
  io::Json json = io::Json::object();
  json.set("input", static_cast<int64_t>(input));
  json.set("capability", capability);
  json.set("temperature", temperature);
  json.set("prompt", tokens_json(candidates.prompt));
  io::Json endings = io::Json::array();
  for (const data::Tokens& ending : candidates.endings) endings.push_back(tokens_json(ending));
  json.set("endings", std::move(endings));
  json.set("lengths", io::Json::list(lengths));
  json.set("rewards", io::Json::list(rewards));
  json.set("by-reward", io::Json::list(by_reward));
  json.set("drawn", io::Json::list(drawn));
  json.set("advantages", io::Json::list(advantages));
  json.set("old-logprobs", io::Json::list(old_logprobs));
  json.set("reference-logprobs", io::Json::list(reference_logprobs));
  json.set("old-values", io::Json::list(old_values));
  json.set("returns", io::Json::list(returns));
  json.set("baseline", baseline);
  json.set("entropy", entropy);
  json.set("divergence", divergence);
  return json;
}

RolledOut RolledOut::from_json(const io::Json& json) {
  RolledOut result;
  result.input = static_cast<size_t>(json.at("input").as_int());
  result.capability = json.at("capability").as_double();
  result.temperature = json.at("temperature").as_double();
  result.candidates.prompt = numbers_of<data::Tokens>(json, "prompt");
  for (const io::Json& ending : json.at("endings").as_array()) {
    data::Tokens& tokens = result.candidates.endings.emplace_back();
    for (const io::Json& token : ending.as_array()) tokens.push_back(static_cast<int32_t>(token.as_int()));
  }
  result.lengths = numbers_of<std::vector<int64_t>>(json, "lengths");
  using Values = std::vector<double>;
  result.rewards = numbers_of<Values>(json, "rewards");
  result.by_reward = numbers_of<Values>(json, "by-reward");
  result.drawn = numbers_of<Values>(json, "drawn");
  result.advantages = numbers_of<Values>(json, "advantages");
  result.old_logprobs = numbers_of<Values>(json, "old-logprobs");
  result.reference_logprobs = numbers_of<Values>(json, "reference-logprobs");
  result.old_values = numbers_of<Values>(json, "old-values");
  result.returns = numbers_of<Values>(json, "returns");
  result.baseline = json.at("baseline").as_double();
  result.entropy = json.at("entropy").as_double();
  result.divergence = json.at("divergence").as_double();
  return result;
}

io::Json record_of(const RolledOut& rolled_out, const Input& input) {
  Question question = input.question;
  question.candidates = rolled_out.texts;
  question.lengths = rolled_out.lengths;
  io::Json record = record_of(question), hypotheses = io::Json::array();
  for (size_t i = 0; i < question.candidates.size(); ++i) {
    io::Json hypothesis = record.at("hypotheses").as_array()[i], scores = io::Json::object();
    hypothesis.set("logprob", rolled_out.logprobs[i]);
    hypothesis.set("drawn-logprob", rolled_out.drawn[i]);
    scores.set("reward", rolled_out.rewards[i]);
    hypothesis.set("scores", std::move(scores));
    hypotheses.push_back(std::move(hypothesis));
  }
  record.set("hypotheses", std::move(hypotheses));
  if (!question.references.empty()) record.set("references", io::Json::list(question.references));  // a list, as in all records of hypotheses
  record.set("temperature", rolled_out.temperature);
  record.set("capability", rolled_out.capability);
  return record;
}

struct Rollout::Probe {
  std::string text;     ///< greedy output
  double reward = 0;    ///< of that
  double capability = 0;
};

Rollout::Rollout(Sampler& sampler, RewardSum& rewards, const Policy& policy, const Policy* reference, const Algorithm& algorithm, const RolloutOptions& options, uint64_t seed, int threads)
    : sampler_(sampler), rewards_(rewards), policy_(policy), reference_(reference), algorithm_(algorithm), options_(options), seed_(seed), threads_(threads), queue_(options.advantage.queue) {}

RewardTotals Rollout::rewards_of(const std::vector<Question>& questions) {
  const Timed timed(Work::kRewards);
  return rewards_.of(questions, threads_);
}

std::vector<Rollout::Probe> Rollout::probe(const std::vector<Input>& data, const std::vector<int64_t>& items, int64_t number) {
  std::vector<Probe> probes(items.size());
  const DynamicSampling& dynamic = options_.dynamic;
  const bool rewarded = dynamic.capability == "reward" || options_.advantage.needs_greedy();
  const bool greedy = rewarded || rewards_.needs_rival() || dynamic.capability == "entropy" || dynamic.capability == "max-probability";
  std::vector<StepStatistics> steps(items.size());
  if (greedy) {
    std::vector<Draw> draws;
    for (size_t i = 0; i < items.size(); ++i) {
      const Input& input = data[static_cast<size_t>(items[i])];
      draws.push_back({&input.tokens, input.question.place, static_cast<int64_t>(i), 1, 0});
    }
    const Timed timed(Work::kSampling);
    const std::vector<std::vector<Drawn>> found = sampler_.draw(draws, seed_, threads_);
    std::vector<Question> questions;
    for (size_t i = 0; i < items.size(); ++i) {
      probes[i].text = found[i][0].text;
      steps[i] = found[i][0].observed;
      questions.push_back(data[static_cast<size_t>(items[i])].question);
      questions.back().candidates = {found[i][0].text};
      questions.back().lengths = {found[i][0].length};
      questions.back().rival = found[i][0].text;
    }
    if (rewarded) {
      const RewardTotals totals = rewards_of(questions);
      for (size_t i = 0; i < items.size(); ++i) probes[i].reward = totals.sums[i][0];
    }
  }
  for (size_t i = 0; i < items.size(); ++i) {
    Rng rng(seed_, "capability", static_cast<uint64_t>(number) * data.size() + static_cast<uint64_t>(items[i]));
    probes[i].capability = dynamic.capability_of(probes[i].reward, steps[i], sampler_.vocabulary_size(), rng);
  }
  return probes;
}

std::vector<double> Rollout::greedy_rewards(const std::vector<Input>& data, const std::vector<int64_t>& items, std::vector<std::string>* texts) {
  std::vector<Draw> draws;
  for (size_t i = 0; i < items.size(); ++i) draws.push_back({&data[static_cast<size_t>(items[i])].tokens, data[static_cast<size_t>(items[i])].question.place, static_cast<int64_t>(i), 1, 0});
  const std::vector<std::vector<Drawn>> found = sampler_.draw(draws, seed_, threads_);
  std::vector<Question> questions;
  for (size_t i = 0; i < items.size(); ++i) {
    questions.push_back(data[static_cast<size_t>(items[i])].question);
    questions.back().candidates = {found[i][0].text};
    questions.back().lengths = {found[i][0].length};
    questions.back().rival = questions.back().references.empty() ? found[i][0].text : questions.back().references[0];
    if (texts) texts->push_back(found[i][0].text);
  }
  std::vector<double> rewards;
  for (const std::vector<double>& one : rewards_.of(questions, threads_).sums) rewards.push_back(one[0]);
  return rewards;
}

std::vector<RolledOut> Rollout::run(const std::vector<Input>& data, const std::vector<int64_t>& items, int64_t number, train::Ranks& ranks) {
  {
    const Timed timed(Work::kSampling);
    sampler_.take_weights();
  }
  std::vector<Probe> probes = probe(data, items, number);
  std::vector<double> capabilities;
  for (size_t i = 0; i < items.size(); ++i) {
    const bool random = options_.eliminate_by == "random";
    const auto stream = static_cast<uint64_t>(number) * data.size() + static_cast<uint64_t>(items[i]);
    capabilities.push_back(random ? Rng(seed_, "eliminate", stream).uniform() : probes[i].capability);
  }
  std::vector<RolledOut> all;
  std::vector<Probe> kept;
  for (const size_t i : eliminate(capabilities, options_.eliminate)) {
    RolledOut& one = all.emplace_back();
    one.input = static_cast<size_t>(items[i]);
    one.capability = probes[i].capability;
    one.temperature = options_.dynamic.temperature_of(one.capability, options_.temperature);
    kept.push_back(std::move(probes[i]));
  }
  sample(data, all, number);
  std::vector<Question> questions;
  for (size_t i = 0; i < all.size(); ++i) {
    questions.push_back(data[all[i].input].question);
    questions.back().candidates = all[i].texts;
    questions.back().lengths = all[i].lengths;
    questions.back().rival = kept[i].text;
  }
  const RewardTotals totals = rewards_of(questions);
  for (size_t i = 0; i < all.size(); ++i) {
    all[i].rewards = totals.sums[i];
    all[i].by_reward = totals.means[i];
  }
  if (reference_ || algorithm_.needs_old_logprobs() || algorithm_.needs_values()) score_tokens(all);
  find_advantages(all, kept, ranks);
  return all;
}

void Rollout::sample(const std::vector<Input>& data, std::vector<RolledOut>& all, int64_t number) {
  const Timed timed(Work::kSampling);
  std::vector<Draw> draws;
  for (const RolledOut& one : all) {
    const Input& input = data[one.input];
    // A stream of its own for each visit of each input, whatever else is drawn beside it.
    const int64_t stream = number * static_cast<int64_t>(data.size()) + static_cast<int64_t>(one.input);
    draws.push_back({&input.tokens, input.question.place, stream, options_.dynamic.candidates(one.capability, options_.candidates), one.temperature});
  }
  std::vector<std::vector<Drawn>> found = sampler_.draw(draws, seed_, threads_);
  for (size_t i = 0; i < all.size(); ++i) {
    double entropy = 0;
    int64_t steps = 0;
    all[i].candidates.prompt = *draws[i].input;
    for (Drawn& drawn : found[i]) {
      entropy += drawn.observed.entropy;
      steps += drawn.observed.steps;
      if (drawn.tokens.empty()) fail("{}: a candidate has no tokens: --sampling.max-length, or the positions of the model, leave no room", data[all[i].input].question.place);
      all[i].candidates.endings.push_back(std::move(drawn.tokens));
      all[i].texts.push_back(std::move(drawn.text));
      all[i].lengths.push_back(drawn.length);
      all[i].logprobs.push_back(drawn.logprob);
      all[i].drawn.push_back(drawn.drawn_logprob);
    }
    all[i].entropy = steps > 0 ? entropy / static_cast<double>(steps) : 0;
  }
}

void Rollout::score_tokens(std::vector<RolledOut>& all) const {
  std::vector<size_t> sizes;
  for (const RolledOut& one : all) sizes.push_back(static_cast<size_t>(one.candidates.tokens()));
  const bool on_cpu = policy_.output_layer().weight.device().is_cpu();
  infer::for_each_batch(sizes, kScoringTokens, on_cpu ? threads_ : 1, [&](size_t begin, size_t end, int each) {
    if (on_cpu && each == 1) tensor::limit_thread_to_itself();
    std::vector<const Candidates*> inputs;
    for (size_t i = begin; i < end; ++i) inputs.push_back(&all[i].candidates);
    // As in training, where products may be of another precision than without a graph: ratios are 1, and the divergence from the reference is 0, before the first step.
    const TokenScores scores = policy_.score(inputs, nullptr);
    const std::vector<double> logprobs = to_vector(scores.logprobs), values = scores.values.defined() ? to_vector(scores.values) : std::vector<double>();
    std::vector<double> reference;
    if (reference_) reference = to_vector(reference_->score(inputs, nullptr).logprobs);
    size_t first = 0;
    for (size_t i = begin; i < end; ++i) {
      size_t count = 0;
      for (const data::Tokens& ending : all[i].candidates.endings) count += ending.size();
      const auto part = [&](const std::vector<double>& from) { return part_of(from, first, count); };
      all[i].old_logprobs = part(logprobs);
      all[i].old_values = part(values);
      all[i].reference_logprobs = part(reference);
      first += count;
    }
  });
  for (RolledOut& one : all) {
    const auto finite = [](const std::vector<double>& values) { return std::all_of(values.begin(), values.end(), [](double value) { return std::isfinite(value); }); };
    if (!finite(one.old_logprobs) || !finite(one.reference_logprobs) || !finite(one.old_values)) {
      throw Error("the model gives candidates log-probabilities or values that are not finite: it has diverged. A lower --learning-rate or a smaller --clip may help; the last checkpoint is good", kExitDiverged);
    }
    if (one.reference_logprobs.empty()) continue;
    one.divergence = mean(one.old_logprobs) - mean(one.reference_logprobs);
  }
}

void Rollout::find_advantages(std::vector<RolledOut>& all, const std::vector<Probe>& probes, train::Ranks& ranks) {
  const bool values = algorithm_.needs_values();
  std::vector<Group> groups;
  std::vector<double> mine;
  for (size_t i = 0; i < all.size(); ++i) {
    Group group{all[i].rewards, probes[i].reward};
    if (options_.kl_weight > 0 && !values) {
      const std::vector<double> ours = sums_by_candidate(all[i].old_logprobs, all[i].candidates), theirs = sums_by_candidate(all[i].reference_logprobs, all[i].candidates);
      for (size_t c = 0; c < group.rewards.size(); ++c) {
        const double ratio = ours[c] - theirs[c];
        group.rewards[c] -= options_.kl_weight * (options_.kl_one_sided ? std::max(0.0, ratio) : ratio);
      }
    }
    mine.insert(mine.end(), group.rewards.begin(), group.rewards.end());
    groups.push_back(std::move(group));
  }
  if (options_.advantage.uses_queue()) {
    for (const std::string& theirs : ranks.gather_text(io::Json::list(mine).dump())) {
      const io::Json list = io::parse_json(theirs, "a rank");
      std::vector<double> rewards;
      for (const io::Json& reward : list.as_array()) rewards.push_back(reward.as_double());
      queue_.push(rewards);
    }
  }
  const double baseline = mean_baseline(groups, options_.advantage, queue_);
  for (RolledOut& one : all) one.baseline = baseline;
  const std::vector<std::vector<double>> advantages = advantages_of(groups, options_.advantage, queue_);
  for (size_t i = 0; i < all.size(); ++i) {
    if (!values) {
      all[i].advantages = advantages[i];
      continue;
    }
    size_t first = 0;
    for (size_t c = 0; c < all[i].candidates.endings.size(); ++c) {
      const size_t count = all[i].candidates.endings[c].size();
      const auto part = [&](const std::vector<double>& from) { return part_of(from, first, count); };
      const std::vector<double> rewards = token_rewards(advantages[i][c], part(all[i].old_logprobs), part(all[i].reference_logprobs), options_.kl_weight, options_.kl_one_sided);
      const TokenReturns found = generalised_advantages(rewards, part(all[i].old_values), options_.gamma, options_.lambda);
      all[i].advantages.insert(all[i].advantages.end(), found.advantages.begin(), found.advantages.end());
      all[i].returns.insert(all[i].returns.end(), found.returns.begin(), found.returns.end());
      first += count;
    }
  }
}

}  // namespace seqmill::rl
