#pragma once
// The head of a learned metric (Rei et al., 2020, COMET): a small network over the vectors of a source, a hypothesis and, if it takes one, a reference.

#include <cstdint>
#include <string>
#include <vector>

namespace seqmill::infer {

/// What the names of its tensors begin with: "estimator.layers.<i>.weight" [outputs, inputs] and ".bias" [outputs], i from 0.
constexpr const char* kEstimator = "estimator.";

std::string estimator_weight(size_t layer);
std::string estimator_bias(size_t layer);

/// Vectors of texts [dim]; a reference that is null is none.
struct TextVectors {
  const float *source, *hypothesis, *reference;
};

/// Without a reference [h, s, h * s, |h - s|] (4 dim), with one [h, r, h * s, h * r, |h - s|, |h - r|] (6 dim).
std::vector<double> estimator_features(const TextVectors& texts, int64_t dim);

class EstimatorHead {
 public:
  struct Layer {
    int64_t inputs = 0, outputs = 0;
    std::vector<float> weight, bias;
  };

  /// None.
  EstimatorHead() = default;
  /// Throws Error for layers that do not follow one another, or whose inputs are no features of vectors of this width.
  EstimatorHead(std::vector<Layer> layers, int64_t dim);

  bool empty() const { return layers_.empty(); }
  bool takes_reference() const { return takes_reference_; }
  int64_t scores() const { return layers_.back().outputs; }
  /// [scores()] of the features, with tanh between layers. There is a reference exactly if it takes one.
  std::vector<double> score(const TextVectors& texts) const;

 private:
  std::vector<Layer> layers_;
  int64_t dim_ = 0;
  bool takes_reference_ = false;
};

}  // namespace seqmill::infer
