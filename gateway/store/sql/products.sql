-- name: write_products
-- Write products of a feed; one that had no stock and has some is back.
-- index: product_pkey, as the arbiter
INSERT INTO product AS p (id, name, category, price, currency, url, supply_days, related, stock, new_since)
SELECT k.id, k.name, k.category, k.price, k.currency, k.url, k.supply_days, string_to_array(k.related, ' '), k.stock, k.new_since
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::int[], $8::text[], $9::int[],
            $10::timestamptz[]) AS k (id, name, category, price, currency, url, supply_days, related, stock, new_since)
ON CONFLICT (id) DO UPDATE
SET name = excluded.name, category = excluded.category, price = excluded.price, currency = excluded.currency,
    url = excluded.url, supply_days = excluded.supply_days, related = excluded.related, stock = excluded.stock,
    new_since = coalesce(excluded.new_since, p.new_since),
    restocked_at = CASE WHEN p.stock <= 0 AND excluded.stock > 0 THEN $11::timestamptz ELSE p.restocked_at END;

-- name: restock_product
-- Write down that a product is to be had again.
-- index: product_pkey
UPDATE product SET stock = CASE WHEN stock <= 0 THEN NULL ELSE stock END, restocked_at = $2::timestamptz
WHERE id = $1::text RETURNING id;

-- name: products
-- Read products.
-- index: product_pkey
SELECT id, name, category, price, currency, url, supply_days, related, stock, new_since FROM product
WHERE id = ANY($1::text[]) ORDER BY id;

-- name: has_products
-- Say whether there is a feed.
-- index: product_pkey
SELECT EXISTS (SELECT FROM product);

-- name: bought_by
-- Read what persons of a bucket ever bought, and what of it with their last order.
-- index: person_event_profile
SELECT f.profile, f.product, f.at = max(f.at) OVER (PARTITION BY f.profile) AS is_last
FROM (SELECT v.profile, item.product, max(v.occurred_at) AS at
      FROM person_event v @{items}
      WHERE v.bucket = $1::int AND v.profile = ANY($2::bigint[]) AND v.name = 'order_placed' AND v.occurred_at <= $3::timestamptz
        AND item.product IS NOT NULL
      GROUP BY v.profile, item.product) f;

-- name: going_by_rules
-- Read what goes with products by the shop's own rules; the lower the score the better.
-- index: product_pkey
SELECT p.id AS of, o.id AS other, r.place::float8 AS score
FROM product p CROSS JOIN LATERAL unnest(p.related) WITH ORDINALITY AS r (id, place) JOIN product o ON o.id = r.id
WHERE p.id = ANY($1::text[]) AND o.stock IS DISTINCT FROM 0;

-- name: going_together
-- Read what was bought with products.
-- index: product_pair_pkey; product_pkey
SELECT b.product AS of, b.other, -b.orders::float8 AS score
FROM product_pair b JOIN product o ON o.id = b.other
WHERE b.product = ANY($1::text[]) AND o.stock IS DISTINCT FROM 0;

-- name: going_by_category
-- Read what of the categories of products is bought most.
-- index: product_pkey; product_category
SELECT p.id AS of, o.id AS other, -o.bought::float8 AS score
FROM product p CROSS JOIN LATERAL (
    SELECT c.id, c.bought FROM product c
    WHERE c.category = p.category AND c.id <> p.id AND c.stock IS DISTINCT FROM 0 ORDER BY c.bought DESC, c.id LIMIT $2::int) o
WHERE p.id = ANY($1::text[]) AND p.category <> '';

-- name: going_dearer
-- Read what of the categories of products is dearer, the next first.
-- index: product_pkey; product_category
SELECT p.id AS of, o.id AS other, o.price::float8 AS score
FROM product p CROSS JOIN LATERAL (
    SELECT c.id, c.price FROM product c
    WHERE c.category = p.category AND c.currency = p.currency AND c.price > p.price AND c.stock IS DISTINCT FROM 0
    ORDER BY c.price, c.id LIMIT $2::int) o
WHERE p.id = ANY($1::text[]) AND p.category <> '';

-- name: newest_products
-- Read what came into the shop since a moment and until another, the newest first.
-- index: none: a shop's products are few
SELECT id, category FROM product
WHERE new_since > $1::timestamptz AND new_since <= $2::timestamptz AND stock IS DISTINCT FROM 0
ORDER BY new_since DESC, id LIMIT $3::int;

-- name: pairs_of_bucket
-- Count of a bucket what was bought in one order with what, since a moment and until another.
-- index: person_event_name
WITH line AS MATERIALIZED (
    SELECT DISTINCT v.profile, v.id, item.product FROM person_event v @{items}
    WHERE v.bucket = $1::int AND v.name = 'order_placed' AND v.occurred_at > $2::timestamptz AND v.occurred_at <= $3::timestamptz
      AND item.product IS NOT NULL
)
SELECT a.product, b.product AS other, count(*) AS orders FROM line a JOIN line b ON b.profile = a.profile AND b.id = a.id GROUP BY a.product, b.product;

-- name: clear_pairs
-- Forget what was bought together.
-- index: none: all of it
DELETE FROM product_pair;

-- name: write_pairs
-- Write what was bought together.
-- index: product_pair_pkey is written
INSERT INTO product_pair (product, other, orders)
SELECT k.product, k.other, k.orders FROM unnest($1::text[], $2::text[], $3::bigint[]) AS k (product, other, orders);

-- name: write_bought
-- Write in how many orders products were.
-- index: product_pkey
UPDATE product p SET bought = k.n FROM unnest($1::text[], $2::bigint[]) AS k (id, n) WHERE p.id = k.id AND p.bought <> k.n;

-- name: replenishments_due
-- Find of a bucket whose products run out between two moments ($2 … $3): bought supply_days times their quantity before, and
-- not since. Each length of a supply is a span of orders of its own.
-- index: person_event_name; product_pkey; person_event_profile
SELECT v.profile, v.id, item.product, v.occurred_at + make_interval(days => s.days) AS due_at, p.name, p.url,
       f.external_id, f.email, f.number
FROM (SELECT DISTINCT d.supply_days * q.quantity AS days, d.supply_days, q.quantity
      FROM product d CROSS JOIN generate_series(1, 24) AS q (quantity)
      WHERE d.supply_days > 0 AND d.supply_days * q.quantity <= 400) s
JOIN person_event v ON v.bucket = $1::int AND v.name = 'order_placed' AND v.occurred_at > $2::timestamptz - make_interval(days => s.days)
  AND v.occurred_at <= $3::timestamptz - make_interval(days => s.days)
@{items}
JOIN product p ON p.id = item.product AND p.supply_days = s.supply_days
JOIN profile f ON f.bucket = $1::int AND f.id = v.profile
WHERE item.quantity = s.quantity AND NOT EXISTS (
    SELECT FROM person_event w WHERE w.bucket = $1::int AND w.profile = v.profile AND w.name = 'order_placed'
      AND w.occurred_at > v.occurred_at AND EXISTS (
        SELECT FROM jsonb_path_query(w.properties, '$.*[*]') AS l (line)
        WHERE coalesce(l.line ->> 'product_id', l.line ->> 'product', l.line ->> 'sku', l.line ->> 'id') = item.product));

-- name: restocked
-- Read products that came back after a moment and until another.
-- index: none: a shop's products are few
SELECT id, name, url, restocked_at FROM product WHERE restocked_at > $1::timestamptz AND restocked_at <= $2::timestamptz
ORDER BY restocked_at, id;

-- name: waiting_for
-- Find of a bucket who asked to be told when a product ($2) is back, before that ($4), and was not told since.
-- index: person_event_name; profile_pkey; person_event_profile
SELECT v.profile, max(v.id) AS id, f.external_id, f.email, f.number
FROM person_event v JOIN profile f ON f.bucket = $1::int AND f.id = v.profile
WHERE v.bucket = $1::int AND v.name = 'stock_alert_requested' AND v.occurred_at > $3::timestamptz AND v.occurred_at <= $4::timestamptz
  AND coalesce(v.properties ->> 'product_id', v.properties ->> 'product', v.properties ->> 'sku', v.properties ->> 'id') = $2::text
  AND NOT EXISTS (
    SELECT FROM person_event t WHERE t.bucket = $1::int AND t.profile = v.profile AND t.name = 'product_restocked'
      AND t.occurred_at >= v.occurred_at AND t.properties ->> 'product' = $2::text)
GROUP BY v.profile, f.external_id, f.email, f.number;

-- name: write_shops
-- Write shops.
-- index: shop_pkey, as the arbiter
INSERT INTO shop (id, name, lat, lon, address, url, is_default)
SELECT k.id, k.name, k.lat, k.lon, k.address, k.url, k.is_default
FROM unnest($1::text[], $2::text[], $3::float8[], $4::float8[], $5::text[], $6::text[], $7::boolean[])
     AS k (id, name, lat, lon, address, url, is_default)
ON CONFLICT (id) DO UPDATE
SET name = excluded.name, lat = excluded.lat, lon = excluded.lon, address = excluded.address, url = excluded.url,
    is_default = excluded.is_default;

-- name: shops
-- Read all shops.
-- index: none: they are few
SELECT id, name, lat, lon, address, url, is_default FROM shop ORDER BY id;

-- name: places_of
-- Read where persons of a bucket are.
-- index: profile_pkey
SELECT id, attributes -> 'location' ->> 'lat' AS lat, attributes -> 'location' ->> 'lon' AS lon FROM profile
WHERE bucket = $1::int AND id = ANY($2::bigint[]) AND jsonb_typeof(attributes -> 'location') = 'object';
