#include "train/run_record.h"

#include <catch2/catch.hpp>

#include "base/log.h"
#include "base/version.h"
#include "support/files.h"

using namespace seqmill;
using namespace seqmill::train;
using namespace seqmill::test;

namespace {

/// Warnings are written, and no file stays open behind a test.
struct Logging {
  log::Level before = log::level();
  Logging() { log::set_level(log::Level::kWarning); }
  ~Logging() {
    log::open_copy("");
    log::set_level(before);
  }
};

const std::string kConfig = "seed: 7\nmodel:\n  dim: 16\n  dropout: 0.1\n";

/// A whole session that writes `config`.
void session(const io::RunDir& run, const std::string& config, const std::string& command = "c", int exit_code = 0) {
  RunRecord record(run, config, command, "h", "t");
  record.write_config();
  record.finish(exit_code);
}

}  // namespace

TEST_CASE("a run says how it was made", "[run-record]") {
  const TempDir dir;
  const Logging logging;
  const io::RunDir run(dir / "run");
  RunRecord record(run, kConfig, "nmt-train -c 'a b.yaml'", "host-1", "2026-01-31T12:00:00+0100");
  CHECK_FALSE(std::filesystem::exists(run.file("config.yaml")));
  record.write_config();
  CHECK(get(run.file("config.yaml")) == kConfig);
  const std::string begin = get(run.file("command.txt"));
  CHECK(begin.find("command: nmt-train -c 'a b.yaml'\n") == 0);
  CHECK(begin.find("\nhost: host-1\n") != std::string::npos);
  CHECK(begin.find(fmt::format("\nseqmill: {}\n", version())) != std::string::npos);
  for (const auto& [name, value] : version_lines()) {
    CHECK(begin.find(fmt::format("\n{}: {}\n", name, value)) != std::string::npos);
  }
  const std::string last = "\nstart: 2026-01-31T12:00:00+0100\n";
  REQUIRE(begin.size() > last.size());
  CHECK(begin.substr(begin.size() - last.size()) == last);
  log::warn("a warning");
  CHECK(get(run.file("log")).find("a warning\n") != std::string::npos);
  record.finish(3);
  const std::string end = get(run.file("command.txt")).substr(begin.size());
  CHECK(end.find("end: 2") == 0);
  const std::string code = ", exit code 3\n";
  CHECK(end.find(code) == end.size() - code.size());
}

TEST_CASE("a second session adds its entry and names what has changed", "[run-record]") {
  const TempDir dir;
  const Logging logging;
  const io::RunDir run(dir / "run");
  session(run, kConfig, "first", 143);
  const std::string before = get(run.file("command.txt"));
  session(run, kConfig, "second");
  CHECK(get(run.file("log")).empty());  // nothing has changed
  const std::string after = get(run.file("command.txt"));
  CHECK(after.substr(0, before.size()) == before);
  CHECK(after.find("command: second\n", before.size()) == before.size());
  const std::string changed = "seed: 8\nmodel:\n  dim: 32\n  dropout: 0.1\n  ffn: 32\n";
  session(run, changed);
  const std::string log = get(run.file("log"));
  CHECK(log.find("seed from '7' to '8'") != std::string::npos);
  CHECK(log.find("model.dim from '16' to '32'") != std::string::npos);  // there is no checkpoint of it yet
  CHECK(log.find("model.ffn is '32'") != std::string::npos);
  CHECK(log.find("dropout") == std::string::npos);
  CHECK(get(run.file("config.yaml")) == changed);
}

TEST_CASE("checkpoints bind a run to its model and vocabulary", "[run-record]") {
  const TempDir dir;
  const Logging logging;
  io::RunDir run(dir / "run");
  const std::string begun = kConfig + "vocab-size: 100\nvocab-src: a.spm\nvocab-type: bpe\n";
  session(run, begun);
  run.save_checkpoint(1, [](const std::string& directory) { put(directory + "/model.safetensors", "x"); });
  const auto failure_with = [&](const std::string& from, const std::string& to) {
    std::string changed = begun;
    changed.replace(changed.find(from), from.size(), to);
    const std::string commands = get(run.file("command.txt"));
    const Failure failure = failure_of([&] { session(run, changed); });
    if (failure.exit_code != kExitDone) {
      CHECK(get(run.file("config.yaml")) == begun);
      CHECK(get(run.file("command.txt")) == commands);
    }
    put(run.file("config.yaml"), begun);
    return failure;
  };
  const Failure dim = failure_with("dim: 16", "dim: 32");
  CHECK(dim.exit_code == kExitUsage);
  CHECK(dim.says("--model.dim 32: this run was begun with '16'"));
  CHECK(failure_with("  dim", "  ffn: 9\n  dim").exit_code == kExitDone);  // unknown when the run was begun
  CHECK(failure_with("vocab-size: 100", "vocab-size: 200").exit_code == kExitDone);  // vocabularies are compared by what they hold
  CHECK(failure_with("seed: 7", "seed: 8").exit_code == kExitDone);
  CHECK(failure_with("dropout: 0.1", "dropout: 0.3").exit_code == kExitDone);
  CHECK(failure_with("a.spm", "copy-of-a.spm").exit_code == kExitDone);
  const Failure type = failure_with("bpe", "unigram");
  CHECK(type.exit_code == kExitUsage);
  CHECK(type.says("--vocab-type unigram: this run was begun with 'bpe'"));
  CHECK(failure_with("100\nvocab-src: a.spm\nvocab-type: bpe", "0\nvocab-src: a.spm\nvocab-type: unigram").exit_code == kExitDone);
}

TEST_CASE("the end of a record never throws", "[run-record]") {
  const TempDir dir;
  const Logging logging;
  const io::RunDir run(dir / "run");
  RunRecord record(run, kConfig, "c", "h", "t");
  std::filesystem::remove_all(dir / "run");
  CHECK_NOTHROW(record.finish(0));
  CHECK_FALSE(std::filesystem::exists(dir / "run"));
}
