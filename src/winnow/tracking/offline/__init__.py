"""Write a run's operations to the store or, if the store is unavailable, to a spool on disk for later sending."""
