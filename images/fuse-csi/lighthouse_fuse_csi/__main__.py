"""`python -m lighthouse_fuse_csi driver` or `sidecar`."""

from __future__ import annotations

import os
import sys

from lighthouse_fuse_csi import logs
from lighthouse_fuse_csi.errors import SettingsError
from lighthouse_fuse_csi.settings import driver_settings, sidecar_settings


def main(arguments: list[str]) -> int:
    """Run one of the two programs; returns the exit status."""
    try:
        match arguments:
            case ["driver"]:
                # Imported late: the sidecar must stay small and free of gRPC's threads.
                from lighthouse_fuse_csi import driver  # noqa: PLC0415 - the sidecar needs no gRPC

                settings = driver_settings(os.environ)
                logs.configure(settings.log_level)
                return driver.run(settings)
            case ["sidecar"]:
                from lighthouse_fuse_csi import supervisor  # noqa: PLC0415 (likewise the driver)

                sidecar = sidecar_settings(os.environ)
                logs.configure(sidecar.log_level)
                return supervisor.run(sidecar)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    print("Usage: python -m lighthouse_fuse_csi driver|sidecar", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
