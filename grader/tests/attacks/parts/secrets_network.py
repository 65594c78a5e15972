"""Connects to the machine's loopback, to every address that it could have, and to the world.

Must: reach nobody.
"""

FAMILY = "secrets"
FAST = True
TARGET = "words"

import socket

from places import PORT


def count(text):
    hosts = [
        "127.0.0.1",
        "::1",
        "0.0.0.0",
        "localhost",
        "10.0.0.1",
        "192.168.0.1",
        "172.17.0.1",
        "10.0.2.2",
        "169.254.169.254",
        "1.1.1.1",
    ]
    for host in hosts:
        for port in (PORT, 80, 53):
            try:
                with socket.create_connection((host, port), 0.2) as sock:
                    print(host, port, sock.recv(4096))
            except OSError:
                continue
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for host in ("255.255.255.255", "224.0.0.1", "127.255.255.255"):
            try:
                sock.sendto(text.encode(), (host, PORT))
            except OSError:
                continue
    try:
        print(socket.getaddrinfo("example.org", 80))
    except OSError:
        pass
    return {}
