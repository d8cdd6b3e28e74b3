#pragma once
// The way of a rank through the batches of its data, epoch after epoch: what every task does alike.

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/ahead.h"
#include "base/error.h"
#include "base/log.h"
#include "base/time_spent.h"
#include "data/batches.h"
#include "io/json.h"

namespace seqmill::train {

/// `Batch`: a part of a micro-batch as a model takes it.
template <typename Batch>
class BatchWalk {
 public:
  using Items = std::vector<int64_t>;

  /// The data of a walk. The functions own what they use, or it outlives the walk.
  struct Data {
    std::function<data::BatchPlan(int64_t epoch)> plan;             ///< never empty
    std::function<std::vector<Batch>(const Items& items)> make;     ///< a batch in parts; called by a thread of its own too
    std::string unit;                                               ///< what items are: "pairs"
    int64_t size = 0;                                               ///< of the data, in that unit
    std::string order;                                              ///< what the order of the batches depends on
    std::string order_options;                                      ///< the options that decide it, for a message
  };

  /// `stride`: from one batch of this rank to its next.
  BatchWalk(Data data, int64_t stride) : data_(std::move(data)), stride_(stride) { plan(); }

  /// The batch at the cursor. The next one of this rank is made while the model works on it.
  std::vector<Batch> take() {
    const Timed timed(Work::kBatches);
    const auto at = [this](int64_t number) { return [this, items = plan_[static_cast<size_t>(number)]] { return data_.make(items); }; };
    std::vector<Batch> batch = next_batch_.take({cursor_.epoch, cursor_.batch}, at(cursor_.batch));
    const int64_t next = cursor_.batch + stride_;
    if (next < static_cast<int64_t>(plan_.size())) next_batch_.prepare({cursor_.epoch, next}, at(next));
    return batch;
  }

  void skip(int64_t batches) {
    for (; batches > 0; --batches) {
      if (++cursor_.batch < static_cast<int64_t>(plan_.size())) continue;
      ++cursor_.epoch;
      cursor_.batch = 0;
      plan();
    }
  }

  int64_t epoch() const { return cursor_.epoch; }
  int64_t epoch_batches() const { return static_cast<int64_t>(plan_.size()); }
  double progress() const { return static_cast<double>(cursor_.batch) / static_cast<double>(plan_.size()); }

  io::Json cursor() const {
    io::Json json = io::Json::object();
    json.set("epoch", cursor_.epoch);
    json.set("batch", cursor_.batch);
    json.set(data_.unit, data_.size);
    json.set("order", data_.order);
    return json;
  }

  /// Throws Error for a cursor of other data. One of another order begins its epoch anew.
  void set_cursor(const io::Json& json) {
    const int64_t size = json.at(data_.unit).as_int();
    if (size != data_.size) {
      fail("the checkpoint was made with {} training {}, now there are {}; give the same data or another --run", size, data_.unit, data_.size);
    }
    cursor_.epoch = json.at("epoch").as_int();
    cursor_.batch = json.at("batch").as_int();
    if (cursor_.epoch < 0 || cursor_.batch < 0) fail("epoch {} and batch {} are no place in the data", cursor_.epoch, cursor_.batch);
    plan();
    if (json.at("order").as_string() != data_.order || cursor_.batch >= static_cast<int64_t>(plan_.size())) {
      log::warn("the text, --seed, {} is another one than before: epoch {} starts anew", data_.order_options, cursor_.epoch);
      cursor_.batch = 0;
    }
  }

 private:
  void plan() {
    const Timed timed(Work::kBatches);
    plan_ = data_.plan(cursor_.epoch);
  }

  Data data_;
  int64_t stride_;
  data::Cursor cursor_;
  data::BatchPlan plan_;
  Ahead<std::pair<int64_t, int64_t>, std::vector<Batch>> next_batch_;  // last: it ends before what it works on
};

}  // namespace seqmill::train
