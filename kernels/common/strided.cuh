// Index arithmetic of strided operands.
#pragma once

#include "common/types.cuh"

// n / d.divisor for n < 2^31.
DEVICE u32 divide(u32 n, Divisor d) { return d.divisor == 1 ? n : __umulhi(n, d.multiplier) >> d.shift; }

struct Offsets {
    i64 out;
    i64 operands[MAX_OPERANDS];
};

template <u32 OPERANDS>
DEVICE Offsets offsets(const StridedParams& p, u32 index) {
    Offsets at = {};
#pragma unroll
    for (u32 dim = 0; dim < MAX_RANK; ++dim) {
        if (dim < p.rank) {
            u32 quotient = divide(index, p.sizes[dim]);
            i64 remainder = index - quotient * p.sizes[dim].divisor;
            at.out += remainder * p.out[dim];
#pragma unroll
            for (int operand = 0; operand < int(OPERANDS); ++operand) {
                at.operands[operand] += remainder * p.operands[operand][dim];
            }
            index = quotient;
        }
    }
    return at;
}
