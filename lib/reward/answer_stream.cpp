#include "reward/answer_stream.h"

#include "base/error.h"
#include "base/log.h"
#include "text/record_fields.h"

namespace seqmill::reward {
namespace {

const std::string& reference_of(const io::Json& record, const char* whose) {
  const io::Json* reference = record.find("reference");
  if (!reference || !reference->is_string()) fail("it has no string \"reference\" for {} to compare with", whose);
  return reference->as_string();
}

}  // namespace

AnswerStream::AnswerStream(const RewardModel& model, const ScoreOptions& options, int64_t batch_tokens, int threads)
    : model_(model),
      scorer_(model, options.ranking(), options.aspect),
      options_(options),
      threads_(threads),
      most_bytes_(bytes_of_turns(batch_tokens, threads)),
      reader_(options.input),
      progress_(options.progress) {
  if (!model.is_judge() && !options.rank.empty()) fail_usage("--rank is for judges; this model scores each answer by itself");
}

double AnswerStream::seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count(); }

void AnswerStream::read_all() {
  for (bool more = true; more;) {
    try {
      more = read_turn();
    } catch (const Error& error) {
      // Whatever is wrong with the last record, those before it are good.
      if (error.exit_code() == kExitFailure) answer();
      throw;
    }
    answer();
  }
}

bool AnswerStream::read_turn() {
  while (add()) {
    if (bytes_ >= most_bytes_ || (options_.serve && reader_.would_block())) return true;
  }
  return false;
}

void AnswerStream::finish() const {
  log::status_line("");
  log_summary(counts_, counts_.answers, "answers", seconds());
}

bool AnswerStream::add() {
  text::wait_for_input(reader_);
  Pending pending;
  const auto read = [&] {
    if (!reader_.next(pending.original)) return false;
    pending.record = model_.subject() == Subject::kAnswers ? infer::read_answers(pending.original) : infer::read_translations(pending.original);
    text::within(pending.record.place, [&] {
      check(pending.record);
      pending.set = set_of(pending.record);
    });
    return true;
  };
  const bool more = text::read_or_leave_out(options_.comparisons.skip_bad, [&] { return reader_.line_number(); }, read, [&](const Error& error) { pending.wrong = error.what(); });
  if (!more) return false;
  bytes_ += reader_.line_bytes() + 1;
  pending_.push_back(std::move(pending));
  return true;
}

AnswerSet AnswerStream::set_of(const infer::AnswerRecord& record) const {
  AnswerSet set{record.record.messages, record.record.responses};
  if (set.answers.empty()) fail("it has no hypotheses");
  if (model_.subject() == Subject::kReferenced) set.reference = reference_of(record.record.json, "this metric");
  if (!model_.is_judge()) return set;
  const bool by_reference = options_.ranking() == RankBy::kReference || (record.answers == infer::Answers::kOne && options_.rank.empty());
  if (!by_reference) {
    if (set.answers.size() < 2) fail("it has a single answer; a judge compares two or more, or one with a \"reference\" (--rank reference)");
    return set;
  }
  set.reference = reference_of(record.record.json, "a judge");
  return set;
}

void AnswerStream::leave_out(Pending pending) {
  log::warn("left out: {}", pending.wrong);
  ++counts_.skipped;
  put_bad(pending.original, pending.wrong);
}

void AnswerStream::answer() {
  if (pending_.empty()) return;
  std::vector<AnswerSet> sets;
  for (const Pending& pending : pending_) {
    if (pending.wrong.empty()) sets.push_back(pending.set);
  }
  std::vector<AnswerScores> all = scorer_.score(sets, threads_);
  see(sets, all);
  size_t next = 0;
  for (Pending& pending : pending_) {
    ++counts_.records;
    if (pending.wrong.empty()) {
      const size_t number = next++;
      const AnswerScores& scores = all[number];
      counts_.tokens += scores.tokens;
      counts_.cut_prompts += scores.cut_prompts;
      counts_.cut_answers += scores.cut_answers;
      if (scores.wrong.empty()) {
        counts_.answers += static_cast<int64_t>(pending.set.answers.size());
        put(pending.record, scores, number);
        continue;
      }
      pending.wrong = pending.record.place + ": " + scores.wrong;
      if (!options_.comparisons.skip_bad) {
        end_turn();
        fail("{}", pending.wrong);
      }
    }
    leave_out(std::move(pending));
  }
  end_turn();
  pending_.clear();
  bytes_ = 0;
  const double now = seconds();
  if (progress_.is_due(now)) progress_.show(fmt::format("{} records, {:.1f} answers a second", counts_.records, static_cast<double>(counts_.answers) / now));
}

}  // namespace seqmill::reward
