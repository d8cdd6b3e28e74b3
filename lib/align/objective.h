#pragma once
// What reward models with a scalar head are trained for. One file per objective: a pure function on scores, and its registration.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/options.h"
#include "base/registry.h"
#include "text/comparisons.h"

namespace seqmill::align {

/// What is known of the answers to one prompt.
struct Judged {
  std::vector<double> merits;            ///< one an answer: the larger, the better
  std::vector<text::Preference> pairs;   ///< what follows of them
  std::vector<double> labels;            ///< of regression: [answers, heads], NaN where there is none
};

/// Scores of the answers of several comparisons, one after another.
struct ScoredBatch {
  at::Tensor scores;                   ///< [answers, heads]
  std::vector<int64_t> counts;         ///< answers of each comparison
  std::vector<const Judged*> judged;   ///< one a comparison
};

/// Differences of scores, better less worse, of all pairs of a batch.
struct ScoredPairs {
  at::Tensor differences;  ///< [P], of the first head
  at::Tensor shares;       ///< [P]: 1 / pairs of the comparison that it belongs to
  at::Tensor owners;       ///< [P] int64: which comparison
  at::Tensor margins;      ///< [P]: differences of merits, 1 where only their order is known
};
ScoredPairs pairs_of(const ScoredBatch& batch);
/// Sums over pairs [P] -> means over the pairs of each comparison [comparisons].
at::Tensor mean_by_comparison(const ScoredBatch& batch, const ScoredPairs& pairs, const at::Tensor& values);

class Objective {
 public:
  virtual ~Objective() = default;
  virtual void declare(Options&) {}
  /// Throws a usage error for options that do not go together.
  virtual void check() const {}
  /// A loss for each comparison [comparisons], differentiable.
  virtual at::Tensor losses(const ScoredBatch& batch) const = 0;
  /// Learns from labels of single answers instead of comparisons.
  virtual bool regresses() const { return false; }
};

struct ObjectiveType {
  static const char* kind() { return "objective"; }
  std::string paper;
  std::function<std::unique_ptr<Objective>()> make;
};

/// Smoothing of two outcomes. The literature knows two ways to say how much: eps of the wrong one (GRAM, eq. of L_ls), or alpha spread over both, as libraries' label smoothing
/// does, which is eps = alpha / 2.
struct Smoothing {
  double eps = 0, alpha = 0;

  void declare(Options& options);  ///< "objective.eps", "objective.label-smoothing"
  void check() const;              ///< one of them at most; logs what the other would be
  double weight() const { return alpha > 0 ? alpha / 2 : eps; }
};

// The objectives as functions.

/// -(1 - eps) log sigma(d) - eps log sigma(-d) = -log sigma(d) + eps d [P]: Bradley & Terry, 1952, as Ouyang et al., 2022, eq. 1; smoothed as GRAM.
at::Tensor bradley_terry(const at::Tensor& differences, double eps);
/// -log sigma(d - m) [P]: Touvron et al., 2023 (Llama 2), eq. 2.
at::Tensor bradley_terry_with_margin(const at::Tensor& differences, const at::Tensor& margins);
/// Negative log-likelihood of a ranking (Plackett, 1975; Luce, 1959; ListMLE, Xia et al., 2008): each answer against itself and all that are worse. scores [n], merits of n.
/// Answers of equal merit are not compared with each other.
at::Tensor plackett_luce(const at::Tensor& scores, const std::vector<double>& merits);
/// Mean squared error over the labels that are there. scores, labels [n, heads]; NaN: no label. Zero where there is none at all.
at::Tensor masked_squared_error(const at::Tensor& scores, const at::Tensor& labels);

}  // namespace seqmill::align
