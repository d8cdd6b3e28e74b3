#include "infer/lm_backend.h"

#include <catch2/catch.hpp>

#include "support/files.h"

using namespace seqmill;
using namespace seqmill::infer;
using namespace seqmill::test;

namespace {

LanguageModelSize some_size() {
  LanguageModelSize size;
  size.type = "llama";
  size.parameters = 1000;
  size.vocabulary = 90;
  size.rows = 100;
  size.chat_template = "chatml";
  size.max_positions = 64;
  size.cache_numbers = 10;
  return size;
}

}  // namespace

TEST_CASE("memory of a model: weights, and for each row keys, values and log-probabilities", "[memory]") {
  LanguageModelSize size = some_size();
  CHECK(size.weight_bytes("fp32") == 4000);
  CHECK(size.weight_bytes("bf16") == 2000);
  CHECK(size.cache_bytes("fp32") == 40);
  CHECK(size.cache_bytes("bf16") == 20);
  CHECK(memory_needed(size, "fp32", {1, 5}) == 4000 + 5 * 40 + 400);
  CHECK(memory_needed(size, "bf16", {3, 5}) == 2000 + 3 * (5 * 20 + 400));
  CHECK(memory_needed(size, "fp32", {1, 1000}) == memory_needed(size, "fp32", {1, 64}));
  size.integers = 900;
  CHECK(size.weight_bytes("fp32") == 900 + 400);
  CHECK(size.weight_bytes("bf16") == 900 + 200);
  size.scales = 7;
  CHECK(size.weight_bytes("bf16") == 900 + 200 + 28);
  // What workers have under way, up to 512 tokens each.
  size.row_numbers = 3;
  CHECK(memory_needed(size, "bf16", {4, 5, 2}) == size.weight_bytes("bf16") + 4 * (5 * 20 + 400) + 2 * 5 * 3 * 4);
  size.max_positions = 1000;
  CHECK(memory_needed(size, "bf16", {4, 900, 2}) == size.weight_bytes("bf16") + 4 * (900 * 20 + 400) + 2 * 512 * 3 * 4);
  // Numbers that no machine has do not overflow.
  size.max_positions = int64_t{1} << 31;
  size.cache_numbers = int64_t{1} << 40;
  CHECK(memory_needed(size, "fp32", {int64_t{1} << 32, int64_t{1} << 31, 4096}) == INT64_MAX);
}

TEST_CASE("too little memory is an error with numbers before anything is loaded", "[memory]") {
  const LanguageModelSize size = some_size();
  const SequenceLoad load{8, 10};
  const int64_t least = memory_needed(size, "fp32", {1, 10});
  const auto failure = [&](const std::string& precision, int64_t available) {
    return failure_of([&] { check_memory(size, "the/model", precision, load, available, "fewer things"); });
  };
  CHECK(failure("fp32", least).exit_code == kExitDone);
  const Failure refused = failure("fp32", least - 1);
  CHECK(refused.exit_code == kExitFailure);
  CHECK(refused.says("the/model needs 4.69 KiB of memory: 3.91 KiB of weights in fp32 and 800 bytes for one sequence of 10 tokens; 4.69 KiB are available"));
  CHECK(refused.says("--precision bf16 takes half"));
  CHECK(failure("bf16", 100).says("int8-quantize"));
}

TEST_CASE("a sequence longer than was foreseen needs its own memory, not that of the weights", "[memory]") {
  const LanguageModelSize size = some_size();
  const auto failure = [&](int64_t tokens, int64_t available) { return failure_of([&] { check_sequence_memory(size, "fp32", tokens, available); }); };
  CHECK(failure(60, 60 * 40 + 400).exit_code == kExitDone);
  CHECK(failure(60, 60 * 40 + 399).says("a sequence of 60 tokens, prompt and --max-new-tokens, needs 2.73 KiB of memory, and 2.73 KiB are available"));
}

TEST_CASE("a model is described", "[memory]") {
  LanguageModelSize size = some_size();
  const std::string text = describe(size, "the/model", "bf16", {8, 10}, 5000);
  for (const char* part : {"the/model (llama)", "parameters  1000\n", "3.91 KiB in fp32, 1.95 KiB in bf16", "about 1000 bytes after int8-quantize",
                           "40 bytes a token in fp32, 20 bytes in bf16", "positions   64: a sequence of all of them takes 1.25 KiB in bf16", "90 tokens", "template    chatml",
                           "for 8 rows of 10 tokens; 4.88 KiB are available"}) {
    CAPTURE(text, part);
    CHECK(text.find(part) != std::string::npos);
  }
  size.integers = 900;
  CHECK(describe(size, "the/model", "fp32", {8, 10}, INT64_MAX).find("parameters  1000, of which 900 in 8 bits\n") != std::string::npos);
  CHECK((size.weight_bytes("fp32") == 1300 && size.cache_bytes("fp32") == 40));
  // Keys and values of what is integers throughout are integers too.
  size.throughout = true;
  CHECK((size.cache_bytes("fp32") == 10 && size.cache_bytes("bf16") == 10));
  size.integers = 300, size.wide_integers = 600;
  CHECK((size.weight_bytes("fp32") == 1900 && size.cache_bytes("fp32") == 20));
  CHECK(describe(size, "the/model", "fp32", {8, 10}, INT64_MAX).find("1000, of which 300 in 8 bits and 600 in 16 bits\n") != std::string::npos);
}

TEST_CASE("what a backend cannot do is a usage error", "[backend]") {
  BackendOptions options;
  options.backend = "engine";
  options.device = "cuda";
  const Failure refused = failure_of([&] { load_language_model("nowhere", options, 1); });
  CHECK(refused.exit_code == kExitUsage);
  CHECK(refused.says("--device cuda needs --backend torch"));
}
