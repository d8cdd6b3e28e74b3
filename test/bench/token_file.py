"""Reads files of token ids as the trainings leave them in RUN/cache (lib/data/token_file.h), for the programs that train the same on the same."""
import os
import struct

import numpy


def read(path):
    """(int32 ids, memory-mapped; int64: where each entry begins, and where the last ends)"""
    trailer = struct.Struct("<Q3q")
    with open(path, "rb") as file:
        kind = file.read(8)
        file.seek(-trailer.size, os.SEEK_END)
        _, tokens, entries, counts_bytes = trailer.unpack(file.read())
    index_at = 8 + (4 * tokens + 7) // 8 * 8
    if not kind.startswith(b"sqm") or os.path.getsize(path) != index_at + 8 * (entries + 1) + counts_bytes + trailer.size:
        raise SystemExit(f"{path}: not a token file")
    return numpy.memmap(path, numpy.int32, "r", 8, (tokens,)), numpy.memmap(path, numpy.int64, "r", index_at, (entries + 1,))
