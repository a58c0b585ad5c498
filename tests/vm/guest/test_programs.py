# SPDX-License-Identifier: MIT
"""The forking programs that Debian ships, under the load of their own clients before, during and after being capped.

No client may see an error, and what the programs hold is what was put there.
"""
import glob
import hashlib
import os
import re
import socket
import subprocess
import time

from guest import cgroup_table
from harness import MIB, SLOW, Failure, read
from scenario import DAEMON, Bystander, figures, group, mib


class Clients:
    """A client of a program, run over and over. The first one that fails ends it, and the test."""

    def __init__(self, t, command):
        self.t = t
        self.log = f"{t.tmp}/clients"
        self.stop_file = f"{t.tmp}/stop"
        script = (f'while [ ! -e {self.stop_file} ]; do {{ {command}; }} >{self.log}.now 2>&1 || exit 1; '
                  f'cat {self.log}.now >>{self.log}; echo round >>{self.log}; done')
        self.child = subprocess.Popen(["sh", "-c", script], stdin=subprocess.DEVNULL)
        t.cleanup(self.end)

    def rounds(self):
        if self.child.poll() is not None:
            raise Failure(f"a client failed: {read(self.log + '.now', '')[-1500:]}")
        return read(self.log, "").count("\nround\n")

    def wait_rounds(self, count):
        """Whole runs that begin and end from now on. Seconds that one took."""
        start, began = self.rounds(), time.monotonic()
        self.t.wait(lambda: self.rounds() > start + count, f"{count} runs of the client", step=0.3)
        return (time.monotonic() - began) / (count + 1)

    def stop(self):
        """Lets the last one finish. What all of them said."""
        with open(self.stop_file, "w", encoding="ascii"):
            pass
        try:
            status = self.child.wait(120 * SLOW)
        except subprocess.TimeoutExpired:
            raise Failure("a client does not end") from None
        self.t.equal(status, 0, f"status of the clients, which said: {read(self.log + '.now', '')[-1500:]}")
        return read(self.log)

    def end(self):
        if self.child.poll() is None:
            with open(self.stop_file, "w", encoding="ascii"):
                pass
            try:
                self.child.wait(30 * SLOW)
            except subprocess.TimeoutExpired:
                self.child.kill()
        self.child.wait()


def no_errors(t, log, pattern):
    found = [line for line in re.split(r"[\r\n]+", log) if re.search(pattern, line, re.I)]
    t.check(not found, f"{len(found)} errors at the clients, such as {found[:5]}")


def service(t, name):
    """A service of the distribution, for the time of the test. Its cgroup."""
    t.cleanup(lambda: t.run("systemctl", "stop", name, check=0, timeout=60))
    t.run("systemctl", "start", name, check=0, timeout=120)
    return t.run("systemctl", "show", "--value", "-p", "ControlGroup", name, check=0).stdout.strip()


def write(t, path, text, mode=0o644):
    with open(path, "w", encoding="ascii") as f:
        f.write(text)
    os.chmod(path, mode)
    t.cleanup(os.unlink, path)


def held(cgroups):
    """What is charged to cgroups and in use by processes, each page once, by the kernel's own counters."""
    tables = [cgroup_table(c, "memory.stat") for c in cgroups]
    return sum(table["anon"] + table["file_mapped"] for table in tables)


def cap_under_load(t, units, cgroups, cap, clients, meanwhile=None):
    """Caps a program under load, has it work so, and lets it go again."""
    bystander = Bystander(t)
    # Emulated, a step takes ten times as long, and would shrink to a few pages.
    capd = t.service(DAEMON + "MaxStall=20ms\n" + group("program", "1G", Unit=" ".join(units)))
    state = capd.wait_group("program", lambda g: g["quality"] == "exact", "an exact count")
    before = clients.wait_rounds(1)
    t.keep("explain-before", capd.ctl("explain", "program").stdout)
    full = held(cgroups)
    capd.ctl("cap", "program", cap)
    began = time.monotonic()
    try:
        t.wait(lambda: clients.rounds() and held(cgroups) <= cap, "the program to come under its cap")
    except Failure:
        t.note(capd.ctl("explain", "program").stdout)
        raise
    capped_after = time.monotonic() - began
    low = held(cgroups)
    during = clients.wait_rounds(2)
    if meanwhile:
        meanwhile()
    now, acts = capd.group("program"), figures(capd, "program", "STRATEGY", "ACTS")
    t.keep("explain-capped", capd.ctl("explain", "program").stdout)
    t.check(acts["acts"] > 0, "it came under its cap by itself")
    capd.ctl("cap", "program", "default")
    after = clients.wait_rounds(1)
    t.note(f"{state['processes']} processes, {mib(state['rss_sum'])} MiB by adding up RSS, {mib(state['resident'])} resident: "
           f"capped at {mib(cap)} MiB, from {mib(full)} to {mib(low)} in {capped_after:.0f} s by {acts['strategy']}; then "
           f"{now['state']} ({acts['acts']} acts); a run of the client took {before:.1f} s before, {during:.1f} s under the cap, "
           f"{after:.1f} s after")
    bystander.judge()


# -- PostgreSQL: a big shared segment --

PGBENCH = """\\set id random(1, 500)
\\set delta random(-5000, 5000)
BEGIN;
UPDATE accounts SET balance = balance + :delta WHERE id = :id;
INSERT INTO history VALUES (:id, :delta);
SELECT 1 / (text = repeat(md5(id::text), 60))::int FROM big WHERE id = :id;
END;
"""


def postgresql(t, backends):
    """A cluster with a table of 57 MB in a database of its own, and clients that have seen all of it: (unit, cgroup, what takes SQL)."""
    version = os.path.basename(max(glob.glob("/etc/postgresql/*")))
    write(t, f"/etc/postgresql/{version}/main/conf.d/capd-test.conf",
          "shared_buffers = 128MB\nfsync = off\nfull_page_writes = off\nautovacuum = off\njit = off\nmax_parallel_workers = 0\n")
    unit = f"postgresql@{version}-main.service"
    cgroup = service(t, unit)

    def sql(text):
        return t.run("runuser", "-u", "postgres", "--", "psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-d", "capd", "-c", text, check=0,
                     timeout=180, cwd="/").stdout.strip()
    t.run("runuser", "-u", "postgres", "--", "createdb", "capd", check=0, cwd="/")
    t.cleanup(lambda: t.run("runuser", "-u", "postgres", "--", "dropdb", "--force", "capd", check=0, cwd="/"))
    sql("CREATE TABLE big (id int, text text); ALTER TABLE big ALTER text SET STORAGE PLAIN;"
        "INSERT INTO big SELECT i, repeat(md5(i::text), 60) FROM generate_series(1, 30000) i; CREATE INDEX ON big (id);"
        "CREATE TABLE accounts (id int PRIMARY KEY, balance bigint); CREATE TABLE history (id int, delta bigint);"
        "INSERT INTO accounts SELECT i, 0 FROM generate_series(1, 500) i; CREATE EXTENSION pg_prewarm;")
    # As a pool of connections does: backends that have seen all of it and wait for more.
    everything = "SELECT pg_prewarm('big') > 0; SELECT count(*), sum(length(text)) FROM big;\n"
    for _ in range(backends):
        child = subprocess.Popen(["runuser", "-u", "postgres", "--", "psql", "-qAtX", "-d", "capd"], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, cwd="/", text=True)
        t.cleanup(lambda c: (c.stdin.close(), c.wait(), c.stdout.close()), child)
        child.stdin.write(everything)
        child.stdin.flush()
        t.equal(child.stdout.readline() + child.stdout.readline(), "t\n30000|57600000\n", "what a backend sees")
    return unit, cgroup, sql


def test_postgresql(t):
    t.zram(384)
    unit, cgroup, sql = postgresql(t, 3)
    write(t, f"{t.tmp}/script", PGBENCH)
    clients = Clients(t, f"cd / && runuser -u postgres -- pgbench -n -c 4 -t 20 -f {t.tmp}/script capd")
    cap_under_load(t, [unit], [cgroup], 56 * MIB, clients)
    log = clients.stop()
    no_errors(t, log, r"error|aborted|failed transactions: [1-9]")
    t.equal(sql("SELECT count(*) FROM big WHERE text <> repeat(md5(id::text), 60)"), "0", "rows that are not what they were")
    t.equal(sql("SELECT (SELECT sum(balance) FROM accounts) = (SELECT sum(delta) FROM history)"), "t", "the books balance")
    t.equal(sql("SELECT count(*) FROM history"), str(80 * log.count("\nround\n")), "transactions")


# -- Redis: forks to write a snapshot --

class Redis:
    def __init__(self, t):
        self.t = t
        self.socket = t.wait(self._connect, "redis to answer")
        self.file = self.socket.makefile("rb")
        t.cleanup(lambda: (self.file.close(), self.socket.close()))

    @staticmethod
    def _connect():
        try:
            return socket.create_connection(("127.0.0.1", 6379), timeout=120 * SLOW)
        except OSError:
            return None

    @staticmethod
    def _encode(words):
        words = [str(w).encode() for w in words]
        return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)

    def _reply(self):
        line = self.file.readline().rstrip()
        if line[:1] == b"$":
            return self.file.read(int(line[1:]) + 2)[:-2].decode() if line != b"$-1" else None
        self.t.check(line[:1] in b"+:", f"redis says {line!r}")
        return line[1:].decode()

    def many(self, commands):
        self.socket.sendall(b"".join(map(self._encode, commands)))
        return [self._reply() for _ in commands]

    def __call__(self, *words):
        return self.many([words])[0]

    def info(self, name):
        return re.search(rf"^{name}:(\S*)", self("INFO"), re.M)[1]

    def save(self):
        """BGSAVE, to its end."""
        last = self("LASTSAVE")
        time.sleep(1)  # it counts in seconds
        self("BGSAVE")
        self.t.wait(lambda: self.info("rdb_bgsave_in_progress") == "0" and self("LASTSAVE") != last, "a snapshot")
        self.t.equal(self.info("rdb_last_bgsave_status"), "ok", "the snapshot")


def value(number):
    return hashlib.md5(b"%d" % number).hexdigest() * 128


def test_redis(t):
    t.zram(384)
    cgroup = service(t, "redis-server.service")
    redis = Redis(t)
    redis("CONFIG", "SET", "save", "")
    redis("FLUSHALL")
    t.cleanup(redis, "FLUSHALL")
    keys = 15000
    for first in range(0, keys, 500):
        t.equal(set(redis.many([("SET", f"k{i}", value(i)) for i in range(first, first + 500)])), {"OK"}, "answers to SET")
    redis.save()
    clients = Clients(t, "redis-benchmark -q -c 4 -n 1000 -r 1000 -d 100 -t set,get,incr,lpush,lpop")
    cap_under_load(t, ["redis-server.service"], [cgroup], 40 * MIB, clients, meanwhile=redis.save)
    no_errors(t, clients.stop(), r"error")
    done = t.run("redis-check-rdb", "/var/lib/redis/dump.rdb", check=0)
    t.check("looks OK" in done.stdout, f"the snapshot: {done.stdout[-500:]}")
    for first in range(0, keys, 500):
        wanted = [value(i) for i in range(first, first + 500)]
        t.check(redis.many([("GET", f"k{i}") for i in range(first, first + 500)]) == wanted, f"values from key {first} on")


# -- a web server that forks: nginx before gunicorn --

APPLICATION = """
import hashlib
N = 15000
DATA = [hashlib.md5(b"%d" % i).hexdigest().encode() * 128 for i in range(N)]
SUMS = [hashlib.md5(block).digest() for block in DATA]
turn = 0

def app(environ, start_response):
    global turn
    turn += 1
    numbers = range(N) if environ["PATH_INFO"] == "/all" else [turn * 7 % 50]
    if any(hashlib.md5(DATA[i]).digest() != SUMS[i] for i in numbers):
        raise ValueError("contents")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4096")])
    return [DATA[0]]
"""


def test_gunicorn(t):
    t.zram(384)
    os.chmod(t.tmp, 0o777)  # for the socket of www-data
    write(t, f"{t.tmp}/application.py", APPLICATION)
    write(t, "/etc/nginx/conf.d/capd-test.conf",
          "server { listen 127.0.0.1:8099; access_log off;\n"
          f"  location / {{ proxy_pass http://unix:{t.tmp}/socket; proxy_read_timeout 600s; }} }}\n")
    workers = t.unit("gunicorn", "--preload", "--workers", "4", "--timeout", "600", "--bind", f"unix:{t.tmp}/socket", "--chdir", t.tmp,
                     "application:app", User="www-data")
    nginx = service(t, "nginx.service")
    t.wait(lambda: t.run("ab", "-q", "-n", "1", "-s", "600", "http://127.0.0.1:8099/").returncode == 0
           and len(workers.pids()) == 5, "gunicorn to answer", step=1)
    clients = Clients(t, "ab -q -s 600 -n 100 -c 4 http://127.0.0.1:8099/")
    cap_under_load(t, [workers.name, "nginx.service"], [workers.cgroup, nginx], 60 * MIB, clients)
    log = clients.stop()
    t.check("Failed requests:        0\n" in log, f"ab: {log[-1500:]}")
    no_errors(t, log, r"failed requests: +[1-9]|non-2xx")
    done = t.run("ab", "-q", "-s", "600", "-n", "8", "-c", "4", "http://127.0.0.1:8099/all", check=0, timeout=300)
    t.check(re.search(r"Failed requests: +0\n", done.stdout) and "Non-2xx" not in done.stdout, f"all of it: {done.stdout[-800:]}")
