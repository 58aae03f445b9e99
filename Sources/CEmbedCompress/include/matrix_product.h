// Tiles of a matrix product in registers, for any shape that the registers hold, which Swift could only write out one by
// one. Everything is static, so that it becomes part of the Swift code that uses it.
#ifndef EMBEDCOMPRESS_MATRIX_PRODUCT_H
#define EMBEDCOMPRESS_MATRIX_PRODUCT_H

#include "shims.h"

// See shims.h.
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wpsabi"

/// Most rows of a tile.
#if defined(__AVX2__) || defined(__AVX512F__) || EC_ARM64
#define EC_TILE_ROWS 6
#else
#define EC_TILE_ROWS 3
#endif

/// Most chunks of sixteen columns of a tile of the most rows: 24 registers for sums where there are 32 wide ones.
#if defined(__AVX512F__)
#define EC_TILE_CHUNKS 4
#else
#define EC_TILE_CHUNKS 1
#endif

/// Sixteen columns of a matrix of floats or halves.
__attribute__((always_inline)) static inline ec_floats16 ec_matrix_chunk(const uint8_t *source, int halves) {
    if (halves) {
        ec_halves16 chunk;
        memcpy(&chunk, source, sizeof chunk);
        return ec_halves_to_floats(chunk);
    }
    ec_floats16 chunk;
    memcpy(&chunk, source, sizeof chunk);
    return chunk;
}

/// The first `count` of sixteen floats, of which no other is read.
__attribute__((always_inline)) static inline ec_floats16 ec_load_some(const float *source, int64_t count) {
#if defined(__AVX512F__)
    return (ec_floats16)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), source);
#else
    float values[16] = {0};
    for (int64_t lane = 0; lane < count; lane++) memcpy(values + lane, source + lane, 4);
    ec_floats16 result;
    memcpy(&result, values, sizeof result);
    return result;
#endif
}

/// Writes the first `count` of sixteen floats, and nothing behind them.
__attribute__((always_inline)) static inline void ec_store_some(float *target, ec_floats16 values, int64_t count) {
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(target, (__mmask16)((1u << count) - 1), (__m512)values);
#elif defined(__AVX2__)
    __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), all = _mm256_set1_epi32((int)count);
    union { ec_floats16 all; __m256 halves[2]; } parts = {values};
    _mm256_maskstore_ps(target, _mm256_cmpgt_epi32(all, lanes), parts.halves[0]);
    if (count > 8)
        _mm256_maskstore_ps(
            target + 8, _mm256_cmpgt_epi32(all, _mm256_add_epi32(lanes, _mm256_set1_epi32(8))), parts.halves[1]);
#else
    float lanes[16];
    memcpy(lanes, &values, sizeof lanes);
    for (int64_t lane = 0; lane < count; lane++) memcpy(target + lane, lanes + lane, 4);
#endif
}

/// What a tile is made of. Strides of floats count floats, the matrix's counts bytes.
struct ec_tile {
    /// The rows that are multiplied: `depth` floats each.
    const float *rows;
    int64_t row_stride;
    /// `depth` rows of floats or halves. Read in whole chunks.
    const uint8_t *matrix;
    int64_t matrix_stride;
    int64_t depth;
    /// What the sums start from, such as a bias, with a stride of 0, or the output itself; NULL for zeros.
    const float *start;
    int64_t start_stride;
    float *output;
    int64_t output_stride;
    /// Columns of the last chunk, 1 to 16.
    int64_t last_columns;
};

/// Each sum is one chain of additions in the order of the depth, whatever tile it is part of.
__attribute__((always_inline)) static inline void ec_multiply(const struct ec_tile *tile, int rows, int chunks, int halves) {
    ec_floats16 sums[EC_TILE_ROWS][8];
    const int64_t last = tile->last_columns;
    const float *start = tile->start;
#define EC_UNROLLED _Pragma("clang loop unroll(full)")
    EC_UNROLLED for (int row = 0; row < rows; row++) {
        EC_UNROLLED for (int chunk = 0; chunk < chunks; chunk++) {
            if (!start) {
                sums[row][chunk] = (ec_floats16){0};
            } else if (chunk + 1 < chunks || last == 16) {
                memcpy(&sums[row][chunk], start + row * tile->start_stride + 16 * chunk, 64);
            } else {
                sums[row][chunk] = ec_load_some(start + row * tile->start_stride + 16 * chunk, last);
            }
        }
    }
    const float *left = tile->rows;
    const int64_t left_stride = tile->row_stride, stride = tile->matrix_stride;
    const uint8_t *matrix = tile->matrix;
    for (int64_t depth = tile->depth; depth > 0; depth--) {
        ec_floats16 columns[8];
        EC_UNROLLED for (int chunk = 0; chunk < chunks; chunk++)
            columns[chunk] = ec_matrix_chunk(matrix + chunk * (halves ? 32 : 64), halves);
        EC_UNROLLED for (int row = 0; row < rows; row++) {
            float x = left[row * left_stride];
            ec_floats16 factor = {x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
            EC_UNROLLED for (int chunk = 0; chunk < chunks; chunk++) {
#if EC_HAS_FMA
                sums[row][chunk] = __builtin_elementwise_fma(factor, columns[chunk], sums[row][chunk]);
#else
                sums[row][chunk] += factor * columns[chunk];
#endif
            }
        }
        left++;
        matrix += stride;
    }
    EC_UNROLLED for (int row = 0; row < rows; row++) {
        EC_UNROLLED for (int chunk = 0; chunk < chunks; chunk++) {
            float *output = tile->output + row * tile->output_stride + 16 * chunk;
            if (chunk + 1 < chunks || last == 16)
                memcpy(output, &sums[row][chunk], 64);
            else
                ec_store_some(output, sums[row][chunk], last);
        }
    }
#undef EC_UNROLLED
}

/// Most chunks of a tile of so many rows; a power of two.
static inline int64_t ec_most_chunks(int64_t rows) {
#if defined(__AVX512F__)
    return rows == 1 ? 8 : 4;
#elif defined(__AVX2__) || EC_ARM64
    return rows == 1 ? 4 : rows <= 3 ? 2 : 1;
#else
    return rows == 1 ? 2 : 1;
#endif
}

/// Rows from 1 to `EC_TILE_ROWS`, and chunks from 1 to those of `ec_most_chunks`, powers of two.
#define EC_TILE_SHAPE(rows, chunks)                                                    \
    case 16 * rows + chunks:                                                           \
        if (halves) ec_multiply(tile, rows, chunks, 1);                                \
        else ec_multiply(tile, rows, chunks, 0);                                       \
        return;
__attribute__((noinline)) static inline void ec_multiply_tile(
    const struct ec_tile *tile, int64_t rows, int64_t chunks, int32_t halves) {
    switch (16 * rows + chunks) {
        EC_TILE_SHAPE(1, 1) EC_TILE_SHAPE(1, 2) EC_TILE_SHAPE(2, 1) EC_TILE_SHAPE(3, 1)
#if EC_TILE_ROWS > 3
        EC_TILE_SHAPE(1, 4) EC_TILE_SHAPE(2, 2) EC_TILE_SHAPE(3, 2)
        EC_TILE_SHAPE(4, 1) EC_TILE_SHAPE(5, 1) EC_TILE_SHAPE(6, 1)
#endif
#if EC_TILE_CHUNKS > 1
        EC_TILE_SHAPE(1, 8) EC_TILE_SHAPE(2, 4) EC_TILE_SHAPE(3, 4)
        EC_TILE_SHAPE(4, 2) EC_TILE_SHAPE(5, 2) EC_TILE_SHAPE(6, 2)
        EC_TILE_SHAPE(4, 4) EC_TILE_SHAPE(5, 4) EC_TILE_SHAPE(6, 4)
#endif
    }
}
#undef EC_TILE_SHAPE

#pragma clang diagnostic pop

#endif
