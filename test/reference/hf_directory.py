"""Model directories of the Llama family as Hugging Face lays them out: made of random weights, and read with every check that a stranger's directory deserves.

Written from the published formats (config.json of LlamaConfig, MistralConfig and Qwen2Config; safetensors; tokenizer.json of the `tokenizers` library), not
from this project's code, which is tested with it.
"""
import collections
import glob
import itertools
import json
import os
import struct
import zlib

import numpy

Storage = collections.namedtuple("Storage", "name numpy_type bytes torch_name")
STORAGES = {"f32": Storage("F32", numpy.dtype("<f4"), 4, "float32"), "bf16": Storage("BF16", numpy.dtype("<u2"), 2, "bfloat16"),
            "f16": Storage("F16", numpy.dtype("<f2"), 2, "float16")}
BY_NAME = {storage.name: storage for storage in STORAGES.values()}


class Wrong(Exception):
    """What a user is to be told, without a stack trace."""


# Numbers

def to_bfloat16(values):
    """Bits of the nearest bfloat16, ties to even."""
    bits = numpy.ascontiguousarray(values, numpy.float32).view(numpy.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(numpy.uint16)


def from_bfloat16(bits):
    return (bits.astype(numpy.uint32) << 16).view(numpy.float32)


def stored(values, storage):
    return to_bfloat16(values) if storage.name == "BF16" else values.astype(storage.numpy_type)


def exact(array, storage):
    """The stored numbers as float64, exactly."""
    return (from_bfloat16(array) if storage.name == "BF16" else array).astype(numpy.float64)


# Configurations. Tiny, and each with what is peculiar to real ones of its kind.

def common(hidden, ffn, layers, heads, positions, epsilon):
    return dict(hidden_act="silu", hidden_size=hidden, initializer_range=0.02, intermediate_size=ffn, max_position_embeddings=positions, num_attention_heads=heads,
                num_hidden_layers=layers, rms_norm_eps=epsilon, tie_word_embeddings=False, use_cache=True)


LLAMA = dict(architectures=["LlamaForCausalLM"], model_type="llama")
SHAPES = {
    # The first ones say nothing of key-value heads, theta and biases, and store the frequencies of every layer.
    "llama": {**LLAMA, **common(48, 132, 2, 4, 128, 1e-6), "pad_token_id": 0},
    "llama2-gqa": {**LLAMA, **common(64, 176, 3, 8, 128, 1e-5), "num_key_value_heads": 2, "attention_bias": False, "pretraining_tp": 1, "rope_scaling": None,
                   "rope_theta": 10000.0},
    "tinyllama": {**LLAMA, **common(64, 176, 2, 8, 128, 1e-5), "num_key_value_heads": 1, "attention_bias": False, "pretraining_tp": 1, "rope_scaling": None,
                  "rope_theta": 10000.0},
    "tinyllama-1.1b": {**LLAMA, **common(2048, 5632, 22, 32, 2048, 1e-5), "num_key_value_heads": 4, "attention_bias": False, "pretraining_tp": 1,
                       "rope_scaling": None, "rope_theta": 10000.0},
    # Heads wider than hidden_size / heads, as Mistral-Nemo has.
    "mistral": {**common(48, 132, 3, 4, 128, 1e-5), "architectures": ["MistralForCausalLM"], "model_type": "mistral", "num_key_value_heads": 2, "head_dim": 16,
                "attention_dropout": 0.0, "rope_theta": 10000.0, "sliding_window": 8},
    # A window that is not used, tied embeddings, biases of which config.json says nothing, and more rows of the embedding than tokens.
    "qwen2": {**common(56, 152, 2, 7, 128, 1e-6), "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "num_key_value_heads": 1, "attention_dropout": 0.0,
              "rope_theta": 1000000.0, "sliding_window": 8, "use_sliding_window": False, "max_window_layers": 2, "tie_word_embeddings": True},
    # Wavelengths on both sides of the scaling and between. Several tokens end a text.
    "llama3": {**LLAMA, **common(64, 176, 2, 4, 256, 1e-5), "num_key_value_heads": 2, "attention_bias": False, "mlp_bias": False, "pretraining_tp": 1,
               "rope_theta": 500000.0, "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
                                                        "rope_type": "llama3"}},
}
VOCABULARIES = {"qwen2": 333, "tinyllama-1.1b": 32000}
DEFAULT_VOCABULARY = 320

# What a config.json must have to be read by others; what LlamaConfig has a default for may be missing in old ones.
REQUIRED = ["architectures", "model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings", "rms_norm_eps",
            "vocab_size", "hidden_act", "tie_word_embeddings", "torch_dtype", "eos_token_id"]
# A tokeniser may have no symbol that a text begins with: then bos_token_id is null.
REQUIRED_OF_EXPORTS = [*REQUIRED, "num_key_value_heads", "rope_theta"]
ARCHITECTURES = {"LlamaForCausalLM": "llama", "MistralForCausalLM": "mistral", "Qwen2ForCausalLM": "qwen2"}


def head_dim(config):
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def kv_heads(config):
    return config.get("num_key_value_heads") or config["num_attention_heads"]


def biases(config):
    """Projections that have a bias."""
    if config["model_type"] == "qwen2":
        return {"q_proj", "k_proj", "v_proj"}
    attention = {"q_proj", "k_proj", "v_proj", "o_proj"} if config.get("attention_bias") else set()
    return attention | ({"gate_proj", "up_proj", "down_proj"} if config.get("mlp_bias") else set())


def tensor_shapes(config):
    """{name: shape} of the tensors that a model of this configuration has."""
    hidden, ffn = config["hidden_size"], config["intermediate_size"]
    query, key = config["num_attention_heads"] * head_dim(config), kv_heads(config) * head_dim(config)
    projections = {"self_attn.q_proj": (query, hidden), "self_attn.k_proj": (key, hidden), "self_attn.v_proj": (key, hidden), "self_attn.o_proj": (hidden, query),
                   "mlp.gate_proj": (ffn, hidden), "mlp.up_proj": (ffn, hidden), "mlp.down_proj": (hidden, ffn)}
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], hidden)}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        shapes[prefix + "input_layernorm.weight"] = shapes[prefix + "post_attention_layernorm.weight"] = (hidden,)
        for name, shape in projections.items():
            shapes[f"{prefix}{name}.weight"] = shape
            if name.split(".")[1] in biases(config):
                shapes[f"{prefix}{name}.bias"] = shape[:1]
    shapes["model.norm.weight"] = (hidden,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], hidden)
    return shapes


def frequency_buffers(config):
    """{name: shape} of buffers that checkpoints of old versions hold, and that readers ignore."""
    return {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": (head_dim(config) // 2,) for layer in range(config["num_hidden_layers"])}


def random_weights(config, name, shape, seed):
    """Float32. Scaled so that attention looks at some tokens more than at others and logits spread over several units."""
    if name.endswith("inv_freq"):
        return (10000.0 ** (-numpy.arange(shape[0]) / shape[0])).astype(numpy.float32)
    generator = numpy.random.default_rng([seed, zlib.crc32(name.encode())])
    values = generator.standard_normal(shape, numpy.float32)
    if "norm" in name:
        return 1 + numpy.float32(0.2) * values
    if name.endswith(".bias"):
        return numpy.float32(0.5) * values
    output = "model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"
    gain = 3.0 if name == output else 1.5 if "q_proj" in name or "k_proj" in name else 1.0
    values *= numpy.float32(gain / shape[1] ** 0.5)
    return values


# Tokenisers: byte-level byte-pair encoding

WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITS = {"llama": WORDS % "{1,3}", "qwen2": WORDS % ""}
SPECIALS = {"llama": ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
            "qwen2": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]}
MERGES = ["Ġ t", "h e", "i n", "r e", "o n", "Ġ a", "Ġt he", "e r", "n d", "Ġ s", "Ġa nd", "in g", "o r", "Ġ w", "Ġ Ġ", "Ġ h", "l l", "o u", "Ġ ĠĠ", "ĠĠ ĠĠ", "Ċ Ċ",
          "i s", "Ġ o", "Ġo f", "Ġt o", "l o", "ll o", "he llo", "Ġw or", "l d", "Ġwor ld", "Ã ¤", "Ã ¼", "1 2", "12 3"]
# Rows of the embedding that stand for no token, in shapes whose real models have such rows.
UNUSED_ROWS = {"qwen2": 13}


def byte_symbols():
    """The character that stands for each byte, as in GPT-2: printable ones for themselves, the others from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {**{byte: chr(byte) for byte in printable}, **{byte: chr(256 + i) for i, byte in enumerate(others)}}


def pieces_and_merges(size):
    """`size` pieces: all bytes in the order of GPT-2, then what merges make: those above, then pairs of bytes."""
    symbols = list(byte_symbols().values())
    pieces, merges = list(symbols), []
    known = set(pieces)
    lower = [symbol for symbol in symbols if "a" <= symbol <= "z"]
    pairs = (f"{one} {other}" for group in (lower, symbols) for one in group for other in group)
    for merge in itertools.chain(MERGES, pairs):
        one, other = merge.split(" ")
        if len(pieces) == size:
            break
        if one in known and other in known and one + other not in known:
            merges.append((one, other))
            pieces.append(one + other)
            known.add(one + other)
    if len(pieces) != size:
        raise Wrong(f"a vocabulary of {size} pieces cannot be made: at least 256 and at most {len(pieces)}")
    return pieces, merges


def tokenizer_files(shape, config):
    """({file name: content}, the ids of begin and end) for a tokeniser that has a piece for every row of the embedding but the unused ones."""
    family = "qwen2" if config["model_type"] == "qwen2" else "llama"
    specials = SPECIALS[family]
    pieces, merges = pieces_and_merges(config["vocab_size"] - UNUSED_ROWS.get(shape, 0) - len(specials))
    ids = {special: len(pieces) + i for i, special in enumerate(specials)}
    added = lambda text: {"content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": family == "llama", "use_regex": False}
    post_processor = byte_level
    if family == "llama":
        begin = {"SpecialToken": {"id": specials[0], "type_id": 0}}
        text = lambda which, number: {"Sequence": {"id": which, "type_id": number}}
        post_processor = {"type": "Sequence", "processors": [dict(byte_level, use_regex=True, add_prefix_space=True), {
            "type": "TemplateProcessing", "single": [begin, text("A", 0)],
            "pair": [begin, text("A", 0), {"SpecialToken": {"id": specials[0], "type_id": 1}}, text("B", 1)],
            "special_tokens": {specials[0]: {"id": specials[0], "ids": [ids[specials[0]]], "tokens": [specials[0]]}}}]}
    # Newer versions of the library write a merge as a list of two strings, older ones as one string.
    written = [list(merge) for merge in merges] if shape == "mistral" else [" ".join(merge) for merge in merges]
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [{"id": ids[special], **added(special)} for special in specials],
        "normalizer": {"type": "NFC"} if family == "qwen2" else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": SPLITS[family]}, "behavior": "Isolated", "invert": False}, byte_level]},
        "post_processor": post_processor,
        "decoder": dict(byte_level, use_regex=family == "llama", add_prefix_space=family == "llama"),
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "" if family == "qwen2" else None,
                  "end_of_word_suffix": "" if family == "qwen2" else None, "fuse_unk": False, "byte_fallback": False,
                  **({"ignore_merges": True} if family == "llama" else {}), "vocab": {piece: i for i, piece in enumerate(pieces)}, "merges": written}}
    bos, eos = (None, "<|im_end|>") if family == "qwen2" else (specials[0], "<|eot_id|>" if shape == "llama3" else specials[1])
    settings = {
        "added_tokens_decoder": {str(ids[special]): added(special) for special in specials}, "bos_token": bos, "eos_token": eos,
        "clean_up_tokenization_spaces": False, "model_max_length": config["max_position_embeddings"],
        "tokenizer_class": "Qwen2Tokenizer" if family == "qwen2" else "PreTrainedTokenizerFast", "add_bos_token": bos is not None}
    if family == "qwen2":
        settings.update(add_prefix_space=False, pad_token="<|endoftext|>", unk_token=None, errors="replace", split_special_tokens=False,
                        additional_special_tokens=specials[1:])
    ends = [ids["<|end_of_text|>"], ids["<|eot_id|>"]] if shape == "llama3" else ids[eos]
    return {"tokenizer.json": tokenizer, "tokenizer_config.json": settings}, ids[specials[0]], ends


# Files

def write_json(path, content):
    with open(path, "w", encoding="utf-8") as out:
        json.dump(content, out, indent=2, ensure_ascii=False)
        out.write("\n")


def write_safetensors(path, shapes, storage, values_of):
    """`values_of(name)`: float32 numbers; asked for one tensor at a time, so that files larger than memory can be written."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        size = int(numpy.prod(shape)) * storage.bytes
        header[name] = {"dtype": storage.name, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for name in shapes:
            values = values_of(name).reshape(-1)
            for first in range(0, len(values), 1 << 22):
                out.write(stored(values[first:first + (1 << 22)], storage).tobytes())
    return offset


def shard(shapes, count):
    """Runs of tensors of about equal size, `count` of them, none empty."""
    if not 1 <= count <= len(shapes):
        raise Wrong(f"{count} shards of {len(shapes)} tensors")
    sizes = {name: int(numpy.prod(shape)) for name, shape in shapes.items()}
    total, shards, reached = sum(sizes.values()), [{}], 0
    for i, (name, shape) in enumerate(shapes.items()):
        full = reached >= total * len(shards) / count or len(shapes) - i <= count - len(shards)
        if shards[-1] and full and len(shards) < count:
            shards.append({})
        shards[-1][name] = shape
        reached += sizes[name]
    return shards


def make(directory, shape, dtype, shards, seed, vocabulary, settings):
    """`settings`: {key: value} put into config.json before the weights are made; a value of None is kept as null."""
    storage = STORAGES[dtype]
    config = {**SHAPES[shape], "torch_dtype": storage.torch_name, "transformers_version": "4.46.0",
              "vocab_size": vocabulary or VOCABULARIES.get(shape, DEFAULT_VOCABULARY), **settings}
    files, bos, eos = tokenizer_files(shape, config)
    config = {**config, "bos_token_id": bos, "eos_token_id": eos, **settings}
    shapes = tensor_shapes(config)
    if shape == "llama":
        shapes.update(frequency_buffers(config))
    os.makedirs(directory, exist_ok=True)
    for old in glob.glob(os.path.join(glob.escape(directory), "model*.safetensors*")):
        os.remove(old)
    place = lambda name: os.path.join(directory, name)
    for name, content in {"config.json": dict(sorted(config.items())), **files}.items():
        write_json(place(name), content)
    values_of = lambda name: random_weights(config, name, shapes[name], seed)
    parts = shard(dict(sorted(shapes.items())), shards)
    if shards == 1:
        write_safetensors(place("model.safetensors"), parts[0], storage, values_of)
        return
    weight_map, total = {}, 0
    for i, part in enumerate(parts, 1):
        name = f"model-{i:05}-of-{shards:05}.safetensors"
        total += write_safetensors(place(name), part, storage, values_of)
        weight_map.update(dict.fromkeys(part, name))
    write_json(place("model.safetensors.index.json"), {"metadata": {"total_size": total}, "weight_map": weight_map})


# Reading

def read_json(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except ValueError as error:
        raise Wrong(f"{path}: not JSON: {error}") from error


def read_safetensors(path):
    """{name: (array as stored, storage)}; every rule of the format is checked."""
    with open(path, "rb") as file:
        data = file.read()
    if len(data) < 8 or struct.unpack_from("<Q", data)[0] > len(data) - 8:
        raise Wrong(f"{path}: too short for a safetensors file")
    length = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    body = memoryview(data)[8 + length:]
    tensors, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        if entry["dtype"] not in BY_NAME:
            raise Wrong(f"{path}: {name} is stored as {entry['dtype']}")
        storage, (first, last) = BY_NAME[entry["dtype"]], entry["data_offsets"]
        if first != end or last - first != int(numpy.prod(entry["shape"])) * storage.bytes or last > len(body):
            raise Wrong(f"{path}: {name} of shape {entry['shape']} lies at {first} .. {last}, the one before it ends at {end}, the file at {len(body)}")
        tensors[name] = (numpy.frombuffer(body[first:last], storage.numpy_type).reshape(entry["shape"]), storage)
        end = last
    if end != len(body):
        raise Wrong(f"{path}: {len(body) - end} bytes behind the last tensor")
    return tensors


def read_tensors(directory):
    """({name: (array, storage)}, number of files)"""
    index = os.path.join(directory, "model.safetensors.index.json")
    if not os.path.exists(index):
        return read_safetensors(os.path.join(directory, "model.safetensors")), 1
    content = read_json(index)
    weight_map, tensors = content["weight_map"], {}
    for name in sorted(set(weight_map.values())):
        for tensor, value in read_safetensors(os.path.join(directory, name)).items():
            if weight_map.get(tensor) != name:
                raise Wrong(f"{index}: {tensor} is in {name}, not in {weight_map.get(tensor)}")
            tensors[tensor] = value
    if set(weight_map) != set(tensors):
        raise Wrong(f"{index}: names that no file has: {sorted(set(weight_map) - set(tensors))}")
    total = sum(array.nbytes for array, _ in tensors.values())
    if content["metadata"]["total_size"] != total:
        raise Wrong(f"{index}: total_size is {content['metadata']['total_size']}, the tensors have {total} bytes")
    return tensors, len(set(weight_map.values()))


def read(directory, required=REQUIRED):
    """(configuration, {name: (array, storage)}, number of files). Throws Wrong for whatever is missing, left over or of the wrong shape."""
    path = os.path.join(directory, "config.json")
    config = read_json(path)
    missing = [key for key in required if key not in config]
    # Written only where they are not what LlamaConfig takes for granted.
    config.setdefault("tie_word_embeddings", False)
    if missing:
        raise Wrong(f"{path}: no {', '.join(missing)}")
    if ARCHITECTURES.get(config["architectures"][0]) != config["model_type"]:
        raise Wrong(f"{path}: architecture {config['architectures'][0]} of model type {config['model_type']}")
    if config["hidden_act"] != "silu":
        raise Wrong(f"{path}: activation {config['hidden_act']}")
    tensors, files = read_tensors(directory)
    expected = tensor_shapes(config)
    ignored = frequency_buffers(config)
    problems = [f"no {name}" for name in expected if name not in tensors]
    problems += [f"{name}, which this model has not" for name in tensors if name not in expected and name not in ignored]
    problems += [f"{name} of shape {list(tensors[name][0].shape)} instead of {list(shape)}" for name, shape in expected.items()
                 if name in tensors and tensors[name][0].shape != shape]
    if problems:
        raise Wrong(f"{directory}: " + "; ".join(problems))
    return config, {name: tensors[name] for name in expected}, files
