#include "rl/rl_task.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/log.h"
#include "base/signals.h"
#include "data/batches.h"
#include "data/token_file.h"
#include "io/output.h"
#include "train/worker_models.h"

namespace seqmill::rl {
namespace {

at::Tensor doubles(const std::vector<double>& values) { return at::tensor(values, at::kDouble); }

/// What one part of an update learns of.
struct PartOfUpdate {
  std::vector<const RolledOut*> groups;
  at::Tensor logprobs;                 ///< with one stage: of the candidates, from when they were drawn
  std::vector<Candidates> references;  ///< sources and their translations; empty without MLE
};

/// Of a whole micro-batch: what its parts' losses are divided by.
struct Weights {
  double inputs = 0, policy = 0, reference_tokens = 0;
};

class RlTask final : public train::Task {
 public:
  RlTask(const RlSetting& setting, std::vector<Input> train, std::vector<Input> valid, const RlTaskOptions& options, train::Ranks& ranks)
      : setting_(setting), train_(std::move(train)), valid_(std::move(valid)), options_(options), ranks_(ranks), workers_(setting.policy, setting.copy),
        rollout_(setting.sampler, setting.rewards, setting.policy, setting.reference, setting.algorithm, options.rollout, setting.seed, setting.threads) {
    if (options_.valid_inputs > 0 && options_.valid_inputs < static_cast<int64_t>(valid_.size())) valid_.resize(static_cast<size_t>(options_.valid_inputs));
    const size_t kept = left_of(std::min(static_cast<size_t>(options_.inputs), train_.size()), options_.rollout.eliminate);
    if (options_.minibatches > static_cast<int64_t>(kept)) fail_usage("--minibatches {}: there are {} inputs of a rollout to share out (--inputs, --eliminate)", options_.minibatches, kept);
    data_ = fmt::format("{:016x}", fingerprint());
    ranks.expect_same("data", fmt::format("{} inputs, {}", train_.size(), data_));
    // A graph is that of one worker.
    parts_ = options_.stages == 1 ? 1 : workers_.parts(expected_tokens(), options_.part_tokens);
  }

  nn::Parameters& parameters() override { return setting_.policy.parameters(); }
  std::string unit() const override { return "inputs"; }
  int64_t parts() const override { return parts_; }
  std::vector<nn::Parameters*> workers(int64_t count) override { return workers_.make(count); }

  std::vector<std::string> measures() const override {
    std::vector<std::string> names{"reward", "reward-deviation", "baseline", "candidates", "temperature", "capability", "length", "entropy", "divergence"};
    if (setting_.rewards.names().size() < 2) return names;
    for (const std::string& name : setting_.rewards.names()) names.push_back("reward-" + name);
    return names;
  }

  std::vector<train::Part> next() override {
    const StopsLater later;  // the trainer saves before it stops
    const int64_t update = batch_ / ranks_.count(), turn = update % turns();
    if (turn == 0 || !rolled_out_) {
      // In the middle of a rollout that is not there, as after a change of ranks, a new one is made of the same inputs.
      rolled_out_ = std::make_shared<const std::vector<RolledOut>>(roll_out());
      if (turn != 0) log::warn("the candidates of the last rollout are gone; they are drawn anew");
    }
    std::vector<train::Part> parts = parts_of(turn);
    skip(1);
    if (turn + 1 == turns()) rolled_out_.reset();
    return parts;
  }

  void skip(int64_t batches) override { batch_ += batches; }
  int64_t epoch() const override { return rollouts_so_far() / epoch_rollouts(); }
  int64_t epoch_batches() const override { return epoch_rollouts() * turns(); }
  double epoch_progress() const override { return static_cast<double>(rollouts_so_far() % epoch_rollouts()) / static_cast<double>(epoch_rollouts()); }

  train::Scores validate(train::Ranks& ranks) override {
    const StopsLater later;
    setting_.sampler.take_weights();
    std::vector<int64_t> items;
    for (size_t i = static_cast<size_t>(ranks.rank()); i < valid_.size(); i += static_cast<size_t>(ranks.count())) items.push_back(static_cast<int64_t>(i));
    std::vector<std::string> mine;
    const std::vector<double> rewards = items.empty() ? std::vector<double>() : rollout_.greedy_rewards(valid_, items, &mine);
    const double sum = ranks.sum({std::accumulate(rewards.begin(), rewards.end(), 0.0)})[0], reward = sum / static_cast<double>(valid_.size());
    train::Scores scores{{"loss", -reward}, {"reward", reward}};
    if (!setting_.scorer) return scores;
    std::vector<std::string> outputs(valid_.size());
    const std::vector<std::string> all = ranks.gather_text(io::Json::list(mine).dump());
    for (size_t rank = 0; rank < all.size(); ++rank) {
      size_t place = rank;
      const io::Json list = io::parse_json(all[rank], "a rank");
      for (const io::Json& text : list.as_array()) {
        outputs[place] = text.as_string();
        place += all.size();
      }
    }
    std::vector<Question> questions;
    for (const Input& input : valid_) questions.push_back(input.question);
    const train::Scores more = setting_.scorer(outputs, questions);
    scores.insert(scores.end(), more.begin(), more.end());
    return scores;
  }

  io::Json cursor() const override {
    io::Json json = io::Json::object();
    json.set("batch", batch_);
    json.set("rollouts", rollouts_begun());
    json.set("inputs", static_cast<int64_t>(train_.size()));
    json.set("order", order());
    json.set("queue", rollout_.state());
    io::Json mine = io::Json::array();
    if (rolled_out_) {
      for (const RolledOut& one : *rolled_out_) mine.push_back(one.to_json());
    }
    io::Json all = io::Json::array();
    for (const std::string& theirs : ranks_.gather_text(mine.dump())) all.push_back(io::parse_json(theirs, "a rank"));
    json.set("candidates", std::move(all));
    return json;
  }

  void set_cursor(const io::Json& json) override {
    const int64_t inputs = json.at("inputs").as_int();
    if (inputs != static_cast<int64_t>(train_.size())) fail("the checkpoint was made with {} inputs, now there are {}; give the same data or another --run", inputs, train_.size());
    batch_ = json.at("batch").as_int();
    if (batch_ < 0) fail("batch {} is no place in the data", batch_);
    rollout_.set_state(json.at("queue"));
    rolled_out_.reset();
    const io::JsonArray& all = json.at("candidates").as_array();
    if (json.at("order").as_string() != order()) {
      log::warn("the data, --seed, --inputs, --passes, --minibatches, the algorithm or the number of ranks is another one than before: the order of the inputs changes from here on");
      // All ranks begin with a rollout that none of them has begun.
      const int64_t begun = json.at("rollouts").as_int(), ranks = ranks_.count();
      batch_ = (begun + ranks - 1) / ranks * turns() * ranks;
      return;
    }
    std::vector<RolledOut> mine;
    for (const io::Json& one : all.at(static_cast<size_t>(ranks_.rank())).as_array()) {
      mine.push_back(RolledOut::from_json(one));
      if (mine.back().input >= train_.size()) fail("input {} of a rollout is none of {}", mine.back().input, train_.size());
    }
    if (!mine.empty()) rolled_out_ = std::make_shared<const std::vector<RolledOut>>(std::move(mine));
  }

 private:
  int64_t turns() const { return options_.passes * options_.minibatches; }
  int64_t rollouts_so_far() const { return batch_ / turns(); }
  /// Of all ranks, one under way included.
  int64_t rollouts_begun() const { return (batch_ / ranks_.count() + turns() - 1) / turns() * ranks_.count(); }
  int64_t epoch_rollouts() const { return std::max<int64_t>(1, static_cast<int64_t>(train_.size()) / options_.inputs); }

  /// Tokens of an update, to know how many workers it keeps busy.
  int64_t expected_tokens() const {
    int64_t tokens = 0;
    for (const Input& input : train_) tokens += static_cast<int64_t>(input.tokens.size() + std::max<size_t>(input.target.size(), input.tokens.size()) * static_cast<size_t>(options_.rollout.candidates));
    return tokens / static_cast<int64_t>(train_.size()) * options_.inputs / options_.minibatches;
  }

  uint64_t fingerprint() const {
    data::Fingerprint fingerprint;
    for (const Input& input : train_) {
      for (const int32_t token : input.tokens) fingerprint.add(static_cast<uint64_t>(token));
      for (const int32_t token : input.target) fingerprint.add(static_cast<uint64_t>(token));
      for (const std::string& reference : input.question.references) fingerprint.add(std::hash<std::string>()(reference));
      fingerprint.add(static_cast<uint64_t>(input.tokens.size()));
    }
    return fingerprint.value();
  }

  std::string order() const {
    const Algorithm& algorithm = setting_.algorithm;
    return fmt::format("seed {}, inputs {}, passes {}, minibatches {}, ranks {}, data {}, old {}, values {}, reference {}", setting_.seed, options_.inputs, options_.passes, options_.minibatches,
                       ranks_.count(), data_, algorithm.needs_old_logprobs(), algorithm.needs_values(), setting_.reference != nullptr);
  }

  /// The number of the rollout at the cursor, counted over all ranks: with several turns the ranks' rollouts alternate as their batches do.
  int64_t rollout_number() const {
    const int64_t ranks = ranks_.count(), update = batch_ / ranks, rank = batch_ % ranks;
    return update / turns() * ranks + rank;
  }

  std::vector<RolledOut> roll_out() {
    const int64_t number = rollout_number(), epoch = number / epoch_rollouts(), place = number % epoch_rollouts();
    if (epoch != order_epoch_) {
      order_.resize(train_.size());
      std::iota(order_.begin(), order_.end(), int64_t{0});
      Rng(setting_.seed, "data", static_cast<uint64_t>(epoch)).shuffle(order_);
      order_epoch_ = epoch;
    }
    const int64_t begin = place * options_.inputs, end = std::min<int64_t>(begin + options_.inputs, static_cast<int64_t>(order_.size()));
    const std::vector<int64_t> items(order_.begin() + begin, order_.begin() + end);
    std::vector<RolledOut> all = rollout_.run(train_, items, number, ranks_);
    if (!options_.dump.empty()) dump(all, number);
    return all;
  }

  void dump(const std::vector<RolledOut>& all, int64_t number) const {
    std::string lines;
    for (const RolledOut& one : all) {
      io::Json record = record_of(one, train_[one.input]);
      record.set("rollout", number);
      lines += record.dump() + "\n";
    }
    io::append_file(options_.dump, lines);
  }

  /// The groups that this turn learns of, dealt into parts.
  std::vector<train::Part> parts_of(int64_t turn) {
    const auto count = static_cast<int64_t>(rolled_out_->size());
    const int64_t minibatch = turn % options_.minibatches, begin = count * minibatch / options_.minibatches, end = count * (minibatch + 1) / options_.minibatches;
    std::vector<int64_t> order(static_cast<size_t>(count));
    std::iota(order.begin(), order.end(), int64_t{0});
    // Another split in each pass.
    if (turn >= options_.minibatches) Rng(setting_.seed, "minibatches", static_cast<uint64_t>(rollout_number() * options_.passes + turn / options_.minibatches)).shuffle(order);
    const std::vector<int64_t> items(order.begin() + begin, order.begin() + end);
    const auto tokens_of = [&](int64_t item) {
      const RolledOut& one = (*rolled_out_)[static_cast<size_t>(item)];
      return std::pair<int64_t, int64_t>(0, one.candidates.tokens());
    };
    const auto weights = std::make_shared<Weights>();
    int64_t candidates = 0, tokens = 0;
    std::vector<PartOfUpdate> all;
    for (const std::vector<int64_t>& dealt : data::deal(items, tokens_of, parts_)) {
      PartOfUpdate part;
      for (const int64_t item : dealt) {
        const RolledOut& one = (*rolled_out_)[static_cast<size_t>(item)];
        part.groups.push_back(&one);
        candidates += static_cast<int64_t>(one.candidates.endings.size());
        for (const data::Tokens& ending : one.candidates.endings) tokens += static_cast<int64_t>(ending.size());
        if (options_.mle_weight == 0) continue;
        part.references.push_back({train_[one.input].tokens, {train_[one.input].target}});
        weights->reference_tokens += static_cast<double>(train_[one.input].target.size());
      }
      if (options_.stages == 1) part.logprobs = setting_.graph();
      if (!part.groups.empty()) all.push_back(std::move(part));
    }
    weights->inputs = static_cast<double>(items.size());
    weights->policy = setting_.algorithm.weight_of(static_cast<int64_t>(items.size()), candidates, tokens);
    std::vector<train::Part> parts;
    for (PartOfUpdate& part : all) {
      parts.push_back([this, rolled_out = rolled_out_, weights, part = std::move(part)](int64_t worker, tensor::DropoutStream& dropout) {
        return loss_of(workers_.of(worker), part, *weights, dropout);
      });
    }
    return parts;
  }

  ScoredCandidates scored(const Policy& policy, const PartOfUpdate& part) const {
    std::vector<const Candidates*> inputs;
    ScoredCandidates result;
    std::vector<double> advantages, drawn, old_logprobs, reference_logprobs, old_values, returns;
    const auto append = [](std::vector<double>& to, const std::vector<double>& from) { to.insert(to.end(), from.begin(), from.end()); };
    for (const RolledOut* group : part.groups) {
      inputs.push_back(&group->candidates);
      result.groups.push_back(static_cast<int64_t>(group->candidates.endings.size()));
      for (const data::Tokens& ending : group->candidates.endings) result.lengths.push_back(static_cast<int64_t>(ending.size()));
      append(advantages, group->advantages);
      append(drawn, group->drawn);
      append(old_logprobs, group->old_logprobs);
      append(reference_logprobs, group->reference_logprobs);
      append(old_values, group->old_values);
      append(returns, group->returns);
    }
    // Without dropout: these are to be the log-probabilities that the candidates were drawn with.
    const TokenScores scores = part.logprobs.defined() ? TokenScores{part.logprobs, {}} : policy.score(inputs, nullptr);
    result.logprobs = scores.logprobs;
    result.values = scores.values;
    const at::TensorOptions options = scores.logprobs.options();
    result.advantages = doubles(advantages).to(options);
    result.drawn = doubles(drawn).to(options);
    if (!old_logprobs.empty()) result.old_logprobs = doubles(old_logprobs).to(options);
    if (!reference_logprobs.empty()) result.reference_logprobs = doubles(reference_logprobs).to(options);
    if (!old_values.empty()) result.old_values = doubles(old_values).to(options);
    if (!returns.empty()) result.returns = doubles(returns).to(options);
    return result;
  }

  /// A part's share of (1 - m) L_policy + m L_reference, each a mean over the micro-batch, times its inputs.
  train::StepLoss loss_of(const Policy& policy, const PartOfUpdate& part, const Weights& weights, tensor::DropoutStream& dropout) const {
    const double m = options_.mle_weight;
    at::Tensor sum = (1 - m) * weights.inputs / weights.policy * setting_.algorithm.loss(scored(policy, part)).sum;
    int64_t source_tokens = 0;
    for (const RolledOut* group : part.groups) source_tokens += static_cast<int64_t>(group->candidates.prompt.size());
    if (m > 0) {
      std::vector<const Candidates*> references;
      for (const Candidates& one : part.references) references.push_back(&one);
      sum = sum - m * weights.inputs / weights.reference_tokens * policy.score(references, &dropout).logprobs.sum();
    }
    return {sum, 0, static_cast<int64_t>(part.groups.size()), source_tokens, measures_of(part)};
  }

  /// As measures() names them.
  std::vector<double> measures_of(const PartOfUpdate& part) const {
    std::vector<double> sums(measures().size());
    for (const RolledOut* group : part.groups) {
      const auto count = static_cast<double>(group->rewards.size());
      const double mean = std::accumulate(group->rewards.begin(), group->rewards.end(), 0.0) / count;
      double squares = 0;
      for (const double reward : group->rewards) squares += (reward - mean) * (reward - mean);
      const double length = static_cast<double>(std::accumulate(group->lengths.begin(), group->lengths.end(), int64_t{0})) / count;
      std::vector<double> values{mean, std::sqrt(squares / count), group->baseline, count, group->temperature, group->capability, length, group->entropy, group->divergence};
      if (group->by_reward.size() > 1) values.insert(values.end(), group->by_reward.begin(), group->by_reward.end());
      for (size_t i = 0; i < values.size(); ++i) sums[i] += values[i];
    }
    return sums;
  }

  const RlSetting setting_;
  std::vector<Input> train_, valid_;
  const RlTaskOptions options_;
  train::Ranks& ranks_;
  train::WorkerModels<Policy> workers_;
  Rollout rollout_;
  int64_t parts_ = 1;
  int64_t batch_ = 0;                  ///< micro-batches so far, those of all ranks
  std::shared_ptr<const std::vector<RolledOut>> rolled_out_;  ///< of this rank; null between rollouts
  std::string data_;                   ///< a fingerprint of the inputs
  std::vector<int64_t> order_;
  int64_t order_epoch_ = -1;
};

}  // namespace

void RlTaskOptions::declare(Options& options) {
  options.group("Updates");
  options.add("inputs", inputs, "Inputs of a micro-batch, whose candidates an update learns of").range(1);
  options.add("passes", passes, "How often the candidates of a rollout are learned of").range(1);
  options.add("minibatches", minibatches, "Updates of a pass, each with a share of the inputs").range(1);
  options.add("stages", stages, "2: candidates are drawn without gradient and scored in one pass; 1: they are drawn within the graph, the baseline").range(1, 2);
  options.add("mle-weight", mle_weight, "Share of the cross-entropy of references in the loss").range(0, 1);
  options.add("part-tokens", part_tokens, "Candidates are worked on in parts of about this many tokens at the same time (CPU)").range(1);
  options.add("valid-inputs", valid_inputs, "Validate on so many inputs, the first ones; 0: on all").range(0);
  options.add("dump", dump, "Append all candidates with their rewards to this file, JSON lines").placeholder("FILE");
  rollout.declare(options);
}

void RlTaskOptions::check(const Algorithm& algorithm, bool translates, int64_t accumulate, int ranks) const {
  rollout.check();
  if (mle_weight > 0 && !translates) fail_usage("--mle-weight {}: the cross-entropy of references is that of translation models", mle_weight);
  if (stages == 1 && !translates) fail_usage("--stages 1: language models are sampled in two stages");
  if (stages == 1 && (passes * minibatches > 1 || algorithm.needs_old_logprobs() || algorithm.needs_values())) {
    fail_usage("--stages 1: a graph is learned of once, and by algorithms that compare with no older probabilities (esrl, reinforce, mrt; --passes 1, --minibatches 1)");
  }
  if (dump == "-") fail_usage("--dump -: expected the name of a file");
  const int64_t fewest = rollout.dynamic.follows_size() ? rollout.dynamic.least : rollout.candidates;
  const bool compares = rollout.advantage.baseline == "group-mean" || rollout.advantage.normalise != "none";
  if (fewest < algorithm.least_candidates() || (compares && fewest < 2)) {
    fail_usage("{} {}: candidates of an input are compared with each other, which takes two of them", rollout.dynamic.follows_size() ? "--dynamic.least" : "--candidates", fewest);
  }
  if (accumulate % ranks != 0) fail_usage("--accumulate {}: each of {} ranks takes as many micro-batches as the others, so that all draw at the same time", accumulate, ranks);
  if (passes * minibatches > 1 && accumulate != ranks) {
    fail_usage("--accumulate {}: with several updates of a rollout (--passes, --minibatches) each rank takes one micro-batch an update", accumulate);
  }
  if (passes * minibatches > 1 && !algorithm.needs_old_logprobs()) {
    log::warn("--passes, --minibatches: without --algorithm.importance-clip this algorithm takes no account of candidates that older weights have drawn");
  }
}

std::unique_ptr<train::Task> make_rl_task(const RlSetting& setting, std::vector<Input> train, std::vector<Input> valid, const RlTaskOptions& options, train::Ranks& ranks) {
  return std::make_unique<RlTask>(setting, std::move(train), std::move(valid), options, ranks);
}

}  // namespace seqmill::rl
