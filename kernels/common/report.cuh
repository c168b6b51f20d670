// How a kernel tells the host that an operand's values are wrong (an index out of range): the first complaint stays until the
// host looks, which it does whenever it waits for the device. The kernel goes on without the bad value.
#pragma once

#include "common/types.cuh"

DEVICE void complain(Report* report, u32 operation, u32 kind, i64 value, i64 bound) {
    if (atomicCAS(&report->kind, REPORT_NONE, kind) == REPORT_NONE) {
        report->operation = operation;
        report->value = value;
        report->bound = bound;
    }
}
