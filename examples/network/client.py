"""Send objects over one connection, and print the answers.

Usage: python client.py PORT
"""

import socket
import sys

import picklet


def main(port):
    """Send three messages one after another, and read an answer to each."""
    with (
        socket.create_connection(("127.0.0.1", port)) as connection,
        connection.makefile("rb") as incoming,
        connection.makefile("wb") as outgoing,
    ):
        for count in (3, 10, 100_000):
            picklet.dump({"name": "측정값", "values": list(range(count))}, outgoing)
            outgoing.flush()
            print(picklet.load(incoming))


if __name__ == "__main__":
    main(int(sys.argv[1]))
