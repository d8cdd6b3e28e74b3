#include "io/run_dir.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <csignal>

#include "io/output.h"
#include "support/files.h"

using namespace seqmill;
using namespace seqmill::io;
using namespace seqmill::test;
namespace fs = std::filesystem;

namespace {

using Names = std::vector<std::string>;

// A checkpoint of one file.
auto content(const std::string& text) {
  return [text](const std::string& directory) { put(directory + "/model.safetensors", text); };
}

std::string weights(const RunDir& run, const std::string& link) {
  return get(run.file("ckpt/" + link + "/model.safetensors"));
}

Names names_in(const std::string& directory) {
  Names names;
  for (const auto& entry : fs::directory_iterator(directory)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

void make_checkpoint(const std::string& path, const std::string& text) {
  fs::create_directories(path);
  put(path + "/model.safetensors", text);
}

}  // namespace

TEST_CASE("checkpoints are saved, listed and linked") {
  TempDir dir;
  RunDir run(dir / "a/run");
  CHECK(run.checkpoints().empty());
  CHECK(run.linked("last").empty());
  CHECK(run.save_checkpoint(12000, content("x")) == "step-00012000");
  CHECK(run.save_checkpoint(2000, content("y")) == "step-00002000");
  CHECK(run.save_checkpoint(123456789, content("z")) == "step-123456789");
  CHECK(run.checkpoints() == Names{"step-00002000", "step-00012000", "step-123456789"});
  CHECK(run.linked("last") == "step-123456789");
  CHECK(weights(run, "last") == "z");
  run.link("best", "step-00012000");
  CHECK(run.linked("best") == "step-00012000");
  run.link("best", "step-00002000");
  CHECK(weights(run, "best") == "y");
  run.remove_checkpoint("step-00012000");
  CHECK(run.checkpoints() == Names{"step-00002000", "step-123456789"});
  CHECK(names_in(run.file("ckpt")) == Names{"best", "last", "step-00002000", "step-123456789"});
  CHECK(run.checkpoint_path("step-00002000") == run.path() + "/ckpt/step-00002000");
}

TEST_CASE("a checkpoint of the same update is replaced") {
  TempDir dir;
  RunDir run(dir / "run");
  run.save_checkpoint(5, content("old"));
  run.save_checkpoint(5, content("new"));
  CHECK(weights(run, "last") == "new");
  CHECK(names_in(run.file("ckpt")) == Names{"last", "step-00000005"});
}

TEST_CASE("a checkpoint may hold folders") {
  TempDir dir;
  RunDir run(dir / "run");
  run.save_checkpoint(1, [](const std::string& directory) {
    fs::create_directory(directory + "/parts");
    put(directory + "/parts/one", "1");
  });
  CHECK(get(run.file("ckpt/last/parts/one")) == "1");
}

TEST_CASE("a checkpoint that fails leaves everything as it was") {
  TempDir dir;
  RunDir run(dir / "run");
  run.save_checkpoint(5, content("old"));
  const auto check_intact = [&] {
    CHECK(names_in(run.file("ckpt")) == Names{"last", "step-00000005"});
    CHECK(weights(run, "last") == "old");
  };
  for (const int64_t update : {5, 6}) {
    const Failure failure = failure_of([&] {
      run.save_checkpoint(update, [](const std::string& directory) {
        put(directory + "/half", "x");
        fail("the disk is full");
      });
    });
    CHECK(failure.says("was not saved: the disk is full"));
    CHECK(failure.says("earlier checkpoints are intact"));
    check_intact();
  }
  const Failure plain =
      failure_of([&] { run.save_checkpoint(7, [](const std::string&) { throw std::runtime_error("other"); }); });
  CHECK(plain.says("other"));
  check_intact();
  const Failure diverged =
      failure_of([&] { run.save_checkpoint(7, [](const std::string&) { throw Error("x", kExitDiverged); }); });
  CHECK(diverged.exit_code == kExitDiverged);
  CHECK(failure_of([&] { run.save_checkpoint(-1, content("x")); }).exit_code == kExitFailure);
  check_intact();
}

TEST_CASE("a link that cannot be swapped undoes the checkpoint") {
  TempDir dir;
  RunDir run(dir / "run");
  run.save_checkpoint(5, content("old"));
  fs::remove(run.file("ckpt/last"));
  fs::create_directory(run.file("ckpt/last"));
  CHECK(failure_of([&] { run.save_checkpoint(5, content("new")); }).says("cannot rename"));
  CHECK(failure_of([&] { run.save_checkpoint(6, content("new")); }).says("cannot rename"));
  CHECK(names_in(run.file("ckpt")) == Names{"last", "step-00000005"});
  CHECK(weights(run, "step-00000005") == "old");
}

TEST_CASE("a full disk leaves the previous checkpoint intact") {
  TempDir dir;
  const int status = in_child([&] {
    RunDir run(dir / "run");
    run.save_checkpoint(5, content("old"));
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const Failure failure = failure_of([&] {
      run.save_checkpoint(
          6, [](const std::string& directory) { write_file(directory + "/x", std::string(5000, 'x')); });
    });
    return failure.says("File too large") && run.linked("last") == "step-00000005" ? 0 : 1;
  });
  CHECK(status == 0);
  CHECK(names_in(dir / "run/ckpt") == Names{"last", "step-00000005"});
}

TEST_CASE("links and removals name what is missing") {
  TempDir dir;
  RunDir run(dir / "run");
  CHECK(failure_of([&] { run.link("best", "step-00000001"); }).says("there is none"));
  CHECK(failure_of([&] { run.link("best", "../.."); }).exit_code == kExitFailure);
  CHECK(failure_of([&] { run.remove_checkpoint("step-00000001"); }).says("no checkpoint"));
  CHECK(failure_of([&] { run.remove_checkpoint("last"); }).says("no checkpoint"));
}

TEST_CASE("a run directory is held by one process") {
  TempDir dir;
  int to_parent[2], to_child[2];
  REQUIRE((::pipe(to_parent) == 0 && ::pipe(to_child) == 0));
  const pid_t child = ::fork();
  if (child == 0) {
    RunDir run(dir / "run");
    char byte = 'x';
    (void)!::write(to_parent[1], &byte, 1);
    ::close(to_child[1]);
    (void)!::read(to_child[0], &byte, 1);
    ::_exit(0);
  }
  char byte;
  REQUIRE(::read(to_parent[0], &byte, 1) == 1);
  const Failure failure = failure_of([&] { RunDir run(dir / "run"); });
  CHECK(failure.exit_code == kExitFailure);
  CHECK(failure.says(fmt::format("run is in use by process {} on ", child)));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  for (const int end : {to_parent[0], to_parent[1], to_child[0], to_child[1]}) ::close(end);
  RunDir run(dir / "run");  // the lock of a killed process is gone
  CHECK(failure_of([&] { RunDir second(dir / "run"); }).says("in use"));
}

TEST_CASE("a lock ends with its object") {
  TempDir dir;
  { RunDir run(dir / "run"); }
  RunDir run(dir / "run");
  CHECK(run.path() == dir / "run");
}

TEST_CASE("a run directory that cannot be made or written is an error") {
  TempDir dir;
  put(dir / "file", "x");
  CHECK(failure_of([&] { RunDir run(dir / "file"); }).says("cannot make the directory"));
  CHECK(failure_of([&] { RunDir run(dir / "file/run"); }).says("cannot make the directory"));
  CHECK(failure_of([] { RunDir run("/proc/run"); }).says("/proc/run"));
  fs::create_directories(dir / "odd/.lock");
  CHECK(failure_of([&] { RunDir run(dir / "odd"); }).says("cannot write to the run directory"));
}

TEST_CASE("what a killed process left is finished or undone on opening") {
  TempDir dir;
  const std::string ckpt = dir / "run/ckpt";
  make_checkpoint(ckpt + "/step-00000001", "1");

  SECTION("a half-written checkpoint is removed") {
    make_checkpoint(ckpt + "/.tmp-77-step-00000002", "half");
    fs::create_symlink("step-00000001", ckpt + "/.tmp-77-link-last");
    RunDir run(dir / "run");
    CHECK(names_in(ckpt) == Names{"last", "step-00000001"});
  }
  SECTION("killed after the first checkpoint, before its link") {
    RunDir run(dir / "run");
    CHECK(run.linked("last") == "step-00000001");
  }
  SECTION("killed while an old checkpoint was set aside") {
    fs::create_symlink("step-00000002", ckpt + "/last");
    make_checkpoint(ckpt + "/.old-step-00000002", "old");
    make_checkpoint(ckpt + "/.tmp-77-step-00000002", "new");
    RunDir run(dir / "run");
    CHECK(names_in(ckpt) == Names{"last", "step-00000001", "step-00000002"});
    CHECK(weights(run, "last") == "old");
  }
  SECTION("killed after the new checkpoint took its place") {
    fs::create_symlink("step-00000002", ckpt + "/last");
    make_checkpoint(ckpt + "/.old-step-00000002", "old");
    make_checkpoint(ckpt + "/step-00000002", "new");
    RunDir run(dir / "run");
    CHECK(names_in(ckpt) == Names{"last", "step-00000001", "step-00000002"});
    CHECK(weights(run, "last") == "new");
  }
  SECTION("links into nothing") {
    make_checkpoint(ckpt + "/step-00000010", "10");
    fs::create_symlink("step-00000011", ckpt + "/last");
    fs::create_symlink("step-00000012", ckpt + "/best");
    RunDir run(dir / "run");
    CHECK(run.linked("last") == "step-00000010");
    CHECK(names_in(ckpt) == Names{"last", "step-00000001", "step-00000010"});
  }
  SECTION("a last that points back is left alone") {
    make_checkpoint(ckpt + "/step-00000010", "10");
    fs::create_symlink("step-00000001", ckpt + "/last");
    RunDir run(dir / "run");
    CHECK(run.linked("last") == "step-00000001");
  }
}

TEST_CASE("a run killed at any moment leaves a complete last checkpoint") {
  TempDir dir;
  const std::string path = dir / "run";
  for (int round = 0; round < 15; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      RunDir run(path);
      for (int64_t update = 1;; ++update) {
        const std::string text = std::to_string(update);
        run.save_checkpoint(update % 3, [&](const std::string& directory) {
          put(directory + "/model.safetensors", text);
          put(directory + "/state.json", text);
        });
      }
    }
    ::usleep(static_cast<useconds_t>(3000 + 1700 * round));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    RunDir run(path);
    for (const std::string& name : names_in(path + "/ckpt")) CHECK(name[0] != '.');
    if (run.checkpoints().empty()) continue;
    REQUIRE(!run.linked("last").empty());
    for (const std::string& name : run.checkpoints()) {
      CHECK(get(run.checkpoint_path(name) + "/model.safetensors") ==
            get(run.checkpoint_path(name) + "/state.json"));
    }
  }
}

TEST_CASE("a model is found in a directory, a checkpoint or a run") {
  TempDir dir;
  const std::string run = dir / "run";
  make_checkpoint(run + "/ckpt/step-00000001", "1");
  make_checkpoint(run + "/ckpt/step-00000002", "2");
  put(run + "/config.yaml", "");

  const ModelFiles checkpoint = find_model(run + "/ckpt/step-00000001");
  CHECK(get(checkpoint.weights) == "1");
  CHECK(fs::equivalent(checkpoint.config, run + "/config.yaml"));
  CHECK(fs::equivalent(checkpoint.directory, run));

  CHECK(failure_of([&] { find_model(run); }).says("has no checkpoint yet"));
  fs::create_symlink("step-00000002", run + "/ckpt/last");
  CHECK(get(find_model(run).weights) == "2");
  CHECK(fs::equivalent(find_model(run + "/ckpt/last").directory, run));
  fs::create_symlink("step-00000001", run + "/ckpt/best");
  CHECK(get(find_model(run + "/").weights) == "1");
  CHECK(find_model(run).config == run + "/config.yaml");

  make_checkpoint(dir / "model", "m");
  CHECK(failure_of([&] { find_model(dir / "model"); }).says("has no config.yaml"));
  put(dir / "model/config.yaml", "");
  CHECK(get(find_model(dir / "model").weights) == "m");
  CHECK(find_model(dir / "model").directory == dir / "model");

  fs::create_directory(dir / "empty");
  CHECK(failure_of([&] { find_model(dir / "empty"); }).says("is no model"));
  CHECK(failure_of([&] { find_model(dir / "none"); }).says("No such file or directory"));
  CHECK(failure_of([&] { find_model(put(dir / "file", "x")); }).says("is no model"));
}

TEST_CASE("the newest checkpoints are those of the highest updates") {
  TempDir dir;
  for (const char* step : {"step-00000100", "step-00002000", "step-00000900", ".tmp-9-step-00009000", "step-100000000"}) {
    std::filesystem::create_directories(dir / "ckpt/" + step);
    put(dir / "ckpt/" + step + "/model.safetensors", "");
  }
  std::filesystem::create_symlink("step-00000100", dir / "ckpt/last");
  CHECK(io::newest_checkpoints(dir.path(), 2) == std::vector<std::string>{dir / "ckpt/step-00002000/model.safetensors",
                                                                          dir / "ckpt/step-100000000/model.safetensors"});
  CHECK(io::newest_checkpoints(dir.path(), 4).front() == dir / "ckpt/step-00000100/model.safetensors");
  const Failure failure = failure_of([&] { io::newest_checkpoints(dir.path(), 5); });
  CHECK((failure.says(dir.path()) && failure.says("4 checkpoints") && failure.says("--keep-last 5")));
  CHECK(failure_of([&] { io::newest_checkpoints(dir / "nowhere", 1); }).says("nothing to average"));
}
