#include "align/comparison_data.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "align/make_all.h"
#include "base/error.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/strings.h"

namespace seqmill::align {
namespace {

/// What was cut of a set, for the log.
struct Cuts {
  int64_t prompts = 0, answers = 0, cut_prompts = 0, cut_answers = 0;
  int64_t alike = 0;  ///< pairs of which the window leaves the same

  void add(const text::FramedAnswers& framed) {
    ++prompts;
    answers += static_cast<int64_t>(framed.answers.size());
    cut_prompts += framed.cut_prompt;
    cut_answers += std::count(framed.cut_answers.begin(), framed.cut_answers.end(), true);
  }
};

data::PromptTree tree_of(text::FramedAnswers framed) { return {std::move(framed.prompt), std::move(framed.answers)}; }

int64_t tokens_of(const ComparisonData& data) {
  int64_t tokens = 0;
  for (const data::PromptTree& tree : data.trees) tokens += tree.tokens();
  return tokens;
}

void report(const std::string& what, const ComparisonData& data, const Cuts& cuts) {
  log::info("{}: {} prompts, {} answers, {} tokens; too long: {} prompts cut on the left, {} answers on the right; {} pairs left out that are alike within the window", what, cuts.prompts,
            cuts.answers, tokens_of(data), cuts.cut_prompts, cuts.cut_answers, cuts.alike);
}

/// Throws Error for what has a score of none of the aspects.
template <typename Labelled>
void check_aspects(const Labelled& labelled, const std::vector<std::string>& aspects) {
  if (std::any_of(aspects.begin(), aspects.end(), [&](const std::string& aspect) { return labelled.scores.count(aspect) > 0; })) return;
  std::vector<std::string> found;
  for (const auto& [aspect, score] : labelled.scores) found.push_back(aspect);
  fail("{}: it has scores of {}, expected one of {} (--aspects)", labelled.place, join(found, ", "), join(aspects, ", "));
}

/// A pair of a comparison, as it is shown to a judge.
struct Shown {
  const text::Comparison* comparison;
  size_t first, second;
  bool first_is_better;
  std::string place;
};

/// Half of `count` items, to within one, in random order.
std::vector<bool> even_coins(size_t count, uint64_t seed) {
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  Rng(seed, "sides").shuffle(order);
  std::vector<bool> coins(count);
  for (size_t i = 0; i < count / 2; ++i) coins[order[i]] = true;
  return coins;
}

/// What `read` makes of all records of the files. Throws Error for one that has a score of none of the aspects, and when nothing is left.
template <typename Labelled, typename Read>
std::vector<Labelled> read_labelled(const std::vector<std::string>& files, bool skip_bad, const std::vector<std::string>& aspects, const char* noun, Read read) {
  std::vector<Labelled> all;
  const int64_t bad = text::read_all_records(files, skip_bad, [&](text::Record record) {
    Labelled labelled = read(std::move(record));
    check_aspects(labelled, aspects);
    all.push_back(std::move(labelled));
  });
  if (all.empty()) fail("no {} of {} is left{}", noun, join(files, ", "), bad > 0 ? fmt::format(": {} records are bad", bad) : "");
  return all;
}

template <typename Labelled, typename Frame>
ComparisonData frame_labelled(const std::vector<Labelled>& all, const std::vector<std::string>& aspects, Cuts& cuts, Frame frame) {
  std::vector<text::FramedAnswers> framed = make_all<text::FramedAnswers>(all, [&](size_t i) { return frame(all[i]); });
  ComparisonData data;
  for (size_t i = 0; i < all.size(); ++i) {
    cuts.add(framed[i]);
    Judged judged;
    for (const std::string& aspect : aspects) {
      const auto found = all[i].scores.find(aspect);
      judged.labels.push_back(found == all[i].scores.end() ? std::numeric_limits<double>::quiet_NaN() : found->second);
    }
    data.trees.push_back(tree_of(std::move(framed[i])));
    data.judged.push_back(std::move(judged));
  }
  return data;
}

}  // namespace

void ComparisonDataOptions::declare(Options& options) {
  ComparisonFiles::declare(options);
  options.add("train-limit", train_limit, "Train on so many comparisons only, drawn with the seed; 0: all").range(0);
  options.add("length-match", length_match, "Train only on comparisons whose better and worse answers differ in length by at most this share of the longer; 1: on all").range(0, 1);
  options.add("label-noise", label_noise, "Share of training comparisons whose verdict is turned over, to see what a method stands").range(0, 1);
}

std::vector<size_t> draw_subset(size_t count, size_t wanted, uint64_t seed) {
  std::vector<size_t> all(count);
  std::iota(all.begin(), all.end(), size_t{0});
  if (wanted >= count) return all;
  Rng(seed, "train-limit").shuffle(all);
  all.resize(wanted);
  std::sort(all.begin(), all.end());
  return all;
}

size_t match_lengths(std::vector<text::Comparison>& comparisons, double share) {
  const auto differs = [share](const text::Comparison& comparison) {
    const std::vector<text::Preference> pairs = text::preferences_of(comparison);
    return std::any_of(pairs.begin(), pairs.end(), [&](const text::Preference& pair) {
      return !text::similar_lengths(comparison.responses[pair.better], comparison.responses[pair.worse], share);
    });
  };
  const size_t all = comparisons.size();
  comparisons.erase(std::remove_if(comparisons.begin(), comparisons.end(), differs), comparisons.end());
  if (comparisons.empty()) fail("--length-match {}: in none of {} training comparisons are the answers so similar in length", share, all);
  return all - comparisons.size();
}

int64_t turn_over(std::vector<text::Comparison>& comparisons, double share, uint64_t seed) {
  int64_t turned = 0;
  for (size_t i = 0; i < comparisons.size(); ++i) {
    if (Rng(seed, "label-noise", i).uniform() >= share) continue;
    std::vector<double>& merits = comparisons[i].merits;
    const auto [least, most] = std::minmax_element(merits.begin(), merits.end());
    const double sum = *least + *most;
    for (double& merit : merits) merit = sum - merit;
    ++turned;
  }
  return turned;
}

std::vector<text::Comparison> read_training(const ComparisonDataOptions& options, uint64_t seed) {
  std::vector<text::Comparison> all = text::read_comparisons(options.train, options.records);
  if (options.length_match < 1) {
    const size_t left_out = match_lengths(all, options.length_match);
    log::info("training data: {} of {} comparisons left out whose answers differ more in length (--length-match)", left_out, all.size() + left_out);
  }
  all = limited(std::move(all), options.train_limit, seed, "comparisons");
  if (options.label_noise > 0) log::info("training data: the verdict of {} of {} comparisons was turned over (--label-noise)", turn_over(all, options.label_noise, seed), all.size());
  return all;
}

ComparisonData frame_comparisons(const std::vector<text::Comparison>& comparisons, const text::AnswerFraming& framing, const std::string& what) {
  std::vector<text::FramedAnswers> framed = make_all<text::FramedAnswers>(comparisons, [&](size_t i) { return framing.frame(comparisons[i].messages, comparisons[i].responses); });
  ComparisonData data;
  Cuts cuts;
  for (size_t i = 0; i < comparisons.size(); ++i) {
    cuts.add(framed[i]);
    Judged judged{comparisons[i].merits, {}, {}};
    for (const text::Preference& pair : text::preferences_of(comparisons[i])) {
      if (framed[i].answers[pair.better] == framed[i].answers[pair.worse]) ++cuts.alike;
      else judged.pairs.push_back(pair);
    }
    if (judged.pairs.empty()) continue;
    data.trees.push_back(tree_of(std::move(framed[i])));
    data.judged.push_back(std::move(judged));
  }
  if (data.trees.empty()) fail("{}: no pair of {} comparisons is left: within the window their answers are the same", what, comparisons.size());
  report(what, data, cuts);
  return data;
}

std::vector<text::Graded> read_graded(const std::vector<std::string>& files, bool skip_bad, const std::vector<std::string>& aspects) {
  return read_labelled<text::Graded>(files, skip_bad, aspects, "graded answer", text::read_graded);
}

ComparisonData frame_graded(const std::vector<text::Graded>& answers, const std::vector<std::string>& aspects, const text::AnswerFraming& framing, const std::string& what) {
  Cuts cuts;
  ComparisonData data = frame_labelled(answers, aspects, cuts, [&](const text::Graded& graded) { return framing.frame(graded.messages, {graded.response}); });
  report(what, data, cuts);
  return data;
}

std::vector<text::Rated> read_rated(const std::vector<std::string>& files, bool skip_bad, const std::vector<std::string>& aspects, bool with_reference) {
  const auto read = [&](text::Record record) {
    text::Rated rated = text::read_rated(std::move(record));
    if (with_reference && !rated.reference) fail("{}: it has no \"reference\", which --features reference-based compares with", rated.place);
    return rated;
  };
  return read_labelled<text::Rated>(files, skip_bad, aspects, "rated translation", read);
}

ComparisonData frame_rated(const std::vector<text::Rated>& translations, const std::vector<std::string>& aspects, bool with_reference, const text::Tokenizer& tokenizer, int64_t window,
                           const std::string& what) {
  Cuts cuts;
  ComparisonData data = frame_labelled(translations, aspects, cuts, [&](const text::Rated& rated) {
    std::vector<std::string> texts{rated.source, rated.hypothesis};
    if (with_reference) texts.push_back(*rated.reference);
    return text::frame_texts(tokenizer, texts, window);
  });
  log::info("{}: {} translations, {} tokens of {} texts; {} texts were too long and lost their ends", what, translations.size(), tokens_of(data), cuts.answers, cuts.cut_answers);
  return data;
}

ComparisonData frame_questions(const std::vector<text::Comparison>& comparisons, const text::Judge& judge, Sides sides, uint64_t seed, const std::string& what) {
  std::vector<Shown> shown;
  for (const text::Comparison& comparison : comparisons) {
    for (const text::Preference& pair : text::preferences_of(comparison)) {
      const bool given_first = pair.better < pair.worse;
      if (sides != Sides::kGiven || given_first) shown.push_back({&comparison, pair.better, pair.worse, true, comparison.place});
      if (sides == Sides::kBoth || (sides == Sides::kGiven && !given_first)) shown.push_back({&comparison, pair.worse, pair.better, false, comparison.place});
    }
  }
  if (sides == Sides::kRandom) {
    const std::vector<bool> coins = even_coins(shown.size(), seed);
    for (size_t i = 0; i < shown.size(); ++i) {
      if (!coins[i]) continue;
      std::swap(shown[i].first, shown[i].second);
      shown[i].first_is_better = false;
    }
  }
  const std::vector<text::JudgeQuestion> questions = make_all<text::JudgeQuestion>(shown, [&](size_t i) {
    const std::vector<std::string>& responses = shown[i].comparison->responses;
    const auto ask = [&](size_t first, size_t second) { return judge.question(shown[i].comparison->messages, responses[first], responses[second]); };
    text::JudgeQuestion question = ask(shown[i].first, shown[i].second);
    // Of a pair of which the window leaves the same there is nothing to ask.
    if (question.cut && question.tokens == ask(shown[i].second, shown[i].first).tokens) question.tokens.clear();
    return question;
  });
  ComparisonData data;
  int64_t cut = 0, first = 0, tokens = 0, alike = 0;
  for (size_t i = 0; i < shown.size(); ++i) {
    const bool is_first = shown[i].first_is_better;
    cut += questions[i].cut;
    if (questions[i].tokens.empty()) {
      ++alike;
      continue;
    }
    first += is_first;
    tokens += static_cast<int64_t>(questions[i].tokens.size()) + 1;
    data.trees.push_back({questions[i].tokens, {{judge.labels()[is_first ? 0 : 1]}}});
    data.judged.push_back({is_first ? std::vector<double>{1, 0} : std::vector<double>{0, 1}, {}, {}});
  }
  if (data.trees.empty()) fail("{}: no pair of {} comparisons is left: within the window their answers are the same", what, comparisons.size());
  const double share = static_cast<double>(first) / static_cast<double>(data.trees.size());
  log::info("{}: {} questions of {} comparisons, {} tokens; the first answer is the better one in {:.1f} %; {} questions were too long and cut, {} left out whose answers are alike then", what,
            data.trees.size(), comparisons.size(), tokens, 100 * share, cut, alike);
  if (sides == Sides::kGiven && std::abs(share - 0.5) > 0.02) log::warn("{}: whoever always names one side is right in {:.1f} %; --sides random or both takes that away", what, 100 * std::max(share, 1 - share));
  return data;
}

ComparisonData frame_pair_texts(const std::vector<text::Comparison>& comparisons, const text::Judge& judge, bool second_alone, uint64_t seed, const std::string& what) {
  std::vector<Shown> shown;
  for (const text::Comparison& comparison : comparisons) {
    for (size_t i = 0; i + 1 < comparison.responses.size(); ++i) shown.push_back({&comparison, i, i + 1, true, comparison.place});
  }
  const std::vector<bool> coins = even_coins(shown.size(), seed);
  for (size_t i = 0; i < shown.size(); ++i) {
    if (coins[i]) std::swap(shown[i].first, shown[i].second);
  }
  const std::vector<text::PairText> pairs = make_all<text::PairText>(shown, [&](size_t i) {
    const std::vector<std::string>& responses = shown[i].comparison->responses;
    return judge.pair_text(shown[i].comparison->messages, responses[shown[i].first], responses[shown[i].second]);
  });
  ComparisonData data;
  int64_t learned = 0, cut = 0;
  for (const auto& [text, second, is_cut] : pairs) {
    const auto first = second_alone ? static_cast<std::ptrdiff_t>(second) : std::find(text.learned.begin(), text.learned.end(), true) - text.learned.begin();
    const auto end = text.tokens.begin() + (text.learned.rend() - std::find(text.learned.rbegin(), text.learned.rend(), true));
    data.trees.push_back({{text.tokens.begin(), text.tokens.begin() + first}, {{text.tokens.begin() + first, end}}});
    data.judged.emplace_back();
    learned += end - text.tokens.begin() - first;
    cut += is_cut;
  }
  log::info("{}: {} pairs of answers, {} tokens learned; no verdict is looked at; {} pairs were too long and cut", what, shown.size(), learned, cut);
  return data;
}

}  // namespace seqmill::align
