#pragma once

#include <cstdint>
#include <string>

#include "base/options.h"

namespace seqmill::train {

/// The learning rate as a function of the update (1, 2, ...): a linear rise over `warmup` updates to the peak, then
///   inverse-sqrt: peak * sqrt(warmup / update)   (Vaswani et al., 2017, eq. 3, scaled to the peak)
///   cosine:       half a cosine from the peak to `min_rate` at `total` updates (Loshchilov & Hutter, 2017)
///   linear:       a straight line to `min_rate` at `total` updates
///   constant:     the peak.
struct Schedule {
  std::string kind = "inverse-sqrt";
  double rate = 5e-4;
  double min_rate = 0;
  int64_t warmup = 4000;

  void declare(Options& options);
  /// `total` is --max-updates, or INT64_MAX where --max-epochs says when training ends; cosine and linear need one of them.
  void check(int64_t total) const;
  double at(int64_t update, int64_t total) const;
};

}  // namespace seqmill::train
