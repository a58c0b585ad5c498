/* SPDX-License-Identifier: MIT */
/*
 * workload.h: a program whose memory is known by construction.
 *
 * Model: a scenario builds some memory and says on one line of JSON what it holds, as the difference to what the same
 * process held before: with --pin it makes all of its own pages present, says {"settled":true} and waits for the line
 * "go", so that a test can count both. After that it obeys commands on standard input, one a line, each answered by
 * one line of JSON, and ends when standard input does. The executable is linked statically and uses no heap, so that
 * nothing but the scenario moves its numbers.
 */
#ifndef WORKLOAD_H
#define WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PAGE 4096UL
#define MIB  (1024UL * 1024UL)
#define HUGE (2 * MIB)

/* Memory that "touch" goes over: one page every `stride` bytes. */
struct region {
        unsigned char *start;
        size_t length;
        size_t stride;
};

/* What the scenario knows of itself, bytes; -1 it does not know. */
struct truth {
        int64_t anon, file, shmem;
        int64_t again; /* mapped a second time: in RSS, not in resident */
        int64_t hugetlb, swap;
};

extern struct truth truth;
extern struct region regions[16];
extern size_t n_regions;
extern uint64_t seed;

_Noreturn void fail(const char *what);
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void say_ready(const pid_t *pids, size_t n_pids);
unsigned char *map_anon(size_t length);
/* Private anonymous memory that begins at a 2 MiB border. */
unsigned char *map_aligned(size_t length);
void region_add(void *start, size_t length, size_t stride);
void regions_touch(void);
void regions_write(void);

/* Fills pages with a function of seed, page number and generation, and checks them against it. */
void pattern_write(unsigned char *start, size_t page, uint64_t generation);
bool pattern_check(const unsigned char *start, size_t page);
void pattern_fill(unsigned char *start, size_t length);
size_t pattern_verify(const unsigned char *start, size_t length); /* bad pages */

/* Reads one command, false at the end of standard input. timeout_ms -1 waits for ever; *ret_line is "" at a time-out. */
bool command_read(int timeout_ms, char *ret_line, size_t size);
void commands_serve(void);

/* Ends this process when the one that started it ends. */
void die_with_parent(void);

/* Each builds its memory and returns, or serves commands of its own and exits. NULL if there is none of that name. */
typedef void (*scenario_fn)(int argc, char **argv);
scenario_fn rule_find(const char *name);
scenario_fn group_find(const char *name);
scenario_fn load_find(const char *name);
scenario_fn victim_find(const char *name);
scenario_fn shared_find(const char *name);

#endif
