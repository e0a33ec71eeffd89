"""`./lab` where VirtualBox's machines are emulated (``emulated``): without the look at its kernel module, and with the
patience that emulation takes. The rest is what users run."""

from __future__ import annotations

from rackbox import capabilities, program
from rackbox.providers.libvirt import EMULATED_PATIENCE
from rackbox.providers.virtualbox import VirtualboxProvider

VirtualboxProvider.patience = EMULATED_PATIENCE
checks = capabilities.CHECKS["virtualbox"]
capabilities.CHECKS = {
    "virtualbox": tuple(check for check in checks if check is not capabilities.check_virtualbox_module)
}

if __name__ == "__main__":
    program.main()
