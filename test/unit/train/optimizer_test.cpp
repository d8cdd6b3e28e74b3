#include "base/threads.h"
#include "fake_task.h"

using namespace seqmill;
using namespace seqmill::train;
using namespace seqmill::test;

namespace {

/// A matrix that decays, a bias that does not, and a matrix of more than one block of the fused pass.
void add_parameters(nn::Parameters& parameters) {
  const nn::Scope root(parameters);
  root.matrix("small", 3, 4);
  root.parameter("bias", {5}, nn::Init::constant(0.7));
  root.matrix("large", 300, 301);
}

OptimizerOptions options_of(const std::string& kind, double decay) {
  OptimizerOptions options;
  options.kind = kind;
  options.weight_decay = decay;
  options.epsilon = 1e-3;  // large enough to be seen
  return options;
}

std::vector<bool> decays_of(const nn::Parameters& parameters) {
  std::vector<bool> decays;
  for (const nn::Parameter& parameter : parameters.all()) {
    decays.insert(decays.end(), static_cast<size_t>(parameter.value.numel()), parameter.decays);
  }
  return decays;
}

double rate_at(int step) { return 0.02 * step; }

/// Steps of the optimiser and of the reference on the same gradients; the largest difference of their values.
double difference_after(int steps, const OptimizerOptions& options, at::ScalarType type) {
  nn::Parameters parameters(3);
  add_parameters(parameters);
  parameters.to(at::kCPU, type);
  parameters.flatten();
  Optimizer optimizer(parameters, options);
  ReferenceAdam reference{options, {}, {}, 0};
  std::vector<double> expected = doubles(parameters.flat_values());
  const std::vector<bool> decays = decays_of(parameters);
  for (int step = 1; step <= steps; ++step) {
    const at::Tensor gradients = normals({parameters.count()}, static_cast<uint64_t>(step), type);
    parameters.flat_gradients().copy_(gradients);
    optimizer.step(0.25, rate_at(step));
    reference.step(expected, doubles(gradients.to(at::kDouble) * 0.25), decays, rate_at(step));
    CHECK(optimizer.steps() == step);
  }
  return difference(parameters.flat_values(), at::tensor(expected, at::kDouble));
}

}  // namespace

TEST_CASE("Adam and AdamW step as their papers say", "[optimizer]") {
  for (const char* kind : {"adam", "adamw"}) {
    for (const double decay : {0.0, 0.1}) {
      CAPTURE(kind, decay);
      CHECK(difference_after(6, options_of(kind, decay), at::kDouble) < 1e-12);
      CHECK(difference_after(6, options_of(kind, decay), at::kFloat) < 2e-6);
    }
  }
}

TEST_CASE("the first step by hand", "[optimizer]") {
  // m = 0.1 g, v = 0.02 g^2; corrected they are g and g^2, so the step is rate * g / (|g| + epsilon).
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    nn::Parameters parameters(1);
    parameters.add("x", {3}, nn::Init::constant(2), true);
    parameters.to(at::kCPU, type);
    parameters.flatten();
    Optimizer optimizer(parameters, options_of("adamw", 0.5));
    parameters.flat_gradients().copy_(at::tensor({4.0, -0.5, 0.0}));
    optimizer.step(0.5, 0.1);
    const std::vector<double> found = doubles(parameters.flat_values());
    CHECK(found[0] == Approx(2 - 0.1 * 0.5 * 2 - 0.1 * 2 / 2.001).epsilon(1e-6));
    CHECK(found[1] == Approx(2 - 0.1 * 0.5 * 2 + 0.1 * 0.25 / 0.251).epsilon(1e-6));
    CHECK(found[2] == Approx(2 - 0.1 * 0.5 * 2).epsilon(1e-6));
  }
}

TEST_CASE("only what decays decays", "[optimizer]") {
  for (const char* kind : {"adam", "adamw"}) {
    nn::Parameters parameters(3);
    add_parameters(parameters);
    parameters.flatten();
    const at::Tensor before = parameters.flat_values().clone();
    Optimizer optimizer(parameters, options_of(kind, 0.1));
    optimizer.step(1, 0.01);
    const at::Tensor after = parameters.flat_values();
    CHECK(same_bits(before.narrow(0, 12, 5), after.narrow(0, 12, 5)));
    CHECK((before - after).narrow(0, 0, 12).abs().min().item<double>() > 0);
    CHECK((before - after).narrow(0, 17, 300 * 301).ne(0).to(at::kFloat).mean().item<double>() > 0.99);
  }
}

TEST_CASE("the moments are the whole state", "[optimizer]") {
  nn::Parameters first(3), second(4);
  for (nn::Parameters* parameters : {&first, &second}) {
    add_parameters(*parameters);
    parameters->flatten();
  }
  const auto gradients = [&](uint64_t step) { return normals({first.count()}, step); };
  Optimizer optimizer(first, options_of("adam", 0.1)), resumed(second, options_of("adam", 0.1));
  for (const uint64_t step : {1, 2, 3}) {
    first.flat_gradients().copy_(gradients(step));
    optimizer.step(1, 0.01);
  }
  second.flat_values().copy_(first.flat_values());
  const auto from = optimizer.state(), to = resumed.state();
  REQUIRE(from.size() == 6);
  CHECK((from[0].first == "small.m" && from[1].first == "small.v" && from[2].first == "bias.m"));
  CHECK(from[0].second.sizes().vec() == std::vector<int64_t>{3, 4});
  for (size_t i = 0; i < from.size(); ++i) {
    REQUIRE(from[i].first == to[i].first);
    CHECK(from[i].second.abs().max().item<double>() > 0);
    at::Tensor place = to[i].second;
    place.copy_(from[i].second);
  }
  resumed.set_steps(optimizer.steps());
  for (const uint64_t step : {4, 5}) {
    for (const auto& [parameters, own] : {std::make_pair(&first, &optimizer), std::make_pair(&second, &resumed)}) {
      parameters->flat_gradients().copy_(gradients(step));
      own->step(1, 0.01);
    }
  }
  CHECK(same_bits(first.flat_values(), second.flat_values()));
}

TEST_CASE("the norm of all gradients", "[optimizer]") {
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    nn::Parameters parameters(3);
    add_parameters(parameters);
    parameters.to(at::kCPU, type);
    parameters.flatten();
    CHECK(euclidean_norm(parameters.flat_gradients()) == 0);
    parameters.flat_gradients()[0] = 3;
    parameters.flat_gradients()[90000] = -4;
    CHECK(euclidean_norm(parameters.flat_gradients()) == Approx(5));
    const at::Tensor values = normals({parameters.count()}, 1, type);
    parameters.flat_gradients().copy_(values);
    CHECK(euclidean_norm(parameters.flat_gradients()) == Approx(values.to(at::kDouble).norm().item<double>()).epsilon(1e-6));
    parameters.flat_gradients()[70000] = INFINITY;
    CHECK_FALSE(std::isfinite(euclidean_norm(parameters.flat_gradients())));
    parameters.flat_gradients()[70000] = NAN;
    CHECK_FALSE(std::isfinite(euclidean_norm(parameters.flat_gradients())));
  }
}

TEST_CASE("the number of threads changes no bit of a step or a norm", "[optimizer]") {
  std::vector<at::Tensor> values;
  std::vector<double> norms;
  for (const int count : {1, 2, 3}) {
    set_threads(count);
    nn::Parameters parameters(3);
    add_parameters(parameters);
    parameters.flatten();
    parameters.flat_gradients().copy_(normals({parameters.count()}, 1));
    norms.push_back(euclidean_norm(parameters.flat_gradients()));
    Optimizer optimizer(parameters, options_of("adam", 0.1));
    optimizer.step(1, 0.01);
    values.push_back(parameters.flat_values());
  }
  set_threads(1);
  CHECK((norms[0] == norms[1] && norms[0] == norms[2]));
  CHECK((same_bits(values[0], values[1]) && same_bits(values[0], values[2])));
}
