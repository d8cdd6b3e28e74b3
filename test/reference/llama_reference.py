#!/usr/bin/env python3
"""What models of the Llama family compute, from the published definitions, in float64: what this project's models are tested with.

  make DIR --shape SHAPE [--dtype f32|bf16|f16] [--shards N] [--seed S] [--vocab N] [--set KEY=JSON ...]   a directory of random weights
  logits DIR TOKENS.json [OUT.json] [--log-probs]   TOKENS: a list of ids, or a list of such lists; out come the rows of every position, nested alike
  logprobs DIR < LINES                              a line is a list of ids; out comes the list of log p of each but the first, given those before
  read DIR [--export]                               checks a directory and describes it as one JSON object; --export: it was written by this project
  same DIR DIR [--tolerance X]                      two directories hold the same model, up to X in every weight
  selftest                                          this program against an independent computation and against what must hold

Definitions: Touvron et al., 2023, "LLaMA" and "Llama 2" (RMSNorm before each sub-layer, SwiGLU, rotary positions, grouped queries); Su et al., 2021, "RoFormer";
Jiang et al., 2023, "Mistral 7B" (a token sees `sliding_window` tokens, itself included); Yang et al., 2024, "Qwen2" (biases of queries, keys and values);
Dubey et al., 2024, "The Llama 3 Herd of Models" and Llama 3.1 (frequencies scaled by wavelength). Exit: 0, or 1 with one line that says what is wrong, or 77 where
NumPy is not installed, from selftest also where PyTorch is not.
"""
import argparse
import json
import math
import sys
import tempfile

try:
    import numpy
except ImportError:
    print("NumPy for Python is not installed: skipped")
    sys.exit(77)
import hf_directory
from hf_directory import Wrong


def rms_norm(x, weight, epsilon):
    return x / numpy.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * weight


def silu(x):
    return x / (1 + numpy.exp(-x))


def log_softmax(x):
    shifted = x - x.max(-1, keepdims=True)
    return shifted - numpy.log(numpy.exp(shifted).sum(-1, keepdims=True))


def rope_frequencies(config):
    """Radians per position of each pair of dimensions [head_dim / 2]."""
    half = hf_directory.head_dim(config) // 2
    frequencies = config.get("rope_theta", 10000.0) ** (-numpy.arange(half) / half)
    scaling = config.get("rope_scaling")
    if not scaling:
        return frequencies
    kind = scaling.get("rope_type", scaling.get("type"))
    if kind == "linear":
        return frequencies / scaling["factor"]
    if kind != "llama3":
        raise Wrong(f"rope scaling {kind}: linear and llama3 are known")
    # Long waves are stretched by the factor, short ones kept, those between mixed.
    waves_in_context = scaling["original_max_position_embeddings"] * frequencies / (2 * math.pi)
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    kept = numpy.clip((waves_in_context - low) / (high - low), 0, 1)
    return frequencies * (kept + (1 - kept) / scaling["factor"])


def rotate(x, frequencies):
    """[T, heads, head_dim] at positions 0 .. T-1. Dimension i and i + head_dim/2 are a pair, as in Hugging Face's weights."""
    angles = numpy.arange(len(x))[:, None, None] * frequencies
    one, other = numpy.split(x, 2, -1)
    return numpy.concatenate([one * numpy.cos(angles) - other * numpy.sin(angles), other * numpy.cos(angles) + one * numpy.sin(angles)], -1)


def window_of(config, layer):
    """How many tokens a token of this layer sees, itself included; None: all."""
    window = config.get("sliding_window")
    if config["model_type"] == "qwen2":
        slides = config.get("use_sliding_window", False) and layer >= config.get("max_window_layers", 28)
        return window if slides else None
    return window if config["model_type"] == "mistral" else None


def attend(q, k, v, window):
    """q [T, heads, d], k and v [T, kv_heads, d] -> [T, heads * d]"""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat(groups, 1), v.repeat(groups, 1)
    scores = numpy.einsum("qhd,khd->hqk", q, k) / math.sqrt(q.shape[2])
    behind = numpy.arange(len(q))[:, None] - numpy.arange(len(q))
    seen = (behind >= 0) & (behind < (window or len(q)))
    weights = numpy.exp(log_softmax(numpy.where(seen, scores, -numpy.inf)))
    return numpy.einsum("hqk,khd->qhd", weights, v).reshape(len(q), -1)


class Model:
    def __init__(self, directory):
        self.config, tensors, _ = hf_directory.read(directory)
        self.weights = {name: hf_directory.exact(*tensor) for name, tensor in tensors.items()}

    def project(self, x, name):
        bias = self.weights.get(name + ".bias")
        return x @ self.weights[name + ".weight"].T + (0 if bias is None else bias)

    def logits(self, tokens):
        """[T, vocabulary]"""
        config, width = self.config, hf_directory.head_dim(self.config)
        if not isinstance(tokens, list) or not tokens or not all(isinstance(token, int) for token in tokens):
            raise Wrong(f"a list of ids, at least one, is expected; found {tokens}")
        if min(tokens) < 0 or max(tokens) >= config["vocab_size"]:
            raise Wrong(f"ids are 0 .. {config['vocab_size'] - 1}; found {tokens}")
        norm = lambda x, name: rms_norm(x, self.weights[name + ".weight"], config["rms_norm_eps"])
        heads = lambda x: x.reshape(len(x), -1, width)
        frequencies = rope_frequencies(config)
        x = self.weights["model.embed_tokens.weight"][tokens]
        for layer in range(config["num_hidden_layers"]):
            prefix = f"model.layers.{layer}."
            normed = norm(x, prefix + "input_layernorm")
            q, k, v = (heads(self.project(normed, f"{prefix}self_attn.{name}_proj")) for name in "qkv")
            attended = attend(rotate(q, frequencies), rotate(k, frequencies), v, window_of(config, layer))
            x = x + self.project(attended, prefix + "self_attn.o_proj")
            normed = norm(x, prefix + "post_attention_layernorm")
            x = x + self.project(silu(self.project(normed, prefix + "mlp.gate_proj")) * self.project(normed, prefix + "mlp.up_proj"), prefix + "mlp.down_proj")
        output = "model.embed_tokens" if config["tie_word_embeddings"] else "lm_head"
        return norm(x, "model.norm") @ self.weights[output + ".weight"].T

    def logprobs(self, tokens):
        """log p of every token but the first."""
        return log_softmax(self.logits(tokens))[numpy.arange(len(tokens) - 1), tokens[1:]]


# Commands

def settings_of(texts):
    settings = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise Wrong(f"--set {text}: KEY=JSON is expected")
        settings[key] = json.loads(value)
    return settings


def make(options):
    hf_directory.make(options.directory, options.shape, options.dtype, options.shards, options.seed, options.vocab, settings_of(options.set))


def logits(options):
    model = Model(options.directory)
    with open(options.tokens, encoding="utf-8") as file:
        sequences = json.load(file)
    rows = lambda tokens: (log_softmax(model.logits(tokens)) if options.log_probs else model.logits(tokens)).tolist()
    result = [rows(tokens) for tokens in sequences] if sequences and isinstance(sequences[0], list) else rows(sequences)
    with open(options.out, "w", encoding="utf-8") if options.out else sys.stdout as out:
        print(json.dumps(result), file=out)


def logprobs(options):
    model = Model(options.directory)
    for line in sys.stdin:
        print(json.dumps(model.logprobs(json.loads(line)).tolist()), flush=True)


def read(options):
    config, tensors, files = hf_directory.read(options.directory, hf_directory.REQUIRED_OF_EXPORTS if options.export else hf_directory.REQUIRED)
    kinds = sorted({storage.torch_name for _, storage in tensors.values()})
    if kinds != [config["torch_dtype"]]:
        raise Wrong(f"{options.directory}: torch_dtype is {config['torch_dtype']}, the tensors are stored as {', '.join(kinds)}")
    if not all(numpy.isfinite(hf_directory.exact(*tensor)).all() for tensor in tensors.values()):
        raise Wrong(f"{options.directory}: weights that are no finite numbers")
    print(json.dumps({"model_type": config["model_type"], "parameters": sum(array.size for array, _ in tensors.values()), "tensors": len(tensors), "files": files,
                      "torch_dtype": config["torch_dtype"], "vocab_size": config["vocab_size"]}))


def meaning(config):
    """What decides what a model computes, also where config.json leaves it out."""
    plain = {key: config[key] for key in ("model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "rms_norm_eps",
                                          "max_position_embeddings", "tie_word_embeddings", "bos_token_id", "eos_token_id")}
    windows = [window_of(config, layer) for layer in range(config["num_hidden_layers"])]
    return {**plain, "num_key_value_heads": hf_directory.kv_heads(config), "head_dim": hf_directory.head_dim(config), "windows": windows,
            "rope frequencies": rope_frequencies(config).round(12).tolist(), "biases": sorted(hf_directory.biases(config))}


def same(options):
    (one, weights, _), (other, other_weights, _) = (hf_directory.read(directory) for directory in options.directories)
    one, other = meaning(one), meaning(other)
    for key in one:
        if one[key] != other[key]:
            raise Wrong(f"{key} is {one[key]} in {options.directories[0]} and {other[key]} in {options.directories[1]}")
    for name in weights:
        difference = numpy.abs(hf_directory.exact(*weights[name]) - hf_directory.exact(*other_weights[name])).max()
        if not difference <= options.tolerance:
            raise Wrong(f"{name} differs by {difference:.3g}")
    print(f"{len(weights)} tensors and what config.json says are the same")


# The self-test

def independent_logits(model, tokens):
    """The same with PyTorch as the authors of Llama wrote it down: pairs of neighbouring dimensions turned as complex numbers, for which rows of the query and key
    weights are put in that order; head by head, token by token."""
    import torch

    config, width = model.config, hf_directory.head_dim(model.config)
    weights = {name: torch.from_numpy(value) for name, value in model.weights.items()}
    zero = torch.zeros((), dtype=torch.float64)

    def linear(x, name, heads=0):
        matrix, bias = weights[name + ".weight"], weights.get(name + ".bias", zero)
        if heads:
            neighbours = torch.arange(heads * width).view(heads, 2, width // 2).transpose(1, 2).reshape(-1)
            matrix, bias = matrix[neighbours], bias[neighbours] if bias.dim() else bias
        return torch.nn.functional.linear(x, matrix) + bias

    def norm(x, name):
        return weights[name + ".weight"] * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + config["rms_norm_eps"]))

    def frequency(pair):
        value, scaling = config.get("rope_theta", 10000.0) ** (-2 * pair / width), config.get("rope_scaling")
        if not scaling:
            return value
        wavelength, context = 2 * math.pi / value, scaling["original_max_position_embeddings"]
        if wavelength < context / scaling["high_freq_factor"]:
            return value
        if wavelength > context / scaling["low_freq_factor"]:
            return value / scaling["factor"]
        smooth = (context / wavelength - scaling["low_freq_factor"]) / (scaling["high_freq_factor"] - scaling["low_freq_factor"])
        return (1 - smooth) * value / scaling["factor"] + smooth * value

    steps = torch.tensor([frequency(pair) for pair in range(width // 2)], dtype=torch.float64)
    turns = torch.polar(torch.ones(len(tokens), width // 2, dtype=torch.float64), torch.outer(torch.arange(len(tokens), dtype=torch.float64), steps))

    def turned(x):
        return torch.view_as_real(torch.view_as_complex(x.reshape(len(x), -1, width // 2, 2)) * turns[:, None]).flatten(2)

    heads, kv_heads = config["num_attention_heads"], hf_directory.kv_heads(config)
    x = weights["model.embed_tokens.weight"][torch.tensor(tokens)]
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        normed = norm(x, prefix + "input_layernorm")
        q = turned(linear(normed, prefix + "self_attn.q_proj", heads))
        k = turned(linear(normed, prefix + "self_attn.k_proj", kv_heads))
        v = linear(normed, prefix + "self_attn.v_proj").view(len(tokens), kv_heads, width)
        window = window_of(config, layer) or len(tokens)
        outputs = torch.zeros(len(tokens), heads, width, dtype=torch.float64)
        for head in range(heads):
            shared = head * kv_heads // heads
            for t in range(len(tokens)):
                first = max(0, t - window + 1)
                scores = k[first:t + 1, shared] @ q[t, head] / width ** 0.5
                outputs[t, head] = scores.softmax(0) @ v[first:t + 1, shared]
        x = x + linear(outputs.flatten(1), prefix + "self_attn.o_proj")
        normed = norm(x, prefix + "post_attention_layernorm")
        x = x + linear(torch.nn.functional.silu(linear(normed, prefix + "mlp.gate_proj")) * linear(normed, prefix + "mlp.up_proj"), prefix + "mlp.down_proj")
    return torch.nn.functional.linear(norm(x, "model.norm"), weights.get("lm_head.weight", weights["model.embed_tokens.weight"])).numpy()


class Checks:
    def __init__(self):
        self.count, self.failures = 0, 0

    def __call__(self, name, holds, found=""):
        self.count += 1
        if not holds:
            self.failures += 1
            print(f"FAILED: {name} {found}")

    def close(self, name, found, expected, tolerance=1e-10):
        difference = numpy.abs(numpy.asarray(found) - numpy.asarray(expected)).max()
        self(name, difference <= tolerance, f"differs by {difference:.3g}")


def check_rotation(check, generator):
    frequencies = rope_frequencies({"hidden_size": 16, "num_attention_heads": 1, "rope_theta": 100.0})
    check.close("frequencies by hand", frequencies[[0, 2, 4]], [1, 100 ** -0.25, 0.1])
    check.close("a quarter turn", rotate(numpy.repeat([[[1.0, 0.0]]], 2, 0), numpy.array([math.pi / 2]))[1, 0], [0, 1])
    q, k = (numpy.repeat(generator.standard_normal((1, 3, 16)), 20, 0) for _ in range(2))
    turned_q, turned_k = rotate(q, frequencies), rotate(k, frequencies)
    check.close("rotation keeps norms", numpy.linalg.norm(turned_q, axis=-1), numpy.linalg.norm(q, axis=-1))
    products = numpy.einsum("qhd,khd->hqk", turned_q, turned_k)
    check.close("products depend on relative positions", products[:, 5:, 5:], products[:, :-5, :-5])
    check("and they do depend on them", numpy.abs(products[:, 0, 0] - products[:, 0, 1]).min() > 1e-3)


def check_scaling(check):
    config = hf_directory.SHAPES["llama3"]
    plain, scaled = rope_frequencies({**config, "rope_scaling": None}), rope_frequencies(config)
    check("short waves are kept", scaled[0] == plain[0])
    check.close("long waves are eight times as long", scaled[3:] * 8, plain[3:])
    check("one wave lies between", plain[1] / 8 < scaled[1] < plain[1])
    half = {**config, "rope_scaling": {"type": "linear", "factor": 2.0}}
    check.close("linear scaling", rope_frequencies(half) * 2, plain)


def check_attention(check, generator):
    q, k, v = (generator.standard_normal((12, heads, 8)) for heads in (6, 2, 2))
    check.close("grouped queries are heads whose keys are repeated", attend(q, k, v, None), attend(q, k.repeat(3, 1), v.repeat(3, 1), None))
    check("which is not any pairing of heads", numpy.abs(attend(q, k, v, None) - attend(q, numpy.tile(k, (1, 3, 1)), numpy.tile(v, (1, 3, 1)), None)).max() > 0.1)
    check.close("a window as long as the text hides nothing", attend(q, k, v, 12), attend(q, k, v, None))
    check("a shorter one does", numpy.abs(attend(q, k, v, 11) - attend(q, k, v, None))[-1].max() > 1e-3)
    check.close("but only from the last token", attend(q, k, v, 11)[:-1], attend(q, k, v, None)[:-1])
    check.close("a window of one token", attend(q, k, v, 1), v.repeat(3, 1).reshape(12, -1))
    check.close("norm by hand", rms_norm(numpy.array([3.0, 4.0]), numpy.array([1.0, 2.0]), 0), numpy.array([3.0, 8.0]) / math.sqrt(12.5))


def check_numbers(check):
    ties = numpy.array([1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -20, -1 - 2 ** -9, 0, 3.38e38], numpy.float32)
    rounded = [1, 1 + 2 ** -6, 1 + 2 ** -7, -1, 0, float(numpy.float32(3.38e38))]
    found = hf_directory.from_bfloat16(hf_directory.to_bfloat16(ties)).astype(numpy.float64)
    check.close("bfloat16 rounds to nearest, ties to even", found[:5], rounded[:5], 0)
    check("and large numbers stay in range", abs(found[5] / rounded[5] - 1) < 2 ** -8)
    every = numpy.arange(1 << 16, dtype=numpy.uint16)
    every = every[numpy.isfinite(hf_directory.from_bfloat16(every))]
    check("every bfloat16 number is kept", (hf_directory.to_bfloat16(hf_directory.from_bfloat16(every)) == every).all())


def check_tokenizer(check, directory, name):
    tokenizer = hf_directory.read_json(f"{directory}/tokenizer.json")
    config = hf_directory.read_json(f"{directory}/config.json")
    vocabulary, added = tokenizer["model"]["vocab"], tokenizer["added_tokens"]
    ids = [*vocabulary.values(), *(token["id"] for token in added)]
    check(f"{name}: ids are 0 .. n - 1", sorted(ids) == list(range(len(ids))))
    check(f"{name}: as many as the embedding has rows", len(ids) + hf_directory.UNUSED_ROWS.get(name, 0) == config["vocab_size"])
    halves = [merge if isinstance(merge, list) else merge.split(" ") for merge in tokenizer["model"]["merges"]]
    check(f"{name}: merges make tokens of tokens", all(len(pair) == 2 and {*pair, "".join(pair)} <= set(vocabulary) for pair in halves))
    check(f"{name}: every token but the bytes is made by one merge", len(halves) == len(vocabulary) - 256)


def check_shape(check, shape, dtype, shards, generator, settings=()):
    name = f"{shape}, {dtype}, {shards} files{''.join(', ' + setting for setting in settings)}"
    with tempfile.TemporaryDirectory() as directory:
        hf_directory.make(directory, shape, dtype, shards, 1, 0, settings_of(settings))
        config, _, files = hf_directory.read(directory)
        check(f"{name}: as many files", files == shards)
        model = Model(directory)
        tokens = generator.integers(0, config["vocab_size"], 40).tolist()
        logits = model.logits(tokens)
        check.close(f"{name}: independent computation", logits, independent_logits(model, tokens), 1e-9)
        check.close(f"{name}: the future is not seen", model.logits(tokens[:25]), logits[:25])
        check(f"{name}: logits are spread", 1 < logits.std(-1).min() and logits.std(-1).max() < 10, f"{logits.std(-1).min()} {logits.std(-1).max()}")
        check.close(f"{name}: probabilities", numpy.exp(log_softmax(logits)).sum(-1), 1)
        check_tokenizer(check, directory, shape)
        return model, tokens, logits


def selftest(_):
    try:
        import torch  # noqa: F401
    except ImportError:
        print("PyTorch for Python is not installed: skipped")
        return 77
    check, generator = Checks(), numpy.random.default_rng(7)
    check_rotation(check, generator)
    check_scaling(check)
    check_attention(check, generator)
    check_numbers(check)
    for shape, dtype, shards in [("llama", "f32", 1), ("llama2-gqa", "f16", 3), ("tinyllama", "bf16", 1), ("mistral", "bf16", 2), ("qwen2", "f32", 2),
                                 ("llama3", "f32", 1)]:
        model, tokens, logits = check_shape(check, shape, dtype, shards, generator)
        if shape == "mistral":
            model.config["sliding_window"] = len(tokens)
            check.close("mistral: as long as the window all is seen", model.logits(tokens)[:8], logits[:8])
            check("mistral: what lies before the window counts no more", numpy.abs(model.logits(tokens)[8:] - logits[8:]).max() > 0.1)
        if shape == "qwen2":
            model.config.update(use_sliding_window=True, max_window_layers=1)
            check("qwen2: a window in use counts", numpy.abs(model.logits(tokens) - logits).max() > 0.1)
            check.close("qwen2: in some layers", model.logits(tokens), independent_logits(model, tokens), 1e-9)
    check_shape(check, "llama3", "f32", 1, generator, ["attention_bias=true", "mlp_bias=true", "tie_word_embeddings=true"])
    print(f"{check.count - check.failures} of {check.count} checks passed")
    return 1 if check.failures else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(function):
        added = commands.add_parser(function.__name__)
        added.set_defaults(function=function)
        return added.add_argument

    add = command(make)
    add("directory")
    add("--shape", choices=list(hf_directory.SHAPES), required=True)
    add("--dtype", choices=list(hf_directory.STORAGES), default="f32")
    add("--shards", type=int, default=1)
    add("--seed", type=int, default=1)
    add("--vocab", type=int, default=0, help="rows of the embedding (default: a few hundred)")
    add("--set", action="append", default=[], metavar="KEY=JSON", help="a key of config.json, set before the weights are made")
    add = command(logits)
    add("directory")
    add("tokens")
    add("out", nargs="?")
    add("--log-probs", action="store_true")
    command(logprobs)("directory")
    add = command(read)
    add("directory")
    add("--export", action="store_true", help="keys that old directories lack are required")
    add = command(same)
    add("directories", nargs=2)
    add("--tolerance", type=float, default=0)
    command(selftest)
    options = parser.parse_args()
    try:
        return options.function(options)
    except (Wrong, OSError, ValueError) as error:
        print(f"llama_reference.py: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
