"""`python tests/advisories.py`: known advisories against what the container installs, by pip-audit; status 1 for any.

Where the index knows no advisories, or cannot be reached, that is said and the status is 0.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).resolve().parents[1] / "requirements-cpu.lock"


def verdict(report: str) -> tuple[int, str]:
    """Exit status and sentence for what pip-audit printed."""
    try:
        packages = json.loads(report)["dependencies"]
    except (ValueError, KeyError):
        return 0, "Advisories were not asked for: the index cannot be reached."
    advised = [
        f"{entry['name']} {entry['version']}: {bug['id']}" for entry in packages for bug in entry.get("vulns", ())
    ]
    if advised:
        return 1, f"Known advisories: {'; '.join(advised)}."
    asked = [entry for entry in packages if "skip_reason" not in entry]
    if not asked:
        return 0, "Advisories were not asked for: the index here knows none of the packages' advisories."
    return 0, f"No known advisory against {len(asked)} of {len(packages)} packages."


def main() -> None:
    command = [sys.executable, "-m", "pip_audit", "-r", str(LOCK), "--disable-pip", "--no-deps", "-f", "json"]
    try:
        report = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120).stdout
    except subprocess.TimeoutExpired:
        report = ""
    status, sentence = verdict(report)
    sys.stdout.write(f"{sentence}\n")
    sys.exit(status)


if __name__ == "__main__":
    main()
