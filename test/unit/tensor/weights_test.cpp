#include "tensor/weights.h"

#include <filesystem>

#include "io/safetensors.h"
#include "support/files.h"
#include "tensor/average.h"
#include "unit/tensor/tensors.h"

using namespace seqmill;
using namespace seqmill::tensor;
using namespace seqmill::test;

namespace {

std::string save(const std::string& path, const std::vector<NamedTensor>& tensors) {
  save_tensors(path, tensors);
  return path;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("tensors of every type and shape survive a round trip", "[weights]") {
  TempDir dir;
  const at::Tensor floats = normals({3, 4}, 1);
  std::vector<NamedTensor> tensors{{"double", floats.to(at::kDouble) / 3}, {"long", at::arange(5, at::kLong) - 2}};
  for (const auto type : {at::kFloat, at::kInt, at::kHalf, at::kBFloat16, at::kShort, at::kChar, at::kByte, at::kBool}) {
    tensors.emplace_back(at::toString(type), floats.abs().mul(3).to(type));
  }
  tensors.emplace_back("none", at::empty({0, 3}, at::kByte));
  save_tensors(dir / "w", tensors, {{"step", "7"}});
  const std::vector<NamedTensor> loaded = load_tensors(dir / "w");
  REQUIRE(loaded.size() == tensors.size());
  for (const auto& [name, value] : tensors) {
    CAPTURE(name);
    const auto same_name = [&name = name](const NamedTensor& other) { return other.first == name; };
    const auto found = std::find_if(loaded.begin(), loaded.end(), same_name);
    REQUIRE(found != loaded.end());
    CHECK(same_bits(found->second, value));
  }
  CHECK(io::SafetensorsFile(dir / "w").metadata().at("step") == "7");
}

TEST_CASE("scalars, views and tensors that record gradients are stored as their values", "[weights]") {
  TempDir dir;
  const at::Tensor matrix = leaf(normals({3, 4}, 1));
  save(dir / "w", {{"scalar", at::scalar_tensor(2.5)}, {"turned", matrix.t()}, {"part", matrix.narrow(1, 1, 2)}});
  const std::vector<NamedTensor> loaded = load_tensors(dir / "w");
  CHECK(loaded[0].second.dim() == 0);
  CHECK(loaded[0].second.item<double>() == 2.5);
  CHECK(same_bits(loaded[1].second, matrix.t()));
  CHECK(same_bits(loaded[2].second, matrix.narrow(1, 1, 2)));
  CHECK_FALSE(loaded[1].second.requires_grad());
}

TEST_CASE("types that the format lacks are refused", "[weights]") {
  TempDir dir;
  const Failure failure = failure_of([&] { save(dir / "w", {{"c", at::zeros({2}, at::kComplexFloat)}}); });
  CHECK(failure.says("ComplexFloat"));
}

TEST_CASE("weights are loaded into a model's own tensors", "[weights]") {
  TempDir dir;
  const at::Tensor a = normals({2, 3}, 1), b = normals({4}, 2, at::kDouble), wide = at::zeros({4, 2});
  save(dir / "w", {{"b", b}, {"a", a}});
  const at::Tensor into_a = leaf(at::zeros({2, 3})), into_b = wide.select(1, 1);
  load_into(dir / "w", {{"a", into_a}, {"b", into_b}});
  CHECK(same_bits(into_a, a));
  CHECK(into_a.requires_grad());
  CHECK(same_bits(wide.select(1, 1), b.to(at::kFloat)));
  CHECK(same_bits(wide.select(1, 0), at::zeros({4})));
}

TEST_CASE("everything that does not fit is listed and nothing is loaded", "[weights]") {
  TempDir dir;
  save(dir / "w", {{"good", at::ones({2})}, {"tall", at::ones({3, 2})}, {"flat", at::ones({6})}, {"extra", at::ones({1})},
                   {"more", at::ones({1})}});
  const at::Tensor good = at::zeros({2}), tall = at::zeros({2, 3}), flat = at::zeros({3, 2}), lone = at::zeros({1});
  const Failure failure = failure_of([&] {
    load_into(dir / "w", {{"good", good}, {"tall", tall}, {"flat", flat}, {"absent", lone}, {"gone", lone}});
  });
  CHECK(failure.exit_code == 1);
  for (const char* part : {"missing: absent, gone", "unexpected: extra, more", "tall: shape [3, 2] where [2, 3] is needed",
                           "flat: shape [6] where [3, 2] is needed"}) {
    CHECK_THAT(failure.message, Catch::Contains(part));
  }
  CHECK(failure.says(dir / "w"));
  CHECK_FALSE(failure.says("good"));
  for (const at::Tensor& tensor : {good, tall, flat, lone}) CHECK_FALSE(tensor.any().item<bool>());
}

TEST_CASE("load_matching takes what fits and names the rest", "[weights]") {
  TempDir dir;
  save(dir / "w", {{"good", at::ones({2})}, {"tall", at::ones({3, 2})}, {"extra", at::ones({1})}});
  const at::Tensor good = at::zeros({2}), tall = at::zeros({2, 3}), absent = at::zeros({1});
  const PartialLoad load = load_matching(dir / "w", {{"absent", absent}, {"tall", tall}, {"good", good}});
  CHECK(load.taken == Names{"good"});
  CHECK(load.not_taken == Names{"absent: not in the file", "tall: shape [3, 2] where [2, 3] is needed",
                                "extra: the model has no such tensor"});
  CHECK(same_bits(good, at::ones({2})));
  CHECK_FALSE(tall.any().item<bool>());
}

TEST_CASE("weights are averaged in double", "[average]") {
  TempDir dir;
  const std::vector<Names> files{{save(dir / "a", {{"x", at::full({2}, 16777216.0)}, {"y", at::zeros({1, 2})}}),
                                  save(dir / "b", {{"x", at::full({2}, 1.0)}, {"y", at::ones({1, 2})}}),
                                  save(dir / "c", {{"x", at::full({2}, 1.0)}, {"y", at::full({1, 2}, 0.5)}})}};
  const std::vector<NamedTensor> mean = average_weights(files[0]);
  REQUIRE(mean.size() == 2);
  CHECK(mean[0].first == "x");
  CHECK(same_bits(mean[0].second, at::full({2}, static_cast<float>(16777218.0 / 3))));
  CHECK(same_bits(mean[1].second, at::full({1, 2}, 0.5)));
  CHECK(same_bits(average_weights({dir / "b"})[0].second, at::ones({2})));
}

TEST_CASE("different models are not averaged", "[average]") {
  TempDir dir;
  const std::string a = save(dir / "a", {{"x", at::ones({2})}}), longer = save(dir / "b", {{"x", at::ones({3})}}),
                    other = save(dir / "c", {{"y", at::ones({2})}}),
                    more = save(dir / "d", {{"x", at::ones({2})}, {"y", at::ones({2})}});
  for (const std::string& file : {longer, other, more}) {
    const Failure failure = failure_of([&] { average_weights({a, file}); });
    CHECK((failure.says(a) && failure.says(file)));
  }
  CHECK(failure_of([] { average_weights({}); }).says("no checkpoints"));
}

TEST_CASE("a copy of a tensor may be there beside it, if it is one", "[weights]") {
  const TempDir dir;
  const at::Tensor a = normals({3, 2}, 1);
  tensor::save_tensors(dir / "same", {{"a", a}, {"b", a}});
  tensor::save_tensors(dir / "other", {{"a", a}, {"b", a + 1}});
  const at::Tensor into = at::zeros({3, 2});
  tensor::load_into(dir / "same", {{"a", into}}, {{"b", "a"}});
  CHECK(same_bits(into, a));
  CHECK(failure_of([&] { tensor::load_into(dir / "other", {{"a", into}}, {{"b", "a"}}); }).says("unexpected: b"));
  CHECK(failure_of([&] { tensor::load_into(dir / "same", {{"a", into}}); }).says("unexpected: b"));
}
