#include "train/ranks.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <optional>
#include <thread>

#include "base/error.h"
#include "base/exit.h"
#include "base/host.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/strings.h"
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
  options.group("Data parallel (several processes, started by mpirun or srun)");
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

/// What ends the training because of another rank.
struct Verdict {
  int exit_code = kExitFailure;
  std::string text;  ///< empty: nothing
};

std::vector<uint8_t> bytes_of(const Verdict& verdict) { return bytes_of(fmt::format("{} {}", verdict.exit_code, verdict.text)); }

Verdict verdict_of(const std::string& message) {
  const size_t space = message.find(' ');
  int64_t code = kExitFailure;
  parse_int(message.substr(0, space), code);
  return {static_cast<int>(code), space == std::string::npos ? "" : message.substr(space + 1)};
}

constexpr const char* kAdvice = "the same command, given to all ranks, goes on from the last checkpoint if there is one";

/// The store of rank 0, in which every job has keys of its own: a rank of another job that came to this port by mistake finds nothing.
class Board {
 public:
  Board(const Launch& launch, bool serves, double seconds) : store_(connect(launch, serves, seconds)), job_(launch.job) {}
  void set(const std::string& name, const std::vector<uint8_t>& bytes) { store_->set(job_ + name, bytes); }
  void set(const std::string& name, const std::string& text) { set(name, bytes_of(text)); }
  bool has(const std::string& name) { return store_->check({job_ + name}); }
  std::string get(const std::string& name) { return text_of(store_->get(job_ + name)); }
  c10::intrusive_ptr<c10d::Store> part(const char* name) { return c10::make_intrusive<c10d::PrefixStore>(job_ + name, store_); }

 private:
  c10::intrusive_ptr<c10d::TCPStore> store_;
  std::string job_;
};

std::string key(const char* what, int rank) { return fmt::format("{}/{}", what, rank); }

/// Signs of life. Every rank counts up a number on the board of rank 0, which watches them all and tells the others what it finds.
class Watch {
 public:
  Watch(const Launch& launch, const RanksOptions& options, std::vector<std::string> names)
      : board_(launch, false, options.timeout), rank_(launch.rank), timeout_(options.timeout), names_(std::move(names)),
        beats_(names_.size()), seen_(names_.size(), Clock::now()), cycle_(Clock::now().time_since_epoch().count()), late_(Clock::now()) {
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

  /// What has happened to another rank.
  Verdict verdict() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!verdict_.text.empty()) return verdict_;
    // A rank 0 that was stopped answers nothing, and our thread waits for it. When we were stopped ourselves our thread is about to go on.
    const Clock::time_point cycle{Clock::duration(cycle_.load())};
    if (rank_ == 0 || seconds_since(cycle) <= timeout_) {
      late_ = Clock::now();
      return {};
    }
    return seconds_since(late_) > 2 * beat_seconds() ? lifeless(0) : Verdict{};
  }

  /// A connection broke: whoever is behind it has most likely ended, which then shows in a few beats.
  void expect_loss() {
    const std::lock_guard<std::mutex> lock(mutex_);
    expects_loss_ = true;
  }

  void count_collective() { ++collectives_; }
  double beat_seconds() const { return std::min(1.0, timeout_ / 5); }

  /// Which ranks have begun the fewest collectives: the others wait for them.
  std::string laggards(Board& board) const {
    std::string names;
    int64_t fewest = INT64_MAX;
    for (size_t rank = 0; rank < names_.size(); ++rank) {
      const std::vector<std::string> beat = split(board.get(key("alive", static_cast<int>(rank))), ' ');
      int64_t count = 0;
      if (beat.size() != 2 || !parse_int(beat[1], count) || count > fewest) continue;
      names = count < fewest ? names_[rank] : names + ", " + names_[rank];
      fewest = count;
    }
    return names;
  }

 private:
  Verdict lifeless(size_t rank) const {
    return {kExitFailure, fmt::format("{} gives no sign of life any more (waited {:.0f} s); {}", names_[rank], timeout_, kAdvice)};
  }

  void beat() { board_.set(key("alive", rank_), fmt::format("{} {}", ++count_, collectives_.load())); }

  void run() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!wakes_.wait_for(lock, milliseconds(beat_seconds()), [this] { return stops_; })) {
      const bool impatient = expects_loss_;
      lock.unlock();
      Verdict found;
      try {
        beat();
        if (impatient) board_.set("trouble", "1");
        found = rank_ == 0 ? look_at_all() : look_at_first();
      } catch (const std::exception& error) {
        found.text = fmt::format("{} has ended; {}", names_[0], kAdvice);
        log::debug("{}", reason_of(error));
      }
      cycle_ = Clock::now().time_since_epoch().count();
      lock.lock();
      if (verdict_.text.empty()) verdict_ = found;
      if (!verdict_.text.empty()) return;
    }
  }

  Verdict look_at_first() { return board_.has("verdict") ? verdict_of(board_.get("verdict")) : Verdict{}; }

  Verdict look_at_all() {
    // Stopped ourselves (suspended with the whole job, say), we cannot blame those who were stopped with us.
    const bool slept = seconds_since(looked_) > 3 * beat_seconds() + 1;
    looked_ = Clock::now();
    const bool trouble = board_.has("trouble");
    const double limit = trouble ? 3 * beat_seconds() : timeout_;
    Verdict found;
    for (size_t rank = 1; rank < names_.size() && found.text.empty(); ++rank) {
      const int number = static_cast<int>(rank);
      if (board_.has(key("left", number))) {
        found = verdict_of(board_.get(key("left", number)));
        found.text = fmt::format("{} ended: {}", names_[rank], found.text);
        break;
      }
      const std::string beats = board_.has(key("alive", number)) ? board_.get(key("alive", number)) : "";
      if (slept || beats != beats_[rank]) {
        beats_[rank] = beats;
        seen_[rank] = Clock::now();
      } else if (seconds_since(seen_[rank]) > limit) {
        found = lifeless(rank);
        if (trouble) found.text = fmt::format("{} has ended: its connection broke, and it gives no sign of life; {}", names_[rank], kAdvice);
      }
    }
    if (!found.text.empty()) board_.set("verdict", bytes_of(found));
    return found;
  }

  Board board_;
  int rank_;
  double timeout_;
  std::vector<std::string> names_;
  int64_t count_ = 0;
  std::atomic<int64_t> collectives_{0};
  std::vector<std::string> beats_;           ///< rank 0: the last beat of each rank
  std::vector<Clock::time_point> seen_;      ///< and when it was new
  Clock::time_point looked_ = Clock::now();  ///< and when it last looked
  std::atomic<Clock::rep> cycle_;            ///< when our thread last heard from the board
  Clock::time_point late_;                   ///< the last time that was not too long ago
  std::mutex mutex_;
  std::condition_variable wakes_;
  bool stops_ = false, expects_loss_ = false;
  Verdict verdict_;
  std::thread thread_;
};

}  // namespace

struct Ranks::Group {
  explicit Group(const Launch& launch, const RanksOptions& limits) : board(launch, launch.rank == 0, limits.timeout), options(limits) {}
  Board board;
  RanksOptions options;
  c10::intrusive_ptr<Collectives> control;  ///< for values in memory
  c10::intrusive_ptr<Collectives> tensors;  ///< for tensors on the device; the same one on the CPU
  std::unique_ptr<Watch> watch;
  std::vector<std::pair<WorkPointer, at::Tensor>> sums;
  bool broken = false;  ///< collectives may be under way that never end
};

namespace {

/// Puts this rank's name on the board and waits for those of the others.
std::vector<std::string> assemble(Board& board, const Launch& launch, double seconds) {
  board.set(key("here", launch.rank), fmt::format("rank {} ({}, process {})", launch.rank, host_name(), ::getpid()));
  const Clock::time_point began = Clock::now();
  std::vector<std::string> names;
  for (int rank = 0; rank < launch.ranks; ++rank) {
    while (!board.has(key("here", rank))) {
      if (seconds_since(began) > seconds) {
        std::string missing;
        for (int other = rank; other < launch.ranks; ++other) {
          if (!board.has(key("here", other))) missing += fmt::format("{}{}", missing.empty() ? "" : ", ", other);
        }
        fail("of {} ranks these did not come within {:.0f} s: {}", launch.ranks, seconds, missing);
      }
      std::this_thread::sleep_for(milliseconds(0.02));
    }
    names.push_back(board.get(key("here", rank)));
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

/// What is connected in a thread of its own, since nothing can interrupt it.
struct Joining {
  std::atomic<bool> done{false};
  std::string error;
  c10::intrusive_ptr<Collectives> control, tensors;
};

std::shared_ptr<Joining> join(Board& board, const Launch& launch, const RanksOptions& options, at::Device device) {
  const auto settings = c10d::ProcessGroupGloo::Options::create(milliseconds(options.patience));
  settings->devices.push_back(device_for(launch));
  settings->threads = 2;
  auto joining = std::make_shared<Joining>();
  std::thread([joining, settings, device, rank = launch.rank, count = launch.ranks, control = board.part("control"),
               tensors = board.part("tensors")] {
    try {
      joining->control = c10::make_intrusive<c10d::ProcessGroupGloo>(control, rank, count, settings);
      joining->tensors = joining->control;
#ifdef USE_C10D_NCCL
      if (device.is_cuda()) joining->tensors = c10::make_intrusive<c10d::ProcessGroupNCCL>(tensors, rank, count);
#else
      (void)device;
#endif
    } catch (const std::exception& error) {
      joining->error = reason_of(error);
    }
    joining->done = true;
  }).detach();
  return joining;
}

}  // namespace

Ranks::Ranks(const Launch& launch, const RanksOptions& options, at::Device device) : rank_(launch.rank), count_(launch.ranks) {
  if (count_ == 1) return;
#ifndef USE_C10D_NCCL
  if (device.is_cuda()) fail_usage("--device cuda in {} processes: this LibTorch has no NCCL", count_);
#endif
  ignore_broken_pipes();
  group_ = std::make_unique<Group>(launch, options);
  group_->watch = std::make_unique<Watch>(launch, options, assemble(group_->board, launch, options.timeout));
  try {
    const auto joining = join(group_->board, launch, options, device);
    const Clock::time_point began = Clock::now();
    while (!joining->done) {
      if (const Verdict verdict = group_->watch->verdict(); !verdict.text.empty()) throw Error(verdict.text, verdict.exit_code);
      if (seconds_since(began) > options.timeout) {
        fail("rank {} is not connected to the others after {:.0f} s; where a host's name stands for 127.0.1.1, set GLOO_SOCKET_IFNAME to the "
             "network interface", rank_, options.timeout);
      }
      std::this_thread::sleep_for(milliseconds(0.005));
    }
    if (!joining->error.empty()) fail("rank {} cannot connect to the others: {}", rank_, joining->error);
    group_->control = joining->control;
    group_->tensors = joining->tensors;
  } catch (const Error& error) {
    leave(error.what(), error.exit_code());
    abandon();
    throw;
  }
}

Ranks::~Ranks() {
  if (!group_) return;
  if (group_->broken) {
    abandon();
    return;
  }
  try {
    // Rank 0 holds the board: it must not go before the others have done with it.
    barrier();
    group_->watch->stop();
    if (!first()) group_->board.set(key("done", rank_), "1");
    const Clock::time_point began = Clock::now();
    for (int other = 1; first() && other < count_; ++other) {
      while (!group_->board.has(key("done", other)) && seconds_since(began) < 5) std::this_thread::sleep_for(milliseconds(0.005));
    }
  } catch (const std::exception& error) {
    log::debug("{}", reason_of(error));
    abandon();
  }
}

void Ranks::abandon() noexcept {
  // The others need a moment to read from rank 0 what has happened.
  if (first()) std::this_thread::sleep_for(milliseconds(3 * group_->watch->beat_seconds()));
  // Threads that wait for a rank that is gone cannot be ended: they are left behind with all they use.
  exit_without_clean_up();
  (void)group_.release();
}

void Ranks::wait(const std::function<bool()>& is_done, const std::function<void()>& take) const {
  group_->watch->count_collective();
  const Clock::time_point began = Clock::now();
  Clock::time_point broke;
  std::string broken;
  double pause = 20e-6;
  while (true) {
    if (broken.empty() && is_done()) {
      try {
        return take();
      } catch (const std::exception& error) {
        broken = reason_of(error);
        broke = Clock::now();
        group_->watch->expect_loss();
      }
    }
    if (const Verdict verdict = group_->watch->verdict(); !verdict.text.empty()) {
      group_->broken = true;
      throw Error(verdict.text, verdict.exit_code);
    }
    if (!broken.empty() && seconds_since(broke) > group_->options.timeout + 5 * group_->watch->beat_seconds()) {
      group_->broken = true;
      fail("rank {}: the connection to another rank broke: {}; {}", rank_, broken, kAdvice);
    }
    if (seconds_since(began) > group_->options.patience) {
      group_->broken = true;
      fail("{} kept rank {} waiting for more than {:.0f} s (--rank-patience)", group_->watch->laggards(group_->board), rank_,
           group_->options.patience);
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

void Ranks::leave(const std::string& reason, int exit_code) noexcept {
  if (!group_ || ends_together_) return;
  const bool told = group_->broken;  // what ends this rank is what has happened to another one
  group_->broken = true;
  try {
    if (!first() && !told) group_->board.set(key("left", rank_), bytes_of(Verdict{exit_code, reason}));
    if (first() && !group_->board.has("verdict")) {
      group_->board.set("verdict", bytes_of(Verdict{exit_code, told ? reason : "rank 0 ended: " + reason}));
    }
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
void Ranks::leave(const std::string&, int) noexcept {}
void Ranks::abandon() noexcept {}

#endif

void Ranks::end_together() {
  ends_together_ = true;
  if (!first()) log::set_level(log::Level::kOff);
}

void Ranks::expect_same(const std::string& what, const std::string& text) {
  const std::vector<std::string> all = gather_text(text);
  for (size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank] == all[0]) continue;
    const std::vector<std::string> theirs = split(all[rank], '\n'), ours = split(all[0], '\n');
    size_t line = 0;
    while (line + 1 < std::min(theirs.size(), ours.size()) && theirs[line] == ours[line]) ++line;
    end_together();
    fail_usage("rank {} has another {} than rank 0: '{}' where rank 0 has '{}'", rank, what, trim(theirs[line]), trim(ours[line]));
  }
}

void Ranks::first_then_others(const std::function<void()>& leader, const std::function<void()>& others) {
  if (first()) leader();
  barrier();
  if (!first()) others();
}

std::vector<double> Ranks::sum(const std::vector<double>& values) {
  std::vector<double> sums(values.size());
  for (const std::vector<double>& rank : gather(values)) {
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += rank.at(i);
  }
  return sums;
}

void Ranks::all_at_once(const std::function<void()>& work) {
  std::optional<Error> error;
  try {
    work();
  } catch (const Error& found) {
    error = found;
  }
  const std::vector<std::string> all = gather_text(error ? error->what() : "");
  if (error && std::all_of(all.begin(), all.end(), [&](const std::string& text) { return text == all[0]; })) end_together();
  if (error) throw *error;
  // Whoever has an error is about to leave, and tells us there.
  if (std::any_of(all.begin(), all.end(), [](const std::string& text) { return !text.empty(); })) barrier();
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
  } catch (const Error& error) {
    ranks.leave(error.what(), error.exit_code());
    throw;
  } catch (const std::exception& error) {
    const std::string text = error.what();
    ranks.leave(text.substr(0, text.find('\n')), kExitFailure);
    throw;
  }
}

}  // namespace seqmill::train
