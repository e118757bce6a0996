"""Program that turns a Parquet file into an Arrow file, run by `api.series.parsing.parquet` in a process of its own.

Damaged Parquet files have made the reader take gigabytes and even end its process; here that costs one upload, not
the service. Imports nothing of ours, and runs isolated: the modules beside it are called like the standard library's.
"""

from __future__ import annotations

import sys

import pyarrow as pa
import pyarrow.parquet as pq

MEMORY_BYTES = 3 << 30
CPU_SECONDS = 300
BYTES_PER_VALUE = 16  # decimals; all other numbers and times have 8 at most
SLACK_BYTES = 1 << 26
BATCH_VALUES = 1 << 19
DAMAGED, TOO_LARGE = 2, 3


def main() -> None:
    source, target, max_rows, max_values = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    _limit(max_values)
    try:
        _convert(source, target, max_rows, max_values)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        print(str(error).partition("\n")[0][:500], file=sys.stderr)  # noqa: T201 - the answer to the parent process
        sys.exit(DAMAGED)


def _limit(max_values: int) -> None:
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # Text that is stored once and repeated in every row takes no room in the upload, but all of the disk here.
        most = SLACK_BYTES + max_values * BYTES_PER_VALUE
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def _convert(source: str, target: str, max_rows: int, max_values: int) -> None:
    # Read as needed, not whole column chunks ahead.
    with pq.ParquetFile(source, pre_buffer=False, buffer_size=1 << 16) as file:
        schema = file.schema_arrow
        n_columns = max(1, len(schema))
        most = min(max_rows, max_values // n_columns)
        if file.metadata.num_rows > most:
            sys.exit(TOO_LARGE)
        n_rows = 0
        with pa.ipc.new_file(target, schema) as sink:
            for batch in file.iter_batches(batch_size=max(1, BATCH_VALUES // n_columns), use_threads=False):
                n_rows += len(batch)
                if n_rows > most:
                    sys.exit(TOO_LARGE)
                sink.write_batch(batch)


if __name__ == "__main__":
    main()
