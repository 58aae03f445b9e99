// Shuffles for products of small matrices.
#ifndef EMBEDCOMPRESS_PRODUCTS_H
#define EMBEDCOMPRESS_PRODUCTS_H

#include "shims.h"

// See shims.h.
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wpsabi"

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

typedef uint32_t ec_masks16 __attribute__((vector_size(64)));

/// Sixteen floats from `source`; those that `mask` has no bits for become zeros, whatever they were.
__attribute__((always_inline)) static inline ec_floats16 ec_load_masked(const float *source, ec_masks16 mask) {
    ec_masks16 words;
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

// Written out, because loops over an array of sums are not unrolled before the sums would have to be in registers.
#define EC_PARTS(STEP) STEP(0) STEP(1) STEP(2) STEP(3) STEP(4) STEP(5) STEP(6) STEP(7)
// A vector of b, of the `left` rows of it that are still to come: those after them are zeros.
#define EC_PART(part)                                                \
    if (part < width && part * 16 < left * width) {                  \
        ec_floats16 x;                                               \
        memcpy(&x, b + i * width + part * 16, sizeof x);             \
        EC_ROWS(part)                                                \
    }
#define EC_ROW(r, part) s##r += ec_spread16(v##r, width, part) * x;

__attribute__((always_inline)) static inline void ec_narrow_rows(
    const float *a, int64_t rows, int64_t k, const float *b, int64_t n, float *c, int64_t width) {
    const ec_masks16 all = ~(ec_masks16){0}, lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const ec_masks16 last = k % 16 ? (ec_masks16)(lanes < (uint32_t)(k % 16)) : all;
    int64_t row = 0;
    for (; row + 4 <= rows; row += 4) {
        ec_floats16 s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
        for (int64_t i = 0; i < k; i += 16) {
            const int64_t left = k - i;
            const ec_masks16 mask = left > 16 ? all : last;
            const float *source = a + row * k + i;
            const ec_floats16 v0 = ec_load_masked(source, mask), v1 = ec_load_masked(source + k, mask);
            const ec_floats16 v2 = ec_load_masked(source + 2 * k, mask), v3 = ec_load_masked(source + 3 * k, mask);
#define EC_ROWS(part) EC_ROW(0, part) EC_ROW(1, part) EC_ROW(2, part) EC_ROW(3, part)
            EC_PARTS(EC_PART)
#undef EC_ROWS
        }
        float *target = c + row * n;
        ec_store_lanes(target, ec_folded16(s0, width), n, width);
        ec_store_lanes(target + n, ec_folded16(s1, width), n, width);
        ec_store_lanes(target + 2 * n, ec_folded16(s2, width), n, width);
        ec_store_lanes(target + 3 * n, ec_folded16(s3, width), n, width);
    }
    for (; row < rows; row++) {
        ec_floats16 s0 = {0};
        for (int64_t i = 0; i < k; i += 16) {
            const int64_t left = k - i;
            const ec_floats16 v0 = ec_load_masked(a + row * k + i, left > 16 ? all : last);
#define EC_ROWS(part) EC_ROW(0, part)
            EC_PARTS(EC_PART)
#undef EC_ROWS
        }
        ec_store_lanes(c + row * n, ec_folded16(s0, width), n, width);
    }
}
#undef EC_PARTS
#undef EC_PART
#undef EC_ROW

/// Puts k rows of n floats, at most `width` and constant, into rows of `width`, with zeros after them.
__attribute__((always_inline)) static inline void ec_widen_rows(
    const float *b, int64_t k, int64_t n, float *target, int64_t width) {
    for (int64_t row = 0; row < k; row++)
        for (int64_t lane = 0; lane < width; lane++)
            target[row * width + lane] = lane < n ? b[row * n + lane] : 0;
}

/// The rows of b that `ec_narrow_product` takes, of k rows of n floats: rows of `width`, and zeros up to a multiple of
/// sixteen rows.
static inline void ec_narrow_pack(const float *b, int64_t k, int64_t n, float *target, int64_t width) {
    if (n == width)
        memcpy(target, b, (size_t)(k * n) * sizeof(float));
    else if (width == 4)
        ec_widen_rows(b, k, n, target, 4);
    else
        ec_widen_rows(b, k, n, target, 8);
    memset(target + k * width, 0, (size_t)(((k + 15) / 16 * 16 - k) * width) * sizeof(float));
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

#pragma clang diagnostic pop

#endif
