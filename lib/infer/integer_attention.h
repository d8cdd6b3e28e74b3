#pragma once
// Attention of Scale Propagation (Lin et al., 2020, eqs. 11 and 12), in integers.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "infer/integer_rows.h"

namespace seqmill::infer {

/// A number of its own scale, to be added to rows.
template <typename Number>
struct IntegerConstant {
  SumOf<Number> number = 0;
  Scale scale = Scale::of_zeros();

  IntegerConstant() = default;
  /// `real` is finite; what is too small to have a scale is 0.
  IntegerConstant(float real, int64_t limit) {
    const float size = static_cast<float>(limit) / std::fabs(real);
    if (real == 0 || !std::isfinite(size)) return;
    number = static_cast<SumOf<Number>>(real < 0 ? -limit : limit);
    scale = Scale(size);
  }

  SumOf<Number> at(Scale common, const Requantising& how) const {
    SumOf<Number> matched = number;
    kernel::integer_kernels<Number>().finish(&matched, 1, nullptr, how.matching(common, scale), nullptr, {}, false);
    return matched;
  }
};

/// The scales of the keys and values of a query, matched.
class KeyScales {
 public:
  /// scales[t] + offset: those of key t [2 * groups], first of the key, then of its value.
  void match(const Scale* const* scales, int64_t count, int64_t groups, int64_t offset = 0) {
    groups_ = groups;
    count_ = count;
    common_.room_for(2 * groups);
    ratios_.room_for(2 * groups * count);
    for (int64_t g = 0; g < 2 * groups; ++g) {
      Scale common = Scale::of_zeros();
      bool equal = true;
      for (int64_t t = 0; t < count; ++t) {
        equal = equal && scales[t][offset + g] == scales[0][offset + g];
        common = smaller(common, scales[t][offset + g]);
      }
      common_.data()[g] = common;
      uint32_t* ratios = ratios_.data() + g * count;
      // Where all are equal nothing needs to be matched: see ratios_of().
      for (int64_t t = 0; t < count && !equal; ++t) ratios[t] = kernel::matching_ratio(common, scales[t][offset + g]);
      if (equal && count > 0) ratios[0] = kEqual;
    }
  }

  /// Common to all keys of the group, or to their values.
  Scale of_keys(int64_t group) const { return common_.data()[group]; }
  Scale of_values(int64_t group) const { return common_.data()[groups_ + group]; }
  /// What matches those of a key, or of its value; null when nothing does.
  const uint32_t* key_ratios(int64_t group) const { return ratios_of(group); }
  const uint32_t* value_ratios(int64_t group) const { return ratios_of(groups_ + group); }

 private:
  static constexpr uint32_t kEqual = 0xffffffff;  // no ratio

  const uint32_t* ratios_of(int64_t part) const {
    const uint32_t* ratios = ratios_.data() + part * count_;
    return ratios[0] == kEqual ? nullptr : ratios;
  }

  int64_t groups_ = 0, count_ = 0;
  Buffer<Scale> common_;      ///< [2 * groups]
  Buffer<uint32_t> ratios_;   ///< [2 * groups, count]
};

/// Where keys lie: key t [key_heads * dim], and its value behind it, begins `offset` numbers behind a pointer of its own. Each of the key heads is for a group of
/// heads.
struct KeyShape {
  int64_t key_heads, dim, offset = 0;
};

/// Attention by a polynomial (eqs. 11 and 12) of one query, head by head.
template <typename Number>
class IntegerAttention {
 public:
  using Sum = SumOf<Number>;

  struct Head {
    IntegerConstant<Number> bias, delta;
    int degree = 3;
  };

  /// q [heads * dim] with its scales (of each head, or one), and `count` keys with theirs (of each key head, or one). `out` [heads * dim] has one scale, which is
  /// returned with the largest magnitude in *largest.
  Scale operator()(const std::vector<Head>& heads, const Number* q, const Scale* q_scales, const Number* const* keys, const KeyScales& scales, int64_t count,
                   const KeyShape& shape, int64_t limit, const Requantising& how, Sum* out, Sum* largest) {
    const auto& kernels = kernel::integer_kernels<Number>();
    const int64_t dim = shape.dim, heads_count = static_cast<int64_t>(heads.size()), heads_of_key = heads_count / shape.key_heads;
    head_scales_.assign(heads.size(), Scale::of_zeros());
    const bool by_head = how.granularity == Granularity::kHead;
    const Scale root(std::sqrt(static_cast<float>(dim)));
    scores_.room_for(count);
    weights_.room_for(count);
    base_.room_for(count);
    for (int64_t h = 0; h < heads_count; ++h) {
      const int64_t key_head = h / heads_of_key, group = by_head ? key_head : 0, key = shape.offset + key_head * dim;
      kernels.dots(q + h * dim, keys, count, key, dim, scores_.data());
      const Sum sum = weigh(heads[static_cast<size_t>(h)], scales.key_ratios(group), q_scales[by_head ? h : 0] * scales.of_keys(group) * root, count, limit, how);
      match(scales.value_ratios(group), count, how);
      kernels.weighted_sum(weights_.data(), keys, count, key + shape.key_heads * dim, dim, out + h * dim);
      // The sum of weights is divided by in the scale, where what they were scaled by goes out.
      if (sum > 0) head_scales_[static_cast<size_t>(h)] = Scale(static_cast<float>(sum)) * scales.of_values(group);
    }
    return match_heads(heads_count, dim, limit, how, out, largest);
  }

 private:
  /// scores_ -> weights_, and their sum.
  Sum weigh(const Head& head, const uint32_t* key_ratios, Scale scale, int64_t count, int64_t limit, const Requantising& how) {
    const auto& kernels = kernel::integer_kernels<Number>();
    Sum* z = scores_.data();
    kernel::Rescaled now = how(key_ratios ? kernels.finish(z, count, key_ratios, unchanged(how), nullptr, {}, false) : kernels.largest(z, count), limit, scale);
    rescale(z, count, now.factor);
    // max(0, x + b)
    Scale common = smaller(now.scale, head.bias.scale);
    rescale(z, count, how.matching(common, now.scale));
    now = how(kernels.add_constant(z, head.bias.at(common, how), true, count), limit, common);
    // to the power of n, re-scaled after each product: relative errors grow with it
    Number *x = base_.data(), *power = weights_.data();
    kernels.narrow(z, now.factor, x, count);
    std::copy_n(x, count, power);
    Scale power_scale = now.scale;
    for (int n = 1; n < head.degree; ++n) {
      const kernel::Rescaled raised = how(kernels.product(x, power, z, count), limit, power_scale * now.scale);
      kernels.narrow(z, raised.factor, power, count);
      power_scale = raised.scale;
    }
    // + |delta|
    common = smaller(power_scale, head.delta.scale);
    std::copy_n(power, count, z);
    rescale(z, count, how.matching(common, power_scale));
    const Sum largest = kernels.add_constant(z, head.delta.at(common, how), false, count);
    return kernels.narrow(z, how(largest, limit, common).factor, power, count);
  }

  /// Matches weights to values of several scales.
  void match(const uint32_t* value_ratios, int64_t count, const Requantising& how) {
    if (!value_ratios) return;
    const auto& kernels = kernel::integer_kernels<Number>();
    std::copy_n(weights_.data(), count, scores_.data());
    kernels.finish(scores_.data(), count, value_ratios, unchanged(how), nullptr, {}, false);
    kernels.narrow(scores_.data(), Multiplier{}, weights_.data(), count);
  }

  /// Brings all heads to one scale, after having made integers of `limit` of each when heads have their own.
  Scale match_heads(int64_t heads, int64_t dim, int64_t limit, const Requantising& how, Sum* out, Sum* largest) {
    const auto& kernels = kernel::integer_kernels<Number>();
    Scale common = Scale::of_zeros();
    for (int64_t h = 0; h < heads; ++h) {
      Scale& own = head_scales_[static_cast<size_t>(h)];
      if (how.granularity == Granularity::kHead) {
        const kernel::Rescaled rescaled = how(kernels.largest(out + h * dim, dim), limit, own);
        rescale(out + h * dim, dim, rescaled.factor);
        own = rescaled.scale;
      }
      common = smaller(common, own);
    }
    *largest = 0;
    for (int64_t h = 0; h < heads; ++h) {
      const Multiplier factor = how.matching(common, head_scales_[static_cast<size_t>(h)]);
      *largest = std::max(*largest, kernels.finish(out + h * dim, dim, nullptr, factor, nullptr, {}, false));
    }
    return *largest > 0 ? common : Scale::of_zeros();
  }

  /// One, which says how ratios are to be rounded.
  static Multiplier unchanged(const Requantising& how) { return how.matching(Scale(), Scale()); }
  static void rescale(Sum* z, int64_t count, Multiplier factor) {
    if (!factor.is_one()) kernel::integer_kernels<Number>().finish(z, count, nullptr, factor, nullptr, {}, false);
  }

  Buffer<Sum> scores_;
  Buffer<Number> weights_, base_;
  std::vector<Scale> head_scales_;
};

}  // namespace seqmill::infer
