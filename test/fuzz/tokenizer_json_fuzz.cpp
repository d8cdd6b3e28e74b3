#include "base/strings.h"
#include "fuzz/fuzz.h"
#include "io/directory.h"
#include "support/tokenizer_files.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

using namespace seqmill;

namespace {

// Texts of all kinds, and the input itself as far as it is text.
std::vector<std::string> texts_of(std::string_view input) {
  std::vector<std::string> texts = {"", " ", "it's  the 1234\n\n  e\u0301 \u6F22\u5B57\U0001F600\t<|end|><tool>", std::string(300, 'a'), std::string(300, ' ')};
  std::string text(input.substr(0, 1000));
  while (!text.empty() && find_invalid_utf8(text) != std::string_view::npos) text.pop_back();
  texts.push_back(text);
  return texts;
}

// Whatever a tokeniser that is accepted is given, it gives ids, and they stand for the text.
void use(const text::Tokenizer& tokenizer, std::string_view input) {
  fuzz::require(tokenizer.eos() >= 0 && tokenizer.eos() < tokenizer.size() && tokenizer.bos() < tokenizer.size(), "the symbols lie in the vocabulary");
  for (int32_t id = 0; id < std::min(tokenizer.size(), 2000); ++id) {
    tokenizer.piece(id);
    tokenizer.decode({id});
  }
  for (const std::string& text : texts_of(input)) {
    for (const bool continues : {false, true}) {
      const std::vector<int32_t> ids = continues ? tokenizer.encode_continued(text) : tokenizer.encode(text);
      for (const int32_t id : ids) {
        fuzz::require(id >= 0 && id < tokenizer.size(), "ids lie in the vocabulary");
        fuzz::require(!tokenizer.is_special(id), "a text has no special tokens");
      }
      const std::string back = tokenizer.decode(ids, continues);
      fuzz::require(back == text || " " + back == text || back == text::to_nfc(text) || " " + back == text::to_nfc(text), "ids stand for the text");
    }
  }
}

}  // namespace

// The first byte says what the rest is: 0 a whole file; 1 the pattern of a pre-tokeniser; else a list of merges, or of added tokens, in a file that is whole
// otherwise.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view input = fuzz::view(data + 1, size - 1);
  static const io::TemporaryDirectory directory;
  fuzz::expect_only_errors([&] {
    std::string file(input);
    if (data[0] != 0) {
      const std::vector<std::pair<std::string, std::string>> merges = {{"t", "h"}, {"th", "e"}, {"a", "a"}, {"aa", "a"}};
      io::Json json = test::byte_level_json("qwen2", test::byte_vocabulary(merges), test::merge_list(merges), {"<|end|>", "<|endoftext|>"});
      if (data[0] == 1) {
        io::Json pre_tokenizer = json.at("pre_tokenizer");
        pre_tokenizer.set("pretokenizers", io::JsonArray{io::JsonObject{{"type", "Split"},
                                                                        {"pattern", io::JsonObject{{"Regex", std::string(input)}}},
                                                                        {"behavior", "Isolated"}},
                                                         pre_tokenizer.at("pretokenizers").as_array()[1]});
        json.set("pre_tokenizer", pre_tokenizer);
      } else if (data[0] == 2) {
        io::Json model = json.at("model");
        model.set("merges", io::parse_json(input, "input"));
        json.set("model", model);
      } else {
        json.set("added_tokens", io::parse_json(input, "input"));
      }
      file = json.dump();
    }
    use(*text::load_tokenizer(test::put(directory / "tokenizer.json", file)), input);
  });
  return 0;
}
