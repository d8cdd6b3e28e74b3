#pragma once
// BLEU (Papineni et al., 2002, "BLEU: a Method for Automatic Evaluation of Machine Translation") with the tokenisers, smoothing
// methods and rules for degenerate cases of sacreBLEU 2.6.0. Smoothing after Chen & Cherry (2014): floor is their method 1,
// add-k method 2, exp method 3.

#include <memory>
#include <string>
#include <vector>

#include "base/options.h"
#include "metric/metric.h"

namespace seqmill::metric {

struct BleuOptions {
  std::string tokenizer = "13a";
  std::string smoothing = "exp";   ///< exp, floor, add-k, none
  double smooth_value = -1;        ///< negative: the method's own, 0.1 for floor and 1 for add-k
  bool effective_order = false;    ///< leave out orders longer than the hypothesis; for sentence scores
  int64_t max_order = 4;
  bool lowercase = false;

  void declare(Options& options);
  double resolved_smooth_value() const;
};

struct BleuScore {
  double score = 0;                 ///< 0..100
  std::vector<double> counts;       ///< clipped matches per order; with add-k, after adding
  std::vector<double> totals;       ///< hypothesis n-grams per order; with add-k, after adding
  std::vector<double> precisions;   ///< percent, after smoothing
  double brevity_penalty = 1;
  double hypothesis_length = 0;     ///< tokens
  double reference_length = 0;      ///< tokens; per line that of the reference closest in length, the shorter one on a tie
};

/// BLEU from summed counts. Without any match the score and all precisions are 0, whatever the smoothing.
BleuScore bleu_score(std::vector<double> counts, std::vector<double> totals, double hypothesis_length,
                     double reference_length, const BleuOptions& options);

std::unique_ptr<Metric> make_bleu(const BleuOptions& options);

}  // namespace seqmill::metric
