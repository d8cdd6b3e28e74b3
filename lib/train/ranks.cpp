#include "train/ranks.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "base/exit.h"
#include "base/host.h"
#include "base/log.h"
#include "base/version.h"

#ifdef SEQMILL_DISTRIBUTED
#ifndef USE_C10D_GLOO
#define USE_C10D_GLOO
#endif
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#ifdef USE_C10D_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif
#endif

namespace seqmill::train {

void RanksOptions::declare(Options& options) {
  options.group("Data parallel (several processes, started by mpirun, srun or torchrun)");
  options.add("rank-timeout", timeout, "Seconds without a sign of life after which a process is given up").range(2);
  options.add("rank-patience", patience, "Seconds that a living process may keep the others waiting").range(2);
}

Ranks::Ranks() = default;

#ifdef SEQMILL_DISTRIBUTED

namespace {

const bool version_line = (add_version_line("data parallel",
#ifdef USE_C10D_NCCL
                                            "Gloo, NCCL"
#else
                                            "Gloo"
#endif
                                            ),
                           true);

using Clock = std::chrono::steady_clock;
// Up to 1.13 a kind of ProcessGroup, later of Backend.
using Collectives =
    std::conditional_t<std::is_base_of_v<c10d::ProcessGroup, c10d::ProcessGroupGloo>, c10d::ProcessGroup, c10d::Backend>;
using WorkPointer = c10::intrusive_ptr<std::remove_pointer_t<
    decltype(std::declval<Collectives&>().barrier(std::declval<const c10d::BarrierOptions&>()).get())>>;

double seconds_since(Clock::time_point time) { return std::chrono::duration<double>(Clock::now() - time).count(); }
std::chrono::milliseconds milliseconds(double seconds) { return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000)); }

std::vector<uint8_t> bytes_of(const std::string& text) { return {text.begin(), text.end()}; }
std::string text_of(const std::vector<uint8_t>& bytes) { return {bytes.begin(), bytes.end()}; }

/// The first line, without the trace that LibTorch's messages go on with.
std::string reason_of(const std::exception& error) {
  const std::string text = error.what();
  return text.substr(0, text.find('\n'));
}

c10::intrusive_ptr<c10d::TCPStore> connect(const Launch& launch, bool serves, double seconds) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<std::uint16_t>(launch.port);
  options.isServer = serves;
  options.waitWorkers = false;
  options.numWorkers = static_cast<std::size_t>(launch.ranks);
  options.timeout = milliseconds(seconds);
  try {
    return c10::make_intrusive<c10d::TCPStore>(launch.address, options);
  } catch (const std::exception& error) {
    if (serves) {
      fail("rank 0 cannot listen at port {}: {}; if another program uses it, set MASTER_PORT to a free one", launch.port, reason_of(error));
    }
    fail("rank {} cannot reach rank 0 at {}:{} within {:.0f} s: {}", launch.rank, launch.address, launch.port, seconds, reason_of(error));
  }
}

std::string key(const char* what, int rank) { return fmt::format("{}/{}", what, rank); }

/// Signs of life. Every rank counts up a number in the store of rank 0, which watches them all and tells the others what it finds.
class Watch {
 public:
  Watch(const Launch& launch, const RanksOptions& options, std::vector<std::string> names)
      : store_(connect(launch, false, options.timeout)), rank_(launch.rank), timeout_(options.timeout), names_(std::move(names)),
        beats_(names_.size()), seen_(names_.size(), Clock::now()), cycle_(Clock::now().time_since_epoch().count()) {
    beat();
    thread_ = std::thread([this] { run(); });
  }

  ~Watch() {
    if (thread_.joinable()) stop();
  }

  /// Ends the thread; it must not be waiting for a rank that hangs.
  void stop() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stops_ = true;
    }
    wakes_.notify_all();
    thread_.join();
  }

  /// What has happened to another rank, or "".
  std::string verdict() const {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!verdict_.empty()) return verdict_;
    }
    // A rank 0 that was stopped answers nothing, and our thread waits for it.
    const Clock::time_point cycle{Clock::duration(cycle_.load())};
    return rank_ != 0 && seconds_since(cycle) > timeout_ ? lifeless(0) : "";
  }

  /// A connection broke: whoever is behind it has most likely ended, which then shows in a few beats.
  void expect_loss() {
    const std::lock_guard<std::mutex> lock(mutex_);
    expects_loss_ = true;
  }

  double beat_seconds() const { return std::min(1.0, timeout_ / 5); }

 private:
  std::string lifeless(size_t rank) const {
    return fmt::format("{} gives no sign of life any more (waited {:.0f} s)", names_[rank], timeout_);
  }

  void beat() { store_->set(key("alive", rank_), bytes_of(fmt::format("{}", ++count_))); }

  void run() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!wakes_.wait_for(lock, milliseconds(beat_seconds()), [this] { return stops_; })) {
      const bool impatient = expects_loss_;
      lock.unlock();
      std::string found;
      try {
        beat();
        if (impatient) store_->set("trouble", bytes_of("1"));
        found = rank_ == 0 ? look_at_all() : look_at_first();
      } catch (const std::exception& error) {
        found = fmt::format("{} has ended", names_[0]);
        log::debug("{}", reason_of(error));
      }
      cycle_ = Clock::now().time_since_epoch().count();
      lock.lock();
      if (verdict_.empty()) verdict_ = found;
      if (!verdict_.empty()) return;
    }
  }

  std::string look_at_first() {
    return store_->check({"verdict"}) ? text_of(store_->get("verdict")) : "";
  }

  std::string look_at_all() {
    std::string found;
    const bool trouble = store_->check({"trouble"});
    const double limit = trouble ? std::min(timeout_, 5 * beat_seconds()) : timeout_;
    for (size_t rank = 1; rank < names_.size() && found.empty(); ++rank) {
      const int number = static_cast<int>(rank);
      if (store_->check({key("left", number)})) {
        found = fmt::format("{} ended: {}", names_[rank], text_of(store_->get(key("left", number))));
        break;
      }
      const std::string beats = text_of(store_->get(key("alive", number)));
      if (beats != beats_[rank]) {
        beats_[rank] = beats;
        seen_[rank] = Clock::now();
      } else if (seconds_since(seen_[rank]) > limit) {
        found = trouble ? fmt::format("{} has ended: its connection broke, and it gives no sign of life", names_[rank]) : lifeless(rank);
      }
    }
    if (!found.empty()) store_->set("verdict", bytes_of(found));
    return found;
  }

  c10::intrusive_ptr<c10d::TCPStore> store_;
  int rank_;
  double timeout_;
  std::vector<std::string> names_;
  int64_t count_ = 0;
  std::vector<std::string> beats_;           ///< rank 0: the last number of each rank
  std::vector<Clock::time_point> seen_;      ///< and when it was new
  std::atomic<Clock::rep> cycle_;            ///< when our thread last heard from the store
  mutable std::mutex mutex_;
  std::condition_variable wakes_;
  bool stops_ = false, expects_loss_ = false;
  std::string verdict_;
  std::thread thread_;
};

}  // namespace

struct Ranks::Group {
  c10::intrusive_ptr<c10d::TCPStore> store;
  c10::intrusive_ptr<Collectives> control;  ///< for values in memory
  c10::intrusive_ptr<Collectives> tensors;  ///< for tensors on the device; the same one on the CPU
  std::unique_ptr<Watch> watch;
  std::vector<std::pair<WorkPointer, at::Tensor>> sums;
  double patience = 0;
  bool broken = false;  ///< collectives may be under way that never end
};

namespace {

/// Sets "here/<rank>" to this rank's name and waits for those of the others.
std::vector<std::string> assemble(c10d::TCPStore& store, const Launch& launch, double seconds) {
  store.set(key("here", launch.rank), bytes_of(fmt::format("rank {} ({}, process {})", launch.rank, host_name(), ::getpid())));
  const Clock::time_point began = Clock::now();
  std::vector<std::string> names;
  for (int rank = 0; rank < launch.ranks; ++rank) {
    while (!store.check({key("here", rank)})) {
      if (seconds_since(began) > seconds) {
        std::string missing;
        for (int other = rank; other < launch.ranks; ++other) {
          if (!store.check({key("here", other)})) missing += fmt::format("{}{}", missing.empty() ? "" : ", ", other);
        }
        fail("of {} ranks these did not come within {:.0f} s: {}", launch.ranks, seconds, missing);
      }
      std::this_thread::sleep_for(milliseconds(0.02));
    }
    names.push_back(text_of(store.get(key("here", rank))));
  }
  return names;
}

std::shared_ptr<::gloo::transport::Device> device_for(const Launch& launch) {
  if (!launch.network.empty()) {
    try {
      return c10d::ProcessGroupGloo::createDeviceForInterface(launch.network);
    } catch (const std::exception& error) {
      fail_usage("GLOO_SOCKET_IFNAME {}: {}", launch.network, reason_of(error));
    }
  }
  const bool local = launch.address == "127.0.0.1" || launch.address == "localhost";
  return local ? c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1") : c10d::ProcessGroupGloo::createDefaultDevice();
}

}  // namespace

Ranks::Ranks(const Launch& launch, const RanksOptions& options, at::Device device) : rank_(launch.rank), count_(launch.ranks) {
  if (count_ == 1) return;
  group_ = std::make_unique<Group>();
  group_->patience = options.patience;
  group_->store = connect(launch, first(), options.timeout);
  std::vector<std::string> names = assemble(*group_->store, launch, options.timeout);
  group_->watch = std::make_unique<Watch>(launch, options, std::move(names));
  const auto settings = c10d::ProcessGroupGloo::Options::create(milliseconds(options.patience));
  settings->devices.push_back(device_for(launch));
  settings->threads = 2;
  try {
    group_->control = c10::make_intrusive<c10d::ProcessGroupGloo>(c10::make_intrusive<c10d::PrefixStore>("control", group_->store), rank_,
                                                                  count_, settings);
    group_->tensors = group_->control;
#ifdef USE_C10D_NCCL
    if (device.is_cuda()) {
      group_->tensors = c10::make_intrusive<c10d::ProcessGroupNCCL>(c10::make_intrusive<c10d::PrefixStore>("nccl", group_->store), rank_,
                                                                    count_);
    }
#endif
  } catch (const std::exception& error) {
    fail("rank {} cannot connect to the others: {}", rank_, reason_of(error));
  }
#ifndef USE_C10D_NCCL
  if (device.is_cuda()) fail_usage("--device cuda in {} processes: this LibTorch has no NCCL", count_);
#endif
}

Ranks::~Ranks() {
  if (!group_) return;
  if (!group_->broken) {
    try {
      // Rank 0 holds the store: it must not go before the others have done with it.
      barrier();
      group_->watch->stop();
      if (!first()) group_->store->set(key("done", rank_), bytes_of("1"));
      const Clock::time_point began = Clock::now();
      for (int other = 1; first() && other < count_; ++other) {
        while (!group_->store->check({key("done", other)}) && seconds_since(began) < 5) std::this_thread::sleep_for(milliseconds(0.005));
      }
      return;
    } catch (const std::exception& error) {
      log::debug("{}", reason_of(error));
    }
  }
  // Threads that wait for a rank that is gone cannot be ended: they are left behind with all they use.
  exit_without_clean_up();
  (void)group_.release();
}

void Ranks::wait(const std::function<bool()>& is_done, const std::function<void()>& take) const {
  const Clock::time_point began = Clock::now();
  std::string broken;
  double pause = 20e-6;
  while (true) {
    if (broken.empty() && is_done()) {
      try {
        return take();
      } catch (const std::exception& error) {
        broken = reason_of(error);
        group_->watch->expect_loss();
      }
    }
    if (const std::string verdict = group_->watch->verdict(); !verdict.empty()) {
      group_->broken = true;
      fail("{}; the same command, given to all ranks, goes on from the last checkpoint", verdict);
    }
    if (seconds_since(began) > group_->patience) {
      group_->broken = true;
      fail("the other ranks kept rank {} waiting for more than {:.0f} s (--rank-patience){}{}", rank_, group_->patience,
           broken.empty() ? "" : ": ", broken);
    }
    std::this_thread::sleep_for(std::chrono::duration<double>(pause));
    pause = std::min(pause * 1.2, broken.empty() ? 1e-3 : 0.1);
  }
}

void Ranks::barrier() {
  if (group_) gather({});
}

std::vector<std::vector<double>> Ranks::gather(const std::vector<double>& values) {
  if (!group_) return {values};
  // One number more, since an empty tensor is no message.
  const auto size = static_cast<int64_t>(values.size()) + 1;
  at::Tensor mine = at::zeros({size}, at::kDouble);
  if (!values.empty()) std::memcpy(mine.data_ptr<double>(), values.data(), values.size() * sizeof(double));
  std::vector<at::Tensor> input{mine};
  std::vector<std::vector<at::Tensor>> output(1);
  for (int rank = 0; rank < count_; ++rank) output[0].push_back(at::zeros({size}, at::kDouble));
  const auto work = group_->control->allgather(output, input);
  wait([&] { return work->isCompleted(); }, [&] { work->wait(); });
  std::vector<std::vector<double>> all;
  for (const at::Tensor& theirs : output[0]) all.emplace_back(theirs.data_ptr<double>(), theirs.data_ptr<double>() + values.size());
  return all;
}

std::vector<std::string> Ranks::gather_text(const std::string& bytes) {
  if (!group_) return {bytes};
  std::vector<int64_t> sizes;
  int64_t longest = 1;
  for (const std::vector<double>& size : gather({static_cast<double>(bytes.size())})) {
    sizes.push_back(static_cast<int64_t>(size[0]));
    longest = std::max(longest, sizes.back());
  }
  at::Tensor mine = at::zeros({longest}, at::kByte);
  std::memcpy(mine.data_ptr<uint8_t>(), bytes.data(), bytes.size());
  std::vector<at::Tensor> input{mine};
  std::vector<std::vector<at::Tensor>> output(1);
  for (int rank = 0; rank < count_; ++rank) output[0].push_back(at::empty({longest}, at::kByte));
  const auto work = group_->control->allgather(output, input);
  wait([&] { return work->isCompleted(); }, [&] { work->wait(); });
  std::vector<std::string> all;
  for (size_t rank = 0; rank < sizes.size(); ++rank) {
    all.emplace_back(reinterpret_cast<const char*>(output[0][rank].data_ptr<uint8_t>()), static_cast<size_t>(sizes[rank]));
  }
  return all;
}

double Ranks::from_first(double value) { return gather({value})[0][0]; }

void Ranks::broadcast(at::Tensor tensor) {
  if (!group_) return;
  std::vector<at::Tensor> tensors{tensor};
  const auto work = group_->tensors->broadcast(tensors);
  wait([&] { return work->isCompleted(); }, [&] { work->wait(); });
}

void Ranks::begin_sum(const at::Tensor& tensor) {
  if (!group_) return;
  std::vector<at::Tensor> tensors{tensor};
  group_->sums.emplace_back(group_->tensors->allreduce(tensors), tensor);
}

void Ranks::finish_sums() {
  if (!group_) return;
  for (const auto& [work, tensor] : group_->sums) {
    wait([&, &sum = work] { return sum->isCompleted(); }, [&, &sum = work] { sum->wait(); });
  }
  group_->sums.clear();
}

void Ranks::leave(const std::string& reason) noexcept {
  if (!group_ || group_->broken || ends_together_) return;
  group_->broken = true;
  try {
    const char* where = first() ? "verdict" : "left";
    const std::string text = first() ? fmt::format("rank 0 ended: {}", reason) : reason;
    group_->store->set(first() ? where : key(where, rank_), bytes_of(text));
    // Rank 0 holds what it says: the others need a moment to read it.
    if (first()) std::this_thread::sleep_for(milliseconds(3 * group_->watch->beat_seconds()));
  } catch (const std::exception& error) {
    log::debug("{}", reason_of(error));
  }
}

#else

struct Ranks::Group {};

Ranks::Ranks(const Launch& launch, const RanksOptions&, at::Device) {
  if (launch.ranks > 1) fail_usage("{} processes: this build has no data parallel training (no Gloo when it was built)", launch.ranks);
}
Ranks::~Ranks() = default;
void Ranks::wait(const std::function<bool()>&, const std::function<void()>&) const {}
void Ranks::barrier() {}
std::vector<std::vector<double>> Ranks::gather(const std::vector<double>& values) { return {values}; }
std::vector<std::string> Ranks::gather_text(const std::string& bytes) { return {bytes}; }
double Ranks::from_first(double value) { return value; }
void Ranks::broadcast(at::Tensor) {}
void Ranks::begin_sum(const at::Tensor&) {}
void Ranks::finish_sums() {}
void Ranks::leave(const std::string&) noexcept {}

#endif

void Ranks::end_together() {
  ends_together_ = true;
  if (!first()) log::set_level(log::Level::kOff);
}

void Ranks::first_then_others(const std::function<void()>& leader, const std::function<void()>& others) {
  if (first()) leader();
  barrier();
  if (!first()) others();
}

void run_in_ranks(const Launch& launch, const RanksOptions& options, at::Device device, const std::function<void(Ranks&)>& work) {
  if (launch.rank > 0) {
    log::set_level(std::max(log::level(), log::Level::kError));
    log::set_origin(fmt::format("rank {}: ", launch.rank));
  }
  Ranks ranks(launch, options, device);
  if (launch.ranks > 1) log::info("{} ranks, started by {}", launch.ranks, launch.source);
  try {
    work(ranks);
  } catch (const std::exception& error) {
    ranks.leave(error.what());
    throw;
  }
}

}  // namespace seqmill::train
