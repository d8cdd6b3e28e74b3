#include "reward/score_writer.h"

#include "base/error.h"

namespace seqmill::reward {
namespace {

using infer::AnswerRecord;
using infer::Answers;

/// Rather than a score of each.
bool tells_best(RankBy by) { return by == RankBy::kScan || by == RankBy::kTournament; }

void check_free(const io::Json& object, const std::string& key, const std::string& whose) {
  if (object.find(key)) fail("{}it has \"{}\" already; {}", whose, key, key == "best" ? "no second one can be told" : "--name gives the new scores another name");
}

}  // namespace

ScoreWriter::ScoreWriter(const RewardModel& model, const ScoreOptions& options)
    : aspects_(model.aspects()), name_(options.name), best_alone_(options.best_of_n), tells_best_(model.is_judge() && !options.best_of_n && tells_best(options.ranking())) {}

void ScoreWriter::check(const AnswerRecord& pending) const {
  const io::Json& record = pending.record.json;
  if (pending.answers == Answers::kHypotheses) {
    const io::JsonArray& hypotheses = record.at("hypotheses").as_array();
    for (size_t i = 0; i < hypotheses.size(); ++i) check_scores(hypotheses[i].find("scores"), infer::name_of_answer(pending.answers, i));
    if (tells_best_) check_free(record, "best", "");
    return;
  }
  check_free(record, tells_best_ ? "best" : pending.answers == Answers::kOne ? name_ : name_ + "s", "");
  if (aspects_.size() < 2) return;
  const io::Json* scores = record.find("scores");
  if (pending.answers == Answers::kOne) return check_scores(scores, "");
  if (!scores || scores->is_null()) return;
  const size_t expected = pending.record.responses.size();
  if (!scores->is_array() || scores->as_array().size() != expected) fail("\"scores\" is no list of {} objects, one for each response", expected);
  for (size_t i = 0; i < expected; ++i) check_scores(&scores->as_array()[i], infer::name_of_answer(pending.answers, i));
}

void ScoreWriter::write(AnswerRecord& pending, const AnswerScores& scores) const {
  io::Json& record = pending.record.json;
  const bool is_ranked = scores.rewards.empty();  // and only the best is known
  if (pending.answers == Answers::kHypotheses) return write_hypotheses(record, scores);
  if (is_ranked) {
    record.set("best", static_cast<int64_t>(scores.best()));
    return;
  }
  if (pending.answers == Answers::kOne) record.set(name_, scores.rewards.at(0));
  else record.set(name_ + "s", io::Json::list(scores.rewards));
  if (aspects_.size() < 2) return;
  const io::Json* before = record.find("scores");
  io::JsonArray list;
  for (size_t i = 0; i < scores.rewards.size(); ++i) {
    const bool many = pending.answers == Answers::kList;
    list.push_back(with_aspects(before && many && before->is_array() ? &before->as_array()[i] : many ? nullptr : before, scores, i));
  }
  record.set("scores", pending.answers == Answers::kList ? io::Json(std::move(list)) : std::move(list[0]));
}

void ScoreWriter::check_scores(const io::Json* scores, const std::string& whose) const {
  if (!scores || scores->is_null()) return;
  if (!scores->is_object()) fail("{}\"scores\" is {}, expected an object", whose, scores->type_name());
  check_free(*scores, name_, whose);
  for (const std::string& aspect : aspects_) {
    if (aspects_.size() > 1) check_free(*scores, key_of(aspect), whose);
  }
}

io::Json ScoreWriter::with_aspects(const io::Json* before, const AnswerScores& scores, size_t answer) const {
  io::Json all = before && before->is_object() ? *before : io::Json::object();
  for (size_t a = 0; a < aspects_.size(); ++a) all.set(key_of(aspects_[a]), scores.values[answer * aspects_.size() + a]);
  return all;
}

void ScoreWriter::write_hypotheses(io::Json& record, const AnswerScores& scores) const {
  io::JsonArray hypotheses = record.at("hypotheses").as_array();
  const auto put = [&](size_t i, double reward) {
    const io::Json* before = hypotheses[i].find("scores");
    io::Json all = aspects_.size() > 1 ? with_aspects(before, scores, i) : before && before->is_object() ? *before : io::Json::object();
    all.set(name_, reward);
    hypotheses[i].set("scores", std::move(all));
  };
  for (size_t i = 0; i < scores.rewards.size(); ++i) put(i, scores.rewards[i]);
  if (scores.rewards.empty() && scores.best_score) put(scores.best(), *scores.best_score);
  if (best_alone_) {
    io::Json best = std::move(hypotheses[scores.best()]);
    hypotheses.clear();
    hypotheses.push_back(std::move(best));
  } else if (scores.rewards.empty()) {
    record.set("best", static_cast<int64_t>(scores.best()));
  }
  record.set("hypotheses", std::move(hypotheses));
}

}  // namespace seqmill::reward
