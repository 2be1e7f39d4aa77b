"""Who is heard: enrolled doorbells that their household has not revoked."""

from doorstep_cloud.devices.rules import Listing
from doorstep_cloud.devices.service import device_for_ingest
from doorstep_cloud.households.chain import read_head
from doorstep_cloud.ingest.rules import Sender
from doorstep_cloud.store.databases import Unit
from doorstep_shared.ids import DeviceId


def find_sender(unit: Unit, device: DeviceId) -> Sender | None:
    """Return the doorbell of that id; None if it is unknown or revoked."""
    found = device_for_ingest(unit, device)
    if found is None or found.listing is Listing.REVOKED:
        return None
    return Sender(
        device=device,
        household=found.household,
        manifest_key=found.keys.manifest_key,
        is_listed=found.listing is Listing.ACTIVE,
        epoch=read_head(unit, found.household).statement.epoch.n,
    )
