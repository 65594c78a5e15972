"""Connects to abstract sockets and to socket files of the machine, among them those of container engines.

Must: reach nobody; a network namespace has abstract names of its own.
"""

FAMILY = "secrets"
FAST = True
TARGET = "words"

import glob
import socket

from places import ABSTRACT


def count(text):
    with open("/proc/net/unix") as file:
        print(file.read())
    paths = [f"\0{ABSTRACT}", "/run/docker.sock", "/var/run/dbus/system_bus_socket", "/run/systemd/private"]
    for path in [*paths, *glob.glob("/tmp/**/*.sock", recursive=True), *glob.glob("/run/**", recursive=True)]:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
            try:
                with socket.socket(socket.AF_UNIX, kind) as sock:
                    sock.settimeout(0.5)
                    sock.connect(path)
                    print(path, sock.recv(4096))
            except OSError:
                continue
    return {}
