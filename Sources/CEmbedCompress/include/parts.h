// The first `count` numbers at an address, and no byte past them: sub-vectors whose width is no power of two, and the
// ends of rows. Lanes past `count` are zeros where they are loaded.
#ifndef EMBEDCOMPRESS_PARTS_H
#define EMBEDCOMPRESS_PARTS_H

#include "shims.h"

// See shims.h.
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wpsabi"

typedef float ec_floats8 __attribute__((vector_size(32)));
typedef float ec_floats2 __attribute__((vector_size(8)));
typedef int32_t ec_words16 __attribute__((vector_size(64)));

#define EC_INLINE __attribute__((always_inline)) static inline

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__)

#define EC_FIRST(count) ((1u << (count)) - 1)

EC_INLINE ec_floats4 ec_load4(const void *source, int64_t count) {
    return (ec_floats4)_mm_maskz_loadu_ps((__mmask8)EC_FIRST(count), source);
}
EC_INLINE ec_floats8 ec_load8(const void *source, int64_t count) {
    return (ec_floats8)_mm256_maskz_loadu_ps((__mmask8)EC_FIRST(count), source);
}
EC_INLINE ec_floats16 ec_load16(const void *source, int64_t count) {
    return (ec_floats16)_mm512_maskz_loadu_ps((__mmask16)EC_FIRST(count), source);
}
EC_INLINE ec_floats4 ec_load_halves4(const void *source, int64_t count) {
    return (ec_floats4)_mm_cvtph_ps(_mm_maskz_loadu_epi16((__mmask8)EC_FIRST(count), source));
}
EC_INLINE ec_floats8 ec_load_halves8(const void *source, int64_t count) {
    return (ec_floats8)_mm256_cvtph_ps(_mm_maskz_loadu_epi16((__mmask8)EC_FIRST(count), source));
}
EC_INLINE ec_floats16 ec_load_halves16(const void *source, int64_t count) {
    return (ec_floats16)_mm512_cvtph_ps(_mm256_maskz_loadu_epi16((__mmask16)EC_FIRST(count), source));
}
EC_INLINE void ec_store4(ec_floats4 values, float *target, int64_t count) {
    _mm_mask_storeu_ps(target, (__mmask8)EC_FIRST(count), (__m128)values);
}
EC_INLINE void ec_store8(ec_floats8 values, float *target, int64_t count) {
    _mm256_mask_storeu_ps(target, (__mmask8)EC_FIRST(count), (__m256)values);
}
EC_INLINE void ec_store16(ec_floats16 values, float *target, int64_t count) {
    _mm512_mask_storeu_ps(target, (__mmask16)EC_FIRST(count), (__m512)values);
}

#undef EC_FIRST

#else

EC_INLINE ec_floats4 ec_load4(const void *source, int64_t count) {
    const float *from = (const float *)source;
    float values[4] = {0, 0, 0, 0};
    if (count > 3)
        memcpy(values, from, 16);
    else if (count == 3)
        memcpy(values, from, 12);
    else if (count == 2)
        memcpy(values, from, 8);
    else if (count == 1)
        memcpy(values, from, 4);
    return (ec_floats4){values[0], values[1], values[2], values[3]};
}
EC_INLINE ec_floats8 ec_load8(const void *source, int64_t count) {
    union { ec_floats4 parts[2]; ec_floats8 all; } out;
    out.parts[0] = ec_load4(source, count);
    out.parts[1] = ec_load4((const char *)source + 16, count - 4);
    return out.all;
}
EC_INLINE ec_floats16 ec_load16(const void *source, int64_t count) {
    union { ec_floats8 parts[2]; ec_floats16 all; } out;
    out.parts[0] = ec_load8(source, count);
    out.parts[1] = ec_load8((const char *)source + 32, count - 8);
    return out.all;
}
EC_INLINE ec_floats4 ec_load_halves4(const void *source, int64_t count) {
    uint64_t halves = 0;
    if (count > 3)
        memcpy(&halves, source, 8);
    else if (count == 3)
        memcpy(&halves, source, 6);
    else if (count == 2)
        memcpy(&halves, source, 4);
    else if (count == 1)
        memcpy(&halves, source, 2);
#if defined(__F16C__)
    return (ec_floats4)_mm_cvtph_ps(_mm_set_epi64x(0, (long long)halves));
#else
    return (ec_floats4){ec_half_to_float((uint16_t)halves), ec_half_to_float((uint16_t)(halves >> 16)),
                        ec_half_to_float((uint16_t)(halves >> 32)), ec_half_to_float((uint16_t)(halves >> 48))};
#endif
}
EC_INLINE ec_floats8 ec_load_halves8(const void *source, int64_t count) {
    union { ec_floats4 parts[2]; ec_floats8 all; } out;
    out.parts[0] = ec_load_halves4(source, count);
    out.parts[1] = ec_load_halves4((const char *)source + 8, count - 4);
    return out.all;
}
EC_INLINE ec_floats16 ec_load_halves16(const void *source, int64_t count) {
    union { ec_floats8 parts[2]; ec_floats16 all; } out;
    out.parts[0] = ec_load_halves8(source, count);
    out.parts[1] = ec_load_halves8((const char *)source + 16, count - 8);
    return out.all;
}
EC_INLINE void ec_store4(ec_floats4 values, float *target, int64_t count) {
    if (count > 3)
        memcpy(target, &values, 16);
    else if (count == 3)
        memcpy(target, &values, 12);
    else if (count == 2)
        memcpy(target, &values, 8);
    else if (count == 1)
        memcpy(target, &values, 4);
}
EC_INLINE void ec_store8(ec_floats8 values, float *target, int64_t count) {
    union { ec_floats8 all; ec_floats4 parts[2]; } in = {values};
    ec_store4(in.parts[0], target, count);
    ec_store4(in.parts[1], target + 4, count - 4);
}
EC_INLINE void ec_store16(ec_floats16 values, float *target, int64_t count) {
    union { ec_floats16 all; ec_floats8 parts[2]; } in = {values};
    ec_store8(in.parts[0], target, count);
    ec_store8(in.parts[1], target + 8, count - 8);
}

#endif

/// Four halves as floats.
EC_INLINE ec_floats4 ec_four_halves(const void *source) {
#if defined(__F16C__)
    return (ec_floats4)_mm_cvtph_ps(_mm_loadl_epi64((const __m128i *)source));
#else
    return ec_load_halves4(source, 4);
#endif
}

/// Eight halves as floats.
EC_INLINE ec_floats8 ec_eight_halves(const void *source) {
#if defined(__F16C__)
    return (ec_floats8)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)source));
#else
    return ec_load_halves8(source, 8);
#endif
}

/// `number` where a score is less than the least so far, and else the `index` that was.
EC_INLINE ec_words16 ec_index_of_less(ec_floats16 score, ec_floats16 least, ec_words16 number, ec_words16 index) {
#if defined(__AVX512F__)
    __mmask16 isLess = _mm512_cmp_ps_mask((__m512)score, (__m512)least, _CMP_LT_OQ);
    return (ec_words16)_mm512_mask_mov_epi32((__m512i)index, isLess, (__m512i)number);
#elif defined(__AVX2__)
    union { ec_floats16 all; __m256 half[2]; } new = {score}, old = {least};
    union { ec_words16 all; __m256 half[2]; } yes = {number}, no = {index};
    for (int i = 0; i < 2; i++)
        no.half[i] = _mm256_blendv_ps(
            no.half[i], yes.half[i], _mm256_cmp_ps(new.half[i], old.half[i], _CMP_LT_OQ));
    return no.all;
#else
    ec_words16 isLess = (ec_words16)(score < least);
    return (number & isLess) | (index & ~isLess);
#endif
}

/// The index that goes with the least of sixteen scores, which are no NaN; of several, the least index.
EC_INLINE int32_t ec_index_of_least(ec_floats16 best, ec_words16 index, float value) {
#if defined(__AVX512F__)
    __mmask16 isLeast = _mm512_cmp_ps_mask((__m512)best, _mm512_set1_ps(value), _CMP_LE_OQ);
    if ((isLeast & (isLeast - 1)) == 0 && isLeast != 0) return index[__builtin_ctz(isLeast)];
    return _mm512_mask_reduce_min_epi32(isLeast, (__m512i)index);
#else
    int32_t found = INT32_MAX;
    for (int lane = 0; lane < 16; lane++)
        if (best[lane] <= value && index[lane] < found) found = index[lane];
    return found;
#endif
}

/// Bit i: whether the i-th of sixteen scores is at least the i-th limit; not for a NaN.
EC_INLINE uint32_t ec_at_least16(ec_floats16 scores, ec_floats16 limits) {
#if defined(__AVX512F__)
    return _mm512_cmp_ps_mask((__m512)scores, (__m512)limits, _CMP_GE_OQ);
#elif defined(__AVX2__)
    union { ec_floats16 all; __m256 half[2]; } score = {scores}, limit = {limits};
    uint32_t low = (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(score.half[0], limit.half[0], _CMP_GE_OQ));
    return low | (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(score.half[1], limit.half[1], _CMP_GE_OQ)) << 8;
#else
    ec_words16 isAtLeast = (ec_words16)(scores >= limits);
    uint32_t bits = 0;
    if (__builtin_reduce_or(isAtLeast) != 0)
        for (int lane = 0; lane < 16; lane++) bits |= (uint32_t)(isAtLeast[lane] & 1) << lane;
    return bits;
#endif
}

#undef EC_INLINE

#pragma clang diagnostic pop

#endif
