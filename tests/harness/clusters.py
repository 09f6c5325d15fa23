# SPDX-License-Identifier: GPL-2.0
"""What clusters do with a shared disk, by the tools of administrators: `make test-full`.

Those tools are in a copy of the sysroot, in which this runs again: see packages.py.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from guest import Driver
from guest.paths import DISKS

from . import packages
from .lio import Lio
from .pairs import Boot, Pair
from .paths import Paths
from .profiles import MODES, ORACLE, Machine, Profile
from .runner import Outcome, cases_of, run_profile
from .scsi import two_initiators

FENCE, MMP = "fence", "mmp"
PACKAGES = "fence-agents-scsi multipath-tools"


def _lio(machine: Machine) -> None:
    target = Lio(machine.folder.name)
    machine.services.append(target)
    for name in ("one", "two"):
        machine.blockdev(target.blockdev("shared", name, name))
    two_initiators(machine, ["one", "two"])


def _multipathd() -> None:
    """Its configuration. In the copy of the sysroot, whose files are its own."""
    Path("/etc/multipath").mkdir(exist_ok=True)
    Path("/etc/multipath.conf").write_text(_CONFIGURATION)


def _paths(machine: Machine) -> None:
    """The same for multipathd."""
    _lio(machine)
    _multipathd()


def _kills(machine: Machine) -> None:
    Paths(machine)
    _multipathd()


_CONFIGURATION = """
defaults {
	find_multipaths no
	user_friendly_names no
	polling_interval 1
	max_polling_interval 2
	path_grouping_policy multibus
	path_checker tur
	no_path_retry queue
	reservation_key 0xabc
}
devices {
	device {
		vendor QEMU
		product "QEMU HARDDISK"
		path_checker directio
	}
}
"""


def _packaged(name: str, scenario: str, build: Callable[[Machine], None]) -> Profile:
    return Profile(
        name, (scenario,), build, ("scsi",), "virtio_scsi", deadline=2400,
        # Device-mapper and multipathd want udev, which must not bring a driver before the case does.
        options={"udev": True, "cmdline": ["modprobe.blacklist=virtio_blk,virtio_scsi"]},
    )  # fmt: skip


_PACKAGED = [_packaged("scsi-mpathpersist", "mpathpersist", _paths), _packaged("scsi-multipath", "scsi-multipath", _kills)]

# In one guest, without further packages.
PROFILES = [Profile("scsi-lio", ("pr-cases",), _lio, ("scsi",), "virtio_scsi")]


def works(driver: Driver) -> list[tuple[str, str, Callable[[set[str]], list[Outcome]]]]:
    """Profile, case, and what runs it, of guests that run side by side."""
    scsi = "c" if driver is Driver.C else "scsi"
    blk = ORACLE if driver is Driver.C else MODES
    return [
        ("scsi-fence", f"{scsi}:{FENCE}", lambda _: _with_packages("scsi-fence", f"{scsi}:{FENCE}", driver, _fence)),
        *(
            (profile.name, case, lambda _, p=profile, c=case: _with_packages(
                p.name, c, driver, lambda name, case, driver: run_profile(p, driver, {case})))
            for profile in _PACKAGED for case in cases_of(profile, driver)
        ),
        ("scsi-mmp", f"{scsi}:{MMP}", lambda _: _mmp("scsi-mmp", f"{scsi}:{MMP}", driver)),
        *(("blk-mmp", f"{mode}:{MMP}", lambda _, m=mode: _mmp("blk-mmp", f"{m}:{MMP}", driver)) for mode in blk),
    ]


def _with_packages(profile: str, case: str, driver: Driver, run: Callable[[str, str, Driver], list[Outcome]]) -> list[Outcome]:
    """Run a case where the packages are."""
    return run(profile, case, driver) if packages.within() else packages.run(PACKAGES, profile, [case])


def _folder(profile: str, case: str, driver: Driver) -> Path:
    folder = DISKS / f"{driver.value}-{profile}-{case.split(':')[0]}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _fence(profile: str, case: str, driver: Driver) -> list[Outcome]:
    begin = time.monotonic()
    folder = _folder(profile, case, driver)
    pair = Pair(folder.name, "fence.sh", driver, {"MODE": case.split(":")[0]}, module="virtio_scsi")
    target = Lio(folder.name)
    try:
        first, second = (
            Boot(role, ["-device", "virtio-scsi-pci,id=hba,num_queues=2", "-blockdev", target.blockdev("shared", role),
                        "-device", "scsi-block,bus=hba.0,scsi-id=3,lun=0,drive=shared,id=shared"])
            for role in ("first", "second")
        )  # fmt: skip
        why = pair.run([first], [second])
    finally:
        target.stop()
    return pair.conclude(Outcome(profile, case, not why, why, time.monotonic() - begin), folder)


def _mmp(profile: str, case: str, driver: Driver) -> list[Outcome]:
    begin = time.monotonic()
    folder = _folder(profile, case, driver)
    image = folder / "shared.img"
    with open(image, "wb") as file:
        file.truncate(64 << 20)
    # QEMU's own lock keeps a second QEMU away.
    disk = ["-blockdev", f"driver=file,filename={image},locking=off,node-name=shared"]
    if profile == "scsi-mmp":
        module = "virtio_scsi"
        disk += ["-device", "virtio-scsi-pci,id=hba,num_queues=2",
                 "-device", "scsi-hd,bus=hba.0,scsi-id=3,drive=shared,serial=shared,share-rw=on"]  # fmt: skip
    else:
        module = "virtio_blk"
        disk += ["-device", "virtio-blk-pci,drive=shared,serial=shared,num-queues=2,share-rw=on"]
    pair = Pair(folder.name, "mmp.sh", driver, {"MODE": case.split(":")[0]}, module=module)
    why = pair.run([Boot("first", disk)], [Boot("second", disk)])
    return pair.conclude(Outcome(profile, case, not why, why, time.monotonic() - begin), folder)
