// Functions of newer C libraries that Swift's own library names and that nothing here calls. With a definition of ours,
// the extension loads on systems whose C library is older.
#if defined(__linux__)
#include <features.h>
#endif

#if defined(__GLIBC__)
float hypotf(float x, float y);

/// From glibc 2.35 on this function has a new version. A float's square neither overflows nor vanishes in f64.
float hypotf(float x, float y) { return (float)__builtin_sqrt((double)x * x + (double)y * y); }
#endif
