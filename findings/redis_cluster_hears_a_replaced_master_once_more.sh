#!/usr/bin/env bash
# Redis 7.0.15 (Debian).
#
# A master of a Redis Cluster that stood still (SIGSTOP here) executes what waits in its sockets when it goes on, before it learns that
# a replica has taken its place. What it publishes then with SPUBLISH goes over the bus of the cluster to the servers of its shard, and
# the new master hands it to its own subscribers: they hear of a write that the shard does not have.
#
# Seen: a subscriber at the new master hears the publish of a script that also wrote a key; the new master does not have the key.
#
# Needs redis-server and Python 3.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat >program.py <<'END'
import os, signal, socket, subprocess, time

# Below the range of outgoing connections, as is the bus, 10,000 above.
ports = list(range(21871, 21877))
options = '--cluster-enabled yes --cluster-node-timeout 2000 --cluster-replica-validity-factor 0 --repl-diskless-sync-delay 0 --appendonly no --save'

def request(*words):
    return (f'*{len(words)}\r\n' + ''.join(f'${len(word)}\r\n{word}\r\n' for word in words)).encode()

def command(port, *words):
    with socket.create_connection(('127.0.0.1', port), 5) as stream:
        stream.sendall(request(*words))
        return stream.recv(1 << 16).decode()

def until(holds):
    for _ in range(400):
        try:
            if holds():
                return
        except OSError:
            pass
        time.sleep(.1)
    raise SystemExit('not in time')

servers = []
try:
    for port in ports:
        os.mkdir(str(port))
        arguments = ['redis-server', '--port', str(port), '--dir', str(port), *options.split(), '']
        servers.append(subprocess.Popen(arguments, stdout=subprocess.DEVNULL))
    until(lambda: all(command(port, 'PING') for port in ports))
    for index, port in enumerate(ports):
        command(port, 'CLUSTER', 'SET-CONFIG-EPOCH', str(index + 1))
        if index < 3:
            first, end = index * 16384 // 3, (index + 1) * 16384 // 3
            command(port, 'CLUSTER', 'ADDSLOTSRANGE', str(first), str(end - 1))
        command(port, 'CLUSTER', 'MEET', '127.0.0.1', str(ports[0]))
    until(lambda: all('cluster_known_nodes:6' in command(port, 'CLUSTER', 'INFO') for port in ports))
    for index in range(3):
        name = command(ports[index], 'CLUSTER', 'MYID').split('\r\n')[1]
        until(lambda: command(ports[index + 3], 'CLUSTER', 'REPLICATE', name).startswith('+OK'))
    until(lambda: all('cluster_state:ok' in command(port, 'CLUSTER', 'INFO') for port in ports))
    until(lambda: all('master_link_status:up' in command(port, 'INFO', 'replication') for port in ports[3:]))

    old, new = ports[0], ports[3]
    slot = lambda key: int(command(old, 'CLUSTER', 'KEYSLOT', key)[1:])
    key = next(key for key in map(str, range(1000)) if slot(key) < 5461)
    waiting = socket.create_connection(('127.0.0.1', old))
    waiting.sendall(request('PING'))
    waiting.recv(100)
    os.kill(servers[0].pid, signal.SIGSTOP)
    script = "redis.call('SET', KEYS[1], 'x') return redis.call('SPUBLISH', KEYS[1], 'late')"
    waiting.sendall(request('EVAL', script, '1', key))
    until(lambda: 'master' in command(new, 'ROLE'))
    # The others know it too.
    until(lambda: f':{new}' in command(ports[1], 'GET', key))
    subscriber = socket.create_connection(('127.0.0.1', new), 10)
    subscriber.sendall(request('SSUBSCRIBE', key))
    subscriber.recv(1000)
    os.kill(servers[0].pid, signal.SIGCONT)
    heard = subscriber.recv(1000).decode()
    exists = command(new, 'EXISTS', key).strip()
    print('heard:', heard.replace('\r\n', ' '), 'key at the new master:', exists)
    assert 'late' in heard and exists == ':0', 'the behaviour has changed'
finally:
    for server in servers:
        server.send_signal(signal.SIGCONT)
        server.kill()
END
python3 program.py
