# SPDX-License-Identifier: GPL-2.0
"""Two ways to each of two logical units, which are killed one by one: for tests/guest/scsi-multipath.sh.

Each way is a SCSI host of its own in the guest. `shared` is a unit of LIO's, with reservations; `file` is a disk of QEMU's own, whose
data come by NBD, from a server for each way.
"""

from pathlib import Path

from guest import Guest

from .iscsi import options
from .lio import NAME, Lio
from .portal import Portal
from .profiles import Machine
from .runner import say
from .service import Service

_MIB = 1 << 20
# What lines that are told begin with.
TOLD = "       | "


class Paths:
    def __init__(self, machine: Machine) -> None:
        target = Lio(machine.folder.name)
        machine.services.append(target)
        machine.file("file", 64 * _MIB)
        self._portals: list[Portal] = []
        # Each way's NBD server, and its socket.
        self._servers: list[tuple[Service, Path]] = []
        self._devices: list[list[dict[str, object]]] = []
        for way in (0, 1):
            portal = Portal(target.port, way)
            machine.services.append(portal)
            self._portals.append(portal)
            machine.blockdev(options(portal.port, NAME, 0, f"way{way}", f"shared{way}"))
            self._nbd(machine, way)
            devices = [
                {"driver": "virtio-scsi-pci", "id": f"hba{way}", "num_queues": 2, "addr": hex(0x10 + way)},
                {"driver": "scsi-block", "id": f"shared{way}", "bus": f"hba{way}.0", "scsi-id": way + 1, "drive": f"shared{way}"},
                {"driver": "scsi-hd", "id": f"file{way}", "bus": f"hba{way}.0", "scsi-id": way + 3, "drive": f"file{way}",
                 "serial": "file", "wwn": 0x5000C50015EA71AA, "share-rw": True, "rerror": "report", "werror": "report"},
            ]  # fmt: skip
            for device in devices:
                machine.device_json(**device)
            self._devices.append(devices)
        machine.handlers["path"] = self._tell

    def _nbd(self, machine: Machine, way: int) -> None:
        socket = machine.folder / f"nbd{way}"
        # One process may not lock the other one out; both have the host's page cache in common.
        image = f"driver=file,filename={machine.folder / 'file.img'},locking=off"
        server = Service(
            ["qemu-nbd", "--socket", socket, "--persistent", "--shared=8", "--image-opts", image],
            machine.folder / f"nbd{way}.messages", socket.exists,
        )  # fmt: skip
        machine.services.append(server)
        self._servers.append((server, socket))
        machine.qemu += ["-object", f"throttle-group,id=file{way}-limit"]
        machine.blockdev(f"driver=nbd,server.type=unix,server.path={socket},node-name=file{way}-nbd")
        machine.blockdev(f"driver=throttle,throttle-group=file{way}-limit,file=file{way}-nbd,node-name=file{way}")

    def _tell(self, guest: Guest, args: list[str]) -> None:
        """host path tell WORD...: what people shall see, though all is well. host path pull|push|cut|mend|cut-target|silence|speak WAY"""
        if args[0] == "tell":
            say(TOLD + " ".join(args[1:]))
            return
        word, way = args[0], int(args[1])
        if word == "pull":
            guest.qmp.run("device_del", id=f"hba{way}")
            guest.qmp.wait_event("DEVICE_DELETED", 120, device=f"hba{way}")
        elif word == "push":
            for device in self._devices[way]:
                guest.qmp.run("device_add", **device)
        elif word == "cut":
            server, socket = self._servers[way]
            server.stop()
            socket.unlink()
        elif word == "mend":
            self._servers[way][0].start()
        elif word == "cut-target":
            self._portals[way].cut()
        else:
            # 0 is no limit; with a byte a second, a command takes an hour.
            rate = 1 if word == "silence" else 0
            guest.qmp.run("qom-set", path=f"/objects/file{way}-limit", property="limits", value={"bps-total": rate})
