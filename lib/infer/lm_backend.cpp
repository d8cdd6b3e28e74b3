#include "infer/lm_backend.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"
#include "infer/lm_engine.h"
#include "io/safetensors.h"

namespace seqmill::infer {
namespace {

/// INT64_MAX where the numbers have a larger product or sum.
int64_t times(int64_t a, int64_t b) {
  int64_t product;
  return __builtin_mul_overflow(a, b, &product) ? INT64_MAX : product;
}
int64_t plus(int64_t a, int64_t b) {
  int64_t sum;
  return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

}  // namespace

LoadedLanguageModel load_language_model(const std::string& path, const BackendOptions& options, int threads, std::shared_ptr<const text::Tokenizer> tokenizer) {
  check_backend(options);
  const bool rounds = options.precision == "bf16", on_cpu = options.device == "cpu";
  if (options.backend != "torch" && on_cpu) {
    const ModelSource source(path);
    if (options.backend == "engine" || lm_engine_knows(source.config.type)) return load_lm_in_engine(source, options.average, rounds, std::move(tokenizer));
  }
  if (rounds) fail_usage("--precision bf16 is the engine's; --backend torch computes in fp32");
  return torch_library(threads).load_lm(path, options.average, options.device);
}

int64_t LanguageModelSize::weight_bytes(const std::string& precision) const {
  return integers + 2 * wide_integers + 4 * scales + (parameters - integers - wide_integers) * (precision == "bf16" ? 2 : 4);
}

int64_t LanguageModelSize::cache_bytes(const std::string& precision) const {
  if (throughout) return cache_numbers * (wide_integers > 0 ? 2 : 1);
  return cache_numbers * (precision == "bf16" ? 2 : 4);
}

LanguageModelSize size_language_model(const std::string& path, const std::shared_ptr<const text::Tokenizer>& tokenizer) {
  const ModelSource source(path);
  LanguageModelSize size;
  size.type = source.config.type;
  size.vocabulary = (tokenizer ? tokenizer : text::load_tokenizer(source.files.directory))->size();
  const LmSize known = with_options_of(source.files.config, [&] { return configure<LmEngineType>(source.config)->size(size.vocabulary); });
  size.max_positions = known.max_positions;
  size.cache_numbers = known.cache_numbers;
  size.rows = known.rows;
  size.row_numbers = known.row_numbers;
  size.chat_template = source.config.chat_template;
  const io::WeightFiles weights(source.files.weights);
  const auto mode = weights.metadata().find("mode");
  size.throughout = mode != weights.metadata().end() && mode->second == "scale-propagation";
  for (const io::TensorRecord& tensor : weights.tensors()) {
    const int64_t numbers = tensor.bytes() / io::size_of(tensor.dtype);
    if (ends_with(tensor.name, ".scale")) {
      size.scales += numbers;
      continue;
    }
    size.parameters += numbers;
    if (tensor.dtype == io::DType::kI8) size.integers += numbers;
    if (tensor.dtype == io::DType::kI16) size.wide_integers += numbers;
  }
  return size;
}

int64_t memory_needed(const LanguageModelSize& size, const std::string& precision, const SequenceLoad& load) {
  constexpr int64_t kTogether = 512, kNumber = sizeof(float);  // tokens of prompts that a worker computes together
  const int64_t tokens = std::min(load.tokens, size.max_positions), row = plus(times(tokens, size.cache_bytes(precision)), size.rows * kNumber);
  const int64_t worker = std::min(tokens, kTogether) * size.row_numbers * kNumber;
  return plus(size.weight_bytes(precision), plus(times(load.rows, row), times(load.workers, worker)));
}

void check_memory(const LanguageModelSize& size, const std::string& path, const std::string& precision, const SequenceLoad& load, int64_t available,
                  const std::string& advice) {
  const int64_t least = memory_needed(size, precision, {1, load.tokens}), all = memory_needed(size, precision, load);
  if (least > available) {
    fail("{} needs {} of memory: {} of weights in {} and {} for one sequence of {} tokens; {} are available. {}", path, format_bytes(least),
         format_bytes(size.weight_bytes(precision)), precision, format_bytes(least - size.weight_bytes(precision)), std::min(load.tokens, size.max_positions),
         format_bytes(available),
         precision == "bf16" ? "int8-quantize makes a model of half of the bytes" : "--precision bf16 takes half, a model of int8-quantize a quarter");
  }
  if (all > available) {
    log::warn("{} rows of {} tokens may need {} of memory, and {} are available: {} need less", load.rows, std::min(load.tokens, size.max_positions),
              format_bytes(all), format_bytes(available), advice);
  }
}

void check_sequence_memory(const LanguageModelSize& size, const std::string& precision, int64_t tokens, int64_t available) {
  const int64_t needed = memory_needed(size, precision, {1, tokens}) - size.weight_bytes(precision);
  if (needed > available) {
    fail("a sequence of {} tokens, prompt and --max-new-tokens, needs {} of memory, and {} are available", tokens, format_bytes(needed), format_bytes(available));
  }
}

std::string describe(const LanguageModelSize& size, const std::string& path, const std::string& precision, const SequenceLoad& load, int64_t available) {
  const int64_t reals = size.parameters - size.integers;
  std::string text = fmt::format("model       {} ({})\n", path, size.type);
  text += fmt::format("parameters  {}", size.parameters);
  if (size.integers > 0) text += fmt::format(", of which {} in 8 bits", size.integers);
  if (size.wide_integers > 0) text += fmt::format("{} {} in 16 bits", size.integers > 0 ? " and" : ", of which", size.wide_integers);
  text += "\n";
  text += fmt::format("weights     {} in fp32, {} in bf16\n", format_bytes(size.weight_bytes("fp32")), format_bytes(size.weight_bytes("bf16")));
  if (size.integers + size.wide_integers == 0) text += fmt::format("            about {} after int8-quantize\n", format_bytes(reals));
  text += fmt::format("cache       {} a token in fp32, {} in bf16\n", format_bytes(size.cache_bytes("fp32")), format_bytes(size.cache_bytes("bf16")));
  text += fmt::format("positions   {}: a sequence of all of them takes {} in {}\n", size.max_positions,
                      format_bytes(size.max_positions * size.cache_bytes(precision)), precision);
  text += fmt::format("vocabulary  {} tokens\n", size.vocabulary);
  text += fmt::format("template    {}\n", size.chat_template);
  text += fmt::format("memory      about {} in {} for {} rows of {} tokens; {} are available\n", format_bytes(memory_needed(size, precision, load)), precision, load.rows,
                      std::min(load.tokens, size.max_positions), available == INT64_MAX ? "unknown" : format_bytes(available));
  return text;
}

}  // namespace seqmill::infer
