-- name: hold_orders
-- Read the orders of some numbers that are open, or not long over, the newest of each first, and let nobody else change them.
-- index: text_order_pkey
SELECT * FROM text_order WHERE bucket = $1::int AND number = ANY($2::bigint[]) AND (at > $3::timestamptz OR state < 3)
ORDER BY number, at DESC, enrolment DESC, step, visit DESC FOR UPDATE;

-- name: hold_order
-- Read one order, and let nobody else change it.
-- index: text_order_pkey
SELECT * FROM text_order
WHERE bucket = $1::int AND number = $2::bigint AND enrolment = $3::bigint AND step = $4::text AND visit = $5::int FOR UPDATE;

-- name: write_order
-- Write an order as it is now.
-- index: text_order_pkey, as the arbiter
INSERT INTO text_order (
    bucket, number, enrolment, step, visit, conversation, campaign, question, state, nonce, quantity, price, currency, name,
    address, asked_at, tried, at, due_at, tries, reference, said)
VALUES ($1::int, $2::bigint, $3::bigint, $4::text, $5::int, $6::bigint, $7::text, $8::jsonb, $9::smallint, $10::int, $11::int,
    $12::bigint, $13::text, $14::text, $15::text, $16::timestamptz, $17::smallint, $18::timestamptz, $19::timestamptz,
    $20::smallint, $21::text, $22::text)
ON CONFLICT (bucket, number, enrolment, step, visit) DO UPDATE SET
    conversation = excluded.conversation, state = excluded.state, nonce = excluded.nonce, quantity = excluded.quantity,
    price = excluded.price, currency = excluded.currency, name = excluded.name, address = excluded.address,
    asked_at = excluded.asked_at, tried = excluded.tried, at = excluded.at, due_at = excluded.due_at, tries = excluded.tries,
    reference = excluded.reference, said = excluded.said;

-- name: is_order_due
-- Say whether a shop is to be told of an order by now.
-- index: text_order_due
SELECT EXISTS (SELECT FROM text_order WHERE due_at <= $1::timestamptz);

-- name: orders_due
-- Read orders of which shops are to be told by now, of all buckets, the oldest first, so many of each shop at the most.
-- index: text_order_due
SELECT o.* FROM (
    SELECT d.*, row_number() OVER (PARTITION BY d.question #>> '{order,url}' ORDER BY d.due_at, d.number) AS place
    FROM text_order d WHERE d.due_at <= $1::timestamptz) o
WHERE o.place <= $3::int ORDER BY o.due_at, o.number LIMIT $2::int;

-- name: put_off_order
-- Tell a shop of an order once more, later.
-- index: text_order_pkey
UPDATE text_order SET due_at = $6::timestamptz, tries = tries + 1, said = $7::text
WHERE bucket = $1::int AND number = $2::bigint AND enrolment = $3::bigint AND step = $4::text AND visit = $5::int
  AND due_at IS NOT NULL;

-- name: attributes_of_numbers
-- Read some attributes of the eldest person of each of some numbers.
-- index: profile_number
SELECT DISTINCT ON (p.number) p.number, p.id, (
    SELECT coalesce(jsonb_object_agg(a.key, a.value), '{}') FROM jsonb_each_text(p.attributes) a
    WHERE a.key = ANY($3::text[]))::text AS attributes
FROM profile p WHERE p.bucket = $1::int AND p.number = ANY($2::bigint[]) ORDER BY p.number, p.id;

-- name: orders_of_number
-- Read all orders by text of a number, the newest first.
-- index: text_order_pkey
SELECT * FROM text_order WHERE bucket = $1::int AND number = $2::bigint ORDER BY at DESC, enrolment DESC, step, visit DESC;

-- name: erase_orders
-- Take away the orders by text of numbers.
-- index: text_order_pkey
DELETE FROM text_order WHERE bucket = $1::int AND number = ANY($2::bigint[]);
