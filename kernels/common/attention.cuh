// What both attentions share: addresses of heads, scores and masks.
#pragma once

#include "common/warp.cuh"

constexpr f32 LOG2_E = 1.4426950408889634f;
constexpr f32 LN_2 = 0.69314718055994531f;

// Where a head starts.
DEVICE i64 head_start(const i64 (&strides)[4], u32 b, u32 h) {
    return static_cast<i64>(b) * strides[0] + static_cast<i64>(h) * strides[1];
}

// The score of a query and a key from their product, in powers of two; −∞ where the key does not count.
template <class T>
DEVICE f32 masked_score(const AttentionParams& p, const void* mask, i64 mask_start, u32 query, u32 key, f32 product) {
    if (query >= p.queries || key >= p.keys || (p.causal && key > query)) return Largest::neutral();
    f32 score = product * (p.scale * LOG2_E);
    if (p.mask_kind == ATTENTION_MASK_NONE) return score;
    i64 at = mask_start + static_cast<i64>(query) * p.mask[2] + static_cast<i64>(key) * p.mask[3];
    if (p.mask_kind == ATTENTION_MASK_KEEP) return static_cast<const u8*>(mask)[at] ? score : Largest::neutral();
    return __fmaf_rn(to_f32(static_cast<const T*>(mask)[at]), LOG2_E, score);
}

DEVICE u32 lesser(u32 a, u32 b) { return a < b ? a : b; }

// The keys that queries before `end` may see.
DEVICE u32 visible_keys(const AttentionParams& p, u32 end) { return p.causal ? lesser(p.keys, end) : p.keys; }
