"""Compiles Triton kernels for sm_80 and sm_90a to PTX, without a GPU. Usage: triton_kernels.py FOLDER."""
import pathlib
import sys

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

@triton.jit
def matmul(a, b, c, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    pm, pn = tl.program_id(0), tl.program_id(1)
    rm = pm * BM + tl.arange(0, BM)
    rn = pn * BN + tl.arange(0, BN)
    rk = tl.arange(0, BK)
    acc = tl.zeros((BM, BN), dtype=tl.float32)
    for k in range(0, K, BK):
        x = tl.load(a + rm[:, None] * K + (k + rk)[None, :], mask=(rm[:, None] < M) & ((k + rk)[None, :] < K), other=0.0)
        y = tl.load(b + (k + rk)[:, None] * N + rn[None, :], mask=((k + rk)[:, None] < K) & (rn[None, :] < N), other=0.0)
        acc = tl.dot(x, y, acc)
    tl.store(c + rm[:, None] * N + rn[None, :], acc, mask=(rm[:, None] < M) & (rn[None, :] < N))

@triton.jit
def softmax(x, y, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    v = tl.load(x + row * columns + at, mask=at < columns, other=-float("inf"))
    e = tl.exp(v - tl.max(v, axis=0))
    tl.store(y + row * columns + at, e / tl.sum(e, axis=0), mask=at < columns)

@triton.jit
def layer_norm(x, y, weight, bias, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    v = tl.load(x + row * columns + at, mask=at < columns, other=0.0)
    mean = tl.sum(v, axis=0) / columns
    d = tl.where(at < columns, v - mean, 0.0)
    scale = 1 / tl.sqrt(tl.sum(d * d, axis=0) / columns + 1e-5)
    w = tl.load(weight + at, mask=at < columns)
    b = tl.load(bias + at, mask=at < columns)
    tl.store(y + row * columns + at, d * scale * w + b, mask=at < columns)

@triton.jit
def attention(q, k, v, o, T, scale, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr):
    start, head = tl.program_id(0) * BM, tl.program_id(1)
    rm, rd = start + tl.arange(0, BM), tl.arange(0, D)
    base = head * T * D
    x = tl.load(q + base + rm[:, None] * D + rd[None, :], mask=rm[:, None] < T, other=0.0)
    top = tl.full((BM,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BM,), dtype=tl.float32)
    acc = tl.zeros((BM, D), dtype=tl.float32)
    for n in range(0, T, BN):
        rn = n + tl.arange(0, BN)
        y = tl.load(k + base + rn[:, None] * D + rd[None, :], mask=rn[:, None] < T, other=0.0)
        s = tl.dot(x, tl.trans(y)) * scale
        s = tl.where(rn[None, :] < T, s, -float("inf"))
        new = tl.maximum(top, tl.max(s, axis=1))
        p = tl.exp(s - new[:, None])
        old = tl.exp(top - new)
        total = total * old + tl.sum(p, axis=1)
        z = tl.load(v + base + rn[:, None] * D + rd[None, :], mask=rn[:, None] < T, other=0.0)
        acc = tl.dot(p.to(z.dtype), z, acc * old[:, None])
        top = new
    tl.store(o + base + rm[:, None] * D + rd[None, :], acc / total[:, None], mask=rm[:, None] < T)

KERNELS = {
    "matmul": (matmul, {"a": "*bf16", "b": "*bf16", "c": "*fp32", "M": "i32", "N": "i32", "K": "i32"}, {"BM": 64, "BN": 64, "BK": 32}),
    "softmax": (softmax, {"x": "*fp32", "y": "*fp32", "columns": "i32"}, {"BLOCK": 512}),
    "layer_norm": (layer_norm, {"x": "*fp32", "y": "*fp32", "weight": "*fp32", "bias": "*fp32", "columns": "i32"}, {"BLOCK": 512}),
    "attention": (attention, {"q": "*fp16", "k": "*fp16", "v": "*fp16", "o": "*fp32", "T": "i32", "scale": "fp32"}, {"D": 64, "BM": 64, "BN": 32}),
}
folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
for name, (f, types, constants) in KERNELS.items():
    signature = types | {c: "constexpr" for c in constants}
    align = {(i,): [["tt.divisibility", 16]] for i, t in enumerate(types.values()) if t[0] == "*"}
    for sm in (80, 90):
        source = ASTSource(fn=f, signature=signature, constexprs=constants, attrs=align)
        k = triton.compile(source, target=GPUTarget("cuda", sm, 32), options={"num_warps": 4})
        (folder / f"{name}.{sm}.ptx").write_text(k.asm["ptx"])
        m = k.metadata
        (folder / f"{name}.{sm}.txt").write_text(f"{m.name} {m.num_warps * 32} {m.shared}\n")
print("ok", triton.__version__)
