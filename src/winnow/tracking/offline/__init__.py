"""Save operations that the store does not accept in a spool on disk, and send them later."""
