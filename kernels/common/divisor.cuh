// Division by a constant that the host has prepared.
#pragma once

#include "common/types.cuh"

// n / d.divisor for n < 2^31.
DEVICE u32 divide(u32 n, Divisor d) { return d.divisor == 1 ? n : __umulhi(n, d.multiplier) >> d.shift; }
