# SPDX-License-Identifier: MIT
"""One guest in QEMU: its disks and serial ports, and watching over it.

  ttyS0  console, in a file; on the terminal in a shell
  ttyS1  results as TAP, in a file that is followed here
  vda    the image, written to a file that is gone with QEMU
  vdb    read-only, a tar that the guest unpacks: capd and tests
  vdc    the guest writes a tar with journal and results to it
"""
import os
import re
import select
import subprocess
import tarfile
import time

OUT_BYTES = 512 << 20
BOOT_SECONDS = 900
# Beyond the limit that a test has by itself, for what is done between tests.
MARGIN_SECONDS = 180
END_SECONDS = 120
# For everything in one guest, however the tests spread it.
GUEST_SECONDS = 3600
PROBE_SECONDS = 10
# On a busy machine an emulated timer may be too late for the kernel's check that there is one.
KERNEL = "root=/dev/vda rw console=ttyS0 panic=-1 no_timer_check"


def _alive(*options):
    """Dies with us, also if we are killed."""
    return ["setpriv", "--pdeathsig", "KILL", "--", "qemu-system-x86_64", *options]


def kvm_works(kernel):
    """Whether a kernel boots with KVM. A usable-looking /dev/kvm may hang, so it is given seconds to print something."""
    wanted = os.environ.get("CAPD_TESTS_ACCEL")
    if wanted:
        return wanted == "kvm"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    child = subprocess.Popen(
        _alive("-accel", "kvm", "-cpu", "host", "-m", "256", "-nodefaults", "-display", "none", "-no-reboot", "-serial",
               "stdio", "-kernel", kernel, "-append", "console=ttyS0 earlyprintk=serial panic=-1"),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        until, seen = time.monotonic() + PROBE_SECONDS, b""
        while b"Linux version" not in seen:
            left = until - time.monotonic()
            if left <= 0 or not select.select([child.stdout], [], [], left)[0]:
                return False
            piece = os.read(child.stdout.fileno(), 4096)
            if not piece:
                return False
            seen += piece
        return True
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def machine(kvm, image):
    return [*(["-accel", "kvm", "-cpu", "host"] if kvm else
              # QEMU before 8.1 with a thread for each processor may go on with old code after the kernel has patched it (seen:
              # a panic by a stale int3); in one thread it cannot, and two guests have two. cmpxchg16b as QEMU 7.2 emulates
              # it kills kernel 6.12.
              ["-accel", "tcg,thread=single", "-cpu", "max,-cx16"]),
            "-smp", "2", "-m", "2048", "-nodefaults", "-display", "none", "-no-reboot", "-nic", "none",
            "-device", "virtio-rng-pci", "-kernel", f"{image}/vmlinuz", "-initrd", f"{image}/initrd"]


def first_boot(kvm, image):
    """A command that boots a new image so far that what a system does once, such as compiling its security profiles, is done."""
    return ["timeout", "--kill-after=5", str(BOOT_SECONDS), *_alive(
        *machine(kvm, image), "-drive", f"file={image}/root.img,format=raw,if=virtio,cache=unsafe", "-serial", "stdio",
        "-append", f"{KERNEL} systemd.run=/bin/true systemd.run_success_action=poweroff")]


class Guest:
    def __init__(self, image, payload, directory, kvm, shell=False):
        self.directory = directory
        self.console = os.path.join(directory, "console")
        self.results = os.path.join(directory, "results")
        self.out = os.path.join(directory, "out.img")
        self.command = _alive(
            *machine(kvm, image.path),
            "-append", f"{KERNEL} loglevel=4" +
            # Nobody is logged in but those whom tests log in.
            ("" if shell else " systemd.mask=serial-getty@ttyS0.service"),
            "-drive", f"file={image.file('root.img')},format=raw,if=virtio,snapshot=on,cache=unsafe",
            "-drive", f"file={payload},format=raw,if=virtio,readonly=on",
            "-drive", f"file={self.out},format=raw,if=virtio,cache=unsafe",
            "-serial", "mon:stdio" if shell else f"file:{self.console}", "-serial", f"file:{self.results}")
        self.process = None
        self.cpu_seconds = 0

    def start(self, **popen):
        for path in (self.console, self.results, self.out):
            with open(path, "wb"):
                pass
        os.truncate(self.out, OUT_BYTES)
        # Where QEMU keeps what is written to the image.
        environment = {**os.environ, "TMPDIR": self.directory}
        self.process = subprocess.Popen(self.command, env=environment, **popen)

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()

    def watch(self, line, stopped):
        """Hands every line of results to line(text), to the end. None, or what went wrong with the guest as a whole."""
        last = time.monotonic() + GUEST_SECONDS
        until, doing, rest, ended = time.monotonic() + BOOT_SECONDS, "booting", "", False
        with open(self.results, encoding="utf-8", errors="replace") as f:
            while True:
                self.look_at_cpu()
                gone = self.process.poll() is not None
                piece = f.read()
                rest += piece
                while "\n" in rest:
                    one, _, rest = rest.partition("\n")
                    running = re.match(r"# running (\d+) (.*)", one)
                    if running:
                        until, doing = min(last, time.monotonic() + int(running[1]) + MARGIN_SECONDS), running[2]
                        continue
                    if one.startswith("# end"):
                        until, ended = time.monotonic() + END_SECONDS, True
                    line(one)
                if stopped():
                    return "interrupted"
                if gone and not piece:
                    return None if ended else f"ended by itself while {doing}"
                if time.monotonic() > until:
                    # What is left is its shutting down.
                    return None if ended else f"no result in time while {doing}"
                if not piece:
                    time.sleep(0.3)

    def look_at_cpu(self):
        """How long a guest takes depends on what else the machine does; this less so."""
        try:
            with open(f"/proc/{self.process.pid}/stat", encoding="utf-8", errors="replace") as f:
                fields = f.read().rpartition(")")[2].split()
            self.cpu_seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, IndexError):
            pass

    def console_tail(self, lines=30):
        try:
            with open(self.console, encoding="utf-8", errors="replace") as f:
                return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|[^ -~]", "", x) for x in f.read().splitlines()[-lines:]]
        except OSError:
            return []

    def take_out(self):
        """Unpacks what the guest left for us into the directory. Whether there was something."""
        target = os.path.join(self.directory, "out")
        try:
            with tarfile.open(self.out, "r:") as tar:
                for member in tar:
                    if member.isdir() or member.isfile():
                        member.mode = 0o755 if member.isdir() else 0o644
                        tar.extract(member, target, set_attrs=False)
        except (tarfile.TarError, OSError, EOFError):
            return False
        finally:
            if os.path.exists(self.out):
                os.unlink(self.out)
        return True
