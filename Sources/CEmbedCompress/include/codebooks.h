// Codes to the entries of a codebook that registers hold: permutes that Swift cannot name. Everything is static inline,
// so that it becomes part of the Swift code that uses it; code widths are constants wherever it is used.
#ifndef EMBEDCOMPRESS_CODEBOOKS_H
#define EMBEDCOMPRESS_CODEBOOKS_H

#include "shims.h"

// See shims.h.
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wpsabi"

// A codebook of up to sixteen entries in registers, made by `ec_book`. Where codes have fewer than four bits the
// entries repeat, so that a permute may take its index from any four bits that begin with the code.
//
// With SSSE3 alone there is no permute of sixteen floats; a byte shuffle can do it four times, for a codebook that is
// kept as four planes: the lowest bytes of all entries, the second bytes, and so on.

#if defined(__SSSE3__) && !defined(__AVX2__)
#define EC_BOOK_IN_PLANES 1
#else
#define EC_BOOK_IN_PLANES 0
#endif

/// The codebook of `1 << b` entries, b from 1 to 4, whose first lanes are `entries`.
__attribute__((always_inline)) static inline ec_floats16 ec_book(ec_floats16 entries, int b) {
    ec_floats16 book;
    for (int i = 0; i < 16; i++) book[i] = entries[i & ((1 << b) - 1)];
#if EC_BOOK_IN_PLANES
    union { ec_floats16 all; __m128i quarters[4]; } out = {book};
    // Bytes of four entries by place, then the fours of a place side by side.
    const __m128i places = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m128i first = _mm_shuffle_epi8(out.quarters[0], places), second = _mm_shuffle_epi8(out.quarters[1], places);
    __m128i third = _mm_shuffle_epi8(out.quarters[2], places), fourth = _mm_shuffle_epi8(out.quarters[3], places);
    __m128i left = _mm_unpacklo_epi32(first, second), right = _mm_unpacklo_epi32(third, fourth);
    out.quarters[0] = _mm_unpacklo_epi64(left, right);
    out.quarters[1] = _mm_unpackhi_epi64(left, right);
    left = _mm_unpackhi_epi32(first, second), right = _mm_unpackhi_epi32(third, fourth);
    out.quarters[2] = _mm_unpacklo_epi64(left, right);
    out.quarters[3] = _mm_unpackhi_epi64(left, right);
    return out.all;
#else
    return book;
#endif
}

#if EC_BOOK_IN_PLANES
/// Entries of sixteen indices below sixteen.
__attribute__((always_inline)) static inline void ec_entries_in_planes(
    __m128i indices, const ec_floats16 *book, ec_floats16 *entries) {
    union { ec_floats16 all; __m128i quarters[4]; } planes = {*book}, out;
    __m128i byte0 = _mm_shuffle_epi8(planes.quarters[0], indices);
    __m128i byte1 = _mm_shuffle_epi8(planes.quarters[1], indices);
    __m128i byte2 = _mm_shuffle_epi8(planes.quarters[2], indices);
    __m128i byte3 = _mm_shuffle_epi8(planes.quarters[3], indices);
    __m128i low = _mm_unpacklo_epi8(byte0, byte1), high = _mm_unpacklo_epi8(byte2, byte3);
    out.quarters[0] = _mm_unpacklo_epi16(low, high);
    out.quarters[1] = _mm_unpackhi_epi16(low, high);
    low = _mm_unpackhi_epi8(byte0, byte1), high = _mm_unpackhi_epi8(byte2, byte3);
    out.quarters[2] = _mm_unpacklo_epi16(low, high);
    out.quarters[3] = _mm_unpackhi_epi16(low, high);
    *entries = out.all;
}
#endif

#if defined(__AVX2__) && !defined(__AVX512BW__)
/// Entries of eight indices, each the low b bits of `indices` from bit `shift` on; other bits may be anything.
__attribute__((always_inline)) static inline __m256 ec_eight_entries(
    __m256i indices, int shift, int b, __m256 low, __m256 high) {
    __m256i shifted = shift == 0 ? indices : _mm256_srli_epi32(indices, shift);
    __m256 first = _mm256_permutevar8x32_ps(low, shifted);
    if (b < 4) return first;
    // The fourth bit of the index, moved to the sign, chooses the half of the codebook.
    return _mm256_blendv_ps(
        first, _mm256_permutevar8x32_ps(high, shifted), (__m256)_mm256_slli_epi32(indices, 28 - shift));
}
#endif

/// The entries of sixteen `b`-bit codes, b from 1 to 4, that start at a byte. May read 16 bytes.
__attribute__((always_inline)) static inline ec_floats16 ec_codes_to_entries(
    const uint8_t *codes, int b, ec_floats16 book) {
#if defined(__AVX512BW__)
    uint32_t low, high;
    memcpy(&low, codes, 4);
    memcpy(&high, codes + b, 4);
    __m512i words = _mm512_mask_set1_epi32(_mm512_set1_epi32((int)low), 0xff00, (int)high);
    __m512i shifted = _mm512_srlv_epi32(
        words, (__m512i)(__v16si){0, b, 2 * b, 3 * b, 4 * b, 5 * b, 6 * b, 7 * b,
                                  0, b, 2 * b, 3 * b, 4 * b, 5 * b, 6 * b, 7 * b});
    return (ec_floats16)_mm512_permutexvar_ps(shifted, (__m512)book);
#elif defined(__AVX2__)
    union { __m256 halves[2]; ec_floats16 all; } entries = {.all = book}, out;
    for (int half = 0; half < 2; half++) {
        uint32_t word;
        memcpy(&word, codes + half * b, 4);
        __m256i shifted = _mm256_srlv_epi32(
            _mm256_set1_epi32((int)word), (__m256i)(__v8si){0, b, 2 * b, 3 * b, 4 * b, 5 * b, 6 * b, 7 * b});
        out.halves[half] = ec_eight_entries(shifted, 0, b, entries.halves[0], entries.halves[1]);
    }
    return out.all;
#else
    // Each code to a byte of its own: halves are moved apart three times.
    uint64_t words[2];
    for (int half = 0; half < 2; half++) {
        uint64_t word = ec_load64(codes + half * b);
        uint64_t four = (1ull << (4 * b)) - 1, two = ((1ull << (2 * b)) - 1) * 0x0000000100000001ull;
        uint64_t one = ((1ull << b) - 1) * 0x0001000100010001ull;
        word = (word & four) | (word >> (4 * b) & four) << 32;
        word = (word & two) | (word >> (2 * b) & two) << 16;
        words[half] = (word & one) | (word >> b & one) << 8;
    }
    ec_floats16 out;
#if EC_BOOK_IN_PLANES
    ec_entries_in_planes(_mm_set_epi64x((long long)words[1], (long long)words[0]), &book, &out);
#else
    for (int i = 0; i < 16; i++) out[i] = book[(words[i / 8] >> (8 * (i % 8))) & 15];
#endif
    return out;
#endif
}

/// The entries of the `b`-bit codes, b 2 or 4, that start at bit `shift` of each of sixteen bytes.
__attribute__((always_inline)) static inline ec_floats16 ec_bytes_to_entries(
    const uint8_t *bytes, int shift, int b, ec_floats16 book) {
#if defined(__AVX512BW__)
    __m512i words = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)bytes));
    if (shift > 0) words = _mm512_srli_epi32(words, (unsigned)shift);
    return (ec_floats16)_mm512_permutexvar_ps(words, (__m512)book);
#elif defined(__AVX2__)
    union { __m256 halves[2]; ec_floats16 all; } entries = {.all = book}, out;
    for (int half = 0; half < 2; half++) {
        __m256i words = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(bytes + 8 * half)));
        out.halves[half] = ec_eight_entries(words, shift, b, entries.halves[0], entries.halves[1]);
    }
    return out.all;
#elif EC_BOOK_IN_PLANES
    __m128i indices = _mm_srli_epi16(_mm_loadu_si128((const __m128i *)bytes), shift);
    ec_floats16 out;
    ec_entries_in_planes(_mm_and_si128(indices, _mm_set1_epi8(15)), &book, &out);
    return out;
#else
    ec_floats16 out;
    for (int i = 0; i < 16; i++) out[i] = book[(bytes[i] >> shift) & 15];
    return out;
#endif
}

#pragma clang diagnostic pop

#endif
