// Sums of products of whole numbers, which processors do two at a time and Swift cannot name. Everything is static
// inline, so that it becomes part of the Swift code that uses it.
//
// A vector holds words of two, four or eight rows: of each pair of rows a word by turns, and pair after pair.
#ifndef EMBEDCOMPRESS_WHOLE_SUMS_H
#define EMBEDCOMPRESS_WHOLE_SUMS_H

#include "shims.h"

// See shims.h.
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wpsabi"

/// Sixteen pairs of 16-bit words.
typedef uint32_t ec_pairs __attribute__((vector_size(64)));
typedef int32_t ec_ints16 __attribute__((vector_size(64)));

#if defined(__AVX512BW__) && defined(__AVX512VL__)
#define EC_WHOLE_SUMS_512 1
#else
#define EC_WHOLE_SUMS_512 0
#endif

/// The order of words that the functions below take, for two, four or eight rows in a vector. The compiler is not to know
/// it: what it makes of shuffles that it knows, and of the masks after them, has more instructions.
///
/// For two rows of words of `codes` codes, and for four rows of words of eight, it is that of the functions after it.
__attribute__((always_inline)) static inline ec_pairs ec_turns(int32_t rows, int32_t codes) {
#if EC_WHOLE_SUMS_512
    union { uint16_t words[32]; __m512i all; } turns;
    // Words of a row in a vector.
    int width = 32 / rows;
    for (int i = 0; i < 32; i++) {
        int group = i / (2 * width) * 2 * width, row = i % 2, word = i / 2 % width;
        if (rows == 2 && codes == 2) word = word / 4 * 2 + word % 2 + word % 4 / 2 * 8;
        if (rows == 2 && codes == 4) word = word / 4 + word % 4 * 4;
        if (rows == 2 && codes == 8) word = word / 4 / 2 + word / 4 % 2 * 2 + word % 4 * 4;
        if (rows == 4 && codes == 8) word = word / 4 + word % 4 * 2;
        turns.words[i] = (uint16_t)(group + row * width + word);
    }
    __asm__ volatile("" : "+v"(turns.all));
    return (ec_pairs)turns.all;
#elif defined(__AVX2__)
    typedef uint8_t bytes32 __attribute__((vector_size(32)));
    bytes32 turns = {0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15,
                     0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15};
    __asm__ volatile("" : "+x"(turns));
    union { bytes32 bytes[2]; ec_pairs words; } both = {{turns, turns}};
    (void)rows;
    (void)codes;
    return both.words;
#else
    (void)rows;
    (void)codes;
    return (ec_pairs){0};
#endif
}

// Part `part` of the sums of two, four or eight codes of words, in the order of columns. The words are in the order of
// `ec_turns`, from which unpacking within parts of registers leads there.
#if EC_WHOLE_SUMS_512
__attribute__((always_inline)) static inline ec_floats16 ec_columns_of_two(ec_floats16 a, ec_floats16 b, int32_t part) {
    return (ec_floats16)(part ? _mm512_unpackhi_ps((__m512)a, (__m512)b) : _mm512_unpacklo_ps((__m512)a, (__m512)b));
}
__attribute__((always_inline)) static inline ec_floats16 ec_columns_of_four(
    ec_floats16 a, ec_floats16 b, ec_floats16 c, ec_floats16 d, int32_t part) {
    __m512d low = (__m512d)ec_columns_of_two(a, b, part / 2), high = (__m512d)ec_columns_of_two(c, d, part / 2);
    return (ec_floats16)(part % 2 ? _mm512_unpackhi_pd(low, high) : _mm512_unpacklo_pd(low, high));
}
/// `low` and `high` are part `part / 2` of the first and of the last four codes.
__attribute__((always_inline)) static inline ec_floats16 ec_columns_of_eight(
    ec_floats16 low, ec_floats16 high, int32_t part) {
    __m512i even = {0, 1, 8, 9, 4, 5, 12, 13}, odd = {2, 3, 10, 11, 6, 7, 14, 15};
    return (ec_floats16)_mm512_permutex2var_epi64((__m512i)low, part % 2 ? odd : even, (__m512i)high);
}
/// The same of eight words, which are in the lower half: `low` and `high` are part `part` of the codes.
__attribute__((always_inline)) static inline ec_floats16 ec_columns_of_eight_words(
    ec_floats16 low, ec_floats16 high, int32_t part) {
    (void)part;
    __m512i both = {0, 1, 8, 9, 2, 3, 10, 11};
    return (ec_floats16)_mm512_permutex2var_epi64((__m512i)low, both, (__m512i)high);
}
#else
__attribute__((always_inline)) static inline ec_floats16 ec_columns_of_two(ec_floats16 a, ec_floats16 b, int32_t part) {
    return part ? __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
                : __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
__attribute__((always_inline)) static inline ec_floats16 ec_columns_of_four(
    ec_floats16 a, ec_floats16 b, ec_floats16 c, ec_floats16 d, int32_t part) {
    return ec_columns_of_two(ec_columns_of_two(a, c, part / 2), ec_columns_of_two(b, d, part / 2), part % 2);
}
__attribute__((always_inline)) static inline ec_floats16 ec_columns_of_eight(
    ec_floats16 low, ec_floats16 high, int32_t part) {
    // Four floats of each by turns.
    return part % 2 ? __builtin_shufflevector(low, high, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31)
                    : __builtin_shufflevector(low, high, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
}
/// Of eight words, only part `part / 2` of the codes is needed.
__attribute__((always_inline)) static inline ec_floats16 ec_columns_of_eight_words(
    ec_floats16 low, ec_floats16 high, int32_t part) {
    return ec_columns_of_eight(low, high, part);
}
#endif

#if defined(__AVX2__) && !EC_WHOLE_SUMS_512
/// Sixteen bytes at `a` and at `b`, words by turns.
__attribute__((always_inline)) static inline __m256i ec_sixteens_by_turns(const void *a, const void *b, __m256i turns) {
    __m256i both = _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)a)), _mm_loadu_si128((const __m128i *)b), 1);
    return _mm256_shuffle_epi8(_mm256_permute4x64_epi64(both, 0xd8), turns);
}
#endif

typedef uint16_t ec_words8 __attribute__((vector_size(16)));
typedef union ec_words_in_parts {
    ec_pairs all;
    ec_words8 parts[4];
#if defined(__AVX2__)
    __m256i half[2];
#endif
} ec_words_in_parts;

/// Eight bytes at `a` and at `b`, words by turns.
__attribute__((always_inline)) static inline ec_words8 ec_eights_by_turns(const void *a, const void *b) {
    typedef uint16_t words4 __attribute__((vector_size(8)));
    words4 left, right;
    memcpy(&left, a, 8);
    memcpy(&right, b, 8);
    return __builtin_shufflevector(left, right, 0, 4, 1, 5, 2, 6, 3, 7);
}

/// The lower and upper halves of sixteen bytes at `a` and at `b`, words by turns.
__attribute__((always_inline)) static inline void ec_sixteens_in_parts(
    ec_words8 *parts, const void *a, const void *b) {
    parts[0] = ec_eights_by_turns(a, b);
    parts[1] = ec_eights_by_turns((const char *)a + 8, (const char *)b + 8);
}

/// 32 bytes of each of two rows.
__attribute__((always_inline)) static inline ec_pairs ec_words_of_two(const void *a, const void *b, ec_pairs turns) {
#if EC_WHOLE_SUMS_512
    __m512i both = _mm512_inserti64x4(
        _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)a)), _mm256_loadu_si256((const __m256i *)b), 1);
    return (ec_pairs)_mm512_permutexvar_epi16((__m512i)turns, both);
#else
    ec_words_in_parts words;
#if defined(__AVX2__)
    ec_words_in_parts order = {turns};
    words.half[0] = ec_sixteens_by_turns(a, b, order.half[0]);
    words.half[1] = ec_sixteens_by_turns((const char *)a + 16, (const char *)b + 16, order.half[0]);
#else
    (void)turns;
    ec_sixteens_in_parts(words.parts, a, b);
    ec_sixteens_in_parts(words.parts + 2, (const char *)a + 16, (const char *)b + 16);
#endif
    return words.all;
#endif
}

/// 16 bytes of each of four rows.
__attribute__((always_inline)) static inline ec_pairs ec_words_of_four(
    const void *a, const void *b, const void *c, const void *d, ec_pairs turns) {
#if EC_WHOLE_SUMS_512
    __m256i low = _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)a)), _mm_loadu_si128((const __m128i *)b), 1);
    __m256i high = _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)c)), _mm_loadu_si128((const __m128i *)d), 1);
    __m512i all = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
    return (ec_pairs)_mm512_permutexvar_epi16((__m512i)turns, all);
#else
    ec_words_in_parts words;
#if defined(__AVX2__)
    ec_words_in_parts order = {turns};
    words.half[0] = ec_sixteens_by_turns(a, b, order.half[0]);
    words.half[1] = ec_sixteens_by_turns(c, d, order.half[0]);
#else
    (void)turns;
    ec_sixteens_in_parts(words.parts, a, b);
    ec_sixteens_in_parts(words.parts + 2, c, d);
#endif
    return words.all;
#endif
}

/// 8 bytes of each of eight rows, `offset` bytes into them.
__attribute__((always_inline)) static inline ec_pairs ec_words_of_eight(
    const void *const *rows, int64_t offset) {
    ec_words_in_parts words;
    for (int pair = 0; pair < 4; pair++)
        words.parts[pair] =
            ec_eights_by_turns((const char *)rows[2 * pair] + offset, (const char *)rows[2 * pair + 1] + offset);
    return words.all;
}

/// The factors of a vector's rows, of which there are two, four or eight, in the order of its words.
__attribute__((always_inline)) static inline ec_pairs ec_factors(const uint16_t *factors, int32_t rows) {
    int32_t pairs[4] = {0};
    memcpy(pairs, factors, 2 * (size_t)rows);
    ec_ints16 all;
    for (int i = 0; i < 16; i++) all[i] = pairs[i * rows / 32];
    return (ec_pairs)all;
}

/// The same, of which all after the first `count` are zeros. Up to eight may be read.
__attribute__((always_inline)) static inline ec_pairs ec_some_factors(
    const uint16_t *factors, int32_t rows, int32_t count) {
    uint16_t some[8];
    memcpy(some, factors, sizeof some);
    for (int i = 0; i < 8; i++) some[i] = i < count ? some[i] : 0;
    return ec_factors(some, rows);
}

/// `sums[i] + words[2i] * factors[2i] + words[2i + 1] * factors[2i + 1]`, for words below 2^15 and signed factors.
__attribute__((always_inline)) static inline ec_ints16 ec_add_products(
    ec_ints16 sums, ec_pairs words, ec_pairs factors) {
#if defined(__AVX512VNNI__)
    return (ec_ints16)_mm512_dpwssd_epi32((__m512i)sums, (__m512i)words, (__m512i)factors);
#elif EC_WHOLE_SUMS_512
    return sums + (ec_ints16)_mm512_madd_epi16((__m512i)words, (__m512i)factors);
#elif defined(__AVX2__)
    union { ec_pairs all; __m256i half[2]; } left = {words}, right = {factors};
    union { __m256i half[2]; ec_ints16 all; } products;
    for (int i = 0; i < 2; i++) products.half[i] = _mm256_madd_epi16(left.half[i], right.half[i]);
    return sums + products.all;
#elif EC_X86_64
    union { ec_pairs all; __m128i parts[4]; } left = {words}, right = {factors};
    union { __m128i parts[4]; ec_ints16 all; } products;
    for (int i = 0; i < 4; i++) products.parts[i] = _mm_madd_epi16(left.parts[i], right.parts[i]);
    return sums + products.all;
#else
    ec_ints16 left = (ec_ints16)words, right = (ec_ints16)factors;
    return sums + (left & 0xffff) * (right << 16 >> 16) + (left >> 16) * (right >> 16);
#endif
}

// The smaller and the larger of each lane, and the smallest and the largest lane.
__attribute__((always_inline)) static inline ec_pairs ec_smaller(ec_pairs a, ec_pairs b) {
    return __builtin_elementwise_min(a, b);
}
__attribute__((always_inline)) static inline ec_pairs ec_larger(ec_pairs a, ec_pairs b) {
    return __builtin_elementwise_max(a, b);
}
__attribute__((always_inline)) static inline uint32_t ec_smallest(ec_pairs lanes) {
    return __builtin_reduce_min(lanes);
}
__attribute__((always_inline)) static inline uint32_t ec_largest(ec_pairs lanes) { return __builtin_reduce_max(lanes); }

/// The nearest floats of whole numbers, times a factor.
__attribute__((always_inline)) static inline ec_floats16 ec_scaled(ec_ints16 sums, float factor) {
    return __builtin_convertvector(sums, ec_floats16) * factor;
}

#pragma clang diagnostic pop

#endif
