/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "capd/limits.h"
#include "keys.h"
#include "names.h"
#include "problems.h"
#include "selectors.h"

#define MS USEC_PER_MSEC
#define S  USEC_PER_SEC

#define D(field) offsetof(struct policy_daemon, field)
#define G(field) offsetof(struct policy_section, field)

/*
 * section, name, default, type, field, smallest and largest value, words.
 *
 * The limits of times keep a typing error from turning the daemon into a load or into a corpse; CPUBudget= at 0 would
 * mean that no group is ever counted exactly.
 */
#define KEYS(X)                                                                                                        \
        X("Daemon", "SampleInterval", "5s", key_time, D(sample_interval), 100 * MS, 3600 * S, NULL)                    \
        X("Daemon", "ScanInterval", "15s", key_time, D(scan_interval), 100 * MS, 3600 * S, NULL)                       \
        X("Daemon", "ExactInterval", "60s", key_time, D(exact_interval), 100 * MS, 24 * 3600 * S, NULL)                \
        X("Daemon", "PressureThreshold", "0%", key_percent, D(pressure_threshold), 0, 10000, NULL)                     \
        X("Daemon", "CPUBudget", "2%", key_percent, D(cpu_budget), 10, 10000, NULL)                                    \
        X("Daemon", "MaxStall", "2ms", key_time, D(max_stall), 50, 1 * S, NULL)                                        \
        X("Daemon", "MetricsFile", "", key_path, D(metrics_file), 0, 0, NULL)                                          \
        X("Daemon", "HistoryTime", "24h", key_time, D(history_time), 60 * S, LIMIT_HISTORY_USEC, NULL)                 \
        X("Daemon", "HistorySize", "8M", key_history, D(history_size), 64 * KIB, LIMIT_HISTORY_BYTES, NULL)            \
        X("Daemon", "Protect", "", key_protect, D(protect), 0, 0, NULL)                                                \
        X("Group", "Description", "", key_text, G(description), 0, LIMIT_DESCRIPTION_BYTES, NULL)                      \
        X("Group", "User", "", key_selector, G(selectors), SELECT_USER, 0, NULL)                                       \
        X("Group", "Uid", "", key_selector, G(selectors), SELECT_UID, 0, NULL)                                         \
        X("Group", "Gid", "", key_selector, G(selectors), SELECT_GID, 0, NULL)                                         \
        X("Group", "Cgroup", "", key_selector, G(selectors), SELECT_CGROUP, 0, NULL)                                   \
        X("Group", "Unit", "", key_selector, G(selectors), SELECT_UNIT, 0, NULL)                                       \
        X("Group", "Exe", "", key_selector, G(selectors), SELECT_EXE, 0, NULL)                                         \
        X("Group", "Comm", "", key_selector, G(selectors), SELECT_COMM, 0, NULL)                                       \
        X("Group", "Cmdline", "", key_selector, G(selectors), SELECT_CMDLINE, 0, NULL)                                 \
        X("Group", "PidFile", "", key_selector, G(selectors), SELECT_PID_FILE, 0, NULL)                                \
        X("Group", "Container", "", key_selector, G(selectors), SELECT_CONTAINER, 0, NULL)                             \
        X("Group", "PidNamespace", "", key_selector, G(selectors), SELECT_PID_NAMESPACE, 0, NULL)                      \
        X("Group", "ForEach", "", key_word, G(for_each), 0, 0, for_each_names)                                         \
        X("Group", "Cap", "", key_cap, 0, LIMIT_CAP_MIN_BYTES, 10000, NULL)                                            \
        X("Group", "LowWatermark", "95%", key_percent, G(low_watermark), 1, 10000, NULL)                               \
        X("Group", "Action", "pageout", key_word, G(action), 0, 0, action_names)                                       \
        X("Group", "ProcessFloor", "1M", key_size, G(process_floor), 0, 0, NULL)                                       \
        X("Group", "ReclaimRate", "", key_rate, G(reclaim_rate), 64 * KIB, 0, NULL)                                    \
        X("Group", "PressureThreshold", "", key_threshold, G(pressure_threshold), 0, 10000, NULL)                      \
        X("Group", "Hook", "", key_path, G(hook), 0, 0, NULL)                                                          \
        X("Group", "LastResort", "none", key_word, G(last_resort), 0, 0, last_resort_names)                            \
        X("Group", "LastResortAfter", "30s", key_time, G(last_resort_after), 1 * S, 24 * 3600 * S, NULL)

#define PUBLIC(section, name, fallback, type, offset, min, max, words)  {section, name, fallback},
#define PRIVATE(section, name, fallback, type, offset, min, max, words) {&type, offset, min, max, words},

const struct policy_key policy_keys[] = {KEYS(PUBLIC){NULL, NULL, NULL}};
const struct key keys[] = {KEYS(PRIVATE)};
const size_t n_keys = ARRAY_SIZE(keys);

_Static_assert(ARRAY_SIZE(keys) <= KEYS_MAX, "raise KEYS_MAX");

size_t key_find(const char *section, const char *name)
{
        size_t i;

        for (i = 0; i < n_keys; i++)
                if (strcmp(policy_keys[i].section, section) == 0 && strcmp(policy_keys[i].name, name) == 0)
                        break;
        return i;
}

int complain(const struct key_context *c, const char *format, ...)
{
        va_list ap;
        int r;

        va_start(ap, format);
        r = problems_addv(c->problems, c->file, c->line, format, ap);
        va_end(ap);
        return r < 0 ? r : -EBADMSG;
}
