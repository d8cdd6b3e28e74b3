#pragma once

#include <functional>
#include <future>
#include <utility>

namespace seqmill {

/// Something made before it is asked for, by a thread of its own: at most one value at a time. What is made must follow from its key alone, so that
/// results do not depend on whether it was prepared.
template <typename Key, typename Value>
class Ahead {
 public:
  /// Begins with the value of `key`, after waiting for one that nobody has taken, which is dropped. `make` must not outlive what it uses; the
  /// destructor waits for it. It must not compute in parallel: that would start a second pool of threads beside the one at work.
  void prepare(const Key& key, std::function<Value()> make) {
    value_ = std::async(std::launch::async, std::move(make));
    key_ = key;
  }

  /// The value of `key`: the prepared one, with the exception that making it threw, or one made now.
  Value take(const Key& key, const std::function<Value()>& make) { return value_.valid() && key_ == key ? value_.get() : make(); }

 private:
  Key key_{};
  std::future<Value> value_;  // of std::async: assigned to or destroyed, it waits
};

}  // namespace seqmill
