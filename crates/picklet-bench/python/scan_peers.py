"""Scans one file with one of the scanners that Python has, by its own function.

    python scan_peers.py {picklescan,modelscan,modelaudit,fickling,genops} FILE

Prints what the scanner says of the file. `genops` is no scanner: it walks the opcodes with the
standard library's `pickletools`, which is what most scanners in Python begin with, so that nothing
written on it is faster.
"""

import sys


def picklescan(path):
    """Picklescan: a list of bad names over pickletools."""
    from picklescan.scanner import scan_file_path

    result = scan_file_path(path)
    return f"{result.scanned_files} scanned, {result.issues_count} issues"


def modelscan(path):
    """Modelscan: several formats, a list of bad names over pickletools."""
    from modelscan.modelscan import ModelScan

    summary = ModelScan().scan(path)["summary"]
    return f"{summary['scanned']['total_scanned']} scanned, {summary['total_issues']} issues"


def modelaudit(path):
    """modelaudit-picklescan: its core is compiled."""
    import modelaudit_picklescan

    report = modelaudit_picklescan.scan_file(path)
    return f"{report.status.value}, {report.verdict.value}"


def fickling(path):
    """Fickling: decompiles a pickle into Python and judges that."""
    from fickling.analysis import check_safety
    from fickling.fickle import Pickled

    with open(path, "rb") as file:
        return check_safety(Pickled.load(file)).severity.name


def genops(path):
    """The standard library's walk over the opcodes."""
    import pickletools

    with open(path, "rb") as file:
        return f"{sum(1 for _ in pickletools.genops(file)):,} opcodes"


SCANNERS = {f.__name__: f for f in (picklescan, modelscan, modelaudit, fickling, genops)}

if __name__ == "__main__":
    print(SCANNERS[sys.argv[1]](sys.argv[2]))
