-- How a lane's receipts are read stands with the lane. As a reference table (0003) it was written at a worker's start, which
-- needs every node: with one of them down no worker could have begun, nor served the lanes of the others.
-- Where nothing is distributed yet (store/placement.py) there is nothing to move.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        IF EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = 'receipt_habit'::regclass) THEN
            PERFORM undistribute_table('receipt_habit');
        END IF;
    END IF;
END
$$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        IF EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = 'chunk'::regclass) THEN
            PERFORM create_distributed_table('receipt_habit', 'lane', colocate_with => 'chunk');
        END IF;
    END IF;
END
$$;
