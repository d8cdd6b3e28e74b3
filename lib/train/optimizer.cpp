#include "train/optimizer.h"

#include "base/threads.h"
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
      v_(at::zeros_like(parameters.flat_values())) {}

void Optimizer::step(double gradient_scale, double learning_rate) {
  at::NoGradGuard no_grad;
  ++steps_;
  const double correction1 = 1 - std::pow(options_.beta1, static_cast<double>(steps_));
  const double correction2 = 1 - std::pow(options_.beta2, static_cast<double>(steps_));
  const bool decoupled = options_.kind == "adamw";
  int64_t offset = 0;
  for (const nn::Parameter& parameter : parameters_.all()) {
    const int64_t size = parameter.value.numel();
    const double decay = parameter.decays ? options_.weight_decay : 0;
    at::Tensor values = parameters_.flat_values().narrow(0, offset, size);
    const at::Tensor gradients = parameters_.flat_gradients().narrow(0, offset, size);
    at::Tensor m = m_.narrow(0, offset, size), v = v_.narrow(0, offset, size);
    offset += size;
    if (tensor::is_fast(values)) {
      float *value = values.data_ptr<float>(), *mean = m.data_ptr<float>(), *square = v.data_ptr<float>();
      const float* gradient = gradients.data_ptr<float>();
      parallel_for(size, kBlock, [&](int64_t begin, int64_t end) {
        kernel::float_kernels().adam(value + begin, gradient + begin, mean + begin, square + begin, end - begin,
                                     static_cast<float>(gradient_scale), static_cast<float>(learning_rate / correction1),
                                     static_cast<float>(1 / std::sqrt(correction2)), static_cast<float>(options_.beta1),
                                     static_cast<float>(options_.beta2), static_cast<float>(options_.epsilon),
                                     static_cast<float>(decay), static_cast<float>(learning_rate), decoupled);
      });
      continue;
    }
    at::Tensor gradient = gradients * gradient_scale;
    if (decay > 0 && !decoupled) gradient = gradient + values * decay;
    if (decay > 0 && decoupled) values.mul_(1 - learning_rate * decay);
    m.mul_(options_.beta1).add_(gradient, 1 - options_.beta1);
    v.mul_(options_.beta2).addcmul_(gradient, gradient, 1 - options_.beta2);
    values.addcdiv_(m, v.sqrt().div_(std::sqrt(correction2)).add_(options_.epsilon), -learning_rate / correction1);
  }
}

std::vector<tensor::NamedTensor> Optimizer::state() const {
  std::vector<tensor::NamedTensor> state;
  int64_t offset = 0;
  for (const nn::Parameter& parameter : parameters_.all()) {
    const int64_t size = parameter.value.numel();
    state.emplace_back(parameter.name + ".m", m_.narrow(0, offset, size).view(parameter.value.sizes()));
    state.emplace_back(parameter.name + ".v", v_.narrow(0, offset, size).view(parameter.value.sizes()));
    offset += size;
  }
  return state;
}

double gradient_norm(const nn::Parameters& parameters) {
  const at::Tensor gradients = parameters.flat_gradients();
  if (!tensor::is_fast(gradients)) return gradients.norm().item<double>();
  // Partial sums of fixed blocks: the result is the same for every number of threads.
  const int64_t count = gradients.numel(), blocks = (count + kBlock - 1) / kBlock;
  std::vector<double> partial(static_cast<size_t>(blocks));
  const float* values = gradients.data_ptr<float>();
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
