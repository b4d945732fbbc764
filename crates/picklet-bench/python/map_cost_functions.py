"""The functions of `map_cost.py`, in a module that every worker can import."""


def same(segment):
    """Give back what it is given."""
    return segment


def cheap(segment):
    """Add a field to every record."""
    for record in segment:
        record["total"] = record["amount"] * (1 + len(record["items"]))
    return segment


def costly(segment):
    """Work some 20 microseconds on every record."""
    for record in segment:
        value = record["amount"]
        for step in range(200):
            value = (value * 1103515245 + step) & 0x7FFFFFFF
        record["value"] = value
    return segment
