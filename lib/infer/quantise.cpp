#include "infer/quantise.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/error.h"
#include "base/rng.h"
#include "base/strings.h"
#include "infer/engine.h"
#include "io/directory.h"
#include "io/run_dir.h"
#include "io/safetensors.h"

namespace seqmill::infer {
namespace {

/// "" for what is no weight matrix: biases, norms, tables of positions.
std::string module_of(const io::TensorRecord& record) {
  const std::vector<std::string> parts = split(record.name, '.');
  if (record.shape.size() != 2 || parts.back() != "weight") return "";
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

/// What makes an integer of a number of so many steps.
using Rounding = std::function<double(double steps, Rng& rng)>;

Rounding rounding_of(const std::string& name) {
  // The largest number is a whole step, but for the rounding of its scale.
  if (name == "trunc") return [](double steps, Rng&) { return std::trunc(steps * (1 + 1e-6)); };
  if (name == "stochastic") return [](double steps, Rng& rng) { return std::floor(steps + rng.uniform()); };
  return [](double steps, Rng&) { return std::round(steps); };  // half away from zero
}

struct Integers {
  std::vector<int8_t> numbers;
  std::vector<float> scales;
};

Integers quantise(const std::string& name, const float* weight, int64_t outputs, int64_t inputs,
                  const QuantiseOptions& options, uint64_t seed, TensorReport& report) {
  const int32_t limit = (1 << (options.bits - 1)) - 1;
  const auto largest_of = [&](int64_t first, int64_t count) {
    float largest = 0;
    for (int64_t i = first; i < first + count; ++i) largest = std::max(largest, std::fabs(weight[i]));
    return largest;
  };
  Integers integers;
  integers.numbers.reserve(static_cast<size_t>(outputs * inputs));
  const bool one_scale = options.weight_scale == "tensor";
  const float whole = one_scale ? largest_of(0, outputs * inputs) : 0;
  const Rounding round = rounding_of(options.rounding);
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
      const int32_t number = std::clamp(static_cast<int32_t>(round(real * static_cast<double>(scale), rng)), -limit, limit);
      integers.numbers.push_back(static_cast<int8_t>(number));
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

void check_names(const QuantiseOptions& options, const std::vector<io::TensorRecord>& tensors) {
  for (const std::string& kept : options.keep) {
    const auto matches = [&](const io::TensorRecord& record) { return begins_with_name(record.name, kept); };
    if (std::none_of(tensors.begin(), tensors.end(), matches)) fail_usage("--keep-fp {}: the model has no tensor of that name or beginning", kept);
  }
  for (const std::string& module : options.modules) {
    const auto matches = [&](const io::TensorRecord& record) { return module_of(record) == module; };
    if (std::none_of(tensors.begin(), tensors.end(), matches)) fail_usage("--int8-modules {}: this model has no such module{}", module,
                 module == "output" ? "; its output layer is its embedding (model.tie), which is module embedding" : "");
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

Quantised quantise_all(Weights& weights, const std::string& file, const QuantiseOptions& options, uint64_t seed) {
  Quantised all;
  all.integers.reserve(weights.tensors().size());
  for (const io::TensorRecord& record : weights.tensors()) {
    const Numbers numbers = weights.take(record.name, record.shape);
    weights.check_fit();  // of another type than floating-point
    check_finite(file, record.name, numbers.data(), record.bytes() / io::size_of(record.dtype));
    TensorReport report;
    report.name = record.name;
    report.module = module_of(record);
    report.bytes_before = report.bytes_after = record.bytes();
    const bool chosen = options.modules.empty() || std::find(options.modules.begin(), options.modules.end(), report.module) != options.modules.end();
    const bool stays = std::any_of(options.keep.begin(), options.keep.end(), [&](const std::string& name) { return begins_with_name(record.name, name); });
    report.quantised = !report.module.empty() && chosen && !stays;
    if (report.quantised) {
      all.integers.push_back(quantise(record.name, numbers.data(), record.shape[0], record.shape[1], options, seed, report));
      io::TensorRecord integers = record, scales;
      integers.dtype = io::DType::kI8;
      integers.data = all.integers.back().numbers.data();
      scales.name = record.name + ".scale";
      scales.shape = {record.shape[0]};
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
  options.add("mode", mode, "dynamic: 8-bit weights, activations rounded around each product while decoding").one_of({"dynamic"});
  options.add("bits", bits, "Bits of the weights").range(4, 8);
  options.add("w-scale", weight_scale, "A scale for each output channel, or one for each tensor").one_of({"channel", "tensor"});
  options.add("round", rounding, "How numbers become integers").one_of({"nearest", "trunc", "stochastic"});
  options.add("int8-modules", modules, "Only these modules: " + join(modules_of_model(), ", ")).one_of(modules_of_model());
  options.add("keep-fp", keep, "Leave these tensors as they are: names or their beginnings, such as decoder.5.ffn").placeholder("NAME");
}

std::vector<std::string> modules_of_model() {
  return {"embedding", "output", "encoder-attention", "encoder-ffn", "decoder-self", "decoder-cross", "decoder-ffn"};
}

std::vector<TensorReport> quantise_model(const std::string& model, const std::string& output, const QuantiseOptions& options, uint64_t seed) {
  if (io::is_directory(output)) fail("{} exists; give another --output or remove it", output);
  const ModelSource source(model);
  const std::string& file = source.files.weights;
  if (!engine_knows(source.config.type)) {
    fail("{}: the engine cannot decode models of type '{}', so there is no use in quantising one", source.files.config, source.config.type);
  }
  Weights weights({file});
  for (const io::TensorRecord& record : weights.tensors()) {
    if (record.dtype == io::DType::kI8) fail("{}: {} holds 8-bit integers: the model is quantised already", file, record.name);
  }
  check_names(options, weights.tensors());
  std::vector<TensorReport> reports;
  io::write_directory(output, [&](const std::string& directory) {
    const Quantised all = quantise_all(weights, file, options, seed);
    io::write_safetensors(directory + "/model.safetensors", all.records,
                          {{"format", "seqmill-int8"}, {"mode", options.mode}, {"bits", std::to_string(options.bits)}});
    io::copy_companions(source.files.directory, directory);
    load_in_engine(ModelSource(directory));  // what will be found can be read
    reports = all.reports;
  });
  return reports;
}

}  // namespace seqmill::infer
