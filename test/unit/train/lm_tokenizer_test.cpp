#include "train/lm_tokenizer.h"

#include <catch2/catch.hpp>
#include <filesystem>

#include "base/log.h"
#include "io/run_dir.h"
#include "support/files.h"

using namespace seqmill;
using namespace seqmill::train;
using namespace seqmill::test;

namespace {

std::string some_text() {
  std::string lines;
  for (int i = 0; i < 60; ++i) lines += fmt::format("the cat no {} sat  on the mat\n\n and the dog {} on the log\n", i, i * i);
  return lines;
}

struct Place {
  std::shared_ptr<const text::Tokenizer> prepare(const std::string& init_from = "") { return prepare_tokenizer(options, init_from, texts, run, 1); }
  Failure failure(const std::string& init_from = "") {
    return failure_of([&] { prepare(init_from); });
  }
  void checkpoint() {
    run.save_checkpoint(1, [](const std::string& directory) { put(directory + "/model.safetensors", "x"); });
  }

  TempDir dir;
  io::RunDir run{dir / "run"};
  TokenizerOptions options;
  TokenizerText texts{{put(dir / "text", some_text())}, "text", "text"};
};

}  // namespace

TEST_CASE("a tokeniser is trained on text that it gives back as it was", "[lm-tokenizer]") {
  log::set_level(log::Level::kError);
  Place place;
  place.options.size = 320;
  const auto tokenizer = place.prepare();
  CHECK(tokenizer->size() == 320);
  CHECK(tokenizer->decode(tokenizer->encode(some_text())) == some_text());
  CHECK(std::filesystem::exists(place.run.file("vocab.spm")));
}

TEST_CASE("a tokeniser is trained on documents and on conversations", "[lm-tokenizer]") {
  log::set_level(log::Level::kError);
  for (const std::string format : {"jsonl", "chat"}) {
    Place place;
    place.options.size = 300;
    std::string records;
    for (int i = 0; i < 50; ++i) {
      records += format == "jsonl" ? fmt::format("{{\"body\":\"some words number {}\\r\\nand more\"}}\n", i)
                                   : fmt::format("{{\"prompt\":\"some words\",\"response\":\"number {}\"}}\n", i);
    }
    // Without a line end for long.
    if (format == "jsonl") records += "{\"body\":\"" + std::string(300000, 'x') + " " + std::string(300000, 'y') + "\"}\n";
    place.texts = {{put(place.dir / "records", records)}, format, "body"};
    const auto tokenizer = place.prepare();
    // Of some bytes at least it has made pieces, so it has seen the words.
    CHECK(tokenizer->encode("some words number").size() < 12);
    put(place.dir / "records", records + "{}\n");
    CHECK(place.failure().says("records:" + std::to_string(format == "jsonl" ? 52 : 51)));
  }
}

TEST_CASE("a given tokeniser is copied, and that of a model unless another is given", "[lm-tokenizer]") {
  log::set_level(log::Level::kError);
  Place first, given, from_model;
  first.options.size = 320;
  first.prepare();
  given.options.given = first.run.file("vocab.spm");
  CHECK(text::same_pieces(*given.prepare(), *text::load_tokenizer(first.run.path())));
  CHECK(given.prepare()->path() == given.run.file("vocab.spm"));
  given.options.given = first.run.path();
  CHECK(given.prepare()->size() == 320);
  // One that lies in the run stays there.
  given.options.given = given.run.file("vocab.spm");
  CHECK(given.prepare()->size() == 320);

  const std::string model = first.dir / "model";
  std::filesystem::create_directory(model);
  put(model + "/model.safetensors", "x");
  put(model + "/config.yaml", "model:\n  type: llama\n");
  std::filesystem::copy_file(first.run.file("vocab.spm"), model + "/vocab.spm");
  CHECK(from_model.prepare(model)->size() == 320);
  from_model.options.size = 310;
  CHECK(from_model.prepare(model)->size() == 310);
}

TEST_CASE("a run with checkpoints keeps its tokeniser", "[lm-tokenizer]") {
  log::set_level(log::Level::kOff);
  Place place, other;
  place.options.size = 320;
  place.prepare();
  place.options.size = 310;
  CHECK(place.prepare()->size() == 310);  // nothing was trained with the first one
  place.checkpoint();
  CHECK(place.prepare()->size() == 310);
  place.options.size = 320;
  CHECK(place.failure().says("begun with a vocabulary of 310 pieces"));
  place.options.size = 0;
  CHECK(place.prepare()->size() == 310);
  other.options.size = 320;
  other.prepare();
  place.options.given = other.run.file("vocab.spm");
  const Failure failure = place.failure();
  CHECK((failure.exit_code == kExitUsage && failure.says("is another tokeniser than " + place.run.file("vocab.spm"))));
  place.options.given = place.dir / "gone";
  CHECK(place.prepare()->size() == 310);
}

TEST_CASE("one tokeniser has to be asked for", "[lm-tokenizer]") {
  Place place;
  CHECK(place.failure().says("give --vocab PATH, --vocab-size N or --init-from MODEL"));
  place.options.given = "x";
  place.options.size = 9;
  CHECK(place.failure().says("not both"));
  place.options.size = 0;
  CHECK(place.failure().says("x"));
}

TEST_CASE("the template of a run is a name or its own copy of a file", "[lm-tokenizer]") {
  log::set_level(log::Level::kOff);
  Place place;
  const std::string file = put(place.dir / "own.yaml", "user: \"{content}\"\n"), kept = place.run.file("chat.yaml");
  CHECK(prepare_chat_template("alpaca", place.run) == "alpaca");
  CHECK(prepare_chat_template(file, place.run) == kept);
  CHECK(get(kept) == get(file));
  CHECK(prepare_chat_template(kept, place.run) == kept);
  CHECK(prepare_chat_template("plain", place.run) == "plain");
  CHECK_FALSE(std::filesystem::exists(kept));
  CHECK(prepare_chat_template("nowhere", place.run) == "nowhere");  // which nobody can make a template of
  prepare_chat_template(file, place.run);
  place.checkpoint();
  CHECK(prepare_chat_template(file, place.run) == kept);
  put(file, "user: \"other {content}\"\n");
  CHECK(failure_of([&] { prepare_chat_template(file, place.run); }).exit_code == kExitUsage);
  std::filesystem::remove(file);
  CHECK(prepare_chat_template(file, place.run) == kept);
}
