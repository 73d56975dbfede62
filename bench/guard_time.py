"""CPU time that the guard of `protect` takes for a SYN and for a packet of a connection, in a minute.

    python bench/guard_time.py [--rounds 15] [--syns 20000]

`run.py --only protect` measures the same among all else of the guard. This is for changes of its program: run it in
turns with a tree that has the old object. The packets are test runs of the program, which hardly depend on the load.
"""

from __future__ import annotations

import argparse

import guarded
import syn_cost

_RUNS = 1_000_000


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--syns", type=int, default=20_000)
    given = parser.parse_args()
    print("\n".join(syn_cost.as_lines(syn_cost.measure(given.rounds, given.syns))))
    print("\n".join(guarded.packet_lines(guarded.packet_cost(_RUNS))))


if __name__ == "__main__":
    main()
