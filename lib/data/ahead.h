#pragma once
// Something made before it is asked for, by a thread of its own.

#include <functional>
#include <future>
#include <utility>

#include "tensor/runtime.h"

namespace seqmill::data {

/// Holds at most one value in preparation. What is prepared must follow from its key alone, so that results do not depend on whether it was.
template <typename Key, typename Value>
class Ahead {
 public:
  /// Begins with the value of `key`; one that was prepared before is dropped. `make` must keep alive what it uses, or be outlived by it.
  void prepare(const Key& key, std::function<Value()> make) {
    clear();
    key_ = key;
    value_ = std::async(std::launch::async, [make = std::move(make)] {
      tensor::limit_thread_to_itself();  // the other cores are at work
      return make();
    });
  }

  /// The value of `key`: the prepared one, with the exception that making it threw, or one made now.
  Value take(const Key& key, const std::function<Value()>& make) {
    if (!value_.valid() || key_ != key) return make();
    return value_.get();
  }

  /// Waits for what is in preparation and drops it.
  void clear() {
    if (value_.valid()) value_.wait();
    value_ = {};
  }

  ~Ahead() { clear(); }
  Ahead() = default;
  Ahead(const Ahead&) = delete;
  Ahead& operator=(const Ahead&) = delete;

 private:
  Key key_{};
  std::future<Value> value_;
};

}  // namespace seqmill::data
