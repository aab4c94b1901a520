-- Properties with very many different keys cost a file for each of them, and each is synced. So what one insert brings is
-- written into one file, and a part that is large enough to have a file for each column has 128 keys of its own; the
-- rest lies together, and is found in the same way.
ALTER TABLE catchment.event_rows MODIFY SETTING min_bytes_for_wide_part = 268435456, merge_max_dynamic_subcolumns_in_wide_part = 128;
