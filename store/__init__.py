"""Everything that outlives a process: rows, blobs, the queue of record."""
