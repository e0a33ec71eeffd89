"""The description of a virtual machine that VirtualBox imports with its disk: OVF 1.0 (DMTF DSP0243), as VirtualBox's
own `export` writes it. Entry point: ``render_ovf``. Pure."""

from __future__ import annotations

from uuid import NAMESPACE_URL, UUID, uuid5
from xml.sax.saxutils import escape

DISK_FILE = "box-disk001.vmdk"
BASE_MAC = "0800275F1A7C"
"""The box's own network card. Vagrant insists on knowing it, and gives each machine another."""

CONTROLLER = "SATA Controller"
"""What the seed and more disks are attached to. Without the part of our own below, VirtualBox names it as it likes: 7.2
another way than those before."""

_RASD = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
_VSSD = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"
_VMDK = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"


def render_ovf(name: str, *, disk_bytes: int, file_bytes: int, cpus: int = 1, memory_mib: int = 512) -> str:
    """``disk_bytes`` is what the machine sees, ``file_bytes`` the size of the VMDK.

    The disk is on AHCI, the one network card is virtio's: the cloud kernel has no driver of the cards that VirtualBox
    gives by default. What OVF has no words for stands in VirtualBox's own at the end, which it then goes by; others
    pass over that.
    """
    title = escape(name)
    disk_uuid = _uuid_of("disk")
    return f"""\
<?xml version="1.0" encoding="UTF-8"?>
<!-- Made by rackbox. -->
<Envelope ovf:version="1.0" xml:lang="en-US" xmlns="http://schemas.dmtf.org/ovf/envelope/1"
    xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="{_RASD}" xmlns:vssd="{_VSSD}"
    xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:vbox="http://www.virtualbox.org/ovf/machine">
  <References>
    <File ovf:id="file1" ovf:href="{DISK_FILE}" ovf:size="{file_bytes}"/>
  </References>
  <DiskSection>
    <Info>The machine's disk</Info>
    <Disk ovf:capacity="{disk_bytes}" ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:format="{_VMDK}"
        vbox:uuid="{disk_uuid}"/>
  </DiskSection>
  <NetworkSection>
    <Info>Networks that the machine is on</Info>
    <Network ovf:name="NAT">
      <Description>The network by which the computer reaches its machine</Description>
    </Network>
  </NetworkSection>
  <VirtualSystem ovf:id="{title}">
    <Info>A machine of rackbox</Info>
    <OperatingSystemSection ovf:id="96">
      <Info>What runs in it</Info>
      <Description>Debian_64</Description>
      <vbox:OSType ovf:required="false">Debian_64</vbox:OSType>
    </OperatingSystemSection>
{_hardware(title, cpus, memory_mib)}
{_own_words(title, disk_uuid, cpus, memory_mib)}
  </VirtualSystem>
</Envelope>
"""


def _uuid_of(what: str) -> UUID:
    return uuid5(NAMESPACE_URL, f"rackbox:ovf:{what}")


def _hardware(title: str, cpus: int, memory_mib: int) -> str:
    """The machine in OVF's words."""
    items = [
        _item(1, "", 3, f"{cpus} virtual CPU", units="hertz * 10^6", quantity=cpus),
        _item(2, "", 4, f"{memory_mib} MB of memory", units="byte * 2^20", quantity=memory_mib),
        _item(3, "AHCI", 20, "SATA controller", address=0),
        _item(4, "", 17, "disk", host="ovf:/disk/vmdisk1", parent=3, on_parent=0),
        _item(5, "virtio", 10, "network card on NAT", connection="NAT"),
    ]
    body = "\n".join(items)
    return f"""\
    <VirtualHardwareSection>
      <Info>What it runs on</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>{title}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>virtualbox-2.2</vssd:VirtualSystemType>
      </System>
{body}
    </VirtualHardwareSection>"""


def _own_words(title: str, disk_uuid: UUID, cpus: int, memory_mib: int) -> str:
    """The same machine in VirtualBox's."""
    machine_uuid = _uuid_of("machine")
    return f"""\
    <vbox:Machine ovf:required="false" version="1.12-linux" uuid="{{{machine_uuid}}}" name="{title}" OSType="Debian_64"
        snapshotFolder="Snapshots" lastStateChange="2026-01-01T00:00:00Z">
      <ovf:Info>The same in VirtualBox's own words</ovf:Info>
      <Hardware version="2">
        <CPU count="{cpus}" hotplug="false">
          <HardwareVirtEx enabled="true"/>
          <HardwareVirtExNestedPaging enabled="true"/>
          <PAE enabled="true"/>
        </CPU>
        <Memory RAMSize="{memory_mib}" PageFusion="false"/>
        <Boot><Order position="1" device="HardDisk"/></Boot>
        <Display VRAMSize="16" monitorCount="1"/>
        <BIOS><IOAPIC enabled="true"/></BIOS>
        <Network>
          <Adapter slot="0" enabled="true" MACAddress="{BASE_MAC}" cable="true" type="virtio"><NAT/></Adapter>
        </Network>
        <RTC localOrUTC="UTC"/>
      </Hardware>
      <StorageControllers>
        <StorageController name="{CONTROLLER}" type="AHCI" PortCount="8" useHostIOCache="true" Bootable="true">
          <AttachedDevice type="HardDisk" port="0" device="0"><Image uuid="{{{disk_uuid}}}"/></AttachedDevice>
        </StorageController>
      </StorageControllers>
    </vbox:Machine>"""


def _item(
    instance: int,
    subtype: str,
    kind: int,
    name: str,
    *,
    units: str = "",
    quantity: int = 0,
    address: int | None = None,
    host: str = "",
    parent: int = 0,
    on_parent: int | None = None,
    connection: str = "",
) -> str:
    """One piece of hardware. The schema wants a piece's facts in the order of their names."""
    facts: dict[str, object] = {
        "Address": address,
        "AddressOnParent": on_parent,
        "AllocationUnits": units or None,
        "AutomaticAllocation": "true" if connection else None,
        "Caption": name,
        "Connection": connection or None,
        "Description": name,
        "ElementName": name,
        "HostResource": host or None,
        "InstanceID": instance,
        "Parent": parent or None,
        "ResourceSubType": subtype or None,
        "ResourceType": kind,
        "VirtualQuantity": quantity or None,
    }
    lines = [f"        <rasd:{key}>{value}</rasd:{key}>" for key, value in facts.items() if value is not None]
    return "\n".join(["      <Item>", *lines, "      </Item>"])
