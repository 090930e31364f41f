"""What ``import segcourse`` costs on top of importing torch: python -m benchmarks.startup."""

import statistics
import subprocess
import sys

from benchmarks import report

CLOCK = "import time, torch; start = time.perf_counter(); {}; print(time.perf_counter() - start)"


def milliseconds(statement: str, repeats: int = 7) -> float:
    """Median time of a statement in a fresh interpreter that has torch imported already."""
    seconds = [
        float(
            subprocess.run(
                [sys.executable, "-c", CLOCK.format(statement)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for _ in range(repeats)
    ]
    return 1000 * statistics.median(seconds)


if __name__ == "__main__":
    added = milliseconds("import segcourse")
    print(f"import segcourse adds {added:.1f} ms to importing torch")
    report.write("startup", {"import_segcourse_ms": round(added, 2)})
