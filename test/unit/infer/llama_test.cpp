#include <catch2/catch.hpp>
#include <cmath>
#include <list>

#include "base/threads.h"
#include "infer/key_pages.h"
#include "kernel/packed_bf16.h"
#include "support/files.h"
#include "support/lm.h"
#include "support/lm_steps.h"

using namespace seqmill;
using namespace seqmill::test;
using infer::LanguageModel;
using infer::LlamaOptions;
using infer::SequenceDecoder;
using infer::Tokens;

namespace {

constexpr int64_t kVocabulary = 37;

LlamaOptions small() {
  LlamaOptions o;
  o.dim = 32;
  o.ffn = 48;
  o.heads = 4;
  o.kv_heads = 2;
  o.layers = 2;
  o.max_positions = 1300;
  return o;
}

Tokens random_tokens(int64_t count, uint64_t seed) { return test::random_tokens(kVocabulary, count, seed); }

/// A model that was written to a file and read from it.
struct Loaded {
  explicit Loaded(const TinyLlama& tiny, bool to_bfloat16 = false, io::DType dtype = io::DType::kF32) {
    tiny.write(place / "model.safetensors", dtype);
    infer::Weights weights({place / "model.safetensors"}, to_bfloat16);
    model = tiny.config()->build(tiny.vocabulary, weights);
    weights.check();
  }
  TempDir place;
  std::unique_ptr<LanguageModel> model;
};

using Row = LogprobRow;

/// Every way to get there gives the log-probabilities of the definition.
void check_all_ways(const TinyLlama& tiny, const LanguageModel& model, const Tokens& tokens, double tolerance) {
  const auto expected = tiny.logprobs(tokens);
  const std::vector<Row> steps = by_steps(model, tokens);
  for (size_t i = 0; i < tokens.size(); ++i) {
    CAPTURE(i);
    CHECK(worst(steps[i], expected[i]) < tolerance);
  }
  for (const size_t length : {size_t{1}, size_t{2}, tokens.size() / 2 + 1, tokens.size()}) {
    CAPTURE(length);
    const auto decoder = model.start(1);
    SequenceDecoder::Handle handle = -1;
    CHECK(worst(begin(*decoder, kVocabulary, Tokens(tokens.begin(), tokens.begin() + static_cast<int64_t>(length)), handle), expected[length - 1]) < tolerance);
    if (length < tokens.size()) CHECK(worst(advance(*decoder, kVocabulary, {handle}, {tokens[length]})[0], expected[length]) < tolerance);
  }
  const std::vector<double> scores = model.score({tokens}, 1);
  REQUIRE(scores.size() == tokens.size() - 1);
  for (size_t i = 0; i + 1 < tokens.size(); ++i) CHECK(std::abs(scores[i] - expected[i][static_cast<size_t>(tokens[i + 1])]) < tolerance);
}

}  // namespace

TEST_CASE("the engine computes what the definition says, for all members of the family", "[llama]") {
  const auto variant = [](auto change) {
    LlamaOptions o = small();
    change(o);
    return o;
  };
  const std::vector<std::pair<const char*, LlamaOptions>> variants{
      {"plain", small()},
      {"one key head", variant([](LlamaOptions& o) { o.kv_heads = 1; })},
      {"as many key heads", variant([](LlamaOptions& o) { o.kv_heads = 0; })},
      {"wide heads", variant([](LlamaOptions& o) { o.head_dim = 18; })},
      {"tied", variant([](LlamaOptions& o) { o.tie = true; })},
      {"biases", variant([](LlamaOptions& o) { o.qkv_bias = true; })},
      {"layer norm, gelu, learned", variant([](LlamaOptions& o) { o.norm = "layer", o.activation = "gelu", o.positions = "learned", o.max_positions = 40; })},
      {"l1 norm, relu, polynomial", variant([](LlamaOptions& o) { o.norm = "l1", o.activation = "relu", o.attention = "polynomial", o.polynomial.degree = 3; })},
      {"llama3", variant([](LlamaOptions& o) { o.rope = {5000, "llama3", 8, 1, 4, 16}; })},
      {"linear", variant([](LlamaOptions& o) { o.rope = {10000, "linear", 3}; })},
      {"window", variant([](LlamaOptions& o) { o.window = 7; })},
      {"window of one", variant([](LlamaOptions& o) { o.window = 1; })},
      {"polynomial in a window", variant([](LlamaOptions& o) { o.attention = "polynomial", o.polynomial.degree = 2, o.window = 19; })},
      {"odd sizes", variant([](LlamaOptions& o) { o.dim = 27, o.heads = 3, o.kv_heads = 1, o.head_dim = 10, o.ffn = 21; })}};
  for (const auto& [name, options] : variants) {
    CAPTURE(name);
    const TinyLlama tiny(options, kVocabulary, 1);
    const Loaded loaded(tiny);
    CHECK((loaded.model->vocabulary_size() == kVocabulary && loaded.model->max_positions() == options.max_positions));
    check_all_ways(tiny, *loaded.model, random_tokens(40, 2), 2e-4);
  }
}

TEST_CASE("prompts that take several turns continue as if they had come at once", "[llama]") {
  for (const int64_t window : {0, 600, 20}) {
    CAPTURE(window);
    LlamaOptions o = small();
    o.window = window;
    o.layers = 1;
    const TinyLlama tiny(o, kVocabulary, 3);
    const Loaded loaded(tiny);
    const Tokens tokens = random_tokens(1100, 4);
    const auto expected = tiny.logprobs(tokens);
    const auto decoder = loaded.model->start(1);
    SequenceDecoder::Handle handle = -1;
    const Tokens prompt(tokens.begin(), tokens.end() - 1);
    CHECK(worst(begin(*decoder, kVocabulary, prompt, handle), expected[prompt.size() - 1]) < 2e-4);
    CHECK(worst(advance(*decoder, kVocabulary, {handle}, {tokens.back()})[0], expected.back()) < 2e-4);
    const std::vector<double> scores = loaded.model->score({tokens}, 1);
    REQUIRE(scores.size() == 1099);
    double furthest = 0;
    for (size_t i = 0; i < scores.size(); ++i) furthest = std::max(furthest, std::abs(scores[i] - expected[i][static_cast<size_t>(tokens[i + 1])]));
    CHECK(furthest < 2e-4);
  }
}

namespace {

/// Its matrices in integers of 8 bits with a scale for each output, as int8-quantize writes them.
std::string write_int8(const TinyLlama& tiny, const std::string& path) {
  std::vector<io::TensorRecord> records;
  std::list<std::vector<int8_t>> integers;
  std::list<std::vector<float>> scales;
  for (const auto& [name, tensor] : tiny.tensors) {
    if (tensor.shape.size() != 2) {
      records.push_back({name, io::DType::kF32, tensor.shape, tensor.numbers.data()});
      continue;
    }
    const auto columns = static_cast<size_t>(tensor.shape[1]);
    integers.emplace_back();
    scales.emplace_back();
    for (size_t begin = 0; begin < tensor.numbers.size(); begin += columns) {
      float most = 0;
      for (size_t i = 0; i < columns; ++i) most = std::max(most, std::abs(tensor.numbers[begin + i]));
      scales.back().push_back(127 / most);
      for (size_t i = 0; i < columns; ++i) integers.back().push_back(static_cast<int8_t>(std::lround(tensor.numbers[begin + i] / most * 127)));
    }
    records.push_back({name, io::DType::kI8, tensor.shape, integers.back().data()});
    records.push_back({name + ".scale", io::DType::kF32, {tensor.shape[0]}, scales.back().data()});
  }
  io::write_safetensors(path, records, {{"format", "seqmill-int8"}, {"mode", "dynamic"}});
  return path;
}

LlamaOptions wide(int64_t window) {
  LlamaOptions o = small();
  o.dim = 64, o.ffn = 300, o.heads = 8, o.kv_heads = 2, o.window = window;
  return o;
}

}  // namespace

TEST_CASE("what a sequence gives depends neither on other sequences nor on threads", "[llama]") {
  for (const bool halves : {false, true}) {
    if (halves && !kernel::has_bfloat16_products()) continue;
    for (const int64_t window : {0, 20}) {
      CAPTURE(halves, window);
      check_independence(*Loaded(TinyLlama(wide(window), kVocabulary, 5), halves).model);
    }
  }
}

TEST_CASE("nor does it in 8-bit integers", "[llama]") {
  const TempDir dir;
  const TinyLlama tiny(wide(0), kVocabulary, 5);
  for (const bool halves : {false, true}) {
    if (halves && !kernel::has_bfloat16_products()) continue;
    CAPTURE(halves);
    infer::Weights weights({write_int8(tiny, dir / "int8.safetensors")}, halves);
    const auto model = tiny.config()->build(kVocabulary, weights);
    weights.check();
    check_independence(*model);
  }
}

namespace {

/// Log-probabilities of the next token that states give through the output layer.
std::vector<Row> through_output(const LanguageModel& model, const std::vector<float>& states) {
  std::vector<Row> rows;
  const auto dim = static_cast<size_t>(model.dim());
  REQUIRE(states.size() % dim == 0);
  for (size_t at = 0; at < states.size(); at += dim) {
    Row row;
    double sum = 0;
    for (int32_t token = 0; token < kVocabulary; ++token) {
      const std::vector<float> weights = model.output_row(token);
      REQUIRE(weights.size() == dim);
      double logit = 0;
      for (size_t d = 0; d < dim; ++d) logit += static_cast<double>(weights[d]) * static_cast<double>(states[at + d]);
      row.push_back(static_cast<float>(logit));
      sum += std::exp(logit);
    }
    for (float& logit : row) logit -= static_cast<float>(std::log(sum));
    rows.push_back(row);
  }
  return rows;
}

/// Prompts with and without endings, short ones and such that take several turns.
std::vector<LanguageModel::Tree> some_trees() {
  std::vector<LanguageModel::Tree> trees;
  uint64_t seed = 100;
  const auto add = [&](int64_t prompt, const std::vector<int64_t>& endings) {
    trees.push_back({random_tokens(prompt, ++seed), {}});
    for (const int64_t ending : endings) trees.back().endings.push_back(random_tokens(ending, ++seed));
  };
  add(30, {12, 1, 40});
  add(1, {3, 5});
  add(17, {});
  add(600, {20, 530, 2});
  add(1, {});
  add(64, {16});
  add(700, {});
  return trees;
}

std::vector<Tokens> whole_sequences(const std::vector<LanguageModel::Tree>& trees) {
  std::vector<Tokens> all;
  for (const LanguageModel::Tree& tree : trees) {
    if (tree.endings.empty()) all.push_back(tree.prompt);
    for (const Tokens& ending : tree.endings) {
      all.push_back(tree.prompt);
      all.back().insert(all.back().end(), ending.begin(), ending.end());
    }
  }
  return all;
}

/// States give what begin() gives, and do not depend on what else is asked, nor on threads.
void check_states(const LanguageModel& model, double tolerance) {
  const std::vector<LanguageModel::Tree> trees = some_trees();
  const std::vector<float> states = model.last_states(trees, 1);
  const std::vector<Row> rows = through_output(model, states);
  const std::vector<Tokens> sequences = whole_sequences(trees);
  REQUIRE(rows.size() == sequences.size());
  std::vector<LanguageModel::Tree> alone;
  for (size_t i = 0; i < sequences.size(); ++i) {
    CAPTURE(i);
    const auto decoder = model.start(1);
    SequenceDecoder::Handle handle = -1;
    CHECK(worst(rows[i], begin(*decoder, kVocabulary, sequences[i], handle)) < tolerance);
    alone.push_back({sequences[i], {}});
  }
  const std::vector<Row> unshared = through_output(model, model.last_states(alone, 1));
  for (size_t i = 0; i < rows.size(); ++i) CHECK(worst(unshared[i], rows[i]) < tolerance);
  std::vector<float> one_by_one;
  for (const LanguageModel::Tree& tree : trees) {
    const std::vector<float> of_tree = model.last_states({tree}, 1);
    one_by_one.insert(one_by_one.end(), of_tree.begin(), of_tree.end());
  }
  CHECK((one_by_one == states));
  const int before = threads();
  set_threads(3);
  CHECK((model.last_states(trees, 3) == states));
  set_threads(before);
}

}  // namespace

TEST_CASE("states of last tokens say what the next token's probabilities say, their prompts computed once or each time", "[llama]") {
  for (const bool halves : {false, true}) {
    if (halves && !kernel::has_bfloat16_products()) continue;
    for (const int64_t window : {0, 20}) {
      CAPTURE(halves, window);
      check_states(*Loaded(TinyLlama(wide(window), kVocabulary, 21), halves).model, halves ? 0.15 : 2e-4);
    }
  }
  LlamaOptions o = wide(0);
  o.tie = true;
  o.kv_heads = 1;
  check_states(*Loaded(TinyLlama(o, kVocabulary, 22)).model, 2e-4);
  const TempDir dir;
  const TinyLlama tiny(wide(0), kVocabulary, 23);
  infer::Weights weights({write_int8(tiny, dir / "int8.safetensors")});
  const auto model = tiny.config()->build(kVocabulary, weights);
  weights.check();
  check_states(*model, 0.15);
}

namespace {

/// The mean state of `text` behind `prompt`, which may be empty: of few tokens, of what their prefixes have as states of last tokens; of more, of its halves.
std::vector<double> mean_of(const LanguageModel& model, const Tokens& prompt, const Tokens& text) {
  constexpr size_t kFew = 4;
  const auto dim = static_cast<size_t>(model.dim());
  const size_t count = text.size();
  std::vector<double> mean(dim);
  const auto add = [&](const std::vector<float>& states, size_t of) {
    for (size_t i = 0; i < states.size(); ++i) mean[i % dim] += static_cast<double>(states[i]) * static_cast<double>(of) / static_cast<double>(count);
  };
  Tokens prefix = prompt;
  if (count <= kFew) {
    for (const int32_t token : text) {
      prefix.push_back(token);
      add(model.last_states({{prefix, {}}}, 1), 1);
    }
    return mean;
  }
  const auto middle = text.begin() + static_cast<int64_t>(count / 2);
  const Tokens first(text.begin(), middle), second(middle, text.end());
  add(prompt.empty() ? model.mean_states({{first, {}}}, 1) : model.mean_states({{prompt, {first}}}, 1), first.size());
  prefix.insert(prefix.end(), first.begin(), first.end());
  add(model.mean_states({{prefix, {second}}}, 1), second.size());
  return mean;
}

void check_means(const LanguageModel& model, double tolerance) {
  const std::vector<LanguageModel::Tree> trees = some_trees();
  const std::vector<float> means = model.mean_states(trees, 1);
  const auto dim = static_cast<size_t>(model.dim());
  size_t next = 0;
  const auto check = [&](const Tokens& prompt, const Tokens& text) {
    const std::vector<double> expected = mean_of(model, prompt, text);
    REQUIRE(means.size() >= next + dim);
    double wrong = 0;
    for (size_t d = 0; d < dim; ++d) wrong = std::max(wrong, std::abs(expected[d] - static_cast<double>(means[next++])));
    CHECK(wrong < tolerance);
  };
  for (const LanguageModel::Tree& tree : trees) {
    if (tree.endings.empty()) check({}, tree.prompt);
    for (const Tokens& ending : tree.endings) check(tree.prompt, ending);
  }
  CHECK(next == means.size());
  std::vector<float> one_by_one;
  for (const LanguageModel::Tree& tree : trees) {
    const std::vector<float> of_tree = model.mean_states({tree}, 1);
    one_by_one.insert(one_by_one.end(), of_tree.begin(), of_tree.end());
  }
  CHECK((one_by_one == means));
  const int before = threads();
  set_threads(3);
  CHECK((model.mean_states(trees, 3) == means));
  set_threads(before);
}

}  // namespace

TEST_CASE("mean states are means over the tokens of each ending", "[llama]") {
  for (const bool halves : {false, true}) {
    if (halves && !kernel::has_bfloat16_products()) continue;
    for (const int64_t window : {0, 20}) {
      CAPTURE(halves, window);
      check_means(*Loaded(TinyLlama(wide(window), kVocabulary, 21), halves).model, halves ? 0.1 : 2e-4);
    }
  }
  const Loaded loaded(TinyLlama(small(), kVocabulary, 24));
  CHECK(loaded.model->mean_states({}, 1).empty());
}

TEST_CASE("what has no state is told", "[llama]") {
  LlamaOptions o = small();
  o.max_positions = 6;
  const Loaded loaded(TinyLlama(o, kVocabulary, 24));
  const LanguageModel& model = *loaded.model;
  CHECK(model.last_states({}, 1).empty());
  CHECK(failure_of([&] { model.last_states({{{}, {}}}, 1); }).says("begin symbol"));
  CHECK(failure_of([&] { model.last_states({{{1}, {{}}}}, 1); }).says("one token at least"));
  CHECK(failure_of([&] { model.last_states({{{1, 2, 3}, {{4, 5, 6, 7}}}}, 1); }).says("6 positions"));
  CHECK(failure_of([&] { model.last_states({{{1, kVocabulary}, {}}}, 1); }).says("outside the vocabulary"));
  CHECK(failure_of([&] { model.output_row(kVocabulary); }).says("outside the vocabulary"));
}

TEST_CASE("a reward model needs no output layer", "[llama]") {
  TinyLlama tiny(small(), kVocabulary, 25);
  const Loaded whole(tiny);
  const std::vector<float> states = whole.model->last_states({{{1, 2, 3}, {}}}, 1);
  tiny.tensors.erase("lm_head.weight");
  const TempDir dir;
  const auto build = [&] {
    tiny.write(dir / "model.safetensors");
    infer::Weights weights({dir / "model.safetensors"});
    auto model = tiny.config()->build(tiny.vocabulary, weights);
    weights.take(infer::kScoreHead, {2, 32});
    weights.check();
    return model;
  };
  CHECK(failure_of(build).says("lm_head.weight"));
  tiny.add(infer::kScoreHead, {2, 32}, 1);
  const auto model = build();
  CHECK((model->last_states({{{1, 2, 3}, {}}}, 1) == states));
  CHECK(failure_of([&] { model->start(1); }).says("no output layer"));
  CHECK(failure_of([&] { model->score({{1, 2}}, 1); }).says("no output layer"));
  CHECK(failure_of([&] { model->output_row(1); }).says("no output layer"));
}

TEST_CASE("sequences that cannot begin together leave nothing behind", "[llama]") {
  LlamaOptions o = small();
  o.max_positions = 6;
  const TinyLlama tiny(o, kVocabulary, 12);
  const Loaded loaded(tiny);
  const auto decoder = loaded.model->start(1);
  const Tokens good{1, 2}, empty, foreign{1, kVocabulary}, longest(7, 1);
  for (const Tokens* bad : {&empty, &foreign, &longest}) CHECK(failure_of([&] { decoder->begin_all({{&good, nullptr}, {bad, nullptr}}); }).exit_code == kExitFailure);
  const std::vector<SequenceDecoder::Handle> handles = decoder->begin_all({{&good, nullptr}, {&good, nullptr}});
  CHECK((handles.size() == 2 && handles[0] == 0 && handles[1] == 1));
  CHECK(decoder->begin_all({}).empty());
  CHECK(worst(advance(*decoder, kVocabulary, {handles[1]}, {3})[0], tiny.logprobs({1, 2, 3}).back()) < 2e-4);
}

TEST_CASE("branches go their own ways from where they were", "[llama]") {
  const TinyLlama tiny(small(), kVocabulary, 6);
  const Loaded loaded(tiny);
  for (const int64_t length : {1, 15, 16, 17}) {
    CAPTURE(length);
    const Tokens prompt = random_tokens(length, 7);
    const auto decoder = loaded.model->start(1);
    SequenceDecoder::Handle first = -1;
    begin(*decoder, kVocabulary, prompt, first);
    const SequenceDecoder::Handle second = decoder->branch(first), third = decoder->branch(second);
    std::vector<Tokens> texts(3, prompt);
    for (int step = 0; step < 20; ++step) {
      const Tokens next{step % 3, 5 + step % 7, 20 + step % 11};
      const std::vector<Row> rows = advance(*decoder, kVocabulary, {third, first, second}, next);
      for (size_t i = 0; i < 3; ++i) texts[i].push_back(next[i]);
      if (step % 9 > 0) continue;
      for (size_t i = 0; i < 3; ++i) CHECK(worst(rows[i], tiny.logprobs(texts[i]).back()) < 2e-4);
    }
    // One that ends takes nothing from the others, and its handle is of no use until it comes again.
    decoder->end(first);
    CHECK(failure_of([&] { advance(*decoder, kVocabulary, {first}, {1}); }).says("no sequence"));
    texts[0].push_back(4);
    CHECK(worst(advance(*decoder, kVocabulary, {third}, {4})[0], tiny.logprobs(texts[0]).back()) < 2e-4);
    SequenceDecoder::Handle again = -1;
    CHECK(worst(begin(*decoder, kVocabulary, {3, 4}, again), tiny.logprobs({3, 4}).back()) < 2e-4);
    CHECK(again == first);
    texts[2].push_back(9);
    CHECK(worst(advance(*decoder, kVocabulary, {second}, {9})[0], tiny.logprobs(texts[2]).back()) < 2e-4);
  }
}

TEST_CASE("pages are shared until they are written to, and come back", "[llama]") {
  infer::KeyPages<float> pages(2, 3);
  infer::PagedSequence<float> first;
  const auto extend = [&](infer::PagedSequence<float>& sequence, int64_t count, float number) {
    sequence.make_room(pages, count);
    for (int64_t i = sequence.length(); i < sequence.length() + count; ++i) {
      for (int64_t part = 0; part < 2; ++part) std::fill_n(sequence.token(i) + part * pages.part_stride(), 3, number + static_cast<float>(i));
    }
    sequence.extend(count);
  };
  extend(first, 20, 0);
  CHECK(pages.used() == 2);
  infer::PagedSequence<float> second = first.branch(pages), third = first.branch(pages);
  CHECK(pages.used() == 2);
  extend(second, 1, 100);  // a copy of the second page
  CHECK(pages.used() == 3);
  extend(first, 1, 200);
  CHECK(pages.used() == 4);
  extend(third, 1, 300);  // the last that has it
  CHECK(pages.used() == 4);
  for (int64_t part = 0; part < 2; ++part) {
    const auto at = [&](infer::PagedSequence<float>& sequence, int64_t token) { return sequence.token(token)[part * pages.part_stride() + 2]; };
    for (int64_t i = 0; i < 20; ++i) CHECK((at(first, i) == static_cast<float>(i) && at(second, i) == static_cast<float>(i) && at(third, i) == static_cast<float>(i)));
    CHECK((at(first, 20) == 220 && at(second, 20) == 120 && at(third, 20) == 320));
  }
  first.end(pages);
  CHECK(pages.used() == 3);
  // The next token is the 22nd: of a window of 5 it sees 17 .. 21.
  second.forget_before_window(pages, 6);
  CHECK(pages.used() == 3);  // the third has the page, too
  third.forget_before_window(pages, 5);
  CHECK(pages.used() == 2);
  second.end(pages);
  third.end(pages);
  CHECK(pages.used() == 0);
}

TEST_CASE("bfloat16 is near float32, from whatever type the file has", "[llama]") {
  if (!kernel::has_bfloat16_products()) return;
  for (const int64_t dim : {32, 27}) {
    LlamaOptions o = small();
    o.dim = dim, o.head_dim = 8;
    const TinyLlama tiny(o, kVocabulary, 8);
    const Tokens tokens = random_tokens(40, 9);
    check_all_ways(tiny, *Loaded(tiny, true).model, tokens, 0.15);
    check_all_ways(tiny, *Loaded(tiny, true, io::DType::kBF16).model, tokens, 0.15);
    check_all_ways(tiny, *Loaded(tiny, false, io::DType::kBF16).model, tokens, 0.15);
    // Whether the file or the engine rounds, it is the same model.
    TinyLlama rounded = tiny;
    for (auto& [name, tensor] : rounded.tensors) {
      const auto count = static_cast<int64_t>(tensor.numbers.size());
      std::vector<kernel::BFloat16> halves(tensor.numbers.size());
      kernel::float_kernels().to_bfloat16(tensor.numbers.data(), halves.data(), count);
      kernel::packed_kernels().widen(halves.data(), kernel::NumberType::kBFloat16, count, tensor.numbers.data());
    }
    CHECK((rounded.tensors.at("model.norm.weight").numbers != tiny.tensors.at("model.norm.weight").numbers));
    CHECK((by_steps(*Loaded(rounded, true).model, tokens) == by_steps(*Loaded(tiny, true, io::DType::kBF16).model, tokens)));
  }
}

TEST_CASE("adapters are merged when they are read", "[llama]") {
  LlamaOptions o = small();
  o.lora.rank = 3;
  o.lora.alpha = 5;
  o.lora.targets = {"q_proj", "v_proj", "o_proj", "gate_proj", "down_proj"};
  const TinyLlama tiny(o, kVocabulary, 10);
  check_all_ways(tiny, *Loaded(tiny).model, random_tokens(20, 11), 2e-4);
}

TEST_CASE("sizes that would overflow are usage errors", "[llama]") {
  const auto set = [](const std::string& key, const std::string& value) {
    LlamaOptions o;
    Options options;
    o.declare(options);
    return options.find(key)->set({value});
  };
  for (const char* key : {"model.dim", "model.ffn", "model.heads", "model.kv-heads", "model.head-dim", "model.layers", "model.vocabulary", "model.max-positions",
                          "model.window", "model.rope-original-positions", "lora.rank"}) {
    CAPTURE(key);
    for (const char* value : {"2305843009213693959", "9223372036854775807"}) CHECK(set(key, value).find("is outside") != std::string::npos);
    CHECK(set(key, "4096").empty());
  }
  const auto resolve = [](auto change) {
    LlamaOptions o = small();
    change(o);
    return failure_of([&] { o.resolve(); });
  };
  CHECK(resolve([](LlamaOptions&) {}).exit_code == kExitDone);
  const Failure wide = resolve([](LlamaOptions& o) { o.heads = o.kv_heads = 1 << 20, o.head_dim = 1 << 8; });
  CHECK((wide.exit_code == kExitUsage && wide.says("model.heads 1048576 of width 256")));
  const Failure deep = resolve([](LlamaOptions& o) { o.dim = o.ffn = 1 << 24, o.head_dim = 8, o.layers = 1 << 16; });
  CHECK((deep.exit_code == kExitUsage && deep.says("model.layers 65536")));
  const Failure longest = resolve([](LlamaOptions& o) { o.head_dim = 1024, o.layers = 1000, o.max_positions = int64_t{1} << 31; });
  CHECK((longest.exit_code == kExitUsage && longest.says("model.max-positions 2147483648")));
  // Sizes of the largest models there are.
  CHECK(resolve([](LlamaOptions& o) { o.dim = 16384, o.ffn = 53248, o.layers = 126, o.heads = 128, o.kv_heads = 8, o.max_positions = 131072; }).exit_code == kExitDone);
}

TEST_CASE("weights and sequences that do not fit are named", "[llama]") {
  LlamaOptions o = small();
  o.max_positions = 6;
  TinyLlama tiny(o, kVocabulary, 12);
  const Loaded loaded(tiny);
  const auto decoder = loaded.model->start(1);
  CHECK(failure_of([&] { decoder->begin({}, nullptr); }).says("no tokens"));
  CHECK(failure_of([&] { decoder->begin(random_tokens(7, 1), nullptr); }).says("7 tokens is longer than the 6 positions"));
  CHECK(failure_of([&] { decoder->begin({1, kVocabulary}, nullptr); }).says("token 37 is outside the vocabulary of 37"));
  const SequenceDecoder::Handle full = decoder->begin(random_tokens(6, 1), nullptr), other = decoder->begin({1, 2}, nullptr);
  const std::vector<Row> before = advance(*decoder, kVocabulary, {other}, {3});
  CHECK(failure_of([&] { advance(*decoder, kVocabulary, {other, full}, {4, 4}); }).says("7 tokens is longer than the 6 positions"));
  CHECK(failure_of([&] { advance(*decoder, kVocabulary, {other, other}, {4, 4}); }).says("twice"));
  CHECK(failure_of([&] { advance(*decoder, kVocabulary, {other}, {-1}); }).says("token -1"));
  CHECK(failure_of([&] { loaded.model->score({random_tokens(8, 1)}, 1); }).says("7 tokens is longer than the 6 positions"));
  CHECK(loaded.model->score({{1}, {}, {1, 2}}, 1).size() == 1);
  CHECK(worst(advance(*decoder, kVocabulary, {other}, {4})[0], tiny.logprobs({1, 2, 3, 4}).back()) < 2e-4);  // failures have changed nothing

  const auto refusal = [&](auto change) {
    TinyLlama changed = tiny;
    change(changed);
    return failure_of([&] { Loaded{changed}; });
  };
  const Failure missing = refusal([](TinyLlama& t) { t.tensors.erase("model.layers.1.mlp.up_proj.weight"), t.tensors.erase("model.norm.weight"); });
  CHECK((missing.says("missing: model.layers.1.mlp.up_proj.weight, model.norm.weight") && missing.exit_code == 1));
  CHECK(refusal([](TinyLlama& t) { t.tensors["model.layers.0.self_attn.k_proj.weight"].shape = {32, 16}; })
            .says("model.layers.0.self_attn.k_proj.weight: shape [32, 16] where [16, 32] is needed"));
  CHECK(refusal([](TinyLlama& t) { t.add("model.layers.2.mlp.up_proj.weight", {2}, 1); }).says("unexpected: model.layers.2.mlp.up_proj.weight"));
}
