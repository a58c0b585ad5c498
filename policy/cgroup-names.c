/* SPDX-License-Identifier: MIT */
/*
 * cgroup-names.c: the unit and the container that a cgroup's path tells of.
 *
 * Paths are read from the innermost component outwards, so that in a container on a node that is a container itself the
 * inner one is found. Spellings of containers (ID: 64 hexadecimal digits):
 *
 *     Docker                /docker/ID, /system.slice/docker-ID.scope
 *     Podman                /machine.slice/libpod-ID.scope/container, /libpod_parent/libpod-ID,
 *                           /system.slice/X.service/libpod-payload-ID
 *     containerd, nerdctl   /NAMESPACE/ID, /system.slice/nerdctl-ID.scope
 *     Kubernetes            /kubepods/burstable/podUID/ID, /kubepods.slice/…/cri-containerd-ID.scope,
 *                           /kubepods.slice/…/crio-ID.scope,
 *                           /system.slice/containerd.service/kubepods-…-podUID.slice:cri-containerd:ID
 *     LXC                   /lxc/NAME, /lxc.payload/NAME, /lxc.payload.NAME
 *     systemd-nspawn        /machine.slice/machine-NAME.scope, /machine.slice/systemd-nspawn@NAME.service
 *
 * What watches over a container is not in it: …-conmon-ID (Podman, CRI-O), lxc.monitor.NAME, and nspawn's own
 * "supervisor".
 */
#include <string.h>

#include "capd/policy/match.h"
#include "cgroup-names.h"

#define CONTAINER_ID_DIGITS 64U

bool cgroup_next(const char **path, const char **ret, size_t *ret_len)
{
        const char *s = *path + strspn(*path, "/");

        if (*s == '\0')
                return false;
        *ret = s;
        *ret_len = strcspn(s, "/");
        *path = s + *ret_len;
        return true;
}

/* Takes the last component off a path of *len bytes. */
static bool take_last(const char *path, size_t *len, const char **ret, size_t *ret_len)
{
        size_t end = *len, begin;

        while (end > 0 && path[end - 1] == '/')
                end--;
        for (begin = end; begin > 0 && path[begin - 1] != '/';)
                begin--;
        *ret = path + begin;
        *ret_len = end - begin;
        *len = begin;
        return end > begin;
}

static bool has_prefix(const char *s, size_t len, const char *prefix)
{
        size_t n = strlen(prefix);

        return len > n && memcmp(s, prefix, n) == 0;
}

static bool has_suffix(const char *s, size_t len, const char *suffix)
{
        size_t n = strlen(suffix);

        return len > n && memcmp(s + len - n, suffix, n) == 0;
}

static bool is(const char *s, size_t len, const char *word)
{
        return len == strlen(word) && memcmp(s, word, len) == 0;
}

bool cgroup_is_unit(const char *name, size_t len)
{
        static const char *const types[] = {".service", ".scope", ".slice", ".socket", ".mount", ".swap"};

        for (size_t i = 0; i < ARRAY_SIZE(types); i++)
                if (has_suffix(name, len, types[i]))
                        return true;
        return false;
}

size_t cgroup_system_length(const char *path)
{
        const char *at = path, *part;
        size_t len;

        while (cgroup_next(&at, &part, &len))
                if (has_prefix(part, len, "user@") && has_suffix(part, len, ".service"))
                        return (size_t)(at - path);
        return (size_t)(at - path);
}

bool cgroup_component_unit(const char **component, size_t *len)
{
        if (*len > 0 && **component == '_') {
                ++*component;
                --*len;
        }
        return cgroup_is_unit(*component, *len);
}

/* False, and buf untouched, if it does not fit: half a name would be another's. */
static bool copy_out(char *buf, size_t size, const char *s, size_t len)
{
        if (len == 0 || len >= size)
                return false;
        memcpy(buf, s, len);
        buf[len] = '\0';
        return true;
}

bool match_cgroup_unit(const char *cgroup, char *buf, size_t size)
{
        size_t len = cgroup_system_length(cgroup), part_len, slice_len = 0;
        const char *part, *slice = NULL;

        while (take_last(cgroup, &len, &part, &part_len)) {
                if (!cgroup_component_unit(&part, &part_len))
                        continue;
                if (!has_suffix(part, part_len, ".slice"))
                        return copy_out(buf, size, part, part_len);
                if (!slice) {
                        slice = part;
                        slice_len = part_len;
                }
        }
        return slice && copy_out(buf, size, slice, slice_len);
}

static int hex_digit(char c)
{
        return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "ID", "PREFIX-ID" or "…:ID", each also with ".scope". */
static bool container_id(const char *s, size_t len, const char **ret)
{
        const char *id;
        size_t before;

        if (has_suffix(s, len, ".scope"))
                len -= strlen(".scope");
        if (len < CONTAINER_ID_DIGITS)
                return false;
        before = len - CONTAINER_ID_DIGITS;
        id = s + before;
        for (size_t i = 0; i < CONTAINER_ID_DIGITS; i++)
                if (hex_digit(id[i]) < 0)
                        return false;
        if (before > 0 && (before == 1 || (id[-1] != '-' && id[-1] != ':')))
                return false;
        if (before > 1 && (is(s, before - 1, "conmon") || has_suffix(s, before - 1, "-conmon")))
                return false;
        *ret = id;
        return true;
}

/* A machine's name inside a unit's: systemd writes bytes that unit names do not allow, and "-", as "\xNN". */
static bool copy_unescaped(char *buf, size_t size, const char *s, size_t len)
{
        size_t out = 0;

        if (size == 0)
                return false;
        for (size_t i = 0; i < len;) {
                char c = s[i];

                if (len - i >= 4 && c == '\\' && s[i + 1] == 'x' && hex_digit(s[i + 2]) >= 0 &&
                    hex_digit(s[i + 3]) >= 0) {
                        c = (char)(hex_digit(s[i + 2]) << 4 | hex_digit(s[i + 3]));
                        i += 3;
                }
                i++;
                if (c == '\0' || out + 1 >= size)
                        return false;
                buf[out++] = c;
        }
        buf[out] = '\0';
        return out > 0;
}

/* "machine-NAME.scope" and "systemd-nspawn@NAME.service". A libvirt guest is a machine, too, but no container. */
static bool machine_name(const char *s, size_t len, char *buf, size_t size)
{
        static const char scope[] = "machine-", service[] = "systemd-nspawn@", guest[] = "qemu\\x2d";

        if (has_prefix(s, len, scope) && has_suffix(s, len, ".scope")) {
                s += strlen(scope);
                len -= strlen(scope);
                if (len <= strlen(".scope") || has_prefix(s, len, guest))
                        return false;
                return copy_unescaped(buf, size, s, len - strlen(".scope"));
        }
        if (has_prefix(s, len, service) && has_suffix(s, len, ".service")) {
                s += strlen(service);
                len -= strlen(service);
                if (len <= strlen(".service"))
                        return false;
                return copy_unescaped(buf, size, s, len - strlen(".service"));
        }
        return false;
}

bool match_cgroup_container(const char *cgroup, char *buf, size_t size)
{
        static const char payload[] = "lxc.payload.";
        const char *part, *inner = "";
        size_t len = strlen(cgroup), part_len, inner_len = 0;

        for (; take_last(cgroup, &len, &part, &part_len); inner = part, inner_len = part_len) {
                const char *id;

                if (container_id(part, part_len, &id))
                        return copy_out(buf, size, id, CONTAINER_ID_DIGITS);
                if (has_prefix(part, part_len, payload))
                        return copy_out(buf, size, part + strlen(payload), part_len - strlen(payload));
                if (inner_len > 0 && (is(part, part_len, "lxc") || is(part, part_len, "lxc.payload")))
                        return copy_out(buf, size, inner, inner_len);
                if (!is(inner, inner_len, "supervisor") && machine_name(part, part_len, buf, size))
                        return true;
        }
        return false;
}
