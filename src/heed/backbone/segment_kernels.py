"""Attention within short rows that lie one after another, in Triton: the code that runs on a GPU.

FlashAttention's tiles are of 64 to 128 queries, most of which a row of 30 leaves empty, and its
backward pass adds to one gradient from several programs. Here one program takes one row of one
head, in tiles as large as rows are long, loops over the tiles of longer rows, and owns what it
writes (the method: Dao 2023; Milakov and Gimelshein 2018 for the softmax). Needs `triton`, which
comes with torch for CUDA; `segment_attention.py` is how it is called.

Weights are exp2(s - z), where s are the scores times log2(e) and z the logarithm to base 2 of the
sum of exp2(s), which the forward pass keeps.

Legend: N positions, H heads, G groups of heads, K head width (WIDTH). A tile is of QUERIES queries
or KEYS keys. Rows from the number `rows` on are what is left over: zeros are written for them.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _extent(offsets, row):
    """Where a row starts (int64, since numbers are counted from there) and its length."""
    start = tl.load(offsets + row)
    return start.to(tl.int64), tl.load(offsets + row + 1) - start


@triton.jit
def _tile(pointer, stride, places, length, WIDTH: tl.constexpr):
    """(tile, K) from the row that begins at `pointer`, zeros beyond its length."""
    columns = tl.arange(0, WIDTH)
    return tl.load(
        pointer + places[:, None] * stride + columns[None, :],
        mask=places[:, None] < length,
        other=0.0,
    )


@triton.jit
def _store(pointer, stride, places, length, tile, WIDTH: tl.constexpr):
    columns = tl.arange(0, WIDTH)
    tl.store(
        pointer + places[:, None] * stride + columns[None, :],
        tile.to(pointer.dtype.element_ty),
        mask=places[:, None] < length,
    )


@triton.jit(do_not_specialize=["rows"])
def forward_kernel(
    query,
    key,
    value,
    output,
    log_sums,
    query_offsets,
    key_offsets,
    rows,
    positions,
    query_stride,
    query_head,
    key_stride,
    key_head,
    value_stride,
    value_head,
    scale,
    HEADS: tl.constexpr,
    SHARED: tl.constexpr,
    WIDTH: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    CAUSAL: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Programs: (rows and what is left) * H, and so many that share the tiles of one row.

    Args:
        query: N tokens, `query_stride` apart, of H heads `query_head` apart, of K; likewise others.
        output: (N, H, K).
        log_sums: (H, N), z.
        query_offsets: Where each row begins, what is left too, and N.
        positions: N.
        scale: Of scores, times log2(e).
        HEADS: H.
        SHARED: H / G.
        PRECISION: How fp32 is multiplied.
    """
    head = tl.program_id(0) % HEADS
    row = tl.program_id(0) // HEADS
    first_query, n_queries = _extent(query_offsets, row)
    first_key, n_keys = _extent(key_offsets, row)
    seen = tl.where(row < rows, n_keys, 0)
    query += first_query * query_stride + head * query_head
    key += first_key * key_stride + head // SHARED * key_head
    value += first_key * value_stride + head // SHARED * value_head
    output += (first_query * HEADS + head) * WIDTH
    log_sums += head.to(tl.int64) * positions + first_query
    for number in range(tl.program_id(1), tl.cdiv(n_queries, QUERIES), tl.num_programs(1)):
        i = number * QUERIES + tl.arange(0, QUERIES)
        q = _tile(query, query_stride, i, n_queries, WIDTH)
        highest = tl.full([QUERIES], float("-inf"), tl.float32)
        total = tl.zeros([QUERIES], tl.float32)
        gathered = tl.zeros([QUERIES, WIDTH], tl.float32)
        end = seen
        if CAUSAL:
            end = tl.minimum(seen, (number + 1) * QUERIES)
        for start in range(0, end, KEYS):
            j = start + tl.arange(0, KEYS)
            k = _tile(key, key_stride, j, n_keys, WIDTH)
            v = _tile(value, value_stride, j, n_keys, WIDTH)
            scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
            visible = j[None, :] < seen
            if CAUSAL:
                visible = visible & (j[None, :] <= i[:, None])
            scores = tl.where(visible, scores, float("-inf"))
            # The first key of a row is seen by all its queries, so that this is finite.
            higher = tl.maximum(highest, tl.max(scores, 1))
            weights = tl.exp2(scores - higher[:, None])
            shrink = tl.exp2(highest - higher)
            total = total * shrink + tl.sum(weights, 1)
            gathered = gathered * shrink[:, None]
            gathered += tl.dot(weights.to(v.dtype), v, input_precision=PRECISION)
            highest = higher
        gathered = gathered / tl.where(total > 0.0, total, 1.0)[:, None]
        _store(output, HEADS * WIDTH, i, n_queries, gathered, WIDTH)
        tl.store(log_sums + i, highest + tl.log2(total), mask=i < n_queries)


@triton.jit
def _weights(q, k, z, i, j, seen, scale, CAUSAL: tl.constexpr, PRECISION: tl.constexpr):
    """(KEYS, QUERIES): the transposed weights, zeros where nothing is seen."""
    scores = tl.dot(k, tl.trans(q), input_precision=PRECISION) * scale
    visible = j[:, None] < seen
    if CAUSAL:
        visible = visible & (j[:, None] <= i[None, :])
    return tl.where(visible, tl.exp2(scores - z[None, :]), 0.0)


@triton.jit(do_not_specialize=["rows"])
def backward_kernel(
    query,
    key,
    value,
    output,
    log_sums,
    gradient,
    query_gradient,
    key_gradient,
    value_gradient,
    query_offsets,
    key_offsets,
    rows,
    positions,
    query_stride,
    query_head,
    key_stride,
    key_head,
    value_stride,
    value_head,
    gradient_stride,
    gradient_head,
    query_gradient_stride,
    key_gradient_stride,
    value_gradient_stride,
    scale,
    factor,
    HEADS: tl.constexpr,
    SHARED: tl.constexpr,
    WIDTH: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    CAUSAL: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Programs: (rows and what is left) * G, and so many that share the tiles of one row.

    A row of one tile of queries and one of keys is done at once; of others, first the gradients of
    keys and values are summed over tiles of queries, then that of queries over tiles of keys.

    Args:
        gradient: That of the output, laid out as `query` is.
        query_gradient: N tokens so far apart, of H heads of K one after another; likewise others.
        scale: Of scores, times log2(e).
        factor: Of scores.
    """
    GROUPS: tl.constexpr = HEADS // SHARED
    group = tl.program_id(0) % GROUPS
    row = tl.program_id(0) // GROUPS
    first_query, n_queries = _extent(query_offsets, row)
    first_key, n_keys = _extent(key_offsets, row)
    seen = tl.where(row < rows, n_keys, 0)
    looking = tl.where(row < rows, n_queries, 0)
    query += first_query * query_stride + group * SHARED * query_head
    gradient += first_query * gradient_stride + group * SHARED * gradient_head
    query_gradient += first_query * query_gradient_stride + group * SHARED * WIDTH
    output += (first_query * HEADS + group * SHARED) * WIDTH
    log_sums += (group * SHARED).to(tl.int64) * positions + first_query
    key += first_key * key_stride + group * key_head
    value += first_key * value_stride + group * value_head
    key_gradient += first_key * key_gradient_stride + group * WIDTH
    value_gradient += first_key * value_gradient_stride + group * WIDTH
    if (n_queries <= QUERIES) & (n_keys <= KEYS):
        if tl.program_id(1) == 0:
            i = tl.arange(0, QUERIES)
            j = tl.arange(0, KEYS)
            k = _tile(key, key_stride, j, n_keys, WIDTH)
            v = _tile(value, value_stride, j, n_keys, WIDTH)
            dk = tl.zeros([KEYS, WIDTH], tl.float32)
            dv = tl.zeros([KEYS, WIDTH], tl.float32)
            for h in range(SHARED):
                q = _tile(query + h * query_head, query_stride, i, n_queries, WIDTH)
                do = _tile(gradient + h * gradient_head, gradient_stride, i, n_queries, WIDTH)
                z = tl.load(log_sums + h * positions + i, mask=i < n_queries, other=0.0)
                weights = _weights(q, k, z, i, j, seen, scale, CAUSAL, PRECISION)
                dv += tl.dot(weights.to(do.dtype), do, input_precision=PRECISION)
                dweights = tl.dot(v, tl.trans(do), input_precision=PRECISION)
                mean = tl.sum(weights * dweights, 0)
                dscores = (weights * (dweights - mean[None, :])).to(q.dtype)
                dk += tl.dot(dscores, q, input_precision=PRECISION)
                dq = tl.dot(tl.trans(dscores), k, input_precision=PRECISION) * factor
                place = query_gradient + h * WIDTH
                _store(place, query_gradient_stride, i, n_queries, dq, WIDTH)
            _store(key_gradient, key_gradient_stride, j, n_keys, dk * factor, WIDTH)
            _store(value_gradient, value_gradient_stride, j, n_keys, dv, WIDTH)
    else:
        for number in range(tl.program_id(1), tl.cdiv(n_keys, KEYS), tl.num_programs(1)):
            j = number * KEYS + tl.arange(0, KEYS)
            k = _tile(key, key_stride, j, n_keys, WIDTH)
            v = _tile(value, value_stride, j, n_keys, WIDTH)
            dk = tl.zeros([KEYS, WIDTH], tl.float32)
            dv = tl.zeros([KEYS, WIDTH], tl.float32)
            first = 0
            if CAUSAL:
                first = number * KEYS // QUERIES * QUERIES
            for h in range(SHARED):
                for start in range(first, looking, QUERIES):
                    i = start + tl.arange(0, QUERIES)
                    q = _tile(query + h * query_head, query_stride, i, n_queries, WIDTH)
                    do = _tile(gradient + h * gradient_head, gradient_stride, i, n_queries, WIDTH)
                    o = _tile(output + h * WIDTH, HEADS * WIDTH, i, n_queries, WIDTH)
                    mean = tl.sum(o.to(tl.float32) * do.to(tl.float32), 1)
                    z = tl.load(log_sums + h * positions + i, mask=i < n_queries, other=0.0)
                    weights = _weights(q, k, z, i, j, seen, scale, CAUSAL, PRECISION)
                    dv += tl.dot(weights.to(do.dtype), do, input_precision=PRECISION)
                    dweights = tl.dot(v, tl.trans(do), input_precision=PRECISION)
                    dscores = (weights * (dweights - mean[None, :])).to(q.dtype)
                    dk += tl.dot(dscores, q, input_precision=PRECISION)
            _store(key_gradient, key_gradient_stride, j, n_keys, dk * factor, WIDTH)
            _store(value_gradient, value_gradient_stride, j, n_keys, dv, WIDTH)
        for number in range(tl.program_id(1), tl.cdiv(n_queries, QUERIES), tl.num_programs(1)):
            i = number * QUERIES + tl.arange(0, QUERIES)
            end = seen
            if CAUSAL:
                end = tl.minimum(seen, (number + 1) * QUERIES)
            for h in range(SHARED):
                q = _tile(query + h * query_head, query_stride, i, n_queries, WIDTH)
                do = _tile(gradient + h * gradient_head, gradient_stride, i, n_queries, WIDTH)
                o = _tile(output + h * WIDTH, HEADS * WIDTH, i, n_queries, WIDTH)
                mean = tl.sum(o.to(tl.float32) * do.to(tl.float32), 1)
                z = tl.load(log_sums + h * positions + i, mask=i < n_queries, other=0.0)
                dq = tl.zeros([QUERIES, WIDTH], tl.float32)
                for start in range(0, end, KEYS):
                    j = start + tl.arange(0, KEYS)
                    k = _tile(key, key_stride, j, n_keys, WIDTH)
                    v = _tile(value, value_stride, j, n_keys, WIDTH)
                    weights = _weights(q, k, z, i, j, seen, scale, CAUSAL, PRECISION)
                    dweights = tl.dot(v, tl.trans(do), input_precision=PRECISION)
                    dscores = (weights * (dweights - mean[None, :])).to(q.dtype)
                    dq += tl.dot(tl.trans(dscores), k, input_precision=PRECISION)
                place = query_gradient + h * WIDTH
                _store(place, query_gradient_stride, i, n_queries, dq * factor, WIDTH)
