"""Events as a Parquet file; pyarrow is large, so it is loaded only here and installed only by who wants it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lighthouse_agent.errors import SettingsError


class ParquetFile:
    """A Parquet file that events are added to; raises SettingsError without pyarrow."""

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow  # noqa: PLC0415 - see above
            import pyarrow.parquet  # noqa: PLC0415 - see above
        except ImportError:
            raise SettingsError(
                "Parquet needs the package pyarrow, which is not installed: run pip install '.[parquet]' in a checkout, "
                "or export JSON lines."
            ) from None
        self._arrow = pyarrow
        text, when = pyarrow.string(), pyarrow.timestamp("us", tz="UTC")
        self._schema = pyarrow.schema(
            [
                ("sequence", pyarrow.int64()),
                ("event_id", text),
                ("event_type", text),
                ("timestamp", when),
                ("agent_id", text),
                ("aggregate_id", text),
                ("data", text),
            ]
        )
        self._writer = pyarrow.parquet.ParquetWriter(path, self._schema, compression="zstd")

    def __enter__(self) -> "ParquetFile":
        return self

    def __exit__(self, *_error: object) -> None:
        self._writer.close()

    def write(self, events: Sequence[Any]) -> None:
        """Add events as one group of rows."""
        columns: dict[str, Any] = {
            name: [getattr(event, name) for event in events]
            for name in ("sequence", "event_id", "event_type", "agent_id", "aggregate_id")
        }
        columns["timestamp"] = self._arrow.array([event.timestamp for event in events]).cast(
            self._schema.field("timestamp").type
        )
        columns["data"] = [bytes(event.data).decode() for event in events]
        self._writer.write_table(self._arrow.table(columns, schema=self._schema))
