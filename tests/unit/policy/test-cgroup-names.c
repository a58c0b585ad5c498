/* SPDX-License-Identifier: MIT */
/* Units and containers, by the paths that systemd and the container engines make. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "capd/policy/match.h"

#define ID    "4f797c539e6c745de61a93ca3ff892358ecbcaccd8414d5db545c38428142970"
#define OTHER "9ec39b91f3d70e1beff50a308f77067065ea6be0d91a3378375056cd4422cf3d"
#define POD   "0b7c1f2e-3d4a-4c5b-8e6f-7a8b9c0d1e2f"
#define POD_  "0b7c1f2e_3d4a_4c5b_8e6f_7a8b9c0d1e2f"

static const struct {
        const char *path, *unit, *container;
} cases[] = {
                {"/", NULL, NULL},
                {"", NULL, NULL},
                {"/init.scope", "init.scope", NULL},
                {"/system.slice/a.service", "a.service", NULL},
                {"/system.slice/a.service/sub", "a.service", NULL},
                {"/system.slice/a.service/sub.d/x", "a.service", NULL},
                {"/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service", NULL},
                {"/user.slice/user-1000.slice/user@1000.service/app.slice/x.service", "user@1000.service", NULL},
                {"/user.slice/user-1000.slice/user@1000.service/init.scope", "user@1000.service", NULL},
                {"/user.slice/user-1000.slice/session-3.scope", "session-3.scope", NULL},
                {"/user.slice/user-1000.slice/user@1000.service/app.slice", "user@1000.service", NULL},
                {"/user.slice/user-1000.slice", "user-1000.slice", NULL},
                {"/user.slice", "user.slice", NULL},
                {"/system.slice/dev-hugepages.mount", "dev-hugepages.mount", NULL},
                {"/system.slice/cups.socket", "cups.socket", NULL},
                {"/system.slice/dev-sda2.swap", "dev-sda2.swap", NULL},
                {"/system.slice/_cpu.service", "cpu.service", NULL},
                {"/system.slice/.service", "system.slice", NULL},
                {"/a.timer/b.target", NULL, NULL},
                {"/batch/job7", NULL, NULL},

                /* Docker */
                {"/docker/" ID, NULL, ID},
                {"/docker/" ID "/init.scope", "init.scope", ID},
                {"/system.slice/docker-" ID ".scope", "docker-" ID ".scope", ID},
                {"/system.slice/docker-" ID ".scope/system.slice/nginx.service", "nginx.service", ID},
                {"/user.slice/user-1000.slice/user@1000.service/app.slice/docker-" ID ".scope", "user@1000.service",
                 ID},
                {"/user.slice/user-1000.slice/user@1000.service/user@1.service/ssh.service", "user@1000.service", NULL},
                {"/system.slice/user@.service/ssh.service", "user@.service", NULL},
                {"/system.slice/user@1.socket/ssh.service", "ssh.service", NULL},
                {"/system.slice/xuser@1.service/ssh.service", "ssh.service", NULL},
                {"/system.slice/docker.service", "docker.service", NULL},
                /* one in another */
                {"/docker/" OTHER "/kubelet/kubepods/besteffort/pod" POD "/" ID, NULL, ID},
                /* Podman */
                {"/machine.slice/libpod-" ID ".scope", "libpod-" ID ".scope", ID},
                {"/machine.slice/libpod-" ID ".scope/container", "libpod-" ID ".scope", ID},
                {"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" ID ".scope/container",
                 "user@1000.service", ID},
                {"/machine.slice/libpod-conmon-" ID ".scope", "libpod-conmon-" ID ".scope", NULL},
                {"/libpod_parent/libpod-" ID, NULL, ID},
                {"/libpod_parent/conmon", NULL, NULL},
                {"/system.slice/app.service/libpod-payload-" ID, "app.service", ID},
                {"/system.slice/app.service/runtime", "app.service", NULL},
                /* containerd by itself, nerdctl */
                {"/default/" ID, NULL, ID},
                {"/system.slice/nerdctl-" ID ".scope", "nerdctl-" ID ".scope", ID},
                /* Kubernetes: cgroupfs, systemd, and containerd's odd middle way */
                {"/kubepods/burstable/pod" POD "/" ID, NULL, ID},
                {"/kubepods/pod" POD "/" ID, NULL, ID},
                {"/kubepods/pod" POD, NULL, NULL},
                {"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" POD_ ".slice/cri-containerd-" ID
                 ".scope",
                 "cri-containerd-" ID ".scope", ID},
                {"/kubepods.slice/kubepods-pod" POD_ ".slice/docker-" ID ".scope", "docker-" ID ".scope", ID},
                {"/kubepods.slice/kubepods-pod" POD_ ".slice/crio-" ID ".scope", "crio-" ID ".scope", ID},
                {"/kubepods.slice/kubepods-pod" POD_ ".slice/crio-" ID ".scope/container", "crio-" ID ".scope", ID},
                {"/kubepods.slice/kubepods-pod" POD_ ".slice/crio-conmon-" ID ".scope", "crio-conmon-" ID ".scope",
                 NULL},
                {"/kubepods/besteffort/pod" POD "/crio-" ID, NULL, ID},
                {"/kubepods/besteffort/pod" POD "/crio-conmon-" ID, NULL, NULL},
                {"/system.slice/containerd.service/kubepods-burstable-pod" POD_ ".slice:cri-containerd:" ID,
                 "containerd.service", ID},
                {"/kubepods-besteffort-pod" POD_ ".slice:cri-containerd:" ID, NULL, ID},
                /* LXC */
                {"/lxc/web", NULL, "web"},
                {"/lxc/100/ns/init.scope", "init.scope", "100"},
                {"/lxc.payload/web/init.scope", "init.scope", "web"},
                {"/lxc.payload.web-1", NULL, "web-1"},
                {"/lxc.payload.web-1/system.slice/a.service", "a.service", "web-1"},
                {"/lxc.monitor.web-1", NULL, NULL},
                {"/lxc.monitor/web", NULL, NULL},
                {"/lxc", NULL, NULL},
                {"/lxc.payload.", NULL, NULL},
                /* systemd-nspawn and what else systemd-machined keeps */
                {"/machine.slice/machine-web.scope", "machine-web.scope", "web"},
                {"/machine.slice/machine-my\\x2dweb.scope/payload/system.slice/a.service", "a.service", "my-web"},
                {"/machine.slice/systemd-nspawn@web.service/payload", "systemd-nspawn@web.service", "web"},
                {"/machine.slice/systemd-nspawn@a\\x2db.service", "systemd-nspawn@a\\x2db.service", "a-b"},
                {"/machine.slice/systemd-nspawn@web.service/supervisor", "systemd-nspawn@web.service", NULL},
                {"/machine.slice/machine-web.scope/supervisor", "machine-web.scope", NULL},
                {"/machine.slice/machine-qemu\\x2d1\\x2dvm.scope", "machine-qemu\\x2d1\\x2dvm.scope", NULL},
                {"/machine.slice/machine-.scope", "machine-.scope", NULL},
                {"/machine.slice/machine-a\\x00b.scope", "machine-a\\x00b.scope", NULL},
                {"/system.slice/systemd-nspawn@.service", "systemd-nspawn@.service", NULL},
                {"/system.slice/machine-a\\x2", "system.slice", NULL},
                /* no ids */
                {"/a/4f797c539e6c745de61a93ca3ff892358ecbcaccd8414d5db545c3842814297", NULL, NULL},
                {"/a/" ID "0", NULL, NULL},
                {"/a/x" ID, NULL, NULL},
                {"/a/-" ID, NULL, NULL},
                {"/a/4F797C539E6C745DE61A93CA3FF892358ECBCACCD8414D5DB545C38428142970", NULL, NULL},
                {"/a/conmon-" ID, NULL, NULL},
};

static void test_paths(void **state)
{
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                char buf[256] = "untouched";

                print_message("%s\n", cases[i].path);
                assert_int_equal(match_cgroup_unit(cases[i].path, buf, sizeof(buf)), cases[i].unit != NULL);
                if (cases[i].unit)
                        assert_string_equal(buf, cases[i].unit);
                assert_int_equal(match_cgroup_container(cases[i].path, buf, sizeof(buf)), cases[i].container != NULL);
                if (cases[i].container)
                        assert_string_equal(buf, cases[i].container);
        }
}

/* Half a name would be somebody else's: rather none. */
static void test_small_buffers(void **state)
{
        char buf[65];

        for (size_t size = 0; size <= 64; size++)
                assert_false(match_cgroup_container("/docker/" ID, buf, size));
        assert_true(match_cgroup_container("/docker/" ID, buf, 65));
        assert_false(match_cgroup_unit("/a.service", buf, 9));
        assert_true(match_cgroup_unit("/a.service", buf, 10));
        assert_false(match_cgroup_container("/machine.slice/machine-a\\x2db.scope", buf, 0));
        assert_false(match_cgroup_container("/machine.slice/machine-a\\x2db.scope", buf, 3));
        assert_true(match_cgroup_container("/machine.slice/machine-a\\x2db.scope", buf, 4));
        assert_string_equal(buf, "a-b");
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                        cmocka_unit_test(test_paths),
                        cmocka_unit_test(test_small_buffers),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
