"""The function that the demo maps over every segment: mean arrival delays, by airline.

A segment of the flights table is a list of dicts, one dict a flight.
"""

from collections import defaultdict


def process_segment(segment):
    """Add up, for each carrier of one segment, its flights and its minutes of delay."""
    totals = defaultdict(lambda: [0, 0])
    for flight in segment:
        if flight["arr_delay"] is not None:
            totals[flight["carrier"]][0] += 1
            totals[flight["carrier"]][1] += flight["arr_delay"]
    return {carrier: tuple(total) for carrier, total in totals.items()}
