#!/usr/bin/env python3
"""A name server on 127.0.0.1 that has the address 127.0.0.1 for every name, for one minute."""

import socket
import struct

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
server.settimeout(60)
while True:
    try:
        query, sender = server.recvfrom(512)
    except TimeoutError:
        break
    # One question (RFC 1035, section 4.1): labels, a zero, the type, the class.
    end = query.index(b"\0", 12) + 5
    kind = struct.unpack(">H", query[end - 4 : end - 2])[0]
    has_address = kind == 1
    header = query[:2] + struct.pack(">HHHHH", 0x8180, 1, has_address, 0, 0)
    answer = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton("127.0.0.1")
    server.sendto(header + query[12:end] + answer * has_address, sender)
