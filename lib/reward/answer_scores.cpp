#include "reward/answer_scores.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/strings.h"
#include "infer/token_batches.h"
#include "reward/ranking.h"

namespace seqmill::reward {
namespace {

void note(const Outcome& outcome, AnswerScores& scores) {
  scores.tokens += outcome.tokens;
  scores.cut_prompts += outcome.cut_prompts;
  scores.cut_answers += outcome.cut_answers;
  if (scores.wrong.empty()) scores.wrong = outcome.wrong;
}

/// By rewards; of equal ones the first.
void find_best(AnswerScores& scores) {
  size_t best = 0;
  for (size_t i = 0; i < scores.rewards.size(); ++i) {
    if (scores.rewards[i] > scores.rewards[best]) best = i;
    scores.best_of_first.push_back(best);
  }
  scores.best_score = scores.rewards.at(best);
}

/// Every two of so many.
std::vector<Pairing> all_pairings(size_t count) {
  std::vector<Pairing> pairings;
  for (size_t i = 0; i < count; ++i) {
    for (size_t j = i + 1; j < count; ++j) pairings.push_back({i, j});
  }
  return pairings;
}

size_t bytes_of(const AnswerSet& set) {
  size_t bytes = set.reference ? set.reference->size() + 1 : 1;
  for (const std::string& answer : set.answers) bytes += answer.size();
  return bytes;
}

}  // namespace

RankBy rank_by(const std::string& name) {
  const std::vector<std::string> names = rank_names();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) fail_usage("--rank {}: known are {}", name, join(names, ", "));
  return static_cast<RankBy>(found - names.begin());
}

std::vector<std::string> rank_names() { return {"round-robin", "scan", "tournament", "reference"}; }

AnswerScorer::AnswerScorer(const RewardModel& model, RankBy by, const std::string& aspect) : model_(model), by_(by) {
  if (aspect.empty()) return;
  if (model.is_judge()) fail_usage("--aspect {}: a judge has no aspects", aspect);
  const std::vector<std::string>& aspects = model.aspects();
  const auto found = std::find(aspects.begin(), aspects.end(), aspect);
  if (found == aspects.end()) fail_usage("--aspect {}: the model scores {}", aspect, join(aspects, ", "));
  aspect_ = static_cast<size_t>(found - aspects.begin());
}

std::vector<AnswerScores> AnswerScorer::score(const std::vector<AnswerSet>& sets, int threads) const {
  if (!model_.is_judge()) return score_each(sets, threads);
  if (by_ == RankBy::kRoundRobin || by_ == RankBy::kReference) return score_pairs(sets, threads);
  // Each comparison follows from the one before it: each worker has a set of its own.
  std::vector<AnswerScores> all(sets.size());
  std::vector<size_t> sizes;
  for (const AnswerSet& set : sets) sizes.push_back(bytes_of(set));
  infer::for_each_batch(sizes, 1, threads, [&](size_t begin, size_t end, int each) {
    for (size_t i = begin; i < end; ++i) all[i] = choose(sets[i], each);
  });
  return all;
}

std::vector<AnswerScores> AnswerScorer::score_each(const std::vector<AnswerSet>& sets, int threads) const {
  std::vector<Inquiry> inquiries;
  for (const AnswerSet& set : sets) inquiries.push_back({set.messages, set.answers, {}, set.reference});
  std::vector<Outcome> outcomes = model_.ask(inquiries, threads);
  const size_t width = model_.aspects().size();
  std::vector<AnswerScores> all(sets.size());
  for (size_t i = 0; i < sets.size(); ++i) {
    AnswerScores& scores = all[i];
    note(outcomes[i], scores);
    if (!scores.wrong.empty()) continue;
    scores.values = std::move(outcomes[i].values);
    for (auto answer = scores.values.begin(); answer != scores.values.end(); answer += static_cast<int64_t>(width)) {
      const auto end = answer + static_cast<int64_t>(width);
      scores.rewards.push_back(aspect_ ? answer[static_cast<int64_t>(*aspect_)] : std::accumulate(answer, end, 0.0) / static_cast<double>(width));
    }
    find_best(scores);
  }
  return all;
}

std::vector<AnswerScores> AnswerScorer::score_pairs(const std::vector<AnswerSet>& sets, int threads) const {
  std::vector<Inquiry> inquiries;
  for (const AnswerSet& set : sets) {
    const size_t count = set.answers.size();
    Inquiry inquiry{set.messages, set.answers};
    if (set.reference) {
      inquiry.answers.push_back(*set.reference);
      for (size_t i = 0; i < count; ++i) inquiry.pairings.push_back({i, count});
    } else {
      inquiry.pairings = all_pairings(count);
    }
    inquiries.push_back(std::move(inquiry));
  }
  const std::vector<Outcome> outcomes = model_.ask(inquiries, threads);
  std::vector<AnswerScores> all(sets.size());
  for (size_t i = 0; i < sets.size(); ++i) {
    AnswerScores& scores = all[i];
    note(outcomes[i], scores);
    if (!scores.wrong.empty()) continue;
    if (sets[i].reference) {
      for (size_t answer = 0; answer < sets[i].answers.size(); ++answer) scores.rewards.push_back(pair_score(outcomes[i], answer));
    } else {
      size_t next = 0;  // round_robin() asks in the order of all_pairings()
      scores.rewards = round_robin(sets[i].answers.size(), [&](size_t, size_t) { return pair_score(outcomes[i], next++); });
    }
    scores.values = scores.rewards;
    find_best(scores);
  }
  return all;
}

AnswerScores AnswerScorer::choose(const AnswerSet& set, int threads) const {
  struct Compared {
    size_t first, second;
    double score;
  };
  AnswerScores scores;
  std::vector<Compared> done;
  const PairScore compare = [&](size_t i, size_t j) {
    const Outcome outcome = model_.ask({{set.messages, set.answers, {{i, j}}}}, threads).at(0);
    note(outcome, scores);
    if (!outcome.wrong.empty()) fail("{}", outcome.wrong);
    // A scan meets with the best of all before.
    if (by_ == RankBy::kScan) scores.best_of_first.push_back(j);
    done.push_back({i, j, pair_score(outcome, 0)});
    return done.back().score;
  };
  try {
    const size_t count = set.answers.size(), best = by_ == RankBy::kScan ? best_by_scan(count, compare) : best_by_tournament(count, compare);
    scores.best_of_first.push_back(best);
    double sum = 0, met = 0;
    for (const Compared& pair : done) {
      if (pair.first != best && pair.second != best) continue;
      sum += pair.first == best ? pair.score : 1 - pair.score;
      ++met;
    }
    if (met > 0) scores.best_score = sum / met;
  } catch (const Error& error) {
    if (scores.wrong.empty()) throw;
    scores.best_of_first.clear();
  }
  return scores;
}

std::vector<AnswerScores> AnswerScorer::against_first(const std::vector<AnswerSet>& sets, const std::vector<std::vector<size_t>>& answers, int threads) const {
  std::vector<Inquiry> inquiries;
  for (size_t i = 0; i < sets.size(); ++i) {
    Inquiry inquiry{sets[i].messages, sets[i].answers};
    for (const size_t answer : answers[i]) inquiry.pairings.push_back({answer, 0});
    inquiries.push_back(std::move(inquiry));
  }
  const std::vector<Outcome> outcomes = model_.ask(inquiries, threads);
  std::vector<AnswerScores> all(sets.size());
  for (size_t i = 0; i < sets.size(); ++i) {
    note(outcomes[i], all[i]);
    for (size_t k = 0; all[i].wrong.empty() && k < answers[i].size(); ++k) all[i].rewards.push_back(pair_score(outcomes[i], k));
  }
  return all;
}

}  // namespace seqmill::reward
