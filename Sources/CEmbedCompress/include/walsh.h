// The Walsh-Hadamard transform of sixteen floats: permutes that Swift cannot name. Static inline, so that it becomes part
// of the Swift code that uses it.
#ifndef EMBEDCOMPRESS_WALSH_H
#define EMBEDCOMPRESS_WALSH_H

#include "shims.h"

// See shims.h.
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wpsabi"

/// Lane i of the result is the sum over j of (-1)^popcount(i & j) times lane j.
__attribute__((always_inline)) static inline ec_floats16 ec_walsh16(ec_floats16 x) {
    ec_floats16 other;
#if EC_HAS_FMA
// A product with 1 or -1 is exact: fused or not, the sum is the same.
#define EC_LEVEL(others, signs, sums)                            \
    other = __builtin_shufflevector(x, x, EC_LANES others);      \
    x = __builtin_elementwise_fma(x, (ec_floats16){EC_LANES signs}, other);
#else
// Lanes of the sum of both, and of the difference.
#define EC_LEVEL(others, signs, sums)                            \
    other = __builtin_shufflevector(x, x, EC_LANES others);      \
    x = __builtin_shufflevector(other + x, other - x, EC_LANES sums);
#endif
    EC_LEVEL((8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7),
             (1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1),
             (0, 1, 2, 3, 4, 5, 6, 7, 24, 25, 26, 27, 28, 29, 30, 31))
    EC_LEVEL((4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11),
             (1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1),
             (0, 1, 2, 3, 20, 21, 22, 23, 8, 9, 10, 11, 28, 29, 30, 31))
    EC_LEVEL((2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13),
             (1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1),
             (0, 1, 18, 19, 4, 5, 22, 23, 8, 9, 26, 27, 12, 13, 30, 31))
    EC_LEVEL((1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14),
             (1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1),
             (0, 17, 2, 19, 4, 21, 6, 23, 8, 25, 10, 27, 12, 29, 14, 31))
#undef EC_LEVEL
    return x;
}

#pragma clang diagnostic pop

#endif
