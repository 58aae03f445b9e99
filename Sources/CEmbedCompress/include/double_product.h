// A tile of a product of f64 matrices in registers, which Swift could only write out one by one. Everything is static, so
// that it becomes part of the Swift code that uses it.
#ifndef EMBEDCOMPRESS_DOUBLE_PRODUCT_H
#define EMBEDCOMPRESS_DOUBLE_PRODUCT_H

#include "shims.h"

// A tile has EC_DOUBLE_ROWS rows, and EC_DOUBLE_CHUNKS chunks of EC_DOUBLE_LANES columns: its sums, a row of chunks and
// one factor fill the registers.
#if defined(__AVX512F__)
#define EC_DOUBLE_LANES 8
#define EC_DOUBLE_ROWS 8
#define EC_DOUBLE_CHUNKS 3
#elif defined(__AVX2__)
#define EC_DOUBLE_LANES 4
#define EC_DOUBLE_ROWS 4
#define EC_DOUBLE_CHUNKS 3
#elif EC_ARM64
#define EC_DOUBLE_LANES 2
#define EC_DOUBLE_ROWS 4
#define EC_DOUBLE_CHUNKS 6
#else
#define EC_DOUBLE_LANES 2
#define EC_DOUBLE_ROWS 4
#define EC_DOUBLE_CHUNKS 2
#endif
/// Columns of a tile.
#define EC_DOUBLE_COLUMNS (EC_DOUBLE_LANES * EC_DOUBLE_CHUNKS)

typedef double ec_doubles __attribute__((vector_size(8 * EC_DOUBLE_LANES), aligned(8)));

/// output += left * right. `left` has `depth` columns of EC_DOUBLE_ROWS numbers, one column after the other, `right`
/// `depth` rows of EC_DOUBLE_COLUMNS numbers. Each sum is one chain of additions in the order of the depth.
__attribute__((noinline)) static inline void ec_double_tile(
    const double *left, const double *right, int64_t depth, double *output, int64_t stride) {
#define EC_UNROLLED _Pragma("clang loop unroll(full)")
    ec_doubles sums[EC_DOUBLE_ROWS][EC_DOUBLE_CHUNKS];
    EC_UNROLLED for (int row = 0; row < EC_DOUBLE_ROWS; row++)
        EC_UNROLLED for (int chunk = 0; chunk < EC_DOUBLE_CHUNKS; chunk++) sums[row][chunk] = (ec_doubles){0};
    // What the sums are added to arrives while they are made.
    EC_UNROLLED for (int row = 0; row < EC_DOUBLE_ROWS; row++) {
        __builtin_prefetch(output + row * stride, 1, 3);
        __builtin_prefetch(output + row * stride + EC_DOUBLE_COLUMNS - 1, 1, 3);
    }
    for (; depth > 0; depth--) {
        ec_doubles columns[EC_DOUBLE_CHUNKS];
        EC_UNROLLED for (int chunk = 0; chunk < EC_DOUBLE_CHUNKS; chunk++)
            columns[chunk] = *(const ec_doubles *)(right + chunk * EC_DOUBLE_LANES);
        EC_UNROLLED for (int row = 0; row < EC_DOUBLE_ROWS; row++) {
            ec_doubles factor;
            EC_UNROLLED for (int lane = 0; lane < EC_DOUBLE_LANES; lane++) factor[lane] = left[row];
            EC_UNROLLED for (int chunk = 0; chunk < EC_DOUBLE_CHUNKS; chunk++) {
#if EC_HAS_FMA
                sums[row][chunk] = __builtin_elementwise_fma(factor, columns[chunk], sums[row][chunk]);
#else
                sums[row][chunk] += factor * columns[chunk];
#endif
            }
        }
        left += EC_DOUBLE_ROWS;
        right += EC_DOUBLE_COLUMNS;
    }
    EC_UNROLLED for (int row = 0; row < EC_DOUBLE_ROWS; row++) {
        EC_UNROLLED for (int chunk = 0; chunk < EC_DOUBLE_CHUNKS; chunk++)
            *(ec_doubles *)(output + row * stride + chunk * EC_DOUBLE_LANES) += sums[row][chunk];
    }
#undef EC_UNROLLED
}

#endif
