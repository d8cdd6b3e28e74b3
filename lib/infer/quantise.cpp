#include "infer/quantise.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "base/error.h"
#include "base/rng.h"
#include "base/strings.h"
#include "infer/engine.h"
#include "infer/integer_settings.h"
#include "infer/lm_engine.h"
#include "io/directory.h"
#include "io/run_dir.h"
#include "io/safetensors.h"

namespace seqmill::infer {
namespace {

/// By the name of a sub-layer or of a tensor of it; "" for what is in none.
std::string module_of_name(const std::string& name) {
  const std::vector<std::string> parts = split(name, '.');
  const bool encoder = parts.front() == "encoder";
  for (const std::string& part : parts) {
    if (part == "positions") return "";
    if (part == "embedding" || part == "output") return part;
    if (part == "attention") return encoder ? "encoder-attention" : "decoder-self";
    if (part == "self" || part == "cross") return "decoder-" + part;
    if (part == "ffn") return encoder ? "encoder-ffn" : "decoder-ffn";
  }
  return "";
}

/// The module of a tensor; "" for what is no weight matrix: biases, norms, tables of positions.
using Modules = std::function<std::string(const io::TensorRecord&)>;

std::string module_of_translation_model(const io::TensorRecord& record) {
  return record.shape.size() == 2 && ends_with(record.name, ".weight") ? module_of_name(record.name) : "";
}

using Places = std::function<IntegerPlace(const std::string& tensor)>;

/// "decoder.5.ffn" for "decoder.5.ffn.up.weight", "encoder.norm" for its weight.
std::string scope_in_translation_model(const std::string& tensor) {
  std::vector<std::string> parts = split(tensor, '.');
  parts.pop_back();  // "weight"
  if (parts.size() == 4) parts.pop_back();  // "up"
  return join(parts, ".");
}

IntegerPlace place_in_translation_model(const std::string& tensor) {
  IntegerPlace place;
  place.scope = scope_in_translation_model(tensor);
  place.is_real = tensor == "output.bias" || tensor.find(".polynomial.") != std::string::npos;
  place.is_positions = ends_with(place.scope, ".positions");
  place.is_last_norm = place.scope == "decoder.norm";
  const std::string side = split(tensor, '.').front();
  if (place.is_positions) place.scope = side + ".embedding";
  // The norm at the end of a side belongs to its feed-forward layers.
  place.module = place.scope == "encoder.norm" || place.scope == "decoder.norm" ? side + "-ffn" : module_of_name(place.scope);
  return place;
}

/// What quantising asks of a model, whichever of the engines is to compute it.
struct Subject {
  Modules module_of = module_of_translation_model;
  Places place_of = place_in_translation_model;
  std::map<std::string, std::string> more_scopes;     ///< and their modules: what is computed with bits of its own from another scope's tensors
  std::map<std::string, std::string> copies;          ///< LmEngineConfig::copies()
  std::string example = "decoder.0.ffn";              ///< of a scope
  std::function<void(const ModelSource&)> check;      ///< throws Error for what does not fit together
  std::function<void()> check_scale_propagation;
};

Subject subject_of(const ModelSource& source, const QuantiseOptions& options) {
  Subject subject;
  if (engine_knows(source.config.type)) {
    subject.more_scopes = {{"encoder.embedding", "embedding"}};  // the table may be the decoder's
    subject.check = [](const ModelSource& model) { load_in_engine(model); };
    subject.check_scale_propagation = [&] { configure_engine(source.config)->check_scale_propagation(); };
  } else if (lm_engine_knows(source.config.type)) {
    const std::shared_ptr<LmEngineConfig> engine = configure<LmEngineType>(source.config);
    subject.module_of = [engine](const io::TensorRecord& record) { return engine->module_of(record); };
    subject.place_of = [engine](const std::string& tensor) { return engine->place_of(tensor); };
    subject.copies = engine->copies();
    subject.example = "model.layers.0.mlp";
    subject.check = check_lm_in_engine;
    subject.check_scale_propagation = [engine, granularity = options.granularity] {
      engine->check_scale_propagation();
      if (granularity == "sentence") fail_usage("--granularity sentence: source tokens of a sentence share their scales, and a language model has none; row or head");
    };
  } else {
    fail("{}: the engine cannot decode models of type '{}', so there is no use in quantising one", source.files.config, source.config.type);
  }
  return subject;
}

/// What makes an integer of a number of so many steps.
using Rounding = std::function<double(double steps, Rng& rng)>;

Rounding rounding_of(const std::string& name) {
  // The largest number is a whole step, but for the rounding of its scale.
  if (name == "trunc") return [](double steps, Rng&) { return std::trunc(steps * (1 + 1e-6)); };
  if (name == "stochastic") return [](double steps, Rng& rng) { return std::floor(steps + rng.uniform()); };
  return [](double steps, Rng&) { return std::round(steps); };  // half away from zero
}

/// The numbers of a tensor as integers of some type, and their scales.
struct Integers {
  io::DType dtype;
  std::vector<char> numbers;
  std::vector<float> scales;
};

template <typename Number>
void append(int32_t number, std::vector<char>& bytes) {
  const auto narrow = static_cast<Number>(number);
  const auto* begin = reinterpret_cast<const char*>(&narrow);
  bytes.insert(bytes.end(), begin, begin + sizeof narrow);
}

/// A tensor [outputs, inputs] with a scale for each output or, with `one_scale`, the same for all.
Integers quantise(const std::string& name, const float* weight, int64_t outputs, int64_t inputs, io::DType dtype, int64_t limit, bool one_scale,
                  const std::string& rounding, uint64_t seed, TensorReport& report) {
  const auto largest_of = [&](int64_t first, int64_t count) {
    float largest = 0;
    for (int64_t i = first; i < first + count; ++i) largest = std::max(largest, std::fabs(weight[i]));
    return largest;
  };
  Integers integers{dtype, {}, {}};
  integers.numbers.reserve(static_cast<size_t>(outputs * inputs * io::size_of(dtype)));
  const float whole = one_scale ? largest_of(0, outputs * inputs) : 0;
  const Rounding round = rounding_of(rounding);
  Rng rng(seed, "quantise/" + name);
  double squared_error = 0, square = 0;
  int64_t at_limit = 0;
  for (int64_t o = 0; o < outputs; ++o) {
    const float largest = one_scale ? whole : largest_of(o * inputs, inputs);
    // A row of zeros, or of numbers too small to have a scale, is zeros with scale 1.
    const float wanted = static_cast<float>(limit) / largest;
    const float scale = largest > 0 && std::isfinite(wanted) ? wanted : 1.0F;
    integers.scales.push_back(scale);
    for (int64_t k = 0; k < inputs; ++k) {
      const double real = static_cast<double>(weight[o * inputs + k]);
      const double inside = std::clamp(round(real * static_cast<double>(scale), rng), -static_cast<double>(limit), static_cast<double>(limit));
      const auto number = static_cast<int32_t>(inside);
      switch (dtype) {
        case io::DType::kI8: append<int8_t>(number, integers.numbers); break;
        case io::DType::kI16: append<int16_t>(number, integers.numbers); break;
        default: append<int32_t>(number, integers.numbers);
      }
      const double error = real - number / static_cast<double>(scale);
      squared_error += error * error;
      square += real * real;
      at_limit += std::abs(number) == limit;
    }
  }
  report.error = square > 0 ? std::sqrt(squared_error / square) : 0;
  report.at_limit = static_cast<double>(at_limit) / static_cast<double>(std::max<int64_t>(1, outputs * inputs));
  return integers;
}

bool begins_with_name(const std::string& name, const std::string& beginning) {
  return name == beginning || starts_with(name, beginning + ".");
}

/// The sub-layers, and what is beside them, that have a precision of their own in scale-propagation, with their modules.
std::map<std::string, std::string> scopes_of(const std::vector<io::TensorRecord>& tensors, const Subject& subject) {
  std::map<std::string, std::string> scopes;
  for (const io::TensorRecord& record : tensors) {
    const IntegerPlace place = subject.place_of(record.name);
    if (!place.is_real && !place.is_positions) scopes[place.scope] = place.module;
  }
  return scopes;
}

const std::vector<std::string> kLast{"last-residual", "last-norm"};

void check_names(const QuantiseOptions& options, const std::vector<io::TensorRecord>& tensors, const Subject& subject) {
  std::vector<std::string> names;
  if (options.throughout()) {
    for (const auto& [scope, module] : scopes_of(tensors, subject)) names.push_back(scope);
  } else {
    for (const io::TensorRecord& record : tensors) names.push_back(record.name);
  }
  for (const std::string& kept : options.keep) {
    const bool last = options.throughout() && std::find(kLast.begin(), kLast.end(), kept) != kLast.end();
    if (last || std::any_of(names.begin(), names.end(), [&](const std::string& name) { return begins_with_name(name, kept); })) continue;
    if (options.throughout()) fail_usage("--keep-fp {}: the model has no sub-layer of that name or beginning, such as {}; or {}", kept, subject.example, join(kLast, ", "));
    fail_usage("--keep-fp {}: the model has no tensor of that name or beginning", kept);
  }
  for (const std::string& module : options.modules) {
    const auto matches = [&](const io::TensorRecord& record) { return subject.module_of(record) == module; };
    if (std::none_of(tensors.begin(), tensors.end(), matches)) fail_usage("--int8-modules {}: this model has no such module{}", module,
                 module == "output" ? "; its output layer is its embedding (model.tie), which is module embedding" : "");
  }
}

void check_options(const QuantiseOptions& options) {
  if (options.bits > 8 && (options.bits != 16 || !options.throughout())) {
    fail_usage("--bits {}: 4 to 8{}", options.bits, options.throughout() ? ", or 16" : "; 16 with --mode scale-propagation");
  }
  if (!options.throughout() && (options.granularity != "row" || options.rescale != "max")) {
    fail_usage("--granularity and --rescale say how scale-propagation computes; dynamic rounds each row by its largest number");
  }
}

/// The tensors of a model of integers, and what became of them.
struct Quantised {
  std::vector<io::TensorRecord> records;
  std::vector<TensorReport> reports;
  std::vector<Integers> integers;  ///< that records point into
};

void check_finite(const std::string& file, const std::string& name, const float* numbers, int64_t count) {
  const float* found = std::find_if(numbers, numbers + count, [](float number) { return !std::isfinite(number); });
  if (found != numbers + count) {
    fail("{}: {} holds {} at {}: a model that has diverged cannot be quantised", file, name, *found, found - numbers);
  }
}

/// What a tensor is to become; no limit: it stays.
struct Target {
  io::DType dtype = io::DType::kI8;
  int64_t limit = 0;
  bool one_scale = false;
  std::vector<int64_t> shape;  ///< [outputs, inputs] for the scales
};

/// Matrices of the chosen modules become integers.
Target dynamic_target(const io::TensorRecord& record, const std::string& module, const QuantiseOptions& options) {
  const bool chosen = options.modules.empty() || std::find(options.modules.begin(), options.modules.end(), module) != options.modules.end();
  const bool stays = std::any_of(options.keep.begin(), options.keep.end(), [&](const std::string& name) { return begins_with_name(record.name, name); });
  if (module.empty() || !chosen || stays) return {};
  return {io::DType::kI8, integer_limit(options.bits), options.weight_scale == "tensor", record.shape};
}

/// Everything becomes integers but what is to stay real: the bias of the logits, the two numbers of a head's polynomial.
Target integer_target(const io::TensorRecord& record, const IntegerPlace& place, const QuantiseOptions& options, const IntegerSettings& settings) {
  if (place.is_real) return {};
  if (ends_with(record.name, ".bias")) return {io::DType::kI32, kLargestBias, true, {1, record.shape[0]}};
  const int64_t limit = settings.limit_of(place.scope);
  const io::DType dtype = limit > integer_limit(8) ? io::DType::kI16 : io::DType::kI8;
  if (record.shape.size() == 1) return {dtype, limit, true, {1, record.shape[0]}};
  return {dtype, limit, !place.is_positions && options.weight_scale == "tensor", record.shape};
}

IntegerSettings settings_of(const QuantiseOptions& options, const std::vector<io::TensorRecord>& tensors, const Subject& subject) {
  IntegerSettings settings;
  settings.bits = options.bits;
  settings.how = requantising_of(options.granularity, options.rescale, options.rounding == "trunc" ? "trunc" : "nearest");
  settings.wide = options.keep;
  // The norm at the end, with its weight, where there is one.
  for (const io::TensorRecord& record : tensors) {
    const IntegerPlace place = subject.place_of(record.name);
    if (place.is_last_norm) std::replace(settings.wide.begin(), settings.wide.end(), std::string("last-norm"), place.scope);
  }
  if (options.modules.empty() || options.bits == IntegerSettings::kWideBits) return settings;
  std::map<std::string, std::string> scopes = scopes_of(tensors, subject);
  scopes.insert(subject.more_scopes.begin(), subject.more_scopes.end());
  for (const auto& [scope, module] : scopes) {
    if (std::find(options.modules.begin(), options.modules.end(), module) == options.modules.end()) settings.wide.push_back(scope);
  }
  return settings;
}

Quantised quantise_all(Weights& weights, const std::string& file, const QuantiseOptions& options, const IntegerSettings& settings, const Subject& subject,
                       uint64_t seed) {
  Quantised all;
  all.integers.reserve(weights.tensors().size());
  for (const io::TensorRecord& record : weights.tensors()) {
    if (subject.copies.count(record.name)) continue;
    const Numbers numbers = weights.take(record.name, record.shape);
    weights.check_fit();  // of another type than floating-point
    check_finite(file, record.name, numbers.data(), record.bytes() / io::size_of(record.dtype));
    TensorReport report;
    report.name = record.name;
    const IntegerPlace place = options.throughout() ? subject.place_of(record.name) : IntegerPlace();
    report.module = options.throughout() ? place.module : subject.module_of(record);
    const Target target = options.throughout() ? integer_target(record, place, options, settings) : dynamic_target(record, report.module, options);
    report.bytes_before = report.bytes_after = record.bytes();
    report.quantised = target.limit > 0;
    if (report.quantised) {
      all.integers.push_back(quantise(record.name, numbers.data(), target.shape[0], target.shape[1], target.dtype, target.limit, target.one_scale,
                                      options.rounding, seed, report));
      io::TensorRecord integers = record, scales;
      integers.dtype = target.dtype;
      integers.data = all.integers.back().numbers.data();
      scales.name = record.name + ".scale";
      scales.shape = {target.shape[0]};
      scales.data = all.integers.back().scales.data();
      report.bytes_after = integers.bytes() + scales.bytes();
      all.records.insert(all.records.end(), {integers, scales});
    } else {
      all.records.push_back(record);
    }
    all.reports.push_back(report);
  }
  return all;
}

}  // namespace

void QuantiseOptions::declare(Options& options) {
  options.add("mode", mode, "dynamic: integer weights, rows rounded around each product; scale-propagation: integers throughout, of an integer-transformer, or of a language model trained for it")
      .one_of({"dynamic", "scale-propagation"});
  options.add("bits", bits, "Bits of the integers, 4 to 8; 16 in scale-propagation").range(4, 16);
  options.add("w-scale", weight_scale, "A scale for each output channel, or one for each tensor").one_of({"channel", "tensor"});
  options.add("round", rounding, "How numbers become integers").one_of({"nearest", "trunc", "stochastic"});
  options.add("granularity", granularity, "What shares a scale while scale-propagation computes").one_of({"sentence", "row", "head"});
  options.add("rescale", rescale, "When scale-propagation re-scales: what exceeds the bits; by powers of two; always").one_of({"max", "pow2", "always"});
  options.add("int8-modules", modules, "Only these modules: " + join(modules_of_model(), ", ")).one_of(modules_of_model());
  options.add("keep-fp", keep, "What stays real, by names or their beginnings, such as decoder.5.ffn; in scale-propagation in 16 bits, also last-residual, last-norm").placeholder("NAME");
}

std::vector<std::string> modules_of_model() {
  return {"embedding", "output", "encoder-attention", "encoder-ffn", "decoder-self", "decoder-cross", "decoder-ffn", "attention", "ffn"};
}

std::vector<TensorReport> quantise_model(const std::string& model, const std::string& output, const QuantiseOptions& options, uint64_t seed) {
  check_options(options);
  if (io::is_directory(output)) fail("{} exists; give another --output or remove it", output);
  const ModelSource source(model);
  const std::string& file = source.files.weights;
  const Subject subject = subject_of(source, options);
  Weights weights({file});
  if (!weights.integer_mode().empty()) fail("{} holds integers: the model is quantised already", file);
  if (options.throughout()) subject.check_scale_propagation();
  subject.check(source);
  for (const io::TensorRecord& record : weights.tensors()) {
    if (record.name.find(".lora_") != std::string::npos) fail("{} holds adapters ({}): merge them into the weights first (lm-train --export-hf)", file, record.name);
  }
  for (const io::TensorRecord& record : weights.tensors()) {
    if (options.throughout() && is_score_head(record.name)) fail_usage("{} is a reward model ({}), whose scores no integers give; --mode dynamic keeps them real", file, record.name);
  }
  check_names(options, weights.tensors(), subject);
  std::vector<TensorReport> reports;
  io::write_directory(output, [&](const std::string& directory) {
    const IntegerSettings settings = settings_of(options, weights.tensors(), subject);
    const Quantised all = quantise_all(weights, file, options, settings, subject, seed);
    std::map<std::string, std::string> metadata{{"bits", std::to_string(options.bits)}};
    if (options.throughout()) metadata = settings.metadata();
    metadata.insert({{"format", "seqmill-int8"}, {"mode", options.mode}});
    io::write_safetensors(directory + "/model.safetensors", all.records, metadata);
    io::copy_companions(source.files.directory, directory);
    subject.check(ModelSource(directory));  // what will be found can be read
    reports = all.reports;
  });
  return reports;
}

}  // namespace seqmill::infer
