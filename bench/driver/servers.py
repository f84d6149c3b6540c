"""The servers that are measured, each private: its own directory, its own socket, a child of this
process that is ended by its pid. All of them end with the benchmark, however that ends."""

import ctypes
import glob
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time

START_S = 30
STOP_S = 30
SETTLE_S = 60
PR_SET_PDEATHSIG = 1
CACHE_MIB, OUTBOX_MIB = 1024, 256  # pgneard's defaults


class Failed(Exception):
    """A benchmark that cannot go on: said to the user as it is."""


def _die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def accepts(path):
    """Whether somebody listens on that socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(path) == 0


class Process:
    """A child with a log file. `user` runs it as that user where we are root."""

    def __init__(self, name, command, log, user=None):
        self.name, self.log = name, log
        as_user = {"user": user, "group": user, "extra_groups": []} if user else {}
        with open(log, "ab") as output:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output,
                                          stderr=output, preexec_fn=_die_with_parent,
                                          start_new_session=True, **as_user)
        self.pid = self.child.pid

    def wait_until(self, ready):
        deadline = time.monotonic() + START_S
        while not ready():
            if self.child.poll() is not None or time.monotonic() > deadline:
                with open(self.log, encoding="utf-8", errors="replace") as log:
                    raise Failed(f"{self.name} did not start: {log.read()[-2000:]}")
            time.sleep(0.005)

    def stop(self, ask=signal.SIGTERM):
        if self.child.poll() is None:
            self.child.send_signal(ask)
            try:
                self.child.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()


class Home:
    """The directory of a benchmark and all processes in it. On a disk: what is synced is synced."""

    def __init__(self, build):
        self.build = build
        self.path = tempfile.mkdtemp(prefix="pgnear-bench-", dir="/var/tmp")
        os.chmod(self.path, 0o755)
        self.processes = []

    def program(self, name):
        return os.path.join(self.build, name)

    def directory(self, name, user=None):
        path = os.path.join(self.path, name)
        os.makedirs(path, exist_ok=True)
        if user:
            account = pwd.getpwnam(user)
            os.chown(path, account.pw_uid, account.pw_gid)
        return path

    def start(self, name, command, user=None):
        process = Process(name, command, os.path.join(self.path, f"{name}.log"), user)
        self.processes.append(process)
        return process

    def close(self):
        for process in reversed(self.processes):
            process.stop(signal.SIGINT if process.name == "postgres" else signal.SIGTERM)
        shutil.rmtree(self.path, ignore_errors=True)


class Postgres:
    """Durable, as it comes from initdb but for its memory and the distance of its checkpoints."""

    SETTINGS = {
        "listen_addresses": "",
        "max_connections": "200",
        "shared_buffers": "512MB",
        "max_wal_size": "8GB",
        "checkpoint_timeout": "30min",
        "autovacuum": "off",
        "timezone": "UTC",
    }

    def __init__(self, home):
        self.home = home
        self.bin = sorted(glob.glob("/usr/lib/postgresql/*/bin"),
                          key=lambda path: float(path.split("/")[4]))[-1]
        user = "postgres" if os.geteuid() == 0 else None
        self.directory = home.directory("postgres", user)
        data = os.path.join(self.directory, "data")
        home.start("initdb", [f"{self.bin}/initdb", "-D", data, "-U", "postgres", "-A", "trust",
                              "-E", "UTF8", "--locale=C", "--no-sync"], user).child.wait()
        settings = {"unix_socket_directories": self.directory, **self.SETTINGS}
        command = [f"{self.bin}/postgres", "-D", data]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        self.process = home.start("postgres", command, user)
        self.process.wait_until(lambda: subprocess.run(
            [f"{self.bin}/pg_isready", "-q", "-h", self.directory], check=False).returncode == 0)

    def url(self, database="postgres"):
        return f"postgresql://postgres@/{database}?host={self.directory}"

    def sql(self, text, database="postgres"):
        done = subprocess.run(["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1",
                               self.url(database), "-c", text],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"psql: {done.stderr}")
        return done.stdout.strip()


class Node:
    """A pgneard. Its settings are the defaults but for the sizes."""

    def __init__(self, home, url, name="node", cache=f"{CACHE_MIB}MiB",
                 outbox=f"{OUTBOX_MIB}MiB", extra=None):
        self.home, self.name = home, name
        self.directory = home.directory(name)
        self.socket = os.path.join(self.directory, "pgnear.sock")
        self.cache_dir = os.path.join(self.directory, "cache")
        self.cache_file = os.path.join(self.cache_dir, "cache.mdb")
        self.config = os.path.join(self.directory, "pgneard.toml")
        self.sections = {
            "server": {"socket": self.socket},
            "cache": {"dir": self.cache_dir, "size": cache},
            "writes": {"dir": os.path.join(self.directory, "outbox"), "outbox_size": outbox},
            "postgres": {"url": url},
        }
        self.configure(extra)
        self.process = None
        self.start()

    def configure(self, extra=None):
        """The settings of the next start: these besides the sizes."""
        with open(self.config, "w", encoding="utf-8") as config:
            for section, settings in self.sections.items():
                config.write(f"[{section}]\n")
                more = {key.split(".", 1)[1]: value for key, value in (extra or {}).items()
                        if key.startswith(f"{section}.")}
                for setting, value in {**settings, **more}.items():
                    config.write(f"{setting} = {json.dumps(value)}\n")

    @property
    def pid(self):
        return self.process.pid

    def start(self, until=None):
        self.process = self.home.start(self.name, [self.home.program("bin/pgneard"),
                                                   "-c", self.config])
        self.process.wait_until(until or (lambda: self.cli("sync",
                                                           check=False).returncode == 0))

    def stop(self):
        self.process.stop()

    def cli(self, *arguments, check=True):
        done = subprocess.run([self.home.program("bin/pgnear"), "--socket", self.socket,
                               *arguments], capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise Failed(f"pgnear {' '.join(arguments)}: {done.stderr}")
        return done

    def stats(self):
        return json.loads(self.cli("stats", "--json").stdout)

    def settle(self):
        """Waits until all that was written is in PostgreSQL, which may take longer than a flush has
        patience."""
        deadline = time.monotonic() + SETTLE_S
        while self.cli("flush", check=False).returncode != 0:
            if time.monotonic() > deadline:
                raise Failed(f"{self.name} is not flushed after {SETTLE_S} s")

    def warm(self, keys):
        done = subprocess.run([self.home.program("bench/bench_direct"), "warm", self.socket,
                               str(keys)], capture_output=True, text=True, check=False)
        if done.returncode != 0 or json.loads(done.stdout)["present"] != keys:
            raise Failed(f"warming {keys} keys: {done.stderr}{done.stdout}")
        self.cli("sync")


class Redis:
    SYNC = {"none": ["--appendonly", "no"],
            "always": ["--appendonly", "yes", "--appendfsync", "always"],
            "everysec": ["--appendonly", "yes", "--appendfsync", "everysec"]}

    def __init__(self, home, sync="none", suffix=""):
        name = f"redis-{sync}-{suffix}"
        directory = home.directory(name)
        self.socket = os.path.join(directory, "redis.sock")
        self.process = home.start(name, ["redis-server", "--port", "0", "--unixsocket",
                                         self.socket, "--save", "", "--dir", directory,
                                         *self.SYNC[sync]])
        self.process.wait_until(lambda: self.cli("ping") == "PONG")

    @property
    def pid(self):
        return self.process.pid

    def cli(self, *arguments):
        return subprocess.run(["redis-cli", "-s", self.socket, *arguments], capture_output=True,
                              text=True, check=False).stdout.strip()


class Memcached:
    def __init__(self, home, suffix=""):
        name = f"memcached-{suffix}"
        self.socket = os.path.join(home.directory(name), "memcached.sock")
        user = pwd.getpwuid(os.geteuid()).pw_name
        self.process = home.start(name, ["memcached", "-s", self.socket, "-t", "1", "-m",
                                                "2048", "-u", user])
        self.process.wait_until(lambda: accepts(self.socket))

    @property
    def pid(self):
        return self.process.pid


class Echo:
    def __init__(self, home, request_bytes, reply_bytes):
        name = f"echo-{request_bytes}-{reply_bytes}"
        self.request_bytes, self.reply_bytes = request_bytes, reply_bytes
        self.socket = os.path.join(home.directory(name), "echo.sock")
        self.process = home.start(name, [home.program("bench/bench_echo"), self.socket,
                                         str(request_bytes), str(reply_bytes)])
        self.process.wait_until(lambda: accepts(self.socket))

    @property
    def pid(self):
        return self.process.pid
