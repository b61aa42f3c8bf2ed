-- Pieces of experiments.sql: who gets what, as gateway.experiment.Allocation says it of one number (AB-1).

-- piece: arm_of_number
-- The arm of k.number: 0 the control, -1 the rest, else that of a variant. $4 salt of the variant slots, $5 of the role slots,
-- $6 and $7 the role slots at which the control and the test end, $8 the bounds of the variants but the last.
CASE
    WHEN (('x' || substr(md5($5::text || ':' || k.number), 1, 8))::bit(32)::bigint % 10000) < $6::int THEN 0
    WHEN (('x' || substr(md5($5::text || ':' || k.number), 1, 8))::bit(32)::bigint % 10000) >= $7::int THEN -1
    WHEN cardinality($8::int[]) = 0 THEN 1
    ELSE 1 + width_bucket((('x' || substr(md5($4::text || ':' || k.number), 1, 8))::bit(32)::bigint % 10000)::int, $8::int[])
END
