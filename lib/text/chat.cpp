#include "text/chat.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/strings.h"
#include "text/chat_file.h"
#include "text/chat_frame.h"

namespace seqmill::text {
namespace {

constexpr const char* kRoles[] = {"system", "user", "assistant"};

// Whether what follows these tokens is the beginning of a text.
bool begins_text(const std::vector<int32_t>& tokens, const Tokenizer& tokenizer) { return tokens.empty() || tokenizer.is_special(tokens.back()); }

// Puts tokens together from text and special tokens. Neighbouring texts are one text to the tokeniser, except where an answer begins, so that what a model is
// asked to go on with is always how such a conversation begins.
class Composer {
 public:
  explicit Composer(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  void text(std::string_view text) { pending_ += text; }
  void special(int32_t id) {
    flush();
    append(id);
  }
  /// From here on tokens are learned, or are not.
  void learn(bool learned) {
    flush();
    learned_ = learned;
  }
  void add(const std::vector<FramePart>& parts) {
    for (const FramePart& part : parts) part.id < 0 ? text(part.text) : special(part.id);
  }
  ChatTokens take() {
    flush();
    return std::move(result_);
  }

 private:
  void flush() {
    if (pending_.empty()) return;
    for (const int32_t id : begins_text(result_.tokens, tokenizer_) ? tokenizer_.encode(pending_) : tokenizer_.encode_continued(pending_)) append(id);
    pending_.clear();
  }
  void append(int32_t id) {
    result_.tokens.push_back(id);
    result_.learned.push_back(learned_);
  }

  const Tokenizer& tokenizer_;
  std::string pending_;
  ChatTokens result_;
  bool learned_ = false;
};

class Template : public ChatTemplate {
 public:
  Template(std::string name, const Tokenizer& tokenizer) : name_(std::move(name)), tokenizer_(tokenizer) {}

  const std::string& name() const override { return name_; }
  const std::vector<int32_t>& ends() const override { return ends_; }

  std::vector<int32_t> prompt(const std::vector<Message>& messages) const override {
    check(messages);
    if (messages.back().role == "assistant") fail("the last message is an answer; expected one of the user that is to be answered");
    Composer composer(tokenizer_);
    compose(messages, composer);
    open_answer(composer);
    std::vector<int32_t> tokens = composer.take().tokens;
    if (tokens.empty()) fail("the prompt is empty, and the tokeniser has no begin symbol");
    return tokens;
  }

  ChatTokens conversation(const std::vector<Message>& messages) const override {
    check(messages);
    Composer composer(tokenizer_);
    compose(messages, composer);
    return composer.take();
  }

  std::string answer_text(const std::vector<int32_t>& prompt, const std::vector<int32_t>& answer) const override {
    return tokenizer_.decode(answer, !begins_text(prompt, tokenizer_));
  }

 protected:
  virtual void compose(const std::vector<Message>& messages, Composer& composer) const = 0;
  /// What stands between the messages so far and the answer to them.
  virtual void open_answer(Composer& composer) const = 0;
  /// Throws for an order of roles that cannot be expressed.
  virtual void check_order(const std::vector<Message>&) const {}

  const Tokenizer& tokenizer() const { return tokenizer_; }

  void add_end(int32_t id) {
    if (std::find(ends_.begin(), ends_.end(), id) == ends_.end()) ends_.push_back(id);
  }

 private:
  void check(const std::vector<Message>& messages) const {
    if (messages.empty()) fail("the conversation has no messages");
    for (size_t i = 0; i < messages.size(); ++i) check_role(messages[i].role, i);
    check_order(messages);
  }

  std::string name_;
  const Tokenizer& tokenizer_;
  std::vector<int32_t> ends_;
};

// Each message in a frame that depends on its role alone.
class FramedTemplate final : public Template {
 public:
  FramedTemplate(std::string name, const Tokenizer& tokenizer, ChatFrames frames)
      : Template(std::move(name), tokenizer), frames_(std::move(frames)) {
    RoleFrame& answer = *frames_.assistant;
    auto& after = answer.after;
    const auto is_special = [](const FramePart& part) { return part.id >= 0; };
    auto end = std::find_if(after.begin(), after.end(), is_special);
    if (end == after.end()) end = after.insert(after.end(), {"", tokenizer.eos()});
    learned_after_.assign(after.begin(), end + 1);
    unlearned_after_.assign(end + 1, after.end());
    add_end(end->id);
    add_end(tokenizer.eos());
  }

 private:
  void compose(const std::vector<Message>& messages, Composer& composer) const override {
    composer.add(frames_.begin);
    for (const Message& message : messages) {
      if (message.role == "assistant") {
        open_answer(composer);
        composer.learn(true);
        composer.text(content_of(message));
        composer.add(learned_after_);
        composer.learn(false);
        composer.add(unlearned_after_);
      } else {
        const RoleFrame& frame = *frame_of(message.role);
        composer.add(frame.before);
        composer.text(content_of(message));
        composer.add(frame.after);
      }
    }
  }

  void open_answer(Composer& composer) const override { composer.add(frames_.assistant->before); }

  void check_order(const std::vector<Message>& messages) const override {
    for (size_t i = 0; i < messages.size(); ++i) {
      if (!frame_of(messages[i].role)) fail("message {} is of the role {}, for which the template {} has no place", i + 1, messages[i].role, name());
    }
  }

  const std::optional<RoleFrame>& frame_of(const std::string& role) const {
    return role == "system" ? frames_.system : role == "user" ? frames_.user : frames_.assistant;
  }

  std::string_view content_of(const Message& message) const { return frames_.trims ? trim(message.content) : std::string_view(message.content); }

  ChatFrames frames_;
  std::vector<FramePart> learned_after_, unlearned_after_;
};

// Llama 2: each question and its answer are a text of their own, and the system message stands within the first question.
class Llama2Template final : public Template {
 public:
  explicit Llama2Template(const Tokenizer& tokenizer) : Template("llama-2", tokenizer) {
    if (tokenizer.bos() < 0) fail_usage("the template llama-2 needs a begin symbol such as <s>, which the tokeniser {} does not have", tokenizer.path());
    add_end(tokenizer.eos());
  }

  std::string answer_text(const std::vector<int32_t>& prompt, const std::vector<int32_t>& answer) const override {
    return std::string(trim(Template::answer_text(prompt, answer)));
  }

 private:
  void compose(const std::vector<Message>& messages, Composer& composer) const override {
    std::string system;
    for (const Message& message : messages) {
      if (message.role == "system") {
        system = fmt::format("<<SYS>>\n{}\n<</SYS>>\n\n", trim(message.content));
      } else if (message.role == "user") {
        composer.special(tokenizer().bos());
        composer.text(fmt::format("[INST] {}{} [/INST]", system, trim(message.content)));
        system.clear();
      } else {
        composer.learn(true);
        composer.text(fmt::format(" {} ", trim(message.content)));
        composer.special(tokenizer().eos());
        composer.learn(false);
      }
    }
  }

  void open_answer(Composer&) const override {}

  void check_order(const std::vector<Message>& messages) const override {
    const size_t first = messages.front().role == "system" ? 1 : 0;
    if (first == messages.size()) fail("the conversation has no message of the user, within which the template llama-2 puts that of the system");
    for (size_t i = first; i < messages.size(); ++i) {
      const char* expected = (i - first) % 2 == 0 ? "user" : "assistant";
      if (messages[i].role != expected) {
        fail("message {} is of the role {}, expected {}: the template llama-2 has at most one system message, first, then questions and answers in turn", i + 1,
             messages[i].role, expected);
      }
    }
  }
};

int32_t needed(const Tokenizer& tokenizer, const char* token, const char* name) {
  const int32_t id = tokenizer.special(token);
  if (id < 0) {
    fail_usage("the template {} needs the special token {}, which the tokeniser {} does not have; alpaca and plain need none", name, token, tokenizer.path());
  }
  return id;
}

RoleFrame frame(std::vector<FramePart> before, std::vector<FramePart> after) { return {std::move(before), std::move(after)}; }

std::vector<FramePart> begin_of(const Tokenizer& tokenizer) {
  if (tokenizer.bos() < 0) return {};
  return {{"", tokenizer.bos()}};
}

ChatFrames plain(const Tokenizer& tokenizer) {
  const RoleFrame bare = frame({}, {});
  return {begin_of(tokenizer), bare, bare, frame({}, {{"", tokenizer.eos()}}), false};
}

ChatFrames alpaca(const Tokenizer& tokenizer) {
  return {begin_of(tokenizer), frame({}, {{"\n\n", -1}}), frame({{"### Instruction:\n", -1}}, {{"\n\n", -1}}),
          frame({{"### Response:\n", -1}}, {{"", tokenizer.eos()}}), false};
}

ChatFrames chatml(const Tokenizer& tokenizer) {
  const FramePart start{"", needed(tokenizer, "<|im_start|>", "chatml")}, end{"", needed(tokenizer, "<|im_end|>", "chatml")};
  const auto of = [&](const char* role) { return frame({start, {fmt::format("{}\n", role), -1}}, {end, {"\n", -1}}); };
  return {{}, of("system"), of("user"), of("assistant"), false};
}

ChatFrames llama_3(const Tokenizer& tokenizer) {
  const auto token = [&](const char* text) { return FramePart{"", needed(tokenizer, text, "llama-3")}; };
  const FramePart start = token("<|start_header_id|>"), stop = token("<|end_header_id|>"), end = token("<|eot_id|>");
  const auto of = [&](const char* role) { return frame({start, {role, -1}, stop, {"\n\n", -1}}, {end}); };
  return {{token("<|begin_of_text|>")}, of("system"), of("user"), of("assistant"), true};
}

bool looks_like_path(const std::string& name) { return name.find('/') != std::string::npos || std::filesystem::exists(name); }

}  // namespace

void check_role(const std::string& role, size_t index) {
  if (std::find(std::begin(kRoles), std::end(kRoles), role) == std::end(kRoles)) {
    fail("message {}: the role is \"{}\", expected system, user or assistant", index + 1, excerpt(role, 40));
  }
}

std::vector<Message> read_messages(const io::Json& prompt) {
  if (prompt.is_string()) return {{"user", prompt.as_string()}};
  if (!prompt.is_array()) fail("expected a string or a list of messages, found {}", prompt.type_name());
  if (prompt.as_array().empty()) fail("the list of messages is empty");
  std::vector<Message> messages;
  for (const io::Json& item : prompt.as_array()) {
    const size_t number = messages.size() + 1;
    if (!item.is_object()) fail("message {}: expected an object with role and content, found {}", number, item.type_name());
    for (const char* key : {"role", "content"}) {
      const io::Json* value = item.find(key);
      if (!value) fail("message {}: the field \"{}\" is missing", number, key);
      if (!value->is_string()) fail("message {}: \"{}\" is {}, expected a string", number, key, value->type_name());
    }
    check_role(item.at("role").as_string(), messages.size());
    messages.push_back({item.at("role").as_string(), item.at("content").as_string()});
  }
  return messages;
}

std::unique_ptr<ChatTemplate> make_chat_template(const std::string& name, const Tokenizer& tokenizer) {
  const auto framed = [&](ChatFrames frames) { return std::make_unique<FramedTemplate>(name, tokenizer, std::move(frames)); };
  if (name == "plain") return framed(plain(tokenizer));
  if (name == "alpaca") return framed(alpaca(tokenizer));
  if (name == "chatml") return framed(chatml(tokenizer));
  if (name == "llama-2") return std::make_unique<Llama2Template>(tokenizer);
  if (name == "llama-3") return framed(llama_3(tokenizer));
  if (looks_like_path(name)) return framed(read_chat_file(name, tokenizer));
  const std::vector<std::string> names = chat_template_names();
  const std::string near = nearest(name, names);
  fail_usage("'{}' is no chat template and no file{}; expected {} or a file", name, near.empty() ? "" : fmt::format(", did you mean {}?", near), join(names, ", "));
}

std::vector<std::string> chat_template_names() { return {"plain", "alpaca", "chatml", "llama-2", "llama-3"}; }

}  // namespace seqmill::text
