"""Trains a decoder-only language model of Llama's shape with PyTorch, or decodes with one, as the outside baseline of `scripts/bench.sh lm`.

Written the way such programs usually are: one module a block, queries, keys and values in one product, gate and up in another, F.cross_entropy on flattened
logits, torch.optim.AdamW, autocast for bfloat16, windows cut from memory-mapped token ids; for decoding keys and values in tensors that are allocated once.
Where PyTorch has scaled_dot_product_attention (2.0 on), it is used. Prints one JSON object.

  train FILE      updates for a while: tokens per second. With --max-time, one training of that long, validation included, and its losses
  generate        a batch of prompts of equal length: tokens per second, time to first token

FILE, also of --valid and --test: token ids as .npy, as bare 32-bit numbers (.bin), or a token file of this project (lib/data/token_file.h)
"""
import argparse
import copy
import json
import math
import resource
import statistics
import time

import numpy
import token_file
import torch
from torch import nn
from torch.nn import functional


def read_tokens(path):
    """A memory-mapped array of int32."""
    if path.endswith(".npy"):
        return numpy.load(path, mmap_mode="r")
    if not path.endswith(".tokens"):
        return numpy.memmap(path, numpy.int32, "r")
    return token_file.read(path)[0]


# The model

class RmsNorm(nn.Module):
    def __init__(self, dim, epsilon=1e-5):
        super().__init__()
        self.weight, self.epsilon = nn.Parameter(torch.ones(dim)), epsilon

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon).to(x.dtype) * self.weight


def rotate(x, cosines, sines):
    """x [B, T, heads, d]; cosines and sines [T, 1, d]"""
    one, other = x.chunk(2, -1)
    return x * cosines + torch.cat((-other, one), -1) * sines


class Cache:
    """Keys and values of every layer [B, kv_heads, positions, d], and how many positions are taken."""

    def __init__(self, layers, batch, kv_heads, positions, width, dtype):
        empty = lambda: [torch.zeros(batch, kv_heads, positions, width, dtype=dtype) for _ in range(layers)]
        self.keys, self.values, self.length = empty(), empty(), 0

    def extend(self, layer, k, v):
        """k and v [B, kv_heads, T, d] -> those of all positions so far"""
        end = self.length + k.size(2)
        self.keys[layer][:, :, self.length:end] = k
        self.values[layer][:, :, self.length:end] = v
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]


class Attention(nn.Module):
    def __init__(self, dim, heads, kv_heads):
        super().__init__()
        self.heads, self.kv_heads, self.width = heads, kv_heads, dim // heads
        self.qkv = nn.Linear(dim, (heads + 2 * kv_heads) * self.width, bias=False)
        self.output = nn.Linear(dim, dim, bias=False)

    def forward(self, x, cosines, sines, mask, cache, layer):
        batch, length, dim = x.shape
        projected = self.qkv(x).view(batch, length, -1, self.width)
        turned = rotate(projected[:, :, :self.heads + self.kv_heads], cosines, sines).to(projected.dtype)
        q, k = turned.split([self.heads, self.kv_heads], 2)
        q, k, v = (part.transpose(1, 2) for part in (q, k, projected[:, :, self.heads + self.kv_heads:]))
        if cache is not None:
            k, v = cache.extend(layer, k, v)
        if length == 1:
            # Query heads that share keys are the rows of one product.
            q = q.reshape(batch, self.kv_heads, -1, self.width)
            mixed = (q @ k.transpose(2, 3) / math.sqrt(self.width)).softmax(-1) @ v
            return self.output(mixed.reshape(batch, 1, dim))
        if self.kv_heads != self.heads:
            k, v = (part.repeat_interleave(self.heads // self.kv_heads, 1) for part in (k, v))
        if hasattr(functional, "scaled_dot_product_attention"):
            mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            flat = lambda part: part.reshape(batch * self.heads, -1, self.width)
            scores = torch.baddbmm(mask[:length, :length].to(q.dtype), flat(q), flat(k).transpose(1, 2), alpha=1 / math.sqrt(self.width))
            mixed = (scores.softmax(-1) @ flat(v)).view(batch, self.heads, length, self.width)
        return self.output(mixed.transpose(1, 2).reshape(batch, length, dim))


class FeedForward(nn.Module):
    def __init__(self, dim, ffn):
        super().__init__()
        self.gate_up, self.down = nn.Linear(dim, 2 * ffn, bias=False), nn.Linear(ffn, dim, bias=False)

    def forward(self, x):
        gate, up = self.gate_up(x).chunk(2, -1)
        return self.down(functional.silu(gate) * up)


class Block(nn.Module):
    def __init__(self, dim, ffn, heads, kv_heads, dropout):
        super().__init__()
        self.attention_norm, self.attention = RmsNorm(dim), Attention(dim, heads, kv_heads)
        self.ffn_norm, self.ffn, self.dropout = RmsNorm(dim), FeedForward(dim, ffn), nn.Dropout(dropout)

    def forward(self, x, *rest):
        x = x + self.dropout(self.attention(self.attention_norm(x), *rest))
        return x + self.dropout(self.ffn(self.ffn_norm(x)))


class LanguageModel(nn.Module):
    def __init__(self, options, positions):
        super().__init__()
        self.layers, self.kv_heads, self.width = options.layers, options.kv_heads, options.dim // options.heads
        self.embedding, self.dropout = nn.Embedding(options.vocabulary, options.dim), nn.Dropout(options.dropout)
        self.blocks = nn.ModuleList(Block(options.dim, options.ffn, options.heads, options.kv_heads, options.dropout) for _ in range(options.layers))
        self.norm, self.output = RmsNorm(options.dim), nn.Linear(options.dim, options.vocabulary, bias=False)
        if options.tie:
            self.output.weight = self.embedding.weight
        angles = torch.outer(torch.arange(positions).float(), 10000.0 ** (-torch.arange(0, self.width, 2).float() / self.width)).repeat(1, 2).unsqueeze(1)
        self.register_buffer("cosines", angles.cos(), persistent=False)
        self.register_buffer("sines", angles.sin(), persistent=False)
        self.register_buffer("mask", torch.full((positions, positions), float("-inf")).triu(1), persistent=False)

    def initialise(self):
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                deep = name.endswith(("attention.output.weight", "ffn.down.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * self.layers) if deep else 0.02)

    def forward(self, tokens, cache=None, last_only=False):
        first = cache.length if cache else 0
        positions = slice(first, first + tokens.size(1))
        x = self.dropout(self.embedding(tokens))
        for layer, block in enumerate(self.blocks):
            x = block(x, self.cosines[positions], self.sines[positions], self.mask, cache, layer)
        if cache:
            cache.length += tokens.size(1)
        return self.output(self.norm(x[:, -1:] if last_only else x))

    def new_cache(self, batch, positions):
        return Cache(self.layers, batch, self.kv_heads, positions, self.width, self.embedding.weight.dtype)


# Training

class Windows:
    """Batches of windows that tile the tokens, in a new order every time they are all used; inputs and what follows them [B, T]."""

    def __init__(self, tokens, window, rows, seed):
        self.tokens, self.window, self.rows = tokens, window, rows
        self.generator, self.order = numpy.random.default_rng(seed), []
        if len(tokens) <= window:
            raise SystemExit(f"{len(tokens)} tokens are less than a window of {window} and one more")

    def next(self):
        while len(self.order) < self.rows:
            self.order += self.generator.permutation((len(self.tokens) - 1) // self.window).tolist()
        taken, self.order = self.order[:self.rows], self.order[self.rows:]
        rows = numpy.stack([self.tokens[i * self.window:(i + 1) * self.window + 1] for i in taken])
        rows = torch.from_numpy(rows.astype(numpy.int64))
        return rows[:, :-1], rows[:, 1:]


def loss_of(model, inputs, targets, options, reduction="mean"):
    with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bf16"):
        logits = model(inputs)
    return functional.cross_entropy(logits.float().view(-1, options.vocabulary), targets.reshape(-1), reduction=reduction)


@torch.no_grad()
def mean_nll(model, tokens, options):
    """Nats per token of all tokens but the first. Windows begin `valid-stride` tokens apart; of each only what no window before has judged counts."""
    model.eval()
    last, stride = len(tokens) - 1, options.valid_stride or options.window
    begins = [0, *range(stride, last - options.window + stride, stride)]
    # Windows of equal length go together: all but the last one.
    rows = max(1, options.batch_tokens // options.window)
    groups = [begins[i:min(i + rows, len(begins) - 1)] for i in range(0, len(begins) - 1, rows)] + [begins[-1:]]
    total, judged = 0.0, 0
    for group in groups:
        windows = torch.from_numpy(numpy.stack([tokens[begin:min(begin + options.window, last) + 1] for begin in group]).astype(numpy.int64))
        nlls = loss_of(model, windows[:, :-1], windows[:, 1:], options, "none").view(len(group), -1).double()
        for begin, nll in zip(group, nlls):
            total += nll[judged - begin:].sum().item()
            judged = begin + len(nll)
    model.train()
    return total / judged


class Trainer:
    def __init__(self, options):
        self.options = options
        self.model = LanguageModel(options, options.window)
        self.model.initialise()
        parameters = list(self.model.parameters())
        groups = [{"params": [p for p in parameters if p.dim() > 1], "weight_decay": options.weight_decay},
                  {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=options.learning_rate, betas=(0.9, options.beta2), eps=1e-8, foreach=True)
        self.windows = Windows(read_tokens(options.tokens), options.window, max(1, options.batch_tokens // options.window), options.seed)
        self.update, self.begin = 0, time.perf_counter()

    def seconds(self):
        return time.perf_counter() - self.begin

    def rate(self):
        """A linear rise, then half a cosine over the updates or the time that there are."""
        options = self.options
        if self.update < options.warmup:
            return options.learning_rate * (self.update + 1) / options.warmup
        if options.max_time:
            done = self.seconds() / options.max_time
        elif options.schedule_updates:
            done = (self.update - options.warmup) / max(1, options.schedule_updates - options.warmup)
        else:
            done = 0
        return options.min_learning_rate + (options.learning_rate - options.min_learning_rate) * 0.5 * (1 + math.cos(math.pi * min(1, done)))

    def step(self):
        """The loss of an update."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        inputs, targets = self.windows.next()
        self.optimizer.zero_grad(set_to_none=True)
        loss = loss_of(self.model, inputs, targets, self.options)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.update += 1
        return loss.item(), inputs.numel()


def measure_training(trainer, options):
    rates, loss = [], 0.0
    while len(rates) < options.warmup_updates + 2 or (trainer.seconds() < options.seconds and len(rates) < options.max_updates):
        begin = time.perf_counter()
        loss, tokens = trainer.step()
        rates.append(tokens / (time.perf_counter() - begin))
    return {"tokens-per-second": statistics.median(rates[options.warmup_updates:]), "updates": len(rates), "loss": loss}


def train_for_a_time(trainer, options):
    """The losses of the model that did best in validation. Validating counts as time of training, but for the last time, after the end."""
    valid, curve, best_state, tokens_seen = read_tokens(options.valid), [], None, 0
    while trainer.seconds() < options.max_time:
        _, tokens = trainer.step()
        tokens_seen += tokens
        ends = trainer.seconds() >= options.max_time
        if ends or (options.validate_every and trainer.update % options.validate_every == 0):
            curve.append({"update": trainer.update, "seconds": round(trainer.seconds(), 1), "nll": mean_nll(trainer.model, valid, options)})
            if curve[-1]["nll"] == min(point["nll"] for point in curve):
                best_state = copy.deepcopy(trainer.model.state_dict())
    result = {"updates": trainer.update, "tokens": tokens_seen, "seconds": curve[-1]["seconds"], "valid-nll": curve[-1]["nll"],
              "best-valid-nll": min(point["nll"] for point in curve), "valid-tokens": len(valid) - 1, "curve": curve}
    if options.test:
        trainer.model.load_state_dict(best_state)
        test = read_tokens(options.test)
        result.update({"test-nll": mean_nll(trainer.model, test, options), "test-tokens": len(test) - 1})
    if options.save:
        torch.save(best_state, options.save)
    return result


def train(options):
    trainer = Trainer(options)
    return train_for_a_time(trainer, options) if options.max_time else measure_training(trainer, options)


# Decoding

def sample(logits, options):
    """[B, 1] of logits [B, V]"""
    if options.temperature == 0:
        return logits.argmax(-1, keepdim=True)
    logits = logits.float() / options.temperature
    if options.top_k:
        values, candidates = logits.topk(options.top_k, -1)
        return candidates.gather(1, torch.multinomial(values.softmax(-1), 1))
    return torch.multinomial(logits.softmax(-1), 1)


def decode(model, prompts, new_tokens, options):
    """Seconds until the first token, and until the last."""
    begin = time.perf_counter()
    cache = model.new_cache(prompts.size(0), prompts.size(1) + new_tokens)
    tokens = sample(model(prompts, cache, last_only=True)[:, -1], options)
    first, results = time.perf_counter() - begin, [tokens]
    for _ in range(new_tokens - 1):
        tokens = sample(model(tokens, cache)[:, -1], options)
        results.append(tokens)
    torch.cat(results, 1).tolist()
    return first, time.perf_counter() - begin


def random_model(options, positions):
    """Its numbers do not matter. In the precision that it will have from the beginning, which large models need."""
    torch.set_default_dtype(torch.bfloat16 if options.precision == "bf16" else torch.float32)
    model = LanguageModel(options, positions).eval()
    if options.precision == "int8":
        model = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, torch.qint8)
    return model


def generate(options):
    model = random_model(options, options.prompt_tokens + options.new_tokens)
    prompts = torch.randint(options.vocabulary, (options.batch, options.prompt_tokens))
    with torch.inference_mode():
        decode(model, prompts, 3, options)
        times = [decode(model, prompts, options.new_tokens, options) for _ in range(options.repeats)]
    first, total = (statistics.median(column) for column in zip(*times))
    return {"tokens-per-second": options.batch * options.new_tokens / total, "seconds-to-first-token": first,
            "tokens-per-second-after-the-first": options.batch * (options.new_tokens - 1) / (total - first)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)

    def command(function, precisions):
        added = commands.add_parser(function.__name__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        added.set_defaults(function=function)
        for name in ["vocabulary", "dim", "ffn", "heads", "layers", "threads"]:
            added.add_argument("--" + name, type=int, required=True)
        added.add_argument("--kv-heads", type=int, default=0, help="0: as many as heads")
        added.add_argument("--tie", action="store_true", help="output layer = embedding")
        added.add_argument("--dropout", type=float, default=0.0)
        added.add_argument("--precision", choices=precisions, required=True)
        added.add_argument("--seed", type=int, default=1)
        return added.add_argument

    add = command(train, ["fp32", "bf16"])
    add("tokens", metavar="FILE")
    add("--window", type=int, default=256)
    add("--batch-tokens", type=int, default=4096)
    add("--learning-rate", type=float, default=1e-3)
    add("--min-learning-rate", type=float, default=0.0)
    add("--warmup", type=int, default=100, help="updates")
    add("--schedule-updates", type=int, default=0, help="at which the cosine ends; with --max-time it ends with the time")
    add("--weight-decay", type=float, default=0.1)
    add("--beta2", type=float, default=0.95)
    add("--seconds", type=float, default=20, help="of measuring")
    add("--max-updates", type=int, default=1 << 30, help="of measuring")
    add("--warmup-updates", type=int, default=2, help="that are not measured")
    add("--max-time", type=float, default=0, help="seconds of one training; needs --valid")
    add("--valid", metavar="FILE")
    add("--test", metavar="FILE", help="judged at the end, by the model that was best in validation, after the time is over")
    add("--valid-stride", type=int, default=0, help="tokens between windows of validation; 0: a window")
    add("--validate-every", type=int, default=0, help="updates; 0: at the end")
    add("--save", metavar="FILE", help="state_dict of the best model")
    add = command(generate, ["fp32", "bf16", "int8"])
    add("--batch", type=int, default=1)
    add("--prompt-tokens", type=int, default=32)
    add("--new-tokens", type=int, default=128)
    add("--temperature", type=float, default=0.0, help="0: the likeliest token")
    add("--top-k", type=int, default=0, help="0: all")
    add("--repeats", type=int, default=1)
    options = parser.parse_args()
    options.kv_heads = options.kv_heads or options.heads
    if getattr(options, "max_time", 0) and not options.valid:
        parser.error("--max-time needs --valid")
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    result = options.function(options)
    print(json.dumps({**result, "peak-bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
