"""Look for known vulnerabilities in everything that is installed here: `python -m tools.audit`.

pip-audit asks PyPI about each package. Where it cannot (a mirror without that data), it skips the package and still
says "no known vulnerabilities"; here that is said for what it is. It works in an environment of its own, build/audit.
"""

import json
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OWN = ROOT / "build" / "audit"
# Vulnerabilities that were looked at and do not concern us: id -> why. None so far.
IGNORED: Mapping[str, str] = {}


def main() -> int:
    """Print what was found; 1 if a vulnerability is not among the ignored ones."""
    try:
        found = _asked()
    except (subprocess.CalledProcessError, ValueError) as error:
        print(f"vulnerabilities were not looked for, pip-audit does not run here ({error}): see docs/security.md")
        return 0
    lines, is_sound = verdict(found, IGNORED)
    print("\n".join(lines))
    return 0 if is_sound else 1


def verdict(found: Mapping[str, Any], ignored: Mapping[str, str]) -> tuple[list[str], bool]:
    """Return what to say of pip-audit's JSON, and whether all is sound."""
    packages = found["dependencies"]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    looked = len(packages) - len(skipped)
    if not looked:
        return [f"vulnerabilities were not looked for: no data can be reached for any of {len(skipped)} packages; "
                "see docs/security.md"], True  # fmt: skip
    lines, is_sound = (
        [f"{looked} packages were looked up, {len(skipped)} could not be: {', '.join(skipped) or '-'}"],
        True,
    )
    for package in packages:
        for hole in package.get("vulns", ()):
            reason = ignored.get(hole["id"])
            fixed = ", ".join(hole.get("fix_versions", ())) or "no version"
            lines.append(f"{package['name']} {package['version']}: {hole['id']}, mended in {fixed}; {reason or 'NEW'}")
            is_sound = is_sound and reason is not None
    return lines, is_sound


def _asked() -> dict[str, Any]:
    python = OWN / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(OWN)], check=True)
        needs = str(ROOT / "requirements-audit.txt")
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--requirement", needs], check=True)
    here = sysconfig.get_path("purelib")
    command = [str(python), "-m", "pip_audit", "--path", here, "--format", "json", "--progress-spinner", "off"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)  # 1 also where it found something
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


if __name__ == "__main__":
    sys.exit(main())
