// Values of trellis codes: windows of a row's bits, multiplied, and the bytes of the products summed. Everything is static
// inline, so that it becomes part of the Swift code that uses it.
#ifndef EMBEDCOMPRESS_TRELLIS_H
#define EMBEDCOMPRESS_TRELLIS_H

#include "shims.h"

// See shims.h.
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wpsabi"

typedef uint32_t ec_states16 __attribute__((vector_size(64)));

/// What sixteen columns are taken out with: four bytes of a word for each. Lanes 0 to 7 take theirs from the sixteen bytes at
/// `low`, the others from those at `high`: byte `turns & 15`, or 0 where the highest bit is set. `turns` need not be aligned:
/// Swift aligns vectors to 16 bytes.
__attribute__((always_inline)) static inline ec_states16 ec_trellis_words(
    const uint8_t *low, const uint8_t *high, const void *turns) {
#if defined(__AVX512BW__) && defined(__AVX512VL__) && EC_X86_64
    __m512i bytes = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)low));
    bytes = _mm512_mask_broadcast_i32x4(bytes, 0xff00, _mm_loadu_si128((const __m128i *)high));
    return (ec_states16)_mm512_shuffle_epi8(bytes, _mm512_loadu_si512(turns));
#elif defined(__AVX2__) && EC_X86_64
    union { __m256i parts[2]; ec_states16 all; } words;
    const __m256i *orders = (const __m256i *)turns;
    words.parts[0] = _mm256_shuffle_epi8(
        _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)low)), _mm256_loadu_si256(orders));
    words.parts[1] = _mm256_shuffle_epi8(
        _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)high)), _mm256_loadu_si256(orders + 1));
    return words.all;
#elif defined(__SSSE3__) && EC_X86_64
    union { __m128i parts[4]; ec_states16 all; } words;
    const __m128i *orders = (const __m128i *)turns;
    __m128i first = _mm_loadu_si128((const __m128i *)low), second = _mm_loadu_si128((const __m128i *)high);
    words.parts[0] = _mm_shuffle_epi8(first, _mm_loadu_si128(orders + 0));
    words.parts[1] = _mm_shuffle_epi8(first, _mm_loadu_si128(orders + 1));
    words.parts[2] = _mm_shuffle_epi8(second, _mm_loadu_si128(orders + 2));
    words.parts[3] = _mm_shuffle_epi8(second, _mm_loadu_si128(orders + 3));
    return words.all;
#else
    union { uint8_t bytes[64]; ec_states16 all; } words;
    for (int i = 0; i < 64; i++) {
        uint8_t turn = ((const uint8_t *)turns)[i];
        words.bytes[i] = turn & 0x80 ? 0 : (i < 32 ? low : high)[turn & 15];
    }
    return words.all;
#endif
}

/// The same from the sixteen bytes at `low` alone, with an order that is a value: it stays in registers.
__attribute__((always_inline)) static inline ec_states16 ec_trellis_words_at(const uint8_t *low, ec_states16 turns) {
    return ec_trellis_words(low, low, &turns);
}

typedef uint8_t ec_bytes16 __attribute__((vector_size(16)));

/// The same where a row's end is reached, and its bits go on at its start: of the bytes at `low` those that are `kept`, and in
/// the place of the others bytes of the sixteen at `start`, in the order of `opening`.
__attribute__((always_inline)) static inline ec_states16 ec_trellis_ring_words(
    const uint8_t *low, const uint8_t *start, ec_bytes16 kept, ec_bytes16 opening, ec_states16 turns) {
    ec_bytes16 ring;
#if defined(__SSSE3__) && EC_X86_64
    __m128i opened = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)start), (__m128i)opening);
    ring = (ec_bytes16)_mm_or_si128(_mm_and_si128(_mm_loadu_si128((const __m128i *)low), (__m128i)kept), opened);
#else
    for (int i = 0; i < 16; i++) ring[i] = kept[i] ? low[i] : opening[i] & 0x80 ? 0 : start[opening[i] & 15];
#endif
    return ec_trellis_words((const uint8_t *)&ring, (const uint8_t *)&ring, &turns);
}

/// The values of sixteen states: `(words >> shifts) & mask` times a multiplier, modulo 2^32, and the four bytes of each
/// product summed, less 510.
__attribute__((always_inline)) static inline ec_floats16 ec_trellis_values(
    ec_states16 words, ec_states16 places, uint32_t mask, ec_states16 factors) {
    ec_states16 products = ((words >> places) & mask) * factors;
#if defined(__AVX512VNNI__) && EC_X86_64
    __m512i sums = _mm512_dpbusd_epi32(_mm512_set1_epi32(-510), (__m512i)products, _mm512_set1_epi8(1));
    return (ec_floats16)_mm512_cvtepi32_ps(sums);
#elif defined(__AVX2__) && EC_X86_64
    union { ec_states16 all; __m256i parts[2]; } bytes = {products};
    union { __m256 parts[2]; ec_floats16 all; } values;
    for (int i = 0; i < 2; i++) {
        __m256i pairs = _mm256_maddubs_epi16(bytes.parts[i], _mm256_set1_epi8(1));
        __m256i sums = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
        values.parts[i] = _mm256_cvtepi32_ps(_mm256_sub_epi32(sums, _mm256_set1_epi32(510)));
    }
    return values.all;
#elif defined(__SSSE3__) && EC_X86_64
    union { ec_states16 all; __m128i parts[4]; } bytes = {products};
    union { __m128 parts[4]; ec_floats16 all; } values;
    for (int i = 0; i < 4; i++) {
        __m128i pairs = _mm_maddubs_epi16(bytes.parts[i], _mm_set1_epi8(1));
        __m128i sums = _mm_madd_epi16(pairs, _mm_set1_epi16(1));
        values.parts[i] = _mm_cvtepi32_ps(_mm_sub_epi32(sums, _mm_set1_epi32(510)));
    }
    return values.all;
#else
    ec_states16 pairs = (products & 0x00ff00ff) + ((products >> 8) & 0x00ff00ff);
    ec_states16 sums = (pairs & 0xffff) + (pairs >> 16);
    ec_floats16 values;
    for (int i = 0; i < 16; i++) values[i] = (float)((int32_t)sums[i] - 510);
    return values;
#endif
}

#pragma clang diagnostic pop

#endif
