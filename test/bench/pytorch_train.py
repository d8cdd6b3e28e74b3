"""Trains the Transformer of nmt-train with PyTorch's own modules, as the outside baseline of `scripts/bench.sh train`.

Same dimensions, tied embeddings, pre-norm layers, dropout, label smoothing, optimiser, schedule, clipping and batches of the same text: the token
ids are read from the corpus cache that nmt-train leaves in its run directory. Written the way the PyTorch documentation writes such a
program: padded batches, sorted by length so that little is padding, nn.TransformerEncoderLayer and DecoderLayer, CrossEntropyLoss, autocast
for bfloat16. Prints one JSON object.
"""
import argparse
import json
import math
import resource
import statistics
import time

import token_file
import torch
from torch import nn


def read_corpus(path):
    """[(source ids, target ids)] of RUN/cache/train.tokens."""
    tokens, index = token_file.read(path)
    return [(tokens[index[i]:index[i + 1]], tokens[index[i + 1]:index[i + 2]]) for i in range(0, len(index) - 1, 2)]


def make_batches(pairs, batch_tokens, bos, eos, pad, generator):
    order = sorted(range(len(pairs)), key=lambda i: (len(pairs[i][1]), len(pairs[i][0])))
    groups, group, longest = [], [], 0
    for i in order:
        length = max(len(pairs[i][0]), len(pairs[i][1])) + 1
        if group and (len(group) + 1) * max(longest, length) > batch_tokens:
            groups.append(group)
            group, longest = [], 0
        group.append(i)
        longest = max(longest, length)
    groups.append(group)
    padded = nn.utils.rnn.pad_sequence
    batches = []
    for group in (groups[g] for g in torch.randperm(len(groups), generator=generator).tolist()):
        source = padded([torch.tensor([*pairs[i][0].tolist(), eos]) for i in group], True, pad)
        target = padded([torch.tensor([bos, *pairs[i][1].tolist(), eos]) for i in group], True, pad)
        batches.append((source, target))
    return batches


class Translator(nn.Module):
    def __init__(self, vocabulary, dim, ffn, heads, encoder_layers, decoder_layers, dropout, pad):
        super().__init__()
        self.pad, self.scale = pad, math.sqrt(dim)
        self.embedding = nn.Embedding(vocabulary, dim, padding_idx=pad)
        nn.init.normal_(self.embedding.weight, std=dim ** -0.5)
        layer = dict(d_model=dim, nhead=heads, dim_feedforward=ffn, dropout=dropout, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(**layer), encoder_layers, nn.LayerNorm(dim))
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(**layer), decoder_layers, nn.LayerNorm(dim))
        # The model that is compared drops out embeddings and sub-layers only.
        for module in self.modules():
            if isinstance(module, nn.MultiheadAttention):
                module.dropout = 0.0
            elif isinstance(module, (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)):
                module.dropout.p = 0.0
        self.output = nn.Linear(dim, vocabulary)
        self.output.weight = self.embedding.weight
        self.dropout = nn.Dropout(dropout)
        position = torch.arange(1024).unsqueeze(1) * torch.exp(torch.arange(0, dim, 2) * (-math.log(10000.0) / dim))
        self.register_buffer("positions", torch.cat([position.sin(), position.cos()], 1))

    def embed(self, tokens):
        return self.dropout(self.embedding(tokens) * self.scale + self.positions[: tokens.size(1)])

    def forward(self, source, target):
        hidden = source == self.pad
        memory = self.encoder(self.embed(source), src_key_padding_mask=hidden)
        future = torch.triu(torch.ones(target.size(1), target.size(1), dtype=torch.bool), 1)
        decoded = self.decoder(self.embed(target), memory, future, tgt_key_padding_mask=target == self.pad, memory_key_padding_mask=hidden)
        return self.output(decoded)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", help="RUN/cache/train.tokens of an nmt-train run")
    parser.add_argument("--vocabulary", type=int, required=True)
    parser.add_argument("--dim", type=int, required=True)
    parser.add_argument("--ffn", type=int, required=True)
    parser.add_argument("--heads", type=int, required=True)
    parser.add_argument("--layers", type=int, required=True, help="encoder layers, and as many decoder layers")
    parser.add_argument("--batch-tokens", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--precision", choices=["fp32", "bf16"], required=True)
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    bos, eos, pad = 1, 2, 3
    batches = make_batches(read_corpus(options.corpus), options.batch_tokens, bos, eos, pad, torch.Generator().manual_seed(1))
    model = Translator(options.vocabulary, options.dim, options.ffn, options.heads, options.layers, options.layers, 0.1, pad)
    model.train()
    loss_function = nn.CrossEntropyLoss(ignore_index=pad, label_smoothing=0.1, reduction="sum")
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4, betas=(0.9, 0.98), eps=1e-9, foreach=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda update: min((update + 1) / 4000, (4000 / (update + 1)) ** 0.5))
    rates, started = [], time.perf_counter()
    for source, target in batches:
        begin = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bf16"):
            logits = model(source, target[:, :-1])
        wanted = target[:, 1:].reshape(-1)
        tokens = int((wanted != pad).sum())
        loss = loss_function(logits.float().reshape(-1, options.vocabulary), wanted) / tokens
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        rates.append(tokens / (time.perf_counter() - begin))
        if time.perf_counter() - started > options.seconds and len(rates) > 3:
            break
    print(json.dumps({
        "tokens-per-second": statistics.median(rates[2:]), "updates": len(rates), "loss": loss.item(),
        "peak-bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "torch": torch.__version__,
    }))


if __name__ == "__main__":
    main()
