/* SPDX-License-Identifier: MIT */
/* macros.h: the few language helpers that every folder uses. */
#ifndef CAPD_BASE_MACROS_H
#define CAPD_BASE_MACROS_H

#include <stdint.h>
#include <stdlib.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)                                                                                                      \
        ({                                                                                                             \
                __typeof__(a) _min_a = (a);                                                                            \
                __typeof__(b) _min_b = (b);                                                                            \
                _min_a < _min_b ? _min_a : _min_b;                                                                     \
        })
#define MAX(a, b)                                                                                                      \
        ({                                                                                                             \
                __typeof__(a) _max_a = (a);                                                                            \
                __typeof__(b) _max_b = (b);                                                                            \
                _max_a > _max_b ? _max_a : _max_b;                                                                     \
        })

#define _cleanup_(f)   __attribute__((cleanup(f)))
#define _printf_(a, b) __attribute__((format(printf, a, b)))
#define _unused_       __attribute__((unused))

/* Hands a pointer or descriptor over to its new owner and forgets it here. */
#define TAKE_PTR(p)                                                                                                    \
        ({                                                                                                             \
                __typeof__(p) _take = (p);                                                                             \
                (p) = NULL;                                                                                            \
                _take;                                                                                                 \
        })
#define TAKE_FD(fd)                                                                                                    \
        ({                                                                                                             \
                int _take = (fd);                                                                                      \
                (fd) = -1;                                                                                             \
                _take;                                                                                                 \
        })

/* Defines free_fnp() for use with _cleanup_ from a free_fn() that accepts NULL. */
#define DEFINE_CLEANUP(type, free_fn)                                                                                  \
        static inline void free_fn##p(type *p)                                                                         \
        {                                                                                                              \
                if (*p)                                                                                                \
                        free_fn(*p);                                                                                   \
        }

static inline void freep(void *p)
{
        free(*(void **)p);
}

#define _cleanup_free_ _cleanup_(freep)

/* Microseconds, of CLOCK_MONOTONIC unless a name says otherwise. */
typedef uint64_t usec_t;
#define USEC_INFINITY UINT64_MAX
#define USEC_PER_SEC  1000000ULL
#define USEC_PER_MSEC 1000ULL

#define SIZE_UNKNOWN UINT64_MAX /* bytes that nobody could measure: never 0 */

#define KIB 1024ULL
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

#endif
