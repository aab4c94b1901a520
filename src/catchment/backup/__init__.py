"""Backups: a folder from which a data dir is made again, as it was at one moment (docs/backup.md).

`snapshot` holds that moment fast inside the data dir, in the process that has the store open; `making` copies it out,
in the process of the command; `manifest` is the form of what comes of it; `restoring` makes a data dir of it.
"""
