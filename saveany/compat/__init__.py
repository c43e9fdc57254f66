"""APIs of other hosts, so that clients written for them work with SaveAny."""
