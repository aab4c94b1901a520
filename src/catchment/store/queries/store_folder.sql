-- The folder of the store, where all its tables are.
SELECT path FROM system.disks WHERE name = 'default'
