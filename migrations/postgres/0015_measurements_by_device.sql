-- How much each device measured is counted, and the latest of it is read, whenever devices are listed. Both
-- are answered by this index, which has what counts as measured by a device in the order of coming: the rows
-- themselves are long, and of a device that serves for months there are many.
DROP INDEX measurements_by_device;
CREATE INDEX measurements_by_device ON measurements (device, id)
    WHERE outcome <> 'abandoned' AND reused_from IS NULL;
