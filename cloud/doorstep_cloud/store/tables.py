"""What the service keeps of its own work."""

from sqlalchemy.orm import Mapped, mapped_column

from doorstep_cloud.store.base import MainBase


class JobRow(MainBase):
    """When a job of the worker last came to its end, by the service's clock.

    Attributes:
        name: The job's; one with a colon names something that it finds, and since when.
    """

    __tablename__ = "job"

    name: Mapped[str] = mapped_column(primary_key=True)
    passed_at_ms: Mapped[int]
