#include <algorithm>
#include <cmath>
#include <limits>

#include "search/length.h"
#include "search/strategy.h"
#include "search/top_k.h"

namespace seqmill::search {
namespace {

constexpr double kWorst = -std::numeric_limits<double>::infinity();

// The best finished or cut-off hypotheses so far, best first. An equal score does not displace an earlier one,
// which is what allows rows to be dropped as soon as they can do no better than the worst.
class Pool {
 public:
  explicit Pool(int64_t capacity) : capacity_(static_cast<size_t>(capacity)) {}

  double score_to_beat() const { return best_.size() < capacity_ ? kWorst : best_.back().score; }
  bool is_full() const { return best_.size() == capacity_; }
  bool admits(double score) const { return !is_full() || score > score_to_beat(); }

  void insert(Hypothesis hypothesis) {
    const auto place = std::upper_bound(best_.begin(), best_.end(), hypothesis,
                                        [](const auto& a, const auto& b) { return a.score > b.score; });
    best_.insert(place, std::move(hypothesis));
    if (best_.size() > capacity_) best_.pop_back();
  }

  const std::vector<Hypothesis>& best() const { return best_; }

 private:
  size_t capacity_;
  std::vector<Hypothesis> best_;
};

// Rows of one beam share their beginnings: a tree of tokens, read from the leaf.
struct Node {
  int32_t parent;
  int32_t token;
};
constexpr int32_t kRoot = -1;

struct Row {
  double logprob = 0;     // since the prefix
  int32_t node = kRoot;
  int32_t slot = 0;       // its row in the decoder
};

struct Group {
  explicit Group(int64_t capacity) : pool(capacity) {}
  std::vector<Row> rows;  // all under way, best first; none: the group has ended
  Pool pool;
  int64_t finished = 0;   // end symbols taken
};

struct Sentence {
  Sentence(const SearchOptions& options, const SentenceInput& source) : input(&source), limits(options, source) {}
  const SentenceInput* input;
  LengthLimits limits;
  double prefix_logprob = 0;       // of its possible tokens: -infinity would hide all differences
  bool prefix_is_possible = true;
  Row root;               // the forced prefix
  std::vector<Node> nodes;
  std::vector<Group> groups;
};

class BeamSearch {
 public:
  explicit BeamSearch(const Task& task)
      : task_(task), penalty_(task.options), vocabulary_(task.decoder.vocabulary_size()),
        width_(task.options.beam / task.options.diverse_groups), diverse_(task.options.diverse_groups > 1) {
    const int64_t capacity = diverse_ ? width_ : task.options.n_best;
    for (const SentenceInput& input : task.inputs) {
      sentences_.emplace_back(task.options, input);
      sentences_.back().groups.assign(static_cast<size_t>(task.options.diverse_groups), Group(capacity));
    }
  }

  Results run() {
    std::vector<Sentence*> active;
    for (size_t s = 0; s < sentences_.size(); ++s) {
      active.push_back(&sentences_[s]);
      sentences_[s].root.slot = append(static_cast<int32_t>(s), task_.bos);
    }
    std::vector<int32_t> parents, tokens;
    for (step_ = 0; !parents_.empty(); ++step_) {
      parents.swap(parents_);
      tokens.swap(tokens_);
      parents_.clear();
      tokens_.clear();
      logprobs_ = task_.decoder.advance(parents, tokens);
      for (Sentence* sentence : active) advance(*sentence);
      active.erase(std::remove_if(active.begin(), active.end(), [&](const Sentence* s) { return has_ended(*s); }),
                   active.end());
    }
    Results results;
    for (Sentence& sentence : sentences_) results.push_back(result(sentence));
    return results;
  }

 private:
  // Adds a row to the decoder's next step and returns its place there.
  int32_t append(int32_t parent, int32_t token) {
    parents_.push_back(parent);
    tokens_.push_back(token);
    return static_cast<int32_t>(parents_.size()) - 1;
  }

  float* logprobs_of(const Row& row) const { return logprobs_ + row.slot * vocabulary_; }

  bool has_ended(const Sentence& sentence) const {
    if (step_ < static_cast<int64_t>(sentence.input->prefix.size())) return false;
    return std::all_of(sentence.groups.begin(), sentence.groups.end(),
                       [](const Group& group) { return group.rows.empty(); });
  }

  void advance(Sentence& sentence) {
    const int64_t forced = static_cast<int64_t>(sentence.input->prefix.size());
    if (step_ < forced) return force(sentence);
    taken_.clear();
    for (Group& group : sentence.groups) {
      if (step_ == forced) group.rows = {sentence.root};
      if (!group.rows.empty()) extend(sentence, group);
    }
  }

  void force(Sentence& sentence) {
    const int32_t token = sentence.input->prefix[static_cast<size_t>(step_)];
    const double logprob = logprobs_of(sentence.root)[token];
    if (!(logprob < INFINITY)) fail_not_finite(*sentence.input, step_);
    if (logprob > -INFINITY) sentence.prefix_logprob += logprob;
    else sentence.prefix_is_possible = false;
    sentence.root = {0, add_node(sentence, sentence.root, token), append(sentence.root.slot, token)};
  }

  void extend(Sentence& sentence, Group& group) {
    if (step_ >= sentence.limits.max) return end_at_limit(sentence, group);
    rank_continuations(sentence, group);
    const std::vector<Candidate>& candidates = best_.sorted();
    std::vector<Row> next;
    for (size_t rank = 0; rank < candidates.size(); ++rank) {
      const Row& row = group.rows[static_cast<size_t>(candidates[rank].row)];
      const int32_t token = candidates[rank].token;
      const double logprob = row.logprob + logprobs_of(row)[token];
      if (token == task_.eos) {
        if (static_cast<int64_t>(rank) >= width_) continue;
        ++group.finished;
        add_hypothesis(sentence, group, {logprob, row.node, row.slot}, true);
        taken_.push_back(token);
      } else if (static_cast<int64_t>(next.size()) < width_) {
        next.push_back({logprob, add_node(sentence, row, token), row.slot});
        taken_.push_back(token);
      }
    }
    if (candidates.empty()) {
      for (const Row& row : group.rows) add_hypothesis(sentence, group, row, false);
    }
    group.rows = std::move(next);
    drop_hopeless(sentence, group);
    for (Row& row : group.rows) row.slot = append(row.slot, sentence.nodes[static_cast<size_t>(row.node)].token);
  }

  // Each row by itself: were its end symbol ranked among the other rows' continuations, dropping a hopeless row
  // could turn a cut-off hypothesis into a finished one.
  void end_at_limit(const Sentence& sentence, Group& group) {
    for (Row row : group.rows) {
      const float* logprobs = logprobs_of(row);
      best_.reset(width_);
      if (!best_.add_row(logprobs, vocabulary_, 0.0, 0)) fail_not_finite(*sentence.input, step_);
      const std::vector<Candidate>& best = best_.sorted();
      const auto is_end = [&](const Candidate& candidate) { return candidate.token == task_.eos; };
      const bool ends = std::any_of(best.begin(), best.end(), is_end);
      if (ends) row.logprob += logprobs[task_.eos];
      add_hypothesis(sentence, group, row, ends);
    }
    group.rows.clear();
  }

  void rank_continuations(const Sentence& sentence, const Group& group) {
    if (step_ < sentence.limits.min) {
      for (const Row& row : group.rows) logprobs_of(row)[task_.eos] = -INFINITY;
    }
    const std::vector<float> saved = penalise(group);
    best_.reset(2 * width_);
    for (size_t r = 0; r < group.rows.size(); ++r) {
      const Row& row = group.rows[r];
      if (!best_.add_row(logprobs_of(row), vocabulary_, row.logprob, static_cast<int32_t>(r))) {
        fail_not_finite(*sentence.input, step_);
      }
    }
    restore(group, saved);
  }

  // Hamming diversity, written into the rows while they are ranked: each time an earlier group took a token makes
  // it dearer.
  std::vector<float> penalise(const Group& group) {
    std::vector<float> saved;
    for (const Row& row : group.rows) {
      for (const int32_t token : taken_) {
        float& logprob = logprobs_of(row)[token];
        saved.push_back(logprob);
        logprob -= static_cast<float>(task_.options.diverse_strength);
      }
    }
    return saved;
  }

  // Backwards, because a token taken twice was saved twice, the second time with its first penalty.
  void restore(const Group& group, const std::vector<float>& saved) {
    auto value = saved.rbegin();
    for (auto row = group.rows.rbegin(); row != group.rows.rend(); ++row) {
      for (auto token = taken_.rbegin(); token != taken_.rend(); ++token) logprobs_of(*row)[*token] = *value++;
    }
  }

  void add_hypothesis(const Sentence& sentence, Group& group, const Row& row, bool finished) const {
    Hypothesis hypothesis;
    hypothesis.logprob = sentence.prefix_logprob + row.logprob;
    hypothesis.score = penalty_.score(hypothesis.logprob, step_ + (finished ? 1 : 0));
    hypothesis.finished = finished;
    if (!group.pool.admits(hypothesis.score)) return;
    for (int32_t node = row.node; node != kRoot; node = sentence.nodes[static_cast<size_t>(node)].parent) {
      hypothesis.tokens.push_back(sentence.nodes[static_cast<size_t>(node)].token);
    }
    std::reverse(hypothesis.tokens.begin(), hypothesis.tokens.end());
    group.pool.insert(std::move(hypothesis));
  }

  // A hopeless row may go at once: what would come to rank in the place of its continuations has a lower logprob
  // still, at the same length, so it is hopeless too. Two cases where all rows go or none: with groups the row's
  // tokens count against later groups, and with early stop the hypotheses it might finish are counted.
  void drop_hopeless(const Sentence& sentence, Group& group) const {
    const auto is_hopeless = [&](const Row& row) {
      const double logprob = sentence.prefix_logprob + row.logprob;
      return !group.pool.admits(penalty_.attainable(logprob, step_ + 1, sentence.limits.max + 1));
    };
    if (task_.options.early_stop && group.finished >= width_) {
      group.rows.clear();
    } else if (diverse_ || task_.options.early_stop) {
      if (std::all_of(group.rows.begin(), group.rows.end(), is_hopeless)) group.rows.clear();
    } else {
      while (!group.rows.empty() && is_hopeless(group.rows.back())) group.rows.pop_back();
    }
  }

  int32_t add_node(Sentence& sentence, const Row& row, int32_t token) const {
    sentence.nodes.push_back({row.node, token});
    return static_cast<int32_t>(sentence.nodes.size()) - 1;
  }

  std::vector<Hypothesis> result(const Sentence& sentence) const {
    std::vector<Hypothesis> all;
    for (const Group& group : sentence.groups) {
      for (const Hypothesis& hypothesis : group.pool.best()) {
        const auto is_same = [&](const Hypothesis& other) { return other.tokens == hypothesis.tokens; };
        const auto same = std::find_if(all.begin(), all.end(), is_same);
        if (same == all.end()) all.push_back(hypothesis);
        else if (hypothesis.score > same->score) *same = hypothesis;
      }
    }
    std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.score > b.score; });
    if (static_cast<int64_t>(all.size()) > task_.options.n_best) {
      all.resize(static_cast<size_t>(task_.options.n_best));
    }
    if (!sentence.prefix_is_possible) {
      for (Hypothesis& hypothesis : all) hypothesis.logprob = hypothesis.score = -INFINITY;
    }
    return all;
  }

  const Task& task_;
  const LengthPenalty penalty_;
  const int64_t vocabulary_;
  const int64_t width_;  // rows per group
  const bool diverse_;
  std::vector<Sentence> sentences_;

  int64_t step_ = 0;                         // tokens that every row has so far
  float* logprobs_ = nullptr;                // of the decoder's last step
  std::vector<int32_t> parents_, tokens_;    // its next step
  std::vector<int32_t> taken_;               // by the groups before, in this step of one sentence
  TopK best_;
};

}  // namespace

Results beam_search(const Task& task) { return BeamSearch(task).run(); }

}  // namespace seqmill::search
