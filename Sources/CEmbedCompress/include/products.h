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

typedef uint32_t ec_bits16 __attribute__((vector_size(64)));

/// Sixteen floats from `source`; those that `mask` has no bits for become zeros, whatever they were.
__attribute__((always_inline)) static inline ec_floats16 ec_load_masked(const float *source, ec_bits16 mask) {
    ec_bits16 words;
    memcpy(&words, source, sizeof words);
    return (ec_floats16)(words & mask);
}

__attribute__((always_inline)) static inline void ec_store_lanes(
    float *target, ec_floats16 values, int64_t count, int64_t width) {
    if (count == width) {
        memcpy(target, &values, width * sizeof(float));
    } else {
        for (int64_t lane = 0; lane < count; lane++) target[lane] = values[lane];
    }
}

__attribute__((always_inline)) static inline void ec_narrow_rows(
    const float *a, int64_t rows, int64_t k, const float *b, int64_t n, float *c, int64_t width) {
    const ec_bits16 all = ~(ec_bits16){0}, lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const ec_bits16 last = k % 16 ? (ec_bits16)(lanes < (uint32_t)(k % 16)) : all;
    int64_t row = 0;
    for (; row + 4 <= rows; row += 4) {
        ec_floats16 sums[4] = {{0}, {0}, {0}, {0}};
        for (int64_t i = 0; i < k; i += 16) {
            const ec_bits16 mask = i + 16 < k ? all : last;
            ec_floats16 values[4];
            for (int r = 0; r < 4; r++) values[r] = ec_load_masked(a + (row + r) * k + i, mask);
#pragma clang loop unroll(full)
            for (int64_t part = 0; part < width; part++) {
                ec_floats16 x;
                memcpy(&x, b + i * width + part * 16, sizeof x);
                for (int r = 0; r < 4; r++) sums[r] += ec_spread16(values[r], width, part) * x;
            }
        }
        for (int r = 0; r < 4; r++) ec_store_lanes(c + (row + r) * n, ec_folded16(sums[r], width), n, width);
    }
    for (; row < rows; row++) {
        ec_floats16 sum = {0};
        for (int64_t i = 0; i < k; i += 16) {
            ec_floats16 values = ec_load_masked(a + row * k + i, i + 16 < k ? all : last);
#pragma clang loop unroll(full)
            for (int64_t part = 0; part < width; part++) {
                ec_floats16 x;
                memcpy(&x, b + i * width + part * 16, sizeof x);
                sum += ec_spread16(values, width, part) * x;
            }
        }
        ec_store_lanes(c + row * n, ec_folded16(sum, width), n, width);
    }
}

/// c = a · b, where c has n columns, at most `width`, which is 1, 2, 4 or 8. Rows of b have `width` floats, and there are
/// k rounded up to a multiple of sixteen of them, the last ones zeros. Up to fifteen floats after a's are read.
static inline void ec_narrow_product(
    const float *a, int64_t rows, int64_t k, const float *b, int64_t n, float *c, int64_t width) {
    switch (width) {
    case 1: ec_narrow_rows(a, rows, k, b, n, c, 1); break;
    case 2: ec_narrow_rows(a, rows, k, b, n, c, 2); break;
    case 4: ec_narrow_rows(a, rows, k, b, n, c, 4); break;
    default: ec_narrow_rows(a, rows, k, b, n, c, 8); break;
    }
}

#endif
