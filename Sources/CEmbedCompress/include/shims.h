// What Swift cannot say: prefetch, atomics on plain memory, half conversions by instruction, and which instruction set
// this build targets. Everything is static inline, so that it becomes part of the Swift code that uses it.
#ifndef EMBEDCOMPRESS_SHIMS_H
#define EMBEDCOMPRESS_SHIMS_H

#include <stdint.h>
#include <string.h>

// 1 where instructions of the processor are named. With EMBEDCOMPRESS_PLAIN none is, as on processors that nothing here
// knows: all then is what the compiler makes of C and of Swift.
#if defined(EMBEDCOMPRESS_PLAIN) && defined(__SSE3__)
#error "EMBEDCOMPRESS_PLAIN goes with the least instruction set of the architecture: leave out -march"
#endif
#if defined(__x86_64__) && !defined(EMBEDCOMPRESS_PLAIN)
#define EC_X86_64 1
#else
#define EC_X86_64 0
#endif
#if defined(__aarch64__) && !defined(EMBEDCOMPRESS_PLAIN)
#define EC_ARM64 1
#else
#define EC_ARM64 0
#endif

#if EC_X86_64
#include <immintrin.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#endif
#include <unistd.h>

// Compilers warn of vectors wider than the target's registers in arguments and results: libraries of other targets
// would pass them differently. Nothing here is passed between libraries, since all of it is static inline.
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wpsabi"

// MARK: - Instruction set

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#define EC_SHIM_ISA "x86-64-v4"
#elif defined(__AVX2__) && defined(__FMA__)
#define EC_SHIM_ISA "x86-64-v3"
#elif defined(__SSE4_2__)
#define EC_SHIM_ISA "x86-64-v2"
#elif EC_X86_64
#define EC_SHIM_ISA "x86-64"
#elif EC_ARM64
#define EC_SHIM_ISA "arm64"
#else
#define EC_SHIM_ISA "plain"
#endif

// 1 where a fused multiply-add is one instruction; elsewhere it would be a library call for each lane.
#if defined(__FMA__) || EC_ARM64
#define EC_HAS_FMA 1
#else
#define EC_HAS_FMA 0
#endif

// 1 where there are 32 registers for vectors, not 16.
#if defined(__AVX512F__) || EC_ARM64
#define EC_MANY_REGISTERS 1
#else
#define EC_MANY_REGISTERS 0
#endif

// MARK: - Memory

static inline void ec_prefetch(const void *address) { __builtin_prefetch(address, 0, 3); }
/// Into the second-level cache only. The first level waits for few lines at a time, and keeps all other loads waiting
/// when it is to wait for more.
static inline void ec_prefetch_far(const void *address) { __builtin_prefetch(address, 0, 2); }

/// Processors that this process may run on.
static inline int64_t ec_processor_count(void) {
#if defined(__linux__)
    // The system call, because the C library's macros for it are not for headers that other headers precede.
    uint64_t mask[1024 / 64] = {0};
    long bytes = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask);
    int64_t count = 0;
    for (long word = 0; word < bytes / 8; word++) count += __builtin_popcountll(mask[word]);
    if (count > 0) return count;
#endif
    return sysconf(_SC_NPROCESSORS_ONLN);
}

/// The processor that the calling thread is on; -1 where that is not known.
static inline int64_t ec_current_processor(void) {
#if defined(__linux__)
    unsigned processor;
    if (syscall(SYS_getcpu, &processor, NULL, NULL) == 0) return processor;
#endif
    return -1;
}

/// The calling thread, for the two functions below; 0 stands for it too.
static inline int64_t ec_current_thread(void) {
#if defined(__linux__)
    return syscall(SYS_gettid);
#else
    return 0;
#endif
}

/// Words of a set of processors.
#define EC_PROCESSOR_WORDS 16

/// Keeps a thread off a processor. Returns the bytes of the set that it could run on, which goes to `before`; 0 if that
/// can't be, as where the processor is the only one.
static inline int64_t ec_keep_off(int64_t thread, int64_t processor, uint64_t *before) {
#if defined(__linux__)
    uint64_t others[EC_PROCESSOR_WORDS] = {0};
    long bytes = syscall(SYS_sched_getaffinity, thread, sizeof others, others);
    if (bytes <= 0 || processor < 0 || processor >= 64 * EC_PROCESSOR_WORDS) return 0;
    memcpy(before, others, sizeof others);
    others[processor / 64] &= ~(1ull << processor % 64);
    return syscall(SYS_sched_setaffinity, thread, bytes, others) == 0 ? bytes : 0;
#else
    (void)thread, (void)processor, (void)before;
    return 0;
#endif
}

/// Lets a thread run on a set of processors.
static inline void ec_let_run(int64_t thread, const uint64_t *processors, int64_t bytes) {
#if defined(__linux__)
    syscall(SYS_sched_setaffinity, thread, bytes, processors);
#else
    (void)thread, (void)processors, (void)bytes;
#endif
}

// MARK: - Atomics (sequentially consistent; none is on a hot path)

static inline int64_t ec_atomic_add(int64_t *value, int64_t amount) {
    return __atomic_fetch_add(value, amount, __ATOMIC_SEQ_CST);
}
static inline int64_t ec_atomic_load(const int64_t *value) { return __atomic_load_n(value, __ATOMIC_SEQ_CST); }
static inline void ec_atomic_store(int64_t *value, int64_t next) { __atomic_store_n(value, next, __ATOMIC_SEQ_CST); }
static inline int ec_atomic_swap_if(int64_t *value, int64_t expected, int64_t next) {
    return __atomic_compare_exchange_n(value, &expected, next, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
static inline void ec_pause(void) {
#if EC_X86_64
    __builtin_ia32_pause();
#elif EC_ARM64
    __asm__ volatile("yield");
#endif
}

// MARK: - Half precision (IEEE binary16, round to nearest even, subnormals and non-finite values kept)

static inline float ec_half_to_float(uint16_t half) {
#if defined(__F16C__)
    return _cvtsh_ss(half);
#elif EC_ARM64
    __fp16 value;
    memcpy(&value, &half, 2);
    return (float)value;
#else
    // A half's exponent and fraction, moved to a float's place, are the value times 2^-112, subnormals included.
    union { uint32_t bits; float value; } out = {(uint32_t)(half & 0x7fff) << 13};
    if (out.bits >= 0x0f800000u)
        out.bits |= 0x7f800000u;
    else
        out.value *= 0x1p112f;
    out.bits |= (uint32_t)(half & 0x8000) << 16;
    return out.value;
#endif
}

typedef float ec_floats4 __attribute__((vector_size(16)));

/// The two halves at `source`, and two zeros.
static inline ec_floats4 ec_two_halves(const void *source) {
    uint32_t both;
    memcpy(&both, source, 4);
#if defined(__F16C__)
    return (ec_floats4)_mm_cvtph_ps(_mm_cvtsi32_si128((int)both));
#else
    return (ec_floats4){ec_half_to_float((uint16_t)both), ec_half_to_float((uint16_t)(both >> 16)), 0, 0};
#endif
}

static inline uint16_t ec_float_to_half(float value) {
#if defined(__F16C__)
    return (uint16_t)_cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif EC_ARM64
    __fp16 half = (__fp16)value;
    uint16_t bits;
    memcpy(&bits, &half, 2);
    return bits;
#else
    uint32_t bits;
    memcpy(&bits, &value, 4);
    uint16_t sign = (uint16_t)((bits >> 16) & 0x8000);
    uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude >= 0x7f800000u) // infinity or NaN; a NaN stays one
        return sign | (magnitude > 0x7f800000u ? 0x7e00 : 0x7c00);
    if (magnitude >= 0x477ff000u) // rounds to beyond 65504
        return sign | 0x7c00;
    if (magnitude < 0x38800000u) { // subnormal half: let the adder round to a multiple of 2^-24
        float shifted;
        memcpy(&shifted, &magnitude, 4);
        shifted += 0.5f;
        uint32_t sum;
        memcpy(&sum, &shifted, 4);
        return (uint16_t)(sign | (sum - 0x3f000000u));
    }
    uint32_t odd = (magnitude >> 13) & 1;
    return (uint16_t)(sign | ((magnitude - 0x38000000u + 0xfff + odd) >> 13));
#endif
}

typedef float ec_floats16 __attribute__((vector_size(64)));
typedef uint16_t ec_halves16 __attribute__((vector_size(32)));

/// Sixteen halves, exactly, non-finite ones included.
__attribute__((always_inline)) static inline ec_floats16 ec_halves_to_floats(ec_halves16 halves) {
#if defined(__AVX512F__)
    return (ec_floats16)_mm512_cvtph_ps((__m256i)halves);
#elif defined(__F16C__)
    union { ec_halves16 all; __m128i parts[2]; } in = {halves};
    union { __m256 parts[2]; ec_floats16 all; } out;
    out.parts[0] = _mm256_cvtph_ps(in.parts[0]);
    out.parts[1] = _mm256_cvtph_ps(in.parts[1]);
    return out.all;
#elif EC_X86_64
    // The rule of `ec_half_to_float`, four at a time.
    union { ec_halves16 all; __m128i parts[2]; } in = {halves};
    union { __m128 parts[4]; ec_floats16 all; } out;
    for (int part = 0; part < 4; part++) {
        __m128i zeros = _mm_setzero_si128();
        __m128i wide = part & 1 ? _mm_unpackhi_epi16(in.parts[part / 2], zeros)
                                : _mm_unpacklo_epi16(in.parts[part / 2], zeros);
        __m128i magnitude = _mm_slli_epi32(_mm_and_si128(wide, _mm_set1_epi32(0x7fff)), 13);
        __m128i sign = _mm_slli_epi32(_mm_and_si128(wide, _mm_set1_epi32(0x8000)), 16);
        // Infinity and NaN end up with the largest exponent whatever the product is.
        __m128i special = _mm_and_si128(
            _mm_cmpgt_epi32(magnitude, _mm_set1_epi32(0x0f7fffff)), _mm_set1_epi32(0x7f800000));
        __m128 value = _mm_mul_ps(_mm_castsi128_ps(magnitude), _mm_set1_ps(0x1p112f));
        out.parts[part] = _mm_or_ps(value, _mm_castsi128_ps(_mm_or_si128(sign, special)));
    }
    return out.all;
#else
    ec_floats16 out;
    for (int i = 0; i < 16; i++) out[i] = ec_half_to_float(halves[i]);
    return out;
#endif
}

// MARK: - Codes to floats

/// The nearest whole numbers, halves to even, of numbers from -2^22 to 2^22.
static inline ec_floats16 ec_round16(ec_floats16 values) {
#if defined(__SSE4_1__) || EC_ARM64
    return __builtin_elementwise_roundeven(values);
#else
    // 2^23 and half of it leave no bits below one: the sum is rounded as the processor rounds.
    return (values + 0x1.8p23f) - 0x1.8p23f;
#endif
}

/// The nearest halves of sixteen floats.
static inline ec_halves16 ec_floats_to_halves(ec_floats16 values) {
#if defined(__AVX512F__)
    return (ec_halves16)_mm512_cvtps_ph((__m512)values, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif defined(__F16C__)
    union { ec_floats16 floats; __m256 half[2]; } in = {values};
    union { ec_halves16 all; __m128i half[2]; } out;
    out.half[0] = _mm256_cvtps_ph(in.half[0], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    out.half[1] = _mm256_cvtps_ph(in.half[1], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return out.all;
#else
    ec_halves16 halves;
    for (int lane = 0; lane < 16; lane++) halves[lane] = ec_float_to_half(values[lane]);
    return halves;
#endif
}

// a < b ? a : b and a > b ? a : b in each lane, which a NaN in a makes b: one instruction for each register. Loops over
// lanes, and vector comparisons, become several, or a walk through memory.
#if defined(__AVX512F__)
#define EC_LANEWISE(operation) return (ec_floats16)_mm512_##operation##_ps((__m512)a, (__m512)b);
#elif defined(__AVX__)
#define EC_LANEWISE(operation)                                                        \
    union { ec_floats16 all; __m256 half[2]; } left = {a}, right = {b};               \
    for (int i = 0; i < 2; i++) left.half[i] = _mm256_##operation##_ps(left.half[i], right.half[i]); \
    return left.all;
#elif EC_X86_64
#define EC_LANEWISE(operation)                                                        \
    union { ec_floats16 all; __m128 parts[4]; } left = {a}, right = {b};              \
    for (int i = 0; i < 4; i++) left.parts[i] = _mm_##operation##_ps(left.parts[i], right.parts[i]); \
    return left.all;
#else
#define EC_LANEWISE(operation)                                                                   \
    for (int lane = 0; lane < 16; lane++) a[lane] = ec_##operation(a[lane], b[lane]); \
    return a;
static inline float ec_min(float a, float b) { return a < b ? a : b; }
static inline float ec_max(float a, float b) { return a > b ? a : b; }
#endif
static inline ec_floats16 ec_min16(ec_floats16 a, ec_floats16 b) { EC_LANEWISE(min) }
static inline ec_floats16 ec_max16(ec_floats16 a, ec_floats16 b) { EC_LANEWISE(max) }

/// The first `count` lanes of `values`, 0 to 16, and those of `others` after them. A comparison of lane numbers would
/// become a walk through memory.
static inline ec_floats16 ec_first_lanes(ec_floats16 values, ec_floats16 others, int32_t count) {
    typedef int32_t ec_ints16 __attribute__((vector_size(64)));
    static const int32_t inside[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
    ec_ints16 mask;
    memcpy(&mask, inside + 16 - count, sizeof mask);
    return (ec_floats16)(((ec_ints16)values & mask) | ((ec_ints16)others & ~mask));
}

/// The least of sixteen, none of which is NaN.
static inline float ec_least16(ec_floats16 values) {
#if EC_X86_64
    __m128 first = (__m128)__builtin_shufflevector(values, values, 0, 1, 2, 3);
    __m128 second = (__m128)__builtin_shufflevector(values, values, 4, 5, 6, 7);
    __m128 third = (__m128)__builtin_shufflevector(values, values, 8, 9, 10, 11);
    __m128 fourth = (__m128)__builtin_shufflevector(values, values, 12, 13, 14, 15);
    __m128 four = _mm_min_ps(_mm_min_ps(first, second), _mm_min_ps(third, fourth));
    __m128 two = _mm_min_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_min_ss(two, _mm_shuffle_ps(two, two, 1)));
#else
    float least = values[0];
    for (int lane = 1; lane < 16; lane++) least = values[lane] < least ? values[lane] : least;
    return least;
#endif
}

#define EC_LANES(...) __VA_ARGS__
#define EC_FOLDED(a, b, lanes, others) \
    ec_min16(__builtin_shufflevector(a, b, EC_LANES lanes), __builtin_shufflevector(a, b, EC_LANES others))

/// Lane r is the least of row r, for sixteen rows of sixteen without NaN. Each step folds pairs of registers into one
/// that has half as many lanes for each of twice as many rows.
static inline ec_floats16 ec_least_of_rows(const float *rows) {
    ec_floats16 eights[8], fours[4], twos[2];
    for (int i = 0; i < 8; i++) {
        ec_floats16 a, b;  // Swift aligns vectors to 16 bytes only.
        memcpy(&a, rows + 16 * i, sizeof a);
        memcpy(&b, rows + 16 * (i + 8), sizeof b);
        eights[i] = EC_FOLDED(a, b, (0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23),
                              (8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31));
    }
    for (int i = 0; i < 4; i++)
        fours[i] = EC_FOLDED(eights[i], eights[i + 4], (0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27),
                             (4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31));
    for (int i = 0; i < 2; i++)
        twos[i] = EC_FOLDED(fours[i], fours[i + 2], (0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29),
                            (2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31));
    return EC_FOLDED(twos[0], twos[1], (0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30),
                     (1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31));
}

static inline uint64_t ec_load64(const uint8_t *bytes) {
    uint64_t word;
    memcpy(&word, bytes, 8);
    return word;
}

// Sixteen `b`-bit codes, b from 1 to 7, that start at a byte, as floats. Code i takes bits [i * b, i * b + b), low bits
// first. May read 16 bytes. `b` is a constant wherever this is used, and so are the vectors that it makes.
//
// Written with intrinsics because the compiler turns the same expression over vector types, which it understands, into
// something three times as long.
__attribute__((always_inline)) static inline ec_floats16 ec_codes_to_floats(const uint8_t *codes, int b) {
#define EC_BYTE(i) ((i) * b / 8)
#define EC_SHIFT(i) ((i) * b % 8)
// Two bytes of the source to the low half of a 32-bit lane.
#define EC_WINDOW(i) (int)(0x80800000u | (uint32_t)((EC_BYTE(i) + 1) & 15) << 8 | (uint32_t)EC_BYTE(i))
#define EC_FOUR(X, i) X(i), X((i) + 1), X((i) + 2), X((i) + 3)
#define EC_DIGIT(i) (float)((i) & ((1 << b) - 1))
#if defined(__AVX512BW__)
    if (b <= 4) {
        // A permute reads the low four bits of each index: as a table of digits it masks and converts in one
        // instruction.
        uint32_t low, high;
        memcpy(&low, codes, 4);
        memcpy(&high, codes + b, 4);
        __m512i words = _mm512_mask_set1_epi32(_mm512_set1_epi32((int)low), 0xff00, (int)high);
        __m512i shifted = _mm512_srlv_epi32(
            words, (__m512i)(__v16si){0, b, 2 * b, 3 * b, 4 * b, 5 * b, 6 * b, 7 * b,
                                      0, b, 2 * b, 3 * b, 4 * b, 5 * b, 6 * b, 7 * b});
        __m512 digits = {
            EC_FOUR(EC_DIGIT, 0), EC_FOUR(EC_DIGIT, 4), EC_FOUR(EC_DIGIT, 8), EC_FOUR(EC_DIGIT, 12)};
        return (ec_floats16)_mm512_permutexvar_ps(shifted, digits);
    }
    __m512i windows = _mm512_shuffle_epi8(
        _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)codes)),
        (__m512i)(__v16si){
            EC_FOUR(EC_WINDOW, 0), EC_FOUR(EC_WINDOW, 4), EC_FOUR(EC_WINDOW, 8), EC_FOUR(EC_WINDOW, 12)});
    __m512i shifted = _mm512_srlv_epi32(
        windows,
        (__m512i)(__v16si){EC_FOUR(EC_SHIFT, 0), EC_FOUR(EC_SHIFT, 4), EC_FOUR(EC_SHIFT, 8), EC_FOUR(EC_SHIFT, 12)});
    return (ec_floats16)_mm512_cvtepi32_ps(_mm512_and_si512(shifted, _mm512_set1_epi32((1 << b) - 1)));
#elif defined(__AVX2__)
    union { __m256 halves[2]; ec_floats16 all; } out;
    for (int half = 0; half < 2; half++) {
        const uint8_t *start = codes + half * b;
        __m256i shifted;
        if (b <= 4) {
            uint32_t word;
            memcpy(&word, start, 4);
            shifted = _mm256_srlv_epi32(
                _mm256_set1_epi32((int)word), (__m256i)(__v8si){0, b, 2 * b, 3 * b, 4 * b, 5 * b, 6 * b, 7 * b});
        } else {
            __m256i windows = _mm256_shuffle_epi8(
                _mm256_set1_epi64x((long long)ec_load64(start)),
                (__m256i)(__v8si){EC_FOUR(EC_WINDOW, 0), EC_FOUR(EC_WINDOW, 4)});
            shifted = _mm256_srlv_epi32(windows, (__m256i)(__v8si){EC_FOUR(EC_SHIFT, 0), EC_FOUR(EC_SHIFT, 4)});
        }
        // A permute reads the low three bits of each index: as a table of digits it masks and converts in one
        // instruction.
        out.halves[half] =
            b <= 3 ? _mm256_permutevar8x32_ps((__m256){EC_FOUR(EC_DIGIT, 0), EC_FOUR(EC_DIGIT, 4)}, shifted)
                   : _mm256_cvtepi32_ps(_mm256_and_si256(shifted, _mm256_set1_epi32((1 << b) - 1)));
    }
    return out.all;
#elif defined(__SSSE3__)
    // No shift by lane here: the code stays where it is in its window, and a power of two brings the float down,
    // exactly.
#define EC_MASK(i) (((1 << b) - 1) << EC_SHIFT(i))
#define EC_FACTOR(i) (1.0f / (float)(1 << EC_SHIFT(i)))
    union { __m128 quarters[4]; ec_floats16 all; } out;
    for (int half = 0; half < 2; half++) {
        __m128i source = _mm_loadl_epi64((const __m128i *)(codes + half * b));
        __m128i low = _mm_shuffle_epi8(source, (__m128i)(__v4si){EC_FOUR(EC_WINDOW, 0)});
        __m128i high = _mm_shuffle_epi8(source, (__m128i)(__v4si){EC_FOUR(EC_WINDOW, 4)});
        low = _mm_and_si128(low, (__m128i)(__v4si){EC_FOUR(EC_MASK, 0)});
        high = _mm_and_si128(high, (__m128i)(__v4si){EC_FOUR(EC_MASK, 4)});
        out.quarters[2 * half] = _mm_mul_ps(_mm_cvtepi32_ps(low), (__m128){EC_FOUR(EC_FACTOR, 0)});
        out.quarters[2 * half + 1] = _mm_mul_ps(_mm_cvtepi32_ps(high), (__m128){EC_FOUR(EC_FACTOR, 4)});
    }
    return out.all;
#undef EC_MASK
#undef EC_FACTOR
#else
    ec_floats16 out;
    for (int half = 0; half < 2; half++) {
        uint64_t word = ec_load64(codes + half * b);
        for (int i = 0; i < 8; i++) out[8 * half + i] = (float)(int32_t)((word >> (i * b)) & ((1u << b) - 1));
    }
    return out;
#endif
#undef EC_BYTE
#undef EC_DIGIT
#undef EC_SHIFT
#undef EC_WINDOW
#undef EC_FOUR
}

#pragma clang diagnostic pop

#endif
