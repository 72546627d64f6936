"""Generate the gRPC stubs and their type stubs from `protos/` into `shared/recstack/api/`.

The output is never edited and never committed. Run through `make protos`.
"""

import shutil
import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

PROTOS = Path(__file__).parent
OUT = PROTOS.parent / "shared"
API = OUT / "recstack" / "api"


def main() -> int:
    """Regenerate everything; returns protoc's exit status."""
    shutil.rmtree(API, ignore_errors=True)
    sources = sorted(str(p.relative_to(PROTOS)) for p in PROTOS.rglob("*.proto"))
    well_known = str(files("grpc_tools") / "_proto")
    status = protoc.main(
        ["protoc", f"-I{PROTOS}", f"-I{well_known}"]
        + [f"--{kind}_out={OUT}" for kind in ("python", "grpc_python")]
        + [f"--{kind}_out=quiet:{OUT}" for kind in ("mypy", "mypy_grpc")]
        + sources
    )
    for folder in [API, *(p for p in API.rglob("*") if p.is_dir())]:
        (folder / "__init__.py").touch()
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
