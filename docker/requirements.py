"""Print what pyproject.toml asks for, with some extras: `python docker/requirements.py models train`.

Images install this before the code is there, so that a change of code does not install everything again.
"""

import sys
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


def requirements(extras: list[str]) -> list[str]:
    """Requirements of the project and of `extras`, with extras that name others of the project followed."""
    found: list[str] = list(PROJECT["dependencies"])
    for extra in extras:
        for requirement in PROJECT["optional-dependencies"][extra]:
            own, _, names = requirement.partition("[")
            if own == PROJECT["name"]:
                found += requirements(names.rstrip("]").split(","))
            else:
                found.append(requirement)
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1:])))
