#include "text/tokenizer.h"

#include <filesystem>

#include "base/error.h"
#include "base/strings.h"
#include "io/directory.h"
#include "io/json.h"
#include "io/line_reader.h"
#include "io/output.h"
#include "text/tokenizer_config.h"
#include "text/tokenizers.h"

namespace seqmill::text {
namespace {

constexpr const char* kNames[] = {"vocab.spm", "tokenizer.model", "tokenizer.json"};

std::string file_in(const std::string& directory) {
  for (const char* name : kNames) {
    if (const std::string path = directory + "/" + name; std::filesystem::exists(path)) return path;
  }
  fail("{}: it holds no tokeniser, expected vocab.spm, tokenizer.model or tokenizer.json", directory);
}

bool is_json(const std::string& path) { return ends_with(path, ".json"); }

}  // namespace

std::shared_ptr<const Tokenizer> load_tokenizer(const std::string& path) {
  const std::string file = io::is_directory(path) ? file_in(path) : path;
  return is_json(file) ? open_byte_level_tokenizer(file) : open_sentencepiece_tokenizer(file);
}

void copy_tokenizer(const Tokenizer& tokenizer, const std::string& directory) {
  const std::string& path = tokenizer.path();
  const std::string from = directory_of(path);
  std::string name = std::filesystem::path(path).filename().string();
  if (is_json(path)) {
    name = "tokenizer.json";
  } else if (name != "tokenizer.model") {
    name = "vocab.spm";
  }
  io::write_file(directory + "/" + name, io::read_file(path));
  const std::vector<std::string> companions = tokenizer_companions(from);
  for (const std::string& companion : companions) io::write_file(directory + "/" + companion, io::read_file(from + "/" + companion));
  // A SentencePiece model knows its symbols by itself.
  if (!is_json(path)) {
    const auto copy = load_tokenizer(directory + "/" + name);
    if (copy->bos() == tokenizer.bos() && copy->eos() == tokenizer.eos()) return;
  }
  const std::string config_path = directory + "/tokenizer_config.json";
  io::Json config = std::filesystem::exists(config_path) ? io::read_json(config_path, io::LargeIntegers::kRound) : io::Json::object();
  config.set("bos_token", tokenizer.bos() < 0 ? io::Json() : io::Json(tokenizer.piece(tokenizer.bos())));
  config.set("eos_token", tokenizer.piece(tokenizer.eos()));
  io::write_file(config_path, config.dump_pretty() + "\n");
}

bool same_pieces(const Tokenizer& a, const Tokenizer& b) {
  if (a.size() != b.size()) return false;
  for (int32_t id = 0; id < a.size(); ++id) {
    if (a.piece(id) != b.piece(id)) return false;
  }
  return true;
}

}  // namespace seqmill::text
