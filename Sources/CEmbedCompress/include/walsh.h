// The Walsh-Hadamard transform of sixteen floats: permutes that Swift cannot name. Static inline, so that it becomes part
// of the Swift code that uses it.
#ifndef EMBEDCOMPRESS_WALSH_H
#define EMBEDCOMPRESS_WALSH_H

#include "shims.h"

/// Lane i of the result is the sum over j of (-1)^popcount(i & j) times lane j.
__attribute__((always_inline)) static inline ec_floats16 ec_walsh16(ec_floats16 x) {
    ec_floats16 other;
#if EC_HAS_FMA
// A product with 1 or -1 is exact: fused or not, the sum is the same.
#define EC_LEVEL(signs, ...)                                  \
    other = __builtin_shufflevector(x, x, __VA_ARGS__);       \
    x = __builtin_elementwise_fma(x, (ec_floats16)signs, other)
#define EC_SIGNS(...) {__VA_ARGS__}
    EC_LEVEL(EC_SIGNS(1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1),
             8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    EC_LEVEL(EC_SIGNS(1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1),
             4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
    EC_LEVEL(EC_SIGNS(1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1),
             2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
    EC_LEVEL(EC_SIGNS(1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1),
             1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
#undef EC_SIGNS
#undef EC_LEVEL
#else
    // Lanes that keep the sum of both, and lanes that keep the difference.
#define EC_LEVEL(h)                                                                                     \
    for (int i = 0; i < 16; i++) other[i] = i & h ? x[i ^ h] - x[i] : x[i ^ h] + x[i];                    \
    x = other
    EC_LEVEL(8);
    EC_LEVEL(4);
    EC_LEVEL(2);
    EC_LEVEL(1);
#undef EC_LEVEL
#endif
    return x;
}

#endif
