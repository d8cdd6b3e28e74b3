#pragma once
// The memory of decoders, which goes from decoder to decoder: fresh pages cost more than much of the work.

#include <memory>
#include <mutex>
#include <vector>

namespace seqmill::infer {

template <typename Workspace>
class Pool {
 public:
  struct GiveBack {
    Pool* pool = nullptr;
    void operator()(Workspace* workspace) const { pool->give_back(std::unique_ptr<Workspace>(workspace)); }
  };
  /// Goes back to the pool, which must outlive it.
  using Lease = std::unique_ptr<Workspace, GiveBack>;

  Lease take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (idle_.empty()) return Lease(new Workspace, GiveBack{this});
    Lease lease(idle_.back().release(), GiveBack{this});
    idle_.pop_back();
    return lease;
  }

 private:
  void give_back(std::unique_ptr<Workspace> workspace) {
    const std::lock_guard<std::mutex> lock(mutex_);
    idle_.push_back(std::move(workspace));
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> idle_;
};

}  // namespace seqmill::infer
