// Shuffles for products of small matrices.
#ifndef EMBEDCOMPRESS_PRODUCTS_H
#define EMBEDCOMPRESS_PRODUCTS_H

#include "shims.h"

#define EC_SPREAD(...) return __builtin_shufflevector(values, values, __VA_ARGS__)

/// Lanes `part * 16 / width` and on of `values`, each `width` times: 1, 2, 4 or 8. Both are constants wherever this is
/// used.
__attribute__((always_inline)) static inline ec_floats16 ec_spread16(ec_floats16 values, int64_t width, int64_t part) {
    switch (width * 8 + part) {
    case 16: EC_SPREAD(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    case 17: EC_SPREAD(8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15);
    case 32: EC_SPREAD(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    case 33: EC_SPREAD(4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7);
    case 34: EC_SPREAD(8, 8, 8, 8, 9, 9, 9, 9, 10, 10, 10, 10, 11, 11, 11, 11);
    case 35: EC_SPREAD(12, 12, 12, 12, 13, 13, 13, 13, 14, 14, 14, 14, 15, 15, 15, 15);
    case 64: EC_SPREAD(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    case 65: EC_SPREAD(2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    case 66: EC_SPREAD(4, 4, 4, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 5, 5, 5);
    case 67: EC_SPREAD(6, 6, 6, 6, 6, 6, 6, 6, 7, 7, 7, 7, 7, 7, 7, 7);
    case 68: EC_SPREAD(8, 8, 8, 8, 8, 8, 8, 8, 9, 9, 9, 9, 9, 9, 9, 9);
    case 69: EC_SPREAD(10, 10, 10, 10, 10, 10, 10, 10, 11, 11, 11, 11, 11, 11, 11, 11);
    case 70: EC_SPREAD(12, 12, 12, 12, 12, 12, 12, 12, 13, 13, 13, 13, 13, 13, 13, 13);
    case 71: EC_SPREAD(14, 14, 14, 14, 14, 14, 14, 14, 15, 15, 15, 15, 15, 15, 15, 15);
    default: return values;
    }
}

/// The sums of lanes that are `width` apart, in the first `width` lanes: 1, 2, 4 or 8, a constant.
__attribute__((always_inline)) static inline ec_floats16 ec_folded16(ec_floats16 values, int64_t width) {
    typedef float floats8 __attribute__((vector_size(32)));
    floats8 eight = __builtin_shufflevector(values, values, 0, 1, 2, 3, 4, 5, 6, 7)
                    + __builtin_shufflevector(values, values, 8, 9, 10, 11, 12, 13, 14, 15);
    ec_floats4 four = __builtin_shufflevector(eight, eight, 0, 1, 2, 3)
                      + __builtin_shufflevector(eight, eight, 4, 5, 6, 7);
    ec_floats4 two = four + __builtin_shufflevector(four, four, 2, 3, 0, 1);
    ec_floats4 one = two + __builtin_shufflevector(two, two, 1, 0, 3, 2);
    if (width == 8) return __builtin_shufflevector(eight, eight, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7);
    if (width == 4) return __builtin_shufflevector(four, four, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
    if (width == 2) return __builtin_shufflevector(two, two, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
    return __builtin_shufflevector(one, one, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
}

#undef EC_SPREAD
#endif
