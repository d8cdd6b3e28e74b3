#include "rl/graph_sampler.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/rng.h"
#include "data/batch.h"
#include "search/length.h"
#include "search/sampler.h"
#include "tensor/linear.h"

namespace seqmill::rl {
namespace {

/// A candidate under way.
struct Row {
  size_t draw;
  Rng rng;
  int64_t least, most;  ///< tokens, without the end symbol
  bool is_live = true;
  Drawn drawn = {};
};

}  // namespace

GraphSampler::GraphSampler(const model::Seq2Seq& model, const infer::Vocabularies& vocabularies, const SamplingOptions& options, std::unique_ptr<Sampler> greedy)
    : model_(model), vocabularies_(vocabularies), options_(options), greedy_(std::move(greedy)) {}

std::vector<std::vector<Drawn>> GraphSampler::draw(const std::vector<Draw>& draws, uint64_t seed, int threads) {
  if (std::all_of(draws.begin(), draws.end(), [](const Draw& draw) { return draw.temperature == 0; })) return greedy_->draw(draws, seed, threads);
  const int32_t bos = vocabularies_.target->bos(), eos = vocabularies_.target->eos();
  search::SearchOptions limits;
  limits.min_length = options_.min_length;
  limits.max_length = std::min(options_.max_length, model_.max_positions() - 1);
  limits.max_ratio = options_.max_ratio;
  limits.max_extra = options_.max_extra;
  std::vector<data::Tokens> sources;
  std::vector<int64_t> copies;
  std::vector<Row> rows;
  for (size_t i = 0; i < draws.size(); ++i) {
    sources.push_back(*draws[i].input);
    copies.push_back(draws[i].samples);
    search::SentenceInput input;
    input.source_length = static_cast<int64_t>(draws[i].input->size());
    const search::LengthLimits limit(limits, input);
    const Rng stream(seed, "sample", static_cast<uint64_t>(draws[i].number));
    for (int64_t s = 0; s < draws[i].samples; ++s) rows.push_back({i, s == 0 ? stream : Rng(stream.key(), "sample", static_cast<uint64_t>(s)), limit.min, limit.max});
  }
  const model::OutputLayer output = model_.output_layer();
  data::PackedTokens packed = data::pack(sources, -1, vocabularies_.source->eos());
  packed.to(output.weight.device());
  const auto decoder = model_.start_with_graph(packed, copies);
  search::SamplerOptions sampling;
  sampling.top_k = options_.top_k;
  sampling.top_p = options_.top_p;
  search::Sampler sampler(sampling, vocabulary_size());
  std::vector<at::Tensor> steps;             // [rows] each: of the tokens drawn
  std::vector<int32_t> last(rows.size(), bos);  // rows that have ended go on with the end symbol, unseen
  for (int64_t step = 0; std::any_of(rows.begin(), rows.end(), [](const Row& row) { return row.is_live; }); ++step) {
    const at::Tensor logprobs = at::log_softmax(tensor::linear(decoder->advance(last), output.weight, output.bias), 1);
    at::Tensor numbers = logprobs.detach().to(at::kCPU, at::kFloat).contiguous().clone();
    std::vector<int64_t> chosen;
    for (size_t r = 0; r < rows.size(); ++r) {
      Row& row = rows[r];
      last[r] = eos;
      if (row.is_live) {
        const Draw& draw = draws[row.draw];
        float* values = numbers.data_ptr<float>() + static_cast<int64_t>(r) * numbers.size(1);
        row.drawn.observed.add(values, vocabulary_size());
        if (step < row.least) values[eos] = -INFINITY;
        const int32_t token = sampler.draw(values, row.rng, draw.temperature);
        if (token == search::kNotFinite) fail("{}: the model gave NaN or infinity as a log-probability of target token {}: it has diverged or is broken", draw.place, step + 1);
        const bool ends = token == eos;
        if (token == search::kImpossible || (!ends && step >= row.most)) {
          row.is_live = row.drawn.finished = false;
        } else {
          row.drawn.tokens.push_back(token);
          row.drawn.logprob += static_cast<double>(values[token]);
          row.drawn.drawn_logprob += sampler.drawn_logprob();
          row.is_live = !ends;
          last[r] = token;
        }
      }
      chosen.push_back(last[r]);
    }
    steps.push_back(logprobs.gather(1, at::tensor(chosen, at::kLong).to(logprobs.device()).unsqueeze(1)).squeeze(1));
  }
  std::vector<int64_t> places;
  for (size_t r = 0; r < rows.size(); ++r) {
    for (size_t t = 0; t < rows[r].drawn.tokens.size(); ++t) places.push_back(static_cast<int64_t>(r * steps.size() + t));
  }
  logprobs_ = at::stack(steps, 1).view({-1}).index_select(0, at::tensor(places, at::kLong).to(output.weight.device()));
  std::vector<std::vector<Drawn>> all(draws.size());
  for (Row& row : rows) {
    data::Tokens text = row.drawn.tokens;
    if (row.drawn.finished) text.pop_back();
    row.drawn.length = static_cast<int64_t>(text.size());
    row.drawn.text = vocabularies_.target->decode(text);
    all[row.draw].push_back(std::move(row.drawn));
  }
  return all;
}

}  // namespace seqmill::rl
