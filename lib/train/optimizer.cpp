#include "train/optimizer.h"

#include "base/threads.h"
#include "base/time_spent.h"
#include "kernel/float_kernels.h"
#include "tensor/runtime.h"

namespace seqmill::train {
namespace {

constexpr int64_t kBlock = 1 << 16;

}  // namespace

void OptimizerOptions::declare(Options& options) {
  options.add("optimizer", kind, "Adam with L2 decay, or AdamW with decoupled decay").one_of({"adam", "adamw"});
  options.add("adam-beta1", beta1, "Decay of the mean of gradients").range(0, 0.999999);
  options.add("adam-beta2", beta2, "Decay of the mean of squared gradients").range(0, 0.999999);
  options.add("adam-epsilon", epsilon, "Added to the root of the second moment").range(0);
  options.add("weight-decay", weight_decay, "Weight decay of matrices (not of biases, norms, embeddings)").range(0);
}

Optimizer::Optimizer(nn::Parameters& parameters, const OptimizerOptions& options)
    : parameters_(parameters),
      options_(options),
      m_(at::zeros_like(parameters.flat_values())),
      v_(at::zeros_like(parameters.flat_values())) {
  int64_t begin = 0;
  for (const nn::Parameter& parameter : parameters.trained()) {
    const bool decays = parameter.decays && options.weight_decay > 0;
    if (ranges_.empty() || ranges_.back().decays != decays) ranges_.push_back({begin, begin, decays});
    begin = ranges_.back().end = begin + parameter.value.numel();
  }
}

void Optimizer::step(double gradient_scale, double learning_rate) {
  const Timed timed(Work::kOptimizer);
  at::NoGradGuard no_grad;
  ++steps_;
  const bool fast = tensor::is_fast(parameters_.flat_values());
  for (const Range& range : ranges_) {
    if (fast) {
      step_fast(range, gradient_scale, learning_rate);
    } else {
      step_general(range, gradient_scale, learning_rate);
    }
  }
}

double Optimizer::correction1() const { return 1 - std::pow(options_.beta1, static_cast<double>(steps_)); }
double Optimizer::correction2() const { return 1 - std::pow(options_.beta2, static_cast<double>(steps_)); }

void Optimizer::step_fast(const Range& range, double gradient_scale, double learning_rate) {
  float *value = parameters_.flat_values().data_ptr<float>() + range.begin, *mean = m_.data_ptr<float>() + range.begin,
        *square = v_.data_ptr<float>() + range.begin;
  const float* gradient = parameters_.flat_gradients().data_ptr<float>() + range.begin;
  const auto scale = static_cast<float>(gradient_scale), rate = static_cast<float>(learning_rate);
  const auto step_size = static_cast<float>(learning_rate / correction1());
  const auto root_correction = static_cast<float>(1 / std::sqrt(correction2()));
  const auto decay = static_cast<float>(range.decays ? options_.weight_decay : 0);
  const bool decoupled = options_.kind == "adamw";
  parallel_for(range.end - range.begin, kBlock, [&](int64_t begin, int64_t end) {
    kernel::float_kernels().adam(value + begin, gradient + begin, mean + begin, square + begin, end - begin, scale, step_size,
                                 root_correction, static_cast<float>(options_.beta1), static_cast<float>(options_.beta2),
                                 static_cast<float>(options_.epsilon), decay, rate, decoupled);
  });
}

void Optimizer::step_general(const Range& range, double gradient_scale, double learning_rate) {
  const auto part = [&](const at::Tensor& flat) { return flat.narrow(0, range.begin, range.end - range.begin); };
  at::Tensor values = part(parameters_.flat_values()), m = part(m_), v = part(v_);
  at::Tensor gradient = part(parameters_.flat_gradients()) * gradient_scale;
  const bool decoupled = options_.kind == "adamw";
  if (range.decays && !decoupled) gradient = gradient + values * options_.weight_decay;
  if (range.decays && decoupled) values.mul_(1 - learning_rate * options_.weight_decay);
  m.mul_(options_.beta1).add_(gradient, 1 - options_.beta1);
  v.mul_(options_.beta2).addcmul_(gradient, gradient, 1 - options_.beta2);
  values.addcdiv_(m, v.sqrt().div_(std::sqrt(correction2())).add_(options_.epsilon), -learning_rate / correction1());
}

std::vector<tensor::NamedTensor> Optimizer::state() const {
  std::vector<tensor::NamedTensor> state;
  int64_t offset = 0;
  for (const nn::Parameter& parameter : parameters_.trained()) {
    const int64_t size = parameter.value.numel();
    state.emplace_back(parameter.name + ".m", m_.narrow(0, offset, size).view(parameter.value.sizes()));
    state.emplace_back(parameter.name + ".v", v_.narrow(0, offset, size).view(parameter.value.sizes()));
    offset += size;
  }
  return state;
}

double euclidean_norm(const at::Tensor& flat) {
  const Timed timed(Work::kOptimizer);
  if (!tensor::is_fast(flat)) return flat.norm().item<double>();
  // Partial sums of fixed blocks: the result is the same for every number of threads.
  const int64_t count = flat.numel(), blocks = (count + kBlock - 1) / kBlock;
  std::vector<double> partial(static_cast<size_t>(blocks));
  const float* values = flat.data_ptr<float>();
  parallel_for(blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      partial[static_cast<size_t>(b)] =
          kernel::float_kernels().sum_of_squares(values + b * kBlock, std::min(kBlock, count - b * kBlock));
    }
  });
  double sum = 0;
  for (const double part : partial) sum += part;
  return std::sqrt(sum);
}

}  // namespace seqmill::train
