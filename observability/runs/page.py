from observability.runs.record import Record, place
from pathlib import Path
def write(r: Record) -> Path:
    return place(r.run, ".html")
