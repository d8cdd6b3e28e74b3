#include "align/comparison_data.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/strings.h"
#include "base/threads.h"

namespace seqmill::align {
namespace {

constexpr int64_t kUsualWindow = 512;

/// make(i) for all, by all threads; an error is that of the first item that has one, with its place.
template <typename Result, typename Item, typename Make>
std::vector<Result> make_all(const std::vector<Item>& items, Make make) {
  std::vector<Result> results(items.size());
  std::vector<std::string> errors(items.size());
  parallel_for(static_cast<int64_t>(items.size()), 16, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      try {
        results[i] = make(i);
      } catch (const Error& error) {
        errors[i] = fmt::format("{}: {}", items[i].place, error.what());
      }
    }
  });
  for (const std::string& error : errors) {
    if (!error.empty()) throw Error(error);
  }
  return results;
}

/// What was cut of a set, for the log.
struct Cuts {
  int64_t prompts = 0, answers = 0, cut_prompts = 0, cut_answers = 0, tokens = 0;

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
  log::info("{}: {} prompts, {} answers, {} tokens; too long: {} prompts cut on the left, {} answers on the right", what, cuts.prompts, cuts.answers, tokens_of(data),
            cuts.cut_prompts, cuts.cut_answers);
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
  int64_t bad = 0;
  for (const std::string& file : files) {
    text::RecordReader reader(file);
    for (bool more = true; more;) {
      try {
        text::Record record;
        if (!(more = reader.next(record))) break;
        Labelled labelled = read(std::move(record));
        const std::map<std::string, double>& scores = labelled.scores;
        if (std::none_of(aspects.begin(), aspects.end(), [&](const std::string& aspect) { return scores.count(aspect) > 0; })) {
          std::vector<std::string> found;
          for (const auto& [aspect, score] : scores) found.push_back(aspect);
          fail("{}: it has scores of {}, expected one of {} (--aspects)", labelled.place, join(found, ", "), join(aspects, ", "));
        }
        all.push_back(std::move(labelled));
      } catch (const Error& error) {
        if (!skip_bad) throw;
        log::warn("left out: {}", error.what());
        ++bad;
      }
    }
  }
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
  options.group("Data");
  options.add("train", train, "Training comparisons, JSON lines or a JSON array, plain or .gz; give it several times for several files").placeholder("FILE");
  options.add("valid", valid, "Validation comparisons, likewise").placeholder("FILE");
  records.declare(options);
  options.add("train-limit", train_limit, "Train on so many comparisons only, drawn with the seed; 0: all").range(0);
  options.add("label-noise", label_noise, "Share of training comparisons whose verdict is turned over, to see what a method stands").range(0, 1);
  options.add("window", window, "Tokens that the model sees of a prompt with an answer; 0: model.max-positions, at most 512").range(0);
}

void ComparisonDataOptions::resolve(int64_t max_positions) {
  for (const std::vector<std::string>* files : {&train, &valid}) {
    if (std::find(files->begin(), files->end(), "-") != files->end()) fail_usage("training and validation data is read again when a run goes on and cannot be standard input ('-')");
  }
  if (window == 0) window = std::min(max_positions, kUsualWindow);
  if (window > max_positions) fail_usage("--window {}: the model has {} positions (model.max-positions)", window, max_positions);
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
  if (options.train_limit > 0) {
    std::vector<text::Comparison> kept;
    for (const size_t i : draw_subset(all.size(), static_cast<size_t>(options.train_limit), seed)) kept.push_back(std::move(all[i]));
    log::info("training data: {} of {} comparisons (--train-limit)", kept.size(), all.size());
    all = std::move(kept);
  }
  if (options.label_noise > 0) log::info("training data: the verdict of {} of {} comparisons was turned over (--label-noise)", turn_over(all, options.label_noise, seed), all.size());
  return all;
}

ComparisonData frame_comparisons(const std::vector<text::Comparison>& comparisons, const text::AnswerFraming& framing, const std::string& what) {
  std::vector<text::FramedAnswers> framed = make_all<text::FramedAnswers>(comparisons, [&](size_t i) { return framing.frame(comparisons[i].messages, comparisons[i].responses); });
  ComparisonData data;
  Cuts cuts;
  for (size_t i = 0; i < comparisons.size(); ++i) {
    cuts.add(framed[i]);
    data.trees.push_back(tree_of(std::move(framed[i])));
    data.judged.push_back({comparisons[i].merits, text::preferences_of(comparisons[i]), comparisons[i].is_graded, {}});
  }
  report(what, data, cuts);
  return data;
}

ComparisonData frame_graded(const std::vector<std::string>& files, bool skip_bad, const std::vector<std::string>& aspects, const text::AnswerFraming& framing, const std::string& what) {
  const std::vector<text::Graded> all = read_labelled<text::Graded>(files, skip_bad, aspects, "graded answer", text::read_graded);
  Cuts cuts;
  ComparisonData data = frame_labelled(all, aspects, cuts, [&](const text::Graded& graded) { return framing.frame(graded.messages, {graded.response}); });
  report(what, data, cuts);
  return data;
}

ComparisonData frame_rated(const std::vector<std::string>& files, bool skip_bad, const std::vector<std::string>& aspects, bool with_reference, const text::Tokenizer& tokenizer,
                           int64_t window, const std::string& what) {
  const auto read = [&](text::Record record) {
    text::Rated rated = text::read_rated(std::move(record));
    if (with_reference && !rated.reference) fail("{}: it has no \"reference\", which --features reference-based compares with", rated.place);
    return rated;
  };
  const std::vector<text::Rated> all = read_labelled<text::Rated>(files, skip_bad, aspects, "rated translation", read);
  Cuts cuts;
  ComparisonData data = frame_labelled(all, aspects, cuts, [&](const text::Rated& rated) {
    std::vector<std::string> texts{rated.source, rated.hypothesis};
    if (with_reference) texts.push_back(*rated.reference);
    return text::frame_texts(tokenizer, texts, window);
  });
  log::info("{}: {} translations, {} tokens of {} texts; {} texts were too long and lost their ends", what, all.size(), tokens_of(data), cuts.answers, cuts.cut_answers);
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
    return judge.question(shown[i].comparison->messages, responses[shown[i].first], responses[shown[i].second]);
  });
  ComparisonData data;
  int64_t cut = 0, first = 0, tokens = 0;
  for (size_t i = 0; i < shown.size(); ++i) {
    const bool is_first = shown[i].first_is_better;
    cut += questions[i].cut;
    first += is_first;
    tokens += static_cast<int64_t>(questions[i].tokens.size()) + 1;
    data.trees.push_back({questions[i].tokens, {{judge.labels()[is_first ? 0 : 1]}}});
    data.judged.push_back({is_first ? std::vector<double>{1, 0} : std::vector<double>{0, 1}, {}, false, {}});
  }
  const double share = static_cast<double>(first) / static_cast<double>(std::max<size_t>(1, shown.size()));
  log::info("{}: {} questions of {} comparisons, {} tokens; the first answer is the better one in {:.1f} %; {} questions were too long and cut", what, shown.size(), comparisons.size(),
            tokens, 100 * share, cut);
  if (sides == Sides::kGiven && std::abs(share - 0.5) > 0.02) log::warn("{}: whoever always names one side is right in {:.1f} %; --sides random or both takes that away", what, 100 * std::max(share, 1 - share));
  return data;
}

ComparisonData frame_pair_texts(const std::vector<text::Comparison>& comparisons, const text::Judge& judge, const std::string& what) {
  std::vector<Shown> shown;
  for (const text::Comparison& comparison : comparisons) {
    for (size_t i = 0; i + 1 < comparison.responses.size(); ++i) shown.push_back({&comparison, i, i + 1, true, comparison.place});
  }
  const std::vector<text::ChatTokens> texts = make_all<text::ChatTokens>(shown, [&](size_t i) {
    const std::vector<std::string>& responses = shown[i].comparison->responses;
    return judge.pair_text(shown[i].comparison->messages, responses[shown[i].first], responses[shown[i].second]);
  });
  ComparisonData data;
  int64_t learned = 0;
  for (const text::ChatTokens& text : texts) {
    const auto begin = std::find(text.learned.begin(), text.learned.end(), true);
    const auto first = begin - text.learned.begin();
    const auto end = text.tokens.begin() + (text.learned.rend() - std::find(text.learned.rbegin(), text.learned.rend(), true));
    data.trees.push_back({{text.tokens.begin(), text.tokens.begin() + first}, {{text.tokens.begin() + first, end}}});
    data.judged.emplace_back();
    learned += end - text.tokens.begin() - first;
  }
  log::info("{}: {} pairs of answers, {} tokens learned; no verdict is looked at", what, shown.size(), learned);
  return data;
}

}  // namespace seqmill::align
