// Ranks are processes: each test forks them.
#include "train/ranks.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/team.h"
#include "train/gradient_sum.h"
#include "unit/train/fake_task.h"

using namespace seqmill;
using namespace seqmill::train;
using namespace seqmill::test;

namespace {

int free_port() {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  REQUIRE(::bind(socket, reinterpret_cast<sockaddr*>(&address), size) == 0);
  REQUIRE(::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  ::close(socket);
  return ntohs(address.sin_port);
}

/// Runs work(ranks) in `count` processes, which must return true in each; or throw, for another code than 0.
void in_ranks(int count, const std::function<bool(Ranks&)>& work, int expected_code = 0) {
  Launch launch;
  launch.ranks = launch.local_ranks = count;
  launch.address = "127.0.0.1";
  launch.port = free_port();
  std::vector<pid_t> children;
  for (launch.rank = 0; launch.rank < count; ++launch.rank) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      int code = 1;
      try {
        RanksOptions options;
        options.timeout = 30;
        run_in_ranks(launch, options, at::kCPU, [&](Ranks& ranks) { code = work(ranks) ? 0 : 1; });
      } catch (const std::exception&) {
        code = 2;
      }
      ::_exit(code);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == expected_code);
  }
}

using Rows = std::vector<std::vector<double>>;

}  // namespace

TEST_CASE("a rank alone", "[ranks]") {
  Ranks alone;
  CHECK((alone.first() && alone.count() == 1));
  CHECK(alone.gather({1, 2}) == Rows{{1, 2}});
  CHECK(alone.gather_text("x") == std::vector<std::string>{"x"});
  alone.expect_same("text", "x");
  const at::Tensor tensor = at::ones({3});
  alone.begin_sum(tensor);
  alone.finish_sums();
  CHECK(difference(tensor, at::ones({3})) == 0);
}

TEST_CASE("what ranks say to each other", "[ranks]") {
  in_ranks(3, [](Ranks& ranks) {
    const double rank = ranks.rank();
    bool good = ranks.gather({rank, NAN, -0.0}).size() == 3 && ranks.gather({rank})[2] == std::vector<double>{2};
    good = good && ranks.gather_text(std::string(static_cast<size_t>(ranks.rank()), 'a')) == std::vector<std::string>{"", "a", "aa"};
    good = good && ranks.from_first(rank + 5) == 5;
    const at::Tensor tensor = at::full({4}, rank), other = at::full({2}, 1.0);
    ranks.broadcast(tensor);
    good = good && difference(tensor, at::zeros({4})) == 0;
    tensor.fill_(rank);
    ranks.begin_sum(tensor);
    ranks.begin_sum(other);
    ranks.finish_sums();
    good = good && difference(tensor, at::full({4}, 3.0)) == 0 && difference(other, at::full({2}, 3.0)) == 0;
    bool second = false;
    int order = 0;
    ranks.first_then_others([&] { order = 1; }, [&] { second = true; });
    return good && (order == 1) == ranks.first() && second != ranks.first();
  });
}

TEST_CASE("an error that all have is said once, one that some have names them", "[ranks]") {
  Ranks alone;
  int done = 0;
  alone.all_at_once([&] { ++done; });
  CHECK(done == 1);
  in_ranks(3, [](Ranks& ranks) {
    log::set_level(log::Level::kError);
    ranks.all_at_once([] {});
    try {
      ranks.all_at_once([] { fail_usage("line 3: no number"); });
    } catch (const Error& error) {
      return error.exit_code() == kExitUsage && std::string(error.what()) == "line 3: no number" && (log::level() == log::Level::kOff) != ranks.first();
    }
    return false;
  });
  constexpr int kThrown = 2;
  const auto one_fails = [](Ranks& ranks) {
    try {
      ranks.all_at_once([&] {
        if (ranks.rank() == 1) fail("a disk of its own");
      });
    } catch (const Error& error) {
      const std::string text = error.what();
      if (text.find("a disk of its own") != std::string::npos && (ranks.rank() == 1 || text.find("rank 1") != std::string::npos)) throw;
    }
    return false;
  };
  in_ranks(2, one_fails, kThrown);
}

TEST_CASE("gradients are summed in buckets, whatever each rank computes", "[ranks]") {
  in_ranks(2, [](Ranks& ranks) {
    nn::Parameters parameters(1);
    const nn::Scope root(parameters);
    const at::Tensor tied = root.matrix("tied", 3, 4), unused = root.matrix("unused", 2, 4), last = root.matrix("last", 5, 4),
                     frozen = root.matrix("frozen", 2, 2);
    frozen.set_requires_grad(false);
    parameters.flatten();
    GradientSum sum({&parameters}, ranks, 8);
    bool good = true;
    for (int update = 0; update < 3; ++update) {
      // In the second update rank 1 has no backward pass, as after a loss that is not finite.
      const bool backward = update != 1 || ranks.first();
      parameters.flat_gradients().zero_();
      for (int batch = 0; batch < 2; ++batch) {
        if (batch == 1) sum.expect(0);
        const double weight = 1 + ranks.rank() + 10 * batch;
        if (backward) ((tied * last.narrow(0, 0, 3)).sum() * weight + tied.sum() * weight).backward();
      }
      sum.finish();
      const double total = update == 1 ? 12 : 12 + 14;
      at::NoGradGuard no_grad;
      good = good && difference(tied.grad(), (last.narrow(0, 0, 3) + 1) * total) < 1e-4;
      good = good && difference(last.grad().narrow(0, 0, 3), tied * total) < 1e-4 && difference(last.grad().narrow(0, 3, 2), at::zeros({2, 4})) == 0;
      good = good && difference(unused.grad(), at::zeros({2, 4})) == 0;
    }
    return good;
  });
}

TEST_CASE("a training in ranks is the training of one", "[ranks]") {
  const TempDir dir;
  TrainerOptions options = plain_options(9);
  options.accumulate = 6;
  options.validate_every = 4;
  FakeTask whole({2, 3, 1, 2, 2});
  train_in(dir / "whole", whole, options);
  for (const int count : {2, 3}) {
    const std::string path = dir / fmt::format("ranks-{}", count);
    in_ranks(count, [&](Ranks& ranks) {
      FakeTask task({2, 3, 1, 2, 2});
      const auto role = ranks.first() ? io::RunDir::Role::kWriter : io::RunDir::Role::kReader;
      io::RunDir run(path, role);
      ranks.barrier();
      TrainerOptions first = options;
      first.max_updates = 5;
      train::train(task, run, first, 1, false, ranks);
      // Gone on with: rank 0 reads the checkpoint for all.
      FakeTask second({2, 3, 1, 2, 2});
      train::train(second, run, options, 1, false, ranks);
      return second.values.size() == static_cast<size_t>(4 * 6 / count);
    });
    CHECK(difference(weights_in(path + "/ckpt/last/model.safetensors"), weights_in(dir / "whole/ckpt/last/model.safetensors")) < 1e-5);
    CHECK(progress_of(path + "/ckpt/last").target_tokens == progress_of(dir / "whole/ckpt/last").target_tokens);
  }
}

TEST_CASE("ranks of several workers are the training of one", "[ranks]") {
  const TempDir dir;
  TrainerOptions options = plain_options(6);
  options.accumulate = 4;
  const auto make = [] {
    auto task = std::make_unique<FakeTask>(std::vector<int64_t>{5, 3, 1, 4, 6});
    task->part_count = 6;
    task->noisy = true;
    task->troubles[9] = Trouble::kNanLoss;  // of the third update: it is skipped
    return task;
  };
  const auto whole = make();
  train_in(dir / "whole", *whole, options);
  in_ranks(2, [&](Ranks& ranks) {
    set_threads(2 + ranks.rank());
    const auto task = make();
    io::RunDir run(dir / "ranks", ranks.first() ? io::RunDir::Role::kWriter : io::RunDir::Role::kReader);
    ranks.barrier();
    train::train(*task, run, options, 1, false, ranks);
    return static_cast<int>(task->busy.size()) == 2 + ranks.rank();
  });
  CHECK(difference(weights_in(dir / "ranks/ckpt/last/model.safetensors"), whole->flat()) < 1e-5);
  CHECK((progress_of(dir / "ranks/ckpt/last").skipped == 1 && progress_of(dir / "whole/ckpt/last").skipped == 1));
}

TEST_CASE("an error in one worker of one rank ends all", "[ranks]") {
  const TempDir dir;
  in_ranks(2, [&](Ranks& ranks) {
    set_threads(2);
    FakeTask task({4, 4, 4, 4});
    task.part_count = 2;
    if (ranks.rank() == 1) task.troubles[3] = Trouble::kKilled;  // in the part of its second worker
    io::RunDir run(dir / "run", ranks.first() ? io::RunDir::Role::kWriter : io::RunDir::Role::kReader);
    ranks.barrier();
    try {
      train::train(task, run, plain_options(6), 1, false, ranks);
    } catch (const std::exception&) {
      throw Error("ended", 5);
    }
    return false;
  }, 2);
}

TEST_CASE("workers that run at the same time sum in buckets what they would sum one after the other", "[ranks]") {
  in_ranks(2, [](Ranks& ranks) {
    constexpr int kTensors = 40;
    nn::Parameters one(1), two(std::nullopt);
    std::vector<at::Tensor> first, second;
    for (int i = 0; i < kTensors; ++i) {
      first.push_back(nn::Scope(one).matrix(std::to_string(i), 3, 2));
      second.push_back(nn::Scope(two).matrix(std::to_string(i), 3, 2));
    }
    first[7].set_requires_grad(false);  // frozen
    one.flatten();
    two.share(one);
    GradientSum sum({&one, &two}, ranks, 8);
    Team team(2);
    bool good = !second[7].requires_grad();
    for (int update = 0; update < 100; ++update) {
      one.flat_gradients().zero_();
      team.run([&](int64_t worker) {
        at::Tensor total = at::zeros({});
        for (const at::Tensor& tensor : worker == 0 ? first : second) total = total + (tensor * tensor).sum();
        sum.expect(worker);
        (total * (worker == 0 ? 1 : 10)).backward();
      });
      sum.finish();
      at::NoGradGuard no_grad;
      for (int i = 0; i < kTensors; ++i) {
        const auto& value = first[static_cast<size_t>(i)];
        good = good && (i == 7 ? !value.grad().defined() : difference(value.grad(), value * (2 * 11 * 2)) < 1e-4);
      }
      good = good && difference(two.flat_gradients(), at::zeros({(kTensors - 1) * 6})) == 0;
    }
    return good;
  });
}

TEST_CASE("gradients of workers are summed as soon as all have them", "[ranks]") {
  in_ranks(2, [](Ranks& ranks) {
    nn::Parameters one(1), two(std::nullopt);
    const nn::Scope root(one), copy(two);
    const at::Tensor a = root.matrix("a", 3, 4), b = root.matrix("b", 3, 4), a2 = copy.matrix("a", 3, 4), b2 = copy.matrix("b", 3, 4);
    one.flatten();
    two.share(one);
    GradientSum sum({&one, &two}, ranks, 8);
    bool good = true;
    for (int update = 0; update < 3; ++update) {
      one.flat_gradients().zero_();
      // In the second update the second worker has nothing to do, as when a batch has one part.
      ((a * b).sum() * 2).backward();
      if (update != 1) {
        ((a2 * b2).sum() * 10).backward();
        sum.expect(1);
        ((a2 * b2).sum() * 100).backward();
      }
      sum.expect(0);
      ((a * b).sum() * (1 + ranks.rank())).backward();
      sum.finish();
      const double total = update == 1 ? 7 : 7 + 220;
      at::NoGradGuard no_grad;
      good = good && difference(a.grad(), b * total) < 1e-3 && difference(b.grad(), a * total) < 1e-3;
      good = good && difference(two.flat_gradients(), at::zeros({24})) == 0;
    }
    return good;
  });
}

TEST_CASE("a loss that is not finite on one rank is skipped by all", "[ranks]") {
  const TempDir dir;
  in_ranks(2, [&](Ranks& ranks) {
    FakeTask task;
    task.troubles[3] = Trouble::kNanLoss;  // the second update, second batch: rank 1's
    io::RunDir run(dir / "run", ranks.first() ? io::RunDir::Role::kWriter : io::RunDir::Role::kReader);
    ranks.barrier();
    train::train(task, run, plain_options(4), 1, false, ranks);
    return true;
  });
  const Progress progress = progress_of(dir / "run/ckpt/last");
  CHECK((progress.update == 4 && progress.skipped == 1 && progress.optimizer_steps == 3));
}

TEST_CASE("an error of one rank ends all, with its exit code", "[ranks]") {
  for (const int failing : {0, 2}) {
    in_ranks(3, [&](Ranks& ranks) {
      try {
        if (ranks.rank() == failing) fail_usage("out of {}", "luck");
        ranks.barrier();
      } catch (const Error& error) {
        ranks.leave(error.what(), error.exit_code());
        return error.exit_code() == kExitUsage && std::string(error.what()).find("out of luck") != std::string::npos;
      }
      return false;
    });
  }
}

TEST_CASE("texts that differ are named", "[ranks]") {
  in_ranks(2, [](Ranks& ranks) {
    const Failure failure = failure_of([&] { ranks.expect_same("menu", ranks.first() ? "a\nsoup\nb\n" : "a\nsalad\nb\n"); });
    return failure.exit_code == kExitUsage && failure.says("rank 1 has another menu than rank 0: 'salad' where rank 0 has 'soup'");
  });
}
