// Sixteen floats whose exponents are packed. Everything is static inline, so that it becomes part of the Swift code that uses it.
#ifndef EMBEDCOMPRESS_PACKED_FLOATS_H
#define EMBEDCOMPRESS_PACKED_FLOATS_H

#include "trellis.h"

// See shims.h.
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wpsabi"

#define EC_FOR_16(item, bits) \
    item(bits, 0) item(bits, 1) item(bits, 2) item(bits, 3) item(bits, 4) item(bits, 5) item(bits, 6) item(bits, 7) \
    item(bits, 8) item(bits, 9) item(bits, 10) item(bits, 11) item(bits, 12) item(bits, 13) item(bits, 14) item(bits, 15)
#define EC_FOR_WIDTHS(list) {list(1), list(2), list(3), list(4), list(5), list(6), list(7), list(8)}
#define EC_CODE_BYTES(bits, lane) (lane) * (bits) / 8, ((lane) * (bits) / 8 + 1) & 15, 0x80, 0x80,
#define EC_CODE_SHIFT(bits, lane) (lane) * (bits) % 8,
#define EC_CODE_BYTES_OF(bits) {EC_FOR_16(EC_CODE_BYTES, bits)}
#define EC_CODE_SHIFTS_OF(bits) {EC_FOR_16(EC_CODE_SHIFT, bits)}

/// For codes of 1 to 8 bits, low bits first: the two bytes that each of sixteen begins in, as `ec_trellis_words` takes them.
static const uint8_t ec_code_bytes[8][64] = EC_FOR_WIDTHS(EC_CODE_BYTES_OF);
/// The first bit of each of them in its two bytes.
static const uint32_t ec_code_shifts[8][16] = EC_FOR_WIDTHS(EC_CODE_SHIFTS_OF);

/// What codes of 1 to 8 bits are taken out with.
static inline ec_states16 ec_code_turns(int64_t bits) {
    ec_states16 turns;
    memcpy(&turns, ec_code_bytes[(bits - 1) & 7], sizeof turns);
    return turns;
}

/// How far the codes' two bytes are shifted to the left, for code bits to begin at bit `place`, which is 7 or more.
static inline ec_states16 ec_code_places(int64_t bits, uint32_t place) {
    ec_states16 shifts;
    memcpy(&shifts, ec_code_shifts[(bits - 1) & 7], sizeof shifts);
    return place - shifts;
}

/// Sixteen little-endian numbers of 24 bits. Reads 64 bytes.
__attribute__((always_inline)) static inline ec_states16 ec_load_24_bits(const uint8_t *source) {
#define EC_THREE(place) (place), (place) + 1, (place) + 2, -1
#define EC_THREES EC_THREE(0), EC_THREE(3), EC_THREE(6), EC_THREE(9)
#if defined(__AVX512BW__) && EC_X86_64
    __m512i spread = _mm512_permutexvar_epi32(
        _mm512_setr_epi32(0, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9, 9, 10, 11, 12), _mm512_loadu_si512(source));
    __m512i order = _mm512_broadcast_i32x4(_mm_setr_epi8(EC_THREES));
    return (ec_states16)_mm512_shuffle_epi8(spread, order);
#elif defined(__SSSE3__) && EC_X86_64
    union { __m128i parts[4]; ec_states16 all; } words;
    for (int i = 0; i < 4; i++)
        words.parts[i] = _mm_shuffle_epi8(
            _mm_loadu_si128((const __m128i *)(source + 12 * i)), _mm_setr_epi8(EC_THREES));
    return words.all;
#else
    ec_states16 words;
    for (int i = 0; i < 16; i++)
        words[i] = source[3 * i] | (uint32_t)source[3 * i + 1] << 8 | (uint32_t)source[3 * i + 2] << 16;
    return words;
#endif
}

/// The floats of sixteen columns.
///
/// - `low`: the low bits of each, to be shifted by `low_shift`;
/// - `words` and `places`: the bytes that hold the codes of their high bits, and how far to shift each to the left: the
///   sign is then right above the exponent's code, and `sign_shift` bits below bit 31;
/// - `high_mask`: the bits of the shifted codes that are exponent or mantissa;
/// - `lowest`: what is added to exponents whose code is not 0, at its place in a float.
__attribute__((always_inline)) static inline ec_floats16 ec_packed_floats(
    ec_states16 low, uint32_t low_shift, ec_states16 words, ec_states16 places, uint32_t high_mask,
    uint32_t sign_shift, uint32_t lowest) {
    typedef int32_t ec_ints16 __attribute__((vector_size(64)));
    ec_states16 high = words << places;
    ec_states16 value = low << low_shift | (high & high_mask);
    ec_states16 has_exponent = (ec_states16)((ec_ints16)value > 0x7fffff);
    value += has_exponent & lowest;
    return (ec_floats16)(value | (high << sign_shift & 0x80000000));
}

#pragma clang diagnostic pop

#endif
