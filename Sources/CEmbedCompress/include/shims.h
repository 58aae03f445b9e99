// What Swift cannot say: prefetch, atomics on plain memory, half conversions by instruction, and which instruction set
// this build targets. Everything is static inline, so that it becomes part of the Swift code that uses it.
#ifndef EMBEDCOMPRESS_SHIMS_H
#define EMBEDCOMPRESS_SHIMS_H

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#endif
#include <unistd.h>

// MARK: - Instruction set

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#define EC_SHIM_ISA "x86-64-v4"
#elif defined(__AVX2__) && defined(__FMA__)
#define EC_SHIM_ISA "x86-64-v3"
#elif defined(__SSE4_2__)
#define EC_SHIM_ISA "x86-64-v2"
#elif defined(__x86_64__)
#define EC_SHIM_ISA "x86-64"
#else
#define EC_SHIM_ISA "arm64"
#endif

// 1 where a fused multiply-add is one instruction; elsewhere it would be a library call for each lane.
#if defined(__FMA__) || defined(__aarch64__)
#define EC_HAS_FMA 1
#else
#define EC_HAS_FMA 0
#endif

// MARK: - Memory

static inline void ec_prefetch(const void *address) { __builtin_prefetch(address, 0, 3); }

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
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

// MARK: - Half precision (IEEE binary16, round to nearest even, subnormals and non-finite values kept)

static inline float ec_half_to_float(uint16_t half) {
#if defined(__F16C__)
    return _cvtsh_ss(half);
#elif defined(__aarch64__)
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

static inline uint16_t ec_float_to_half(float value) {
#if defined(__F16C__)
    return (uint16_t)_cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif defined(__aarch64__)
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

#endif
