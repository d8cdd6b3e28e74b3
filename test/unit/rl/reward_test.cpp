#include "rl/reward.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "base/error.h"
#include "support/files.h"

using namespace seqmill;
using namespace seqmill::rl;
using namespace seqmill::test;

namespace {

Question question(const std::string& id, std::vector<std::string> candidates, std::vector<std::string> references = {"the cat sat on the mat"}) {
  Question question;
  question.id = id;
  question.place = "test:" + id;
  question.source = "die Katze";
  question.references = std::move(references);
  for (const std::string& candidate : candidates) question.lengths.push_back(static_cast<int64_t>(candidate.size()));
  question.candidates = std::move(candidates);
  return question;
}

Rewards rewards(const std::vector<std::string>& names, const std::vector<Question>& questions) { return RewardSum(names, 1).of(questions, 1).sums; }

/// What a reward must not do.
class Broken final : public Reward {
 public:
  explicit Broken(bool few) : few_(few) {}
  Rewards of(const std::vector<Question>& questions, int) override { return few_ ? Rewards() : Rewards(questions.size(), {std::nan("")}); }

 private:
  bool few_;
};
const Registration<RewardType> broken{"test-broken", {"for tests", [](const std::string& argument, int) { return std::make_unique<Broken>(argument == "few"); }}};

double one(const std::string& name, const Question& of) { return rewards({name}, {of}).at(0).at(0); }

}  // namespace

TEST_CASE("metrics of sentences are rewards between 0 and 1", "[rl][reward]") {
  const Question same = question("a", {"the cat sat on the mat"}), other = question("b", {"the cat is here"}), none = question("c", {"xyz"}), empty = question("d", {""});
  for (const char* name : {"bleu", "chrf", "rouge-l"}) {
    CAPTURE(name);
    CHECK(one(name, same) == Approx(1));
    CHECK((one(name, other) > 0.05 && one(name, other) < 0.8));
    CHECK(one(name, none) < 0.05);
    CHECK(one(name, empty) == 0);
    CHECK(RewardSum({name}, 1).needs_references());
  }
  // By hand: unigrams 2/4, bigrams 1/3, trigrams and 4-grams none of 2 and 1: exponential smoothing has 1/4 and 1/4 there; 4 words for 6.
  const double precisions = 0.5 * (1.0 / 3) * (1.0 / 2 / 2) * (1.0 / 4 / 1);
  CHECK(one("bleu", other) == Approx(std::exp(1 - 6.0 / 4) * std::pow(precisions, 0.25)));
  CHECK(one("rouge-l", other) == Approx(2 * (2.0 / 4) * (2.0 / 6) / (2.0 / 4 + 2.0 / 6)));
  // Of several references the best, for ROUGE.
  CHECK(one("rouge-l", question("e", {"the cat is here"}, {"no", "the cat is here"})) == Approx(1));
}

TEST_CASE("constants and lengths, added up with weights", "[rl][reward]") {
  const std::vector<Question> two{question("a", {"x", "xyz"}), question("b", {"xy"})};
  CHECK(rewards({"constant"}, two) == Rewards{{1, 1}, {1}});
  CHECK(rewards({"constant:0.25"}, two) == Rewards{{0.25, 0.25}, {0.25}});
  CHECK(rewards({"length"}, two) == Rewards{{1, 3}, {2}});
  RewardSum sum({"2*constant:3", "-0.5*length", "length"}, 1);
  CHECK(sum.names() == std::vector<std::string>{"constant", "length", "length-2"});
  CHECK_FALSE((sum.needs_references() || sum.needs_rival()));
  const RewardTotals totals = sum.of(two, 1);
  CHECK(totals.sums == Rewards{{6.5, 7.5}, {7}});
  CHECK(totals.means == std::vector<std::vector<double>>{{3, 2, 2}, {3, 2, 2}});
  CHECK(sum.of({}, 1).sums.empty());
}

TEST_CASE("what is no reward is a usage error", "[rl][reward]") {
  const auto refused = [](const std::vector<std::string>& names) { return failure_of([&] { RewardSum(names, 1); }); };
  CHECK(refused({}).exit_code == 2);
  CHECK(refused({"blue"}).says("did you mean 'bleu'?"));
  CHECK(refused({"bleu:4"}).says("takes nothing behind a colon"));
  CHECK(refused({"x*bleu"}).says("'x' is no weight"));
  CHECK(refused({"nan*bleu"}).says("is no weight"));
  CHECK(refused({"constant:y"}).says("expected a number"));
  for (const char* name : {"command", "file", "model"}) {
    CHECK(refused({name}).exit_code == 2);
    CHECK(refused({name}).says(std::string("expected ") + name + ":"));
  }
  CHECK(failure_of([] { one("bleu", question("a", {"x"}, {})); }).says("test:a: it has no reference"));
  const std::string list = list_rewards();
  for (const char* name : {"bleu", "chrf", "rouge-l", "constant", "length", "command", "file", "model"}) CHECK(list.find(name) != std::string::npos);
}

TEST_CASE("a program's rewards", "[rl][reward]") {
  const TempDir dir;
  // It says how long the first candidate's text is, and how many there are, and keeps what it was asked.
  const std::string program = put(dir.path() + "/reward.py", R"(import json, sys
for line in sys.stdin:
    record = json.loads(line)
    open(sys.argv[1] + "/asked", "a").write(line)
    if sys.argv[2] == "list": answer = {"rewards": [len(h["text"]) for h in record["hypotheses"]]}
    elif sys.argv[2] == "scores": answer = {"id": record["id"], "hypotheses": [{"text": h["text"], "scores": {"reward": h["length"] + 0.5}} for h in record["hypotheses"]]}
    elif sys.argv[2] == "null": answer = {"rewards": [None for h in record["hypotheses"]]}
    elif sys.argv[2] == "few": answer = {"rewards": []}
    elif sys.argv[2] == "error": answer = {"id": 1, "error": "too hard"}
    elif sys.argv[2] == "text": print("what?", flush=True); continue
    else: sys.exit(4)
    print(json.dumps(answer), flush=True)
)");
  const auto command = [&](const char* mode) { return fmt::format("command:python3 {} {} {}", program, dir.path(), mode); };
  std::vector<Question> two{question("a", {"x", "xyz"}), question("b", {"x*y:z\n"}, {"r", "s"})};
  CHECK(rewards({command("list")}, two) == Rewards{{1, 3}, {6}});
  CHECK(get(dir.path() + "/asked") ==
        "{\"id\":\"a\",\"source\":\"die Katze\",\"reference\":\"the cat sat on the mat\",\"hypotheses\":[{\"text\":\"x\",\"length\":1},{\"text\":\"xyz\",\"length\":3}]}\n"
        "{\"id\":\"b\",\"source\":\"die Katze\",\"reference\":\"r\",\"references\":[\"r\",\"s\"],\"hypotheses\":[{\"text\":\"x*y:z\\n\",\"length\":6}]}\n");
  CHECK(rewards({"2*" + command("scores")}, two) == Rewards{{3, 7}, {13}});
  two[0].messages = {{"user", "hello"}};
  two[1].messages = {{"user", "a"}, {"assistant", "b"}, {"user", "c"}};
  put(dir.path() + "/asked", "");
  RewardSum kept({command("list")}, 1);
  CHECK(kept.of(two, 1).sums == kept.of(two, 1).sums);
  CHECK(get(dir.path() + "/asked").find("{\"id\":\"a\",\"prompt\":\"hello\",") == 0);
  CHECK(get(dir.path() + "/asked").find("\"prompt\":[{\"role\":\"user\",\"content\":\"a\"},") != std::string::npos);
  const auto failure = [&](const char* mode) { return failure_of([&] { rewards({command(mode)}, two); }); };
  CHECK(failure("null").says("test:a: "));
  CHECK(failure("null").says("answered null for candidate 1, expected a number"));
  CHECK(failure("few").says("test:a: 0 rewards for 2 candidates"));
  CHECK(failure("error").says("an error: too hard"));
  CHECK(failure("text").says("answered"));
  CHECK(failure("end").says("ended with exit code 4 after 0 of 2 answers"));
  CHECK(failure("end").exit_code == 1);
}

TEST_CASE("rewards of a file", "[rl][reward]") {
  const TempDir dir;
  const std::string path = put(dir.path() + "/r.jsonl", "{\"id\":\"a\",\"hypotheses\":[{\"text\":\"x\",\"scores\":{\"reward\":0.5}},{\"text\":\"y\",\"scores\":{\"reward\":2}}]}\n"
                                                  "{\"id\":7,\"hypotheses\":[{\"text\":\"x\",\"scores\":{\"reward\":-1}}]}\n");
  CHECK(rewards({"file:" + path}, {question("7", {"x", "x"}), question("a", {"y", "x"})}) == Rewards{{-1, -1}, {2, 0.5}});
  CHECK(failure_of([&] { rewards({"file:" + path}, {question("a", {"z"})}); }).says("test:a: " + path + " has no reward for the candidate 'z'"));
  CHECK(failure_of([&] { RewardSum({"file:" + put(dir.path() + "/bad", "{\"id\":1,\"hypotheses\":[{\"text\":\"x\"}]}\n")}, 1); }).says("bad:1: record 1: "));
  CHECK(failure_of([&] { RewardSum({"file:" + put(dir.path() + "/empty", "")}, 1); }).says("holds no rewards"));
}

TEST_CASE("rewards that are not finite are errors that name reward and record", "[rl][reward]") {
  CHECK(failure_of([] { one("test-broken", question("a", {"x"})); }).says("--reward test-broken: test:a: candidate 1 gets nan, expected a finite number"));
  CHECK(failure_of([] { one("test-broken:few", question("a", {"x"})); }).says("--reward test-broken:few: 0 answers for 1 inputs"));
  for (const char* value : {"inf", "nan"}) CHECK(failure_of([&] { one(std::string("constant:") + value, question("a", {"x"})); }).says("expected a number"));
}
